"""Multihashes, hash chains and the bytes that a link's signature covers (RFC 0003, RFC 0007)."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

MULTIHASH: Final = b"\x12\x20"
MULTIHASH_BYTES: Final = 34
HEAD_BYTES: Final = 32
TOTAL_BYTES: Final = 16


def multihash(data: bytes) -> bytes:
    """The 34-byte sha2-256 multihash of `data`."""
    return MULTIHASH + sha256(data).digest()


def salted(nonce: bytes, data: bytes) -> bytes:
    """The digest of a payload in a log: multihash of nonce followed by data."""
    return multihash(nonce + data)


def is_multihash(data: bytes) -> bool:
    """Whether `data` has the form of a version-1 multihash."""
    return len(data) == MULTIHASH_BYTES and data[:2] == MULTIHASH


def genesis(agreement: bytes) -> bytes:
    """head(0) of both logs, from the exact payload of the first agreement."""
    return sha256(b"intertie/v1/genesis\0" + agreement).digest()


def next_head(head: bytes, entry: bytes) -> bytes:
    """The head after `entry`."""
    inner = sha256(b"intertie/v1/entry\0" + entry).digest()
    return sha256(b"intertie/v1/head\0" + head + inner).digest()


def session(dialler: bytes, acceptor: bytes) -> bytes:
    """The name of a session, from the exact payloads of both Opens, the dialler's first."""
    return sha256(b"intertie/v1/session\0" + sha256(dialler).digest() + sha256(acceptor).digest()).digest()


def total_bytes(total: int) -> bytes:
    """An agreed total: 16 bytes, two's complement, big-endian."""
    return total.to_bytes(TOTAL_BYTES, "big", signed=True)


def total_of(data: bytes) -> int:
    """The agreed total that `total_bytes` wrote."""
    return int.from_bytes(data, "big", signed=True)


def signed_bytes(
    origin: bytes, session_name: bytes, seq: int, head: bytes, acked: int, acked_head: bytes, total: bytes
) -> bytes:
    """What a HeadSignature signs: both positions with their heads and the signer's agreed total."""
    return b"".join(
        (
            b"intertie/v1/link\0",
            origin,
            session_name,
            seq.to_bytes(8, "big"),
            head,
            acked.to_bytes(8, "big"),
            acked_head,
            total,
        )
    )
