"""Multihashes: digests that name their algorithm (design §6). Version 1 defines sha2-256 alone.

A digest on the wire is 34 bytes: 0x12 (sha2-256), 0x20 (32 bytes), the hash. For people it is
"sha256:" followed by 64 lower-case hexadecimal digits.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from intertie.errors import IntertieError

PREFIX: Final = b"\x12\x20"
SIZE: Final = 34
_TEXT: Final = re.compile(r"sha256:([0-9a-f]{64})")


def multihash(data: bytes) -> bytes:
    """Return the 34-byte multihash of `data`."""
    return PREFIX + sha256(data).digest()


def salted(nonce: bytes, data: bytes) -> bytes:
    """Return the multihash of `nonce` followed by `data`.

    An order's nonce keeps a digest in a log from revealing a payload that can be guessed (design §7).
    """
    return PREFIX + sha256(nonce + data).digest()


def is_multihash(digest: bytes) -> bool:
    """Return whether `digest` has the form of a multihash of version 1."""
    return len(digest) == SIZE and digest.startswith(PREFIX)


def parse(digest: bytes) -> bytes:
    """Return `digest` if it is a multihash of version 1; raise INVALID_ARGUMENT if it is not."""
    if not is_multihash(digest):
        raise IntertieError(
            "INVALID_ARGUMENT",
            f"A digest must be a sha2-256 multihash of {SIZE} bytes, not {digest[:SIZE].hex() or 'empty'}.",
            field="digest",
        )
    return digest


def to_text(digest: bytes) -> str:
    """Return "sha256:<hex>" of a multihash; raise INVALID_ARGUMENT if it is none."""
    return "sha256:" + parse(digest)[len(PREFIX) :].hex()


def from_text(text: str) -> bytes:
    """Return the multihash that `to_text` wrote; raise INVALID_ARGUMENT for any other text."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise IntertieError(
            "INVALID_ARGUMENT",
            f"A digest must be written as sha256: and 64 lower-case hexadecimal digits, not {text[:80]!r}.",
            field="digest",
        )
    return PREFIX + bytes.fromhex(match[1])
