"""Ids made by callers: UUIDv7 text, and the ids that a relay derives for its own hop (design §5 rule 4)."""

from __future__ import annotations

import hmac
import re
from typing import Final

from intertie.errors import IntertieError

MAX_TIME_MS: Final = 2**48 - 1
RANDOM_SIZE: Final = 10
_UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_HOP: Final = b"intertie/v1/hop\0"


def parse_uuid7(text: str) -> int:
    """Return the milliseconds since the Unix epoch in a UUIDv7.

    Only the lower-case text form of RFC 9562 is taken, so that equal ids are equal texts. Raises ID_INVALID.
    """
    if _UUID7.fullmatch(text) is None:
        raise IntertieError("ID_INVALID", "An id must be a UUIDv7 in lower-case text form.", id=text[:64])
    return int(text[:8] + text[9:13], 16)


def make_uuid7(time_ms: int, random: bytes) -> str:
    """Return the UUIDv7 of a time and 10 random bytes, of which 74 bits are used.

    Raises ID_INVALID if the time does not fit 48 bits or there are not 10 bytes.
    """
    if not 0 <= time_ms <= MAX_TIME_MS or len(random) != RANDOM_SIZE:
        raise IntertieError("ID_INVALID", "A UUIDv7 is made of a 48-bit time and 10 random bytes.")
    marked = bytes((0x70 | random[0] & 0x0F, random[1], 0x80 | random[2] & 0x3F))
    text = (time_ms.to_bytes(6, "big") + marked + random[3:]).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def hop_id(time_ms: int, node_secret: bytes, upstream_digest: bytes, attempt: int) -> str:
    """Return a relay's own id for attempt 0, 1, … at serving an upstream order: the same one after a restore.

    `time_ms` is the upstream entry's `at`. `upstream_digest` must name link and position, not contents alone:
    use the upstream log's head at the order (32 bytes), since two upstreams can send identical entry bytes.
    Raises ID_INVALID as `make_uuid7`.
    """
    message = _HOP + upstream_digest + attempt.to_bytes(4, "big")
    return make_uuid7(time_ms, hmac.digest(node_secret, message, "sha256")[:RANDOM_SIZE])
