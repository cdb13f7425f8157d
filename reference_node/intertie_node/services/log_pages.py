"""Both logs of a link as one list, interleaved as they grew, a page at a time."""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.message import Message
from msgspec import Struct

from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie_node.operator_api import EntryView
from intertie_node.ports import ME, THEM, Store

PAGE_BYTES: Final = 256 * 1024
Position = tuple[int, int]
"""Seqs of the last entries told: own log, the other's."""


class Told(Struct, frozen=True):
    """An entry in its place."""

    side: int
    seq: int
    entry: pb.Entry


def interleaved(store: Store, link: str, start: Position, upto: Position) -> Iterator[Told]:
    """Entries after `start` up to `upto`; none comes before what its author had seen of the other log."""
    logs = [_log(store, link, side, start[side], upto[side]) for side in (ME, THEM)]
    told = list(start)
    heads = [next(log, None) for log in logs]
    while heads[ME] or heads[THEM]:
        side = _next_side(heads, told)
        head = heads[side]
        assert head is not None
        yield head
        told[side] = head.seq
        heads[side] = next(logs[side], None)


def _next_side(heads: list[Told | None], told: list[int]) -> int:
    """The side whose next entry had seen nothing that is not told yet; the earlier one by its clock of two."""
    mine, theirs = heads
    if mine is None or theirs is None:
        return THEM if mine is None else ME
    if mine.entry.seen > told[THEM]:
        return THEM
    if theirs.entry.seen > told[ME]:
        return ME
    return ME if mine.entry.at <= theirs.entry.at else THEM


def _log(store: Store, link: str, side: int, after: int, upto: int) -> Iterator[Told]:
    while after < upto:
        rows = store.entries(link, side, after, upto, PAGE_BYTES)
        if not rows:
            return
        for seq, data, _ in rows:
            yield Told(side, seq, pb.Entry.FromString(data))
        after = rows[-1][0]


def page(store: Store, link: str, start: Position, upto: Position, limit: int) -> tuple[list[Told], str]:
    """(entries, token of the next page, "" if there is none)."""
    found: list[Told] = []
    told = list(start)
    for item in interleaved(store, link, start, upto):
        if len(found) == limit:
            return found, f"{told[ME]}.{told[THEM]}"
        found.append(item)
        told[item.side] = item.seq
    return found, ""


def last_page(store: Store, link: str, upto: Position, limit: int) -> list[Told]:
    """The newest entries."""
    start = (max(0, upto[ME] - limit), max(0, upto[THEM] - limit))
    return list(deque(interleaved(store, link, start, upto), limit))


def position(token: str) -> Position:
    """What a page token says; the beginning for "". Raises: IntertieError INVALID_ARGUMENT."""
    mine, _, theirs = (token or "0.0").partition(".")
    if not (mine.isascii() and mine.isdigit() and theirs.isascii() and theirs.isdigit() and len(token) < 40):
        raise IntertieError("INVALID_ARGUMENT", "The page token is not one of this list.", field="after")
    return int(mine), int(theirs)


def view(told: Told, names: tuple[str, str]) -> EntryView:
    """An entry for operators; `names` are the grids of ME and THEM."""
    entry = told.entry
    body = entry.WhichOneof("body")
    kind = pb.EntryKind.Name(entry.kind) if entry.kind in pb.EntryKind.values() else f"KIND_{entry.kind}"
    return EntryView(
        writer=names[told.side],
        own=told.side == ME,
        seq=told.seq,
        seen=entry.seen,
        at=entry.at,
        kind=kind.removeprefix("ENTRY_KIND_").lower(),
        body=plain(getattr(entry, body)) if body else {},
    )


def plain(message: Message) -> dict[str, Any]:
    """Fields that are set: bytes as hex, 64-bit integers as text, enums by name."""
    shown: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            shown[field.name] = {str(key): str(item) for key, item in value.items()}
        elif hasattr(value, "extend"):
            shown[field.name] = [_plain(field, item) for item in value]
        else:
            shown[field.name] = _plain(field, value)
    return shown


def _plain(field: Any, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    long = field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64)
    return str(value) if long else value
