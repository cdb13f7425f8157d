"""Signed documents: DSSE pre-authentication encoding over exact bytes (RFC 0003)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from intertie.v1.envelope_pb2 import Envelope
from intertie_conformance.wire.keys import Key, PublicKeys, holds
from intertie_conformance.wire.refusal import Refusal, decode

_TYPE: Final = "application/vnd.intertie.{}.v1+protobuf"
DESCRIPTOR: Final = _TYPE.format("descriptor")
AGREEMENT: Final = _TYPE.format("agreement")
CATALOG_ROOT: Final = _TYPE.format("catalog-root")
RECORD_ROOT: Final = _TYPE.format("record-root")
OPEN: Final = _TYPE.format("open")
MAX_SIGNATURES: Final = 8
MAX_BYTES: Final = 1 << 20


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed."""
    kind = payload_type.encode()
    return b" ".join((b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload))


def seal(payload_type: str, payload: bytes, keys: Sequence[Key]) -> bytes:
    """A serialized envelope of `payload`, signed by each of `keys`."""
    data = pae(payload_type, payload)
    made = Envelope(payload_type=payload_type, payload=payload, signatures=[key.sign(data) for key in keys])
    return made.SerializeToString()


def add_signature(sealed: bytes, key: Key) -> bytes:
    """The envelope with one more signature over the same payload bytes."""
    made = Envelope.FromString(sealed)
    made.signatures.append(key.sign(pae(made.payload_type, made.payload)))
    return made.SerializeToString()


def peek(sealed: bytes) -> Envelope:
    """The envelope, its form checked, nothing verified. Raises: Refusal INVALID_ARGUMENT."""
    if len(sealed) > MAX_BYTES:
        raise Refusal("INVALID_ARGUMENT", f"An envelope has {len(sealed)} bytes.")
    envelope = decode(Envelope, sealed, "INVALID_ARGUMENT")
    if not 1 <= len(envelope.signatures) <= MAX_SIGNATURES:
        raise Refusal("INVALID_ARGUMENT", f"An envelope holds {len(envelope.signatures)} signatures.")
    return envelope


def signers(envelope: Envelope, keys: PublicKeys) -> list[bytes]:
    """Ids of the known keys that have signed.

    Raises: Refusal SIGNATURE_INVALID for a wrong signature of a known key, two of one key, or none of a known key.
    """
    ids = [signature.key_id for signature in envelope.signatures]
    if len(set(ids)) < len(ids):
        raise Refusal("SIGNATURE_INVALID", "An envelope holds two signatures of one key.")
    data = pae(envelope.payload_type, envelope.payload)
    known = [signature for signature in envelope.signatures if signature.key_id in keys]
    if not all(holds(keys[signature.key_id], signature.value, data) for signature in known):
        raise Refusal("SIGNATURE_INVALID", "A signature of an envelope is wrong.")
    if not known:
        raise Refusal("SIGNATURE_INVALID", "No known key has signed an envelope.")
    return [signature.key_id for signature in known]


def unseal(sealed: bytes, payload_type: str, keys: PublicKeys) -> bytes:
    """The exact payload of an envelope signed by one of `keys`.

    Raises: Refusal INVALID_ARGUMENT for a malformed envelope or another type, SIGNATURE_INVALID.
    """
    envelope = peek(sealed)
    if envelope.payload_type != payload_type:
        raise Refusal("INVALID_ARGUMENT", f"An envelope is of type {envelope.payload_type[:80]}.")
    signers(envelope, keys)
    return envelope.payload
