"""A `Store` (intertie_node.ports) in one SQLite file."""

import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from intertie_node.adapters.storage import reads
from intertie_node.adapters.storage.connect import open_reader, open_writer, schema_is_current, unusable
from intertie_node.adapters.storage.writes import PRUNE_EVENTS, deleting, inserting, loaded, putting, stored
from intertie_node.core.effects import Changes, Row
from intertie_node.ports import TABLES, Store, StoreFailure

Value = str | bytes | int
"""What a query is asked with."""


class SqliteStore(Store):
    """Durable storage in WAL mode with synchronous=FULL.

    One connection writes, from any thread but one at a time; another reads, from the thread of the event
    loop, and sees what is committed. The directory should be locked (`DirectoryLock`) before.

    Raises: StoreFailure when the file is not usable, not durable, or newer than this code.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._failed = False
        self._writer = open_writer(path)
        try:
            self._ensure_schema()
            self._reader = open_reader(path)
        except sqlite3.Error as error:
            self._writer.close()
            raise unusable(path, error) from error
        except BaseException:
            self._writer.close()
            raise

    def _ensure_schema(self) -> None:
        if schema_is_current(self._writer, self._path):
            return
        from intertie_node.adapters.storage.migrate import migrate

        migrate(self._writer, self._path)

    def commit(self, changes: Changes) -> None:
        """Write all rows in one durable transaction (blocking; called from one thread at a time).

        After a failure every further commit is refused: its rows would build on rows that are lost.

        Raises: StoreFailure when the rows are not durable; the process must then stop.
        """
        with self._turn:
            if self._failed:
                raise StoreFailure(f"{self._path}: an earlier commit failed: start the node again")
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._write(changes)
                self._writer.execute("COMMIT")
            except Exception as error:
                self._failed = True
                self._roll_back()
                raise unusable(self._path, error) from error

    def prune_events(self, before: str) -> int:
        """Delete events past their retention (see `ports.Store`)."""
        with self._turn:
            try:
                return self._writer.execute(PRUNE_EVENTS, (before,)).rowcount
            except sqlite3.Error as error:
                raise unusable(self._path, error) from error

    def _write(self, changes: Changes) -> None:
        run = self._writer.execute
        for table, rows in changes.appends.items():
            for sql, values in inserting(table).batches(stored(table, rows)):
                run(sql, values)
        for table, by_key in changes.puts.items():
            kept = [row for row in by_key.values() if row is not None]
            if kept:
                for sql, values in putting(table).batches(stored(table, kept)):
                    run(sql, values)
            if len(kept) < len(by_key):
                gone = [key for key, row in by_key.items() if row is None]
                for sql, values in deleting(table).batches(gone):
                    run(sql, values)

    def _roll_back(self) -> None:
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error:  # the commit's own error says more, and nothing is durable either way
            pass

    def _read(self, sql: str, **parameters: Value) -> list[Row]:
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise unusable(self._path, error) from error

    def _first(self, sql: str, **parameters: Value) -> Any:
        """First column of the first row, None if there is no row."""
        rows = self._read(sql, **parameters)
        return rows[0][0] if rows else None

    def _read_bytes(self, sql: str, max_bytes: int, **parameters: Value) -> list[Row]:
        """Rows until their second column exceeds `max_bytes` together, at least one if there is any."""
        rows: list[Row] = []
        left = max_bytes
        try:
            with closing(self._reader.execute(sql, parameters)) as cursor:
                for row in cursor:
                    left -= len(row[1])
                    if rows and left < 0:
                        break
                    rows.append(row)
        except sqlite3.Error as error:
            raise unusable(self._path, error) from error
        return rows

    def all_rows(self, table: str) -> list[Row]:
        """Every row of a small table, in order of its key."""
        return loaded(table, self._read(reads.all_rows(table)))

    def row(self, table: str, key: Row) -> Row | None:
        """The row with that primary key. Raises: ValueError for a table without one, or another length."""
        columns, width = TABLES[table]
        found = self._read(reads.row(table), **dict(zip(columns[:width], key, strict=True)))
        return loaded(table, found)[0] if found else None

    def open_holds(self, link: str) -> list[Row]:
        """Rows of `holds` with `open` > 0."""
        return self._read(reads.OPEN_HOLDS, link=link)

    def active_invocations(self) -> list[Row]:
        """Rows of `invocations` with `active` = 1, in order of id."""
        return self._read(reads.ACTIVE_INVOCATIONS)

    def newest_invocation_id(self, account: str) -> str:
        """Greatest id of an account's invocations, "" if there is none."""
        return self._first(reads.NEWEST_INVOCATION_ID, account=account) or ""

    def invocations_page(self, account: str | None, before: str, limit: int, states: Sequence[int]) -> list[Row]:
        """Invocations in falling order of id, below `before` ("" for the newest).

        `account` None stands for every account, no `states` for every state.
        """
        sql = reads.invocations_page(account is not None, bool(before), bool(states))
        parameters: dict[str, Value] = {"limit": max(limit, 0)}
        if account is not None:
            parameters["account"] = account
        if before:
            parameters["before"] = before
        if states:
            parameters["states"] = json.dumps([int(state) for state in states])
        return self._read(sql, **parameters)

    def entries(self, link: str, side: int, after: int, upto: int, max_bytes: int) -> list[Row]:
        """Rows (seq, bytes, head) of a log with after < seq ≤ upto.

        At most `max_bytes` of bytes, but at least one row if there is any.
        """
        return self._read_bytes(reads.ENTRIES, max_bytes, link=link, side=side, after=after, upto=upto)

    def signatures(self, link: str, signer: int, after: int, upto: int) -> list[Row]:
        """Rows (seq, acked, bytes) with after < seq ≤ upto, in order of making; `after` -1 for all."""
        return self._read(reads.SIGNATURES, link=link, signer=signer, after=after, upto=upto)

    def last_signature(self, link: str, signer: int) -> bytes | None:
        """Newest signature of a side, as serialized HeadSignature."""
        found: bytes | None = self._first(reads.LAST_SIGNATURE, link=link, signer=signer)
        return found

    def events(self, invocation: str, after: int, max_bytes: int) -> list[Row]:
        """Rows (number, bytes) with number > after, at least one if there is any."""
        return self._read_bytes(reads.EVENTS, max_bytes, invocation=invocation, after=after)

    def transfers_page(self, before: int, limit: int) -> list[Row]:
        """Rows (rowid, *transfers) with rowid < before (0 for the newest), in falling order."""
        below = before if before > 0 else 2**63 - 1
        return self._read(reads.TRANSFERS_PAGE, before=below, limit=max(limit, 0))

    def close(self) -> None:
        """Close files, after a commit that is under way; commits nothing. Idempotent."""
        with self._turn:
            self._reader.close()
            self._writer.close()
