"""What the store knows of a link: its holds and heads when a node starts, settled holds later (design §7, §11).

A hold's row says what has moved; its terms stand in its order. A hold that is as its order left it may have no row.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from intertie.v1 import entry_pb2 as pb
from intertie_node.core.holds import Hold
from intertie_node.core.ledger import ME, THEM, LinkTerms
from intertie_node.core.link import Link
from intertie_node.core.link_rows import Stored, stored_hold
from intertie_node.core.log import parse_entry
from intertie_node.ports import Store

PAGE_BYTES = 4 << 20
Row = tuple[Any, ...]

SPEAKING_OF_ORDERS: Mapping[int, str] = {
    pb.ENTRY_KIND_CHARGE: "charge",
    pb.ENTRY_KIND_CREDIT: "credit",
    pb.ENTRY_KIND_REJECT: "reject",
}
"""Kinds of a provider's log that move value or end a hold, and the bodies that name the order."""


def load_hold(store: Store, link: str, terms: LinkTerms, payer: int, seq: int) -> Hold | None:
    """A hold that has ended, or been kept as it was: one that has a row."""
    row = store.row("holds", (link, payer, seq))
    return _read_hold(store, link, terms, row) if row else None


def order_id(store: Store, link: str, payer: int, seq: int) -> str:
    """The id of an order, "" if that entry of the payer's log is none."""
    rows = store.entries(link, payer, seq - 1, seq, 0)
    return parse_entry(rows[0][1]).order.id if rows else ""


def restore_link(store: Store, link: Link) -> None:
    """Put a link back as it was when its row was written; a new one has no row."""
    row = store.row("links", (link.name,))
    if row is not None:
        stored = msgspec.msgpack.decode(row[1], type=Stored)
        reader = _Reader(store, link, stored)
        link.restore(stored, [*reader.holds(ME), *reader.holds(THEM)], (reader.heads(ME), reader.heads(THEM)))


class _Reader:
    """Reads what a link needs in memory."""

    def __init__(self, store: Store, link: Link, stored: Stored) -> None:
        self._store = store
        self._link = link
        self._stored = stored

    def _entries(self, side: int, after: int) -> Iterator[Row]:
        """Rows (seq, bytes, head) of a log above `after`."""
        upto = self._stored.logs[side][0]
        while after < upto:
            rows = self._store.entries(self._link.name, side, after, upto, PAGE_BYTES)
            yield from rows
            after = rows[-1][0]

    def heads(self, side: int) -> dict[int, bytes]:
        """The heads of a log that the other side's next signature may acknowledge."""
        acked = self._stored.acked[1 - side]
        first = {0: self._link.genesis} if acked == 0 else {}
        return first | {seq: head for seq, _, head in self._entries(side, max(0, acked - 1))}

    def holds(self, payer: int) -> list[Hold]:
        """Holds that are open, under refusal, or of value beyond what their payer has signed; in order of seq."""
        acked = self._stored.acked[payer]
        rows = {row[2]: row for row in self._store.open_holds(self._link.name) if row[1] == payer}
        named = self._fresh(payer) | self._moved(1 - payer, acked)
        found = [self._hold(payer, seq, rows.get(seq)) for seq in sorted(named | rows.keys())]
        return [hold for hold in found if hold is not None and hold.needed(acked)]

    def _hold(self, payer: int, seq: int, row: Row | None) -> Hold | None:
        name = self._link.name
        row = row or self._store.row("holds", (name, payer, seq)) or (name, payer, seq, 1, b"")
        return _read_hold(self._store, name, self._link.terms, row)

    def _fresh(self, payer: int) -> set[int]:
        """Orders from the oldest one on whose hold had no row."""
        oldest = self._stored.fresh[payer]
        return {seq for seq, _, _ in self._entries(payer, oldest - 1)} if oldest else set()

    def _moved(self, provider: int, acked: int) -> set[int]:
        """Orders of which the provider says something beyond what the payer has signed; what it says may be void."""
        found, last = set(), self._stored.logs[1 - provider][0]
        for _, data, _ in self._entries(provider, acked):
            entry = parse_entry(data)
            name = SPEAKING_OF_ORDERS.get(entry.kind)
            if name is not None:
                found.add(getattr(entry, name).order_seq)
        return {seq for seq in found if 1 <= seq <= last}


def _read_hold(store: Store, link: str, terms: LinkTerms, row: Row) -> Hold | None:
    _, payer, seq, _, state = row
    rows = store.entries(link, payer, seq - 1, seq, 0)
    return stored_hold(payer, seq, rows[0][1], state, terms) if rows else None
