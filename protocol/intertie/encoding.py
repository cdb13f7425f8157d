"""Parsing of untrusted protobuf bytes with a named error (design §5 rule 1)."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from intertie.errors import IntertieError

M = TypeVar("M", bound=Message)


def parse(message_type: type[M], data: bytes, limit: int, reason: str = "INVALID_ARGUMENT") -> M:
    """Return the message that `data` encodes; raise `reason` if it is none or longer than `limit` bytes."""
    name = message_type.DESCRIPTOR.name
    if len(data) > limit:
        raise IntertieError(reason, f"A serialized {name} may have {limit} bytes, not {len(data)}.", field=name)
    try:
        return message_type.FromString(data)
    except DecodeError:
        raise IntertieError(reason, f"Bytes that should be a {name} cannot be parsed.", field=name) from None
