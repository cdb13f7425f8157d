"""What a node keeps, in memory: as the database does it, without a disk."""

from __future__ import annotations

from collections.abc import Sequence

from intertie_node.core.effects import Changes
from intertie_node.ports import TABLES, Row


class MemoryStore:
    """`ports.Store` in memory."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Row, Row]] = {name: {} for name in TABLES}
        self.transfers: list[Row] = []
        self.commits = 0

    def commit(self, changes: Changes) -> None:
        self.commits += 1
        for table, rows in changes.appends.items():
            width = TABLES[table][1]
            if not width:
                self.transfers.extend(rows)
                continue
            for row in rows:
                assert row[:width] not in self.tables[table], f"{table} has {row[:width]} already"
                self.tables[table][row[:width]] = row
        for table, puts in changes.puts.items():
            for key, put in puts.items():
                if put is None:
                    self.tables[table].pop(key, None)
                else:
                    assert put[: len(key)] == key
                    self.tables[table][key] = put

    def all_rows(self, table: str) -> list[Row]:
        return [row for _, row in sorted(self.tables[table].items())]

    def row(self, table: str, key: Row) -> Row | None:
        return self.tables[table].get(tuple(key))

    def open_holds(self, link: str) -> list[Row]:
        return [row for row in self.all_rows("holds") if row[0] == link and row[3] > 0]

    def active_invocations(self) -> list[Row]:
        return [row for row in self.all_rows("invocations") if row[7] == 1]

    def newest_invocation_id(self, account: str) -> str:
        return max((row[0] for row in self.tables["invocations"].values() if row[1] == account), default="")

    def invocations_page(self, account: str | None, before: str, limit: int, states: Sequence[int]) -> list[Row]:
        rows = [
            row
            for row in reversed(self.all_rows("invocations"))
            if account in (None, row[1]) and (not before or row[0] < before) and (not states or row[4] in states)
        ]
        return rows[:limit]

    def _limited(self, rows: Sequence[Row], max_bytes: int) -> list[Row]:
        taken: list[Row] = []
        for row in rows:
            max_bytes -= len(row[1])
            if taken and max_bytes < 0:
                break
            taken.append(row)
        return taken

    def entries(self, link: str, side: int, after: int, upto: int, max_bytes: int) -> list[Row]:
        log = self.tables["entries"]
        rows = [log[link, side, seq][2:] for seq in range(after + 1, upto + 1) if (link, side, seq) in log]
        return self._limited(rows, max_bytes)

    def signatures(self, link: str, signer: int, after: int, upto: int) -> list[Row]:
        rows = (row for row in self.all_rows("signatures") if row[:2] == (link, signer))
        return [row[2:] for row in rows if after < row[2] <= upto]

    def last_signature(self, link: str, signer: int) -> bytes | None:
        rows = self.signatures(link, signer, -1, 2**63)
        return rows[-1][2] if rows else None

    def events(self, invocation: str, after: int, max_bytes: int) -> list[Row]:
        rows = [row[1:] for row in self.all_rows("events") if row[0] == invocation and row[1] > after]
        return self._limited(rows, max_bytes)

    def transfers_page(self, before: int, limit: int) -> list[Row]:
        rows = [(n, *row) for n, row in enumerate(self.transfers, 1) if not before or n < before]
        return rows[::-1][:limit]

    def close(self) -> None:
        """Nothing is open."""
