"""Hash chains of the two logs and the bytes that one signature covers (design §6, §7).

All hashes are SHA-256, 32 bytes, each behind its own domain-separating prefix.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Final

from intertie.errors import IntertieError

SIZE: Final = 32
UINT64_MAX: Final = 2**64 - 1

_GENESIS: Final = b"intertie/v1/genesis\0"
_HEAD: Final = b"intertie/v1/head\0"
_ENTRY: Final = b"intertie/v1/entry\0"
_SESSION: Final = b"intertie/v1/session\0"
_LINK: Final = b"intertie/v1/link\0"
_pack: Final = struct.Struct(">32s32sQ32sQ32s").pack


def genesis(agreement_payload: bytes) -> bytes:
    """Return head(0) of both logs: the hash of the exact payload of the first agreement."""
    return sha256(_GENESIS + agreement_payload).digest()


def entry_digest(entry: bytes) -> bytes:
    """Return the hash of an entry's exact bytes."""
    return sha256(_ENTRY + entry).digest()


def entry_head(previous: bytes, entry: bytes) -> bytes:
    """Return the head after `entry`, from the 32-byte head before it.

    Unchecked for speed: `previous` is always a head that this module made or `parse_head` took.
    """
    return sha256(_HEAD + previous + sha256(_ENTRY + entry).digest()).digest()


def parse_head(data: bytes) -> bytes:
    """Return `data` if it has the 32 bytes of a head; raise INVALID_ARGUMENT if it has not."""
    if len(data) != SIZE:
        raise IntertieError("INVALID_ARGUMENT", f"A head must have {SIZE} bytes, not {len(data)}.", field="head")
    return data


def session_id(dialler_open_payload: bytes, acceptor_open_payload: bytes) -> bytes:
    """Return the name of a session: a hash over the exact payloads of both Opens, the dialler's first."""
    dialler, acceptor = sha256(dialler_open_payload).digest(), sha256(acceptor_open_payload).digest()
    return sha256(_SESSION + dialler + acceptor).digest()


def link_signature_bytes(
    genesis: bytes, session: bytes, seq: int, head: bytes, acked: int, acked_head: bytes, agreed_total: int
) -> bytes:
    """Return the 177 bytes that a HeadSignature signs.

    "intertie/v1/link\\0", genesis (32), session (32), seq (8), head (32), acked (8), acked_head (32),
    agreed_total (16, two's complement, minor units); integers big-endian. Raises INVALID_ARGUMENT if a hash
    has not 32 bytes or a number does not fit.
    """
    if not (len(genesis) == len(session) == len(head) == len(acked_head) == 32):
        raise IntertieError("INVALID_ARGUMENT", "Genesis, session and heads must have 32 bytes each.", field="head")
    try:
        return (
            _LINK
            + _pack(genesis, session, seq, head, acked, acked_head)
            + agreed_total.to_bytes(16, "big", signed=True)
        )
    except (struct.error, OverflowError):
        raise IntertieError("INVALID_ARGUMENT", "A seq or total of a signature does not fit.", field="seq") from None
