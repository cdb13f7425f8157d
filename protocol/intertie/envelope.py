"""Signed documents: DSSE pre-authentication encoding, sealing and unsealing (design §5 rule 1, §6).

The payload's exact bytes are signed and kept. `unseal` verifies before anything parses the payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from intertie.encoding import parse
from intertie.errors import IntertieError
from intertie.keys import PrivateKey, PublicKey
from intertie.registry import LIMITS
from intertie.v1.envelope_pb2 import Envelope, Signature

DESCRIPTOR: Final = "application/vnd.intertie.descriptor.v1+protobuf"
AGREEMENT: Final = "application/vnd.intertie.agreement.v1+protobuf"
CATALOG_ROOT: Final = "application/vnd.intertie.catalog-root.v1+protobuf"
RECORD_ROOT: Final = "application/vnd.intertie.record-root.v1+protobuf"
OPEN: Final = "application/vnd.intertie.open.v1+protobuf"
PAYLOAD_TYPES: Final = frozenset({DESCRIPTOR, AGREEMENT, CATALOG_ROOT, RECORD_ROOT, OPEN})

MAX_BYTES: Final = LIMITS["envelope_bytes"].maximum
MAX_SIGNATURES: Final = LIMITS["signatures"].maximum


class Opened(msgspec.Struct, frozen=True):
    """What a verified envelope holds."""

    payload_type: str
    payload: bytes
    key_ids: tuple[bytes, ...]
    """Ids of the known keys whose signatures were verified, in the envelope's order, at least one."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the DSSE v1 pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload_type: str, payload: bytes, keys: Iterable[PrivateKey]) -> bytes:
    """Return the serialized envelope of `payload`, signed by each of `keys` (one to eight)."""
    data = pae(payload_type, payload)
    signatures = [Signature(key_id=key.public.key_id, value=key.sign(data)) for key in keys]
    return _serialize(Envelope(payload_type=payload_type, payload=payload, signatures=signatures))


def add_signature(envelope: bytes, key: PrivateKey) -> bytes:
    """Return `envelope` with the signature of `key` added, or replaced if that key had signed.

    The payload's bytes stay as they are. Verifies nothing: unseal first. Raises INVALID_ARGUMENT if the
    envelope cannot be parsed or would have more than eight signatures.
    """
    opened = _parse(envelope, MAX_BYTES)
    others = [signature for signature in opened.signatures if signature.key_id != key.public.key_id]
    own = Signature(key_id=key.public.key_id, value=key.sign(pae(opened.payload_type, opened.payload)))
    return _serialize(Envelope(payload_type=opened.payload_type, payload=opened.payload, signatures=[*others, own]))


def unseal(envelope: bytes, payload_type: str, keys: Mapping[bytes, PublicKey], max_bytes: int = MAX_BYTES) -> Opened:
    """Return what `envelope` holds after verifying it against the known `keys`, by key id.

    Signatures of unknown keys are ignored. Raises SIGNATURE_INVALID if no known key has signed, if a known
    key's signature is wrong or if a key signs twice; INVALID_ARGUMENT if the envelope is malformed, longer
    than `max_bytes`, without or with too many signatures, or of another type.
    """
    parsed = _parse(envelope, max_bytes)
    if parsed.payload_type != payload_type:
        raise IntertieError(
            "INVALID_ARGUMENT", f"The envelope's payload type must be {payload_type}.", field="payload_type"
        )
    signatures = {signature.key_id: signature.value for signature in parsed.signatures}
    if len(signatures) != len(parsed.signatures):
        raise IntertieError("SIGNATURE_INVALID", "The envelope holds two signatures of one key.")
    data = pae(payload_type, parsed.payload)
    known = tuple(key_id for key_id in signatures if key_id in keys)
    for key_id in known:
        if not keys[key_id].verify(signatures[key_id], data):
            raise IntertieError("SIGNATURE_INVALID", "A signature is wrong.", key_id=key_id.hex())
    if not known:
        raise IntertieError("SIGNATURE_INVALID", "The envelope holds no signature of a known key.")
    return Opened(payload_type, parsed.payload, known)


def peek_unverified(envelope: bytes, max_bytes: int = MAX_BYTES) -> tuple[str, bytes]:
    """Return (payload type, payload) WITHOUT verifying any signature.

    Only to learn whose keys an envelope claims to need. Raises INVALID_ARGUMENT as `unseal`.
    """
    parsed = _parse(envelope, max_bytes)
    return parsed.payload_type, parsed.payload


def _parse(envelope: bytes, max_bytes: int) -> Envelope:
    """Parse an envelope and check its number of signatures."""
    parsed = parse(Envelope, envelope, max_bytes)
    _check_count(parsed)
    return parsed


def _serialize(envelope: Envelope) -> bytes:
    """Check the number of signatures and encode."""
    _check_count(envelope)
    return envelope.SerializeToString(deterministic=True)


def _check_count(envelope: Envelope) -> None:
    """Raise INVALID_ARGUMENT unless there are one to eight signatures."""
    if not 1 <= len(envelope.signatures) <= MAX_SIGNATURES:
        raise IntertieError(
            "INVALID_ARGUMENT",
            f"An envelope must hold 1 to {MAX_SIGNATURES} signatures, not {len(envelope.signatures)}.",
            field="signatures",
        )
