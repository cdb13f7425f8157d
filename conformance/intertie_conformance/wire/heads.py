"""One side's signature over both heads and its agreed total (RFC 0005, RFC 0007)."""

from __future__ import annotations

from intertie.v1.link_pb2 import HeadSignature
from intertie_conformance.wire.digests import HEAD_BYTES, TOTAL_BYTES, signed_bytes
from intertie_conformance.wire.keys import Key, PublicKeys, holds


def sign(genesis: bytes, signature: HeadSignature, key: Key) -> HeadSignature:
    """Put `key`'s signature under what `signature` states, in place of those that stand there."""
    del signature.signatures[:]
    signature.signatures.append(key.sign(covered(genesis, signature)))
    return signature


def covered(genesis: bytes, signature: HeadSignature) -> bytes:
    """The bytes that a signature covers."""
    return signed_bytes(
        genesis,
        signature.session,
        signature.seq,
        signature.head,
        signature.acked,
        signature.acked_head,
        signature.agreed_total,
    )


def is_signed(genesis: bytes, signature: HeadSignature, keys: PublicKeys) -> bool:
    """Whether a known key has made the signature, and no known key a wrong one."""
    sizes = (len(signature.head), len(signature.acked_head), len(signature.session))
    if sizes != (HEAD_BYTES,) * 3 or len(signature.agreed_total) != TOTAL_BYTES:
        return False
    data = covered(genesis, signature)
    known = [made for made in signature.signatures if made.key_id in keys]
    return bool(known) and all(holds(keys[made.key_id], made.value, data) for made in known)
