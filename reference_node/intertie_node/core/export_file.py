"""Framing of an exported link file: records of export.proto, each behind its length (design §7).

A length is a protobuf varint of the fewest bytes, so the same records always give the same file and the
digest at its end can be computed from the records alone.
"""

from collections.abc import Callable, Iterator
from typing import Final

from intertie.errors import IntertieError

SUFFIX: Final = ".intertie"
VERSION: Final = 1
MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
"""Largest record; a group is at most about one frame (256 KiB), a header has two descriptor chains."""
_MAX_PREFIX: Final = 4


def framed(record: bytes) -> bytes:
    """Return `record` behind its length in bytes."""
    size, prefix = len(record), bytearray()
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + record


def unframed(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield the records of a file, one in memory at a time; `read(n)` gives up to n bytes, b"" at its end.

    Raises: IntertieError EXPORT_MALFORMED for a length out of range and for a file that ends within a record.
    """
    while (size := _length(read)) is not None:
        record = _exactly(read, size)
        if len(record) != size:
            raise malformed("The file ends within a record.")
        yield record


def malformed(message: str) -> IntertieError:
    """Return the error of a file that is shortened, damaged or of another form."""
    return IntertieError("EXPORT_MALFORMED", message)


def _length(read: Callable[[int], bytes]) -> int | None:
    """Return the next record's length in bytes, None at the end of the file."""
    size = 0
    for place in range(_MAX_PREFIX):
        byte = read(1)
        if not byte:
            if place == 0:
                return None
            raise malformed("The file ends within a record's length.")
        size |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:
            if (place and not byte[0]) or size > MAX_RECORD_BYTES:
                break
            return size
    raise malformed(f"A record's length is written in too many bytes or above {MAX_RECORD_BYTES}.")


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """Return `size` bytes, fewer only at the end of the file."""
    parts, missing = [], size
    while missing and (part := read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
