"""Messages as exact bytes inside others, as their field 1: wrapped and unwrapped without decoding (RFC 0003)."""

from functools import lru_cache

from google.protobuf.message import DecodeError

from intertie.v1 import link_pb2 as lk

LINK_METHOD = "/intertie.v1.LinkService/Link"
_TAG = b"\x0a"


def wrap(message: bytes) -> bytes:
    """A message around a serialized one: field 1, length, bytes. Several in a row are a repeated field."""
    return _prefix(len(message)) + message


@lru_cache(4096)
def _prefix(size: int) -> bytes:
    prefix = bytearray(_TAG)
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix)


def unwrap(data: bytes) -> bytes:
    """The frame's bytes. What is not simply one field 1 is decoded in full; undecodable data yields b"\\xff"."""
    if data[:1] == _TAG:
        size = shift = 0
        for position in range(1, min(len(data), 6)):
            byte = data[position]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if position + 1 + size == len(data):
                    return data[position + 1 :]
                break
    try:
        return lk.LinkRequest.FromString(data).frame.SerializeToString()
    except DecodeError:
        return b"\xff"
