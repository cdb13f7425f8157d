"""Messages from keyword arguments; nested messages may be given as dicts."""

from __future__ import annotations

from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie.v1.event_pb2 import Event


def entry(kind: int, **fields: Any) -> pb.Entry:
    """An entry of a kind, known or not."""
    return pb.Entry(kind=kind, **fields)  # type: ignore[arg-type]


def event(**fields: Any) -> Event:
    """An event."""
    return Event(**fields)


def size_of(event: Event) -> int:
    """Bytes of an event as limits and credit count it: `order_seq` left out."""
    bare = Event()
    bare.CopyFrom(event)
    bare.order_seq = 0
    return bare.ByteSize()
