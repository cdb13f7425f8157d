"""A simulated disk: rows in memory, durable at the moment of the commit, copied and put back at will.

`Disk` is the kit's store with an index of the append-only tables, so that long logs cost nothing to read,
and with two bad states: full (a commit fails and writes nothing) and slow (a factor that the node applies to
the time that a commit takes).
"""

from __future__ import annotations

from bisect import insort

from tests.kit.memory_store import MemoryStore

from intertie_node.core.effects import Changes
from intertie_node.ports import TABLES, Row, StoreFailure

SERIES = ("entries", "signatures", "events")


class Disk(MemoryStore):
    """`ports.Store` of a simulated node."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.factor = 1
        self._series: dict[tuple[object, ...], list[Row]] = {}
        """(table, leading key columns) → rows in order of their keys."""

    def commit(self, changes: Changes) -> None:
        """Write all rows or none. Raises: StoreFailure if the disk is full."""
        if self.full:
            raise StoreFailure("the disk is full")
        super().commit(changes)
        for table in SERIES:
            width = TABLES[table][1] - (2 if table == "signatures" else 1)
            for row in changes.appends.get(table, ()):
                rows = self._series.setdefault((table, *row[:width]), [])
                insort(rows, row)

    def copy(self) -> Disk:
        """Another disk with the same rows."""
        other = Disk()
        other.tables = {name: dict(rows) for name, rows in self.tables.items()}
        other.transfers, other.commits = list(self.transfers), self.commits
        other._series = {key: list(rows) for key, rows in self._series.items()}
        return other

    def log(self, link: str, side: int) -> list[Row]:
        """All rows (link, side, seq, bytes, head) of a log, from seq 1 on."""
        return self._series.get(("entries", link, side), [])

    def signed(self, link: str, signer: int) -> list[Row]:
        """All rows (link, signer, seq, acked, bytes) of a side's signatures, in order of making."""
        return self._series.get(("signatures", link, signer), [])

    def entries(self, link: str, side: int, after: int, upto: int, max_bytes: int) -> list[Row]:
        """See `ports.Store.entries`."""
        return self._limited([row[2:] for row in self.log(link, side)[after:upto]], max_bytes)

    def signatures(self, link: str, signer: int, after: int, upto: int) -> list[Row]:
        """See `ports.Store.signatures`."""
        return [row[2:] for row in self.signed(link, signer) if after < row[2] <= upto]

    def last_signature(self, link: str, signer: int) -> bytes | None:
        """See `ports.Store.last_signature`."""
        rows = self.signed(link, signer)
        return rows[-1][4] if rows else None

    def events(self, invocation: str, after: int, max_bytes: int) -> list[Row]:
        """See `ports.Store.events`."""
        rows = self._series.get(("events", invocation), [])
        return self._limited([row[1:] for row in rows[after:]], max_bytes)
