"""UUIDv7 ids in text form (RFC 0003)."""

from __future__ import annotations

import os
import re
from typing import Final

_FORM: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def make_id(now_ms: int) -> str:
    """A fresh UUIDv7."""
    raw = bytearray(now_ms.to_bytes(6, "big") + os.urandom(10))
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def is_id(text: str) -> bool:
    """Whether `text` is a UUIDv7 in lower-case text form."""
    return _FORM.fullmatch(text) is not None


def time_of(text: str) -> int:
    """The milliseconds in a UUIDv7."""
    return int(text[:8] + text[9:13], 16)
