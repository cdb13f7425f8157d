"""SQL of the hot path: compiled once from the schema, many rows a statement.

Rows go into a few long statements instead of `executemany`: sqlite3 gives up the interpreter's lock for
each step, and while the event loop is busy it gets it back only after the switch interval (5 ms). With one
step a row a commit of 1 280 rows took 1 s beside a busy loop, with 256 rows a step 60 ms.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

from sqlalchemy import Insert, delete, insert
from sqlalchemy.dialects import sqlite

from intertie_node.adapters.storage.schema import (
    APPEND_ONLY,
    DECIMAL_COLUMNS,
    FIXED_COLUMNS,
    PRUNABLE,
    SCHEMA,
)
from intertie_node.core.effects import Row
from intertie_node.ports import TABLES

MAX_ROWS: Final = 256
"""Rows a statement; beyond it, steps cost more than statements."""

_LARGE_ROWS: Final = {"events": 64}
"""Rows a statement where rows are large: sqlite3 keeps a statement's values until its next use."""

DIALECT: Final = sqlite.dialect(paramstyle="qmark")

PRUNE_EVENTS: Final = "DELETE FROM events WHERE invocation < ?"
"""Ids sort by their time: a range at the beginning of the table."""


class Statement:
    """A statement for one table, in variants for 1, 2, 4, … rows of values."""

    def __init__(self, sql: str, group: str, width: int, max_rows: int) -> None:
        head, found, tail = sql.partition(group)
        if not found:
            raise ValueError(f"no {group} in: {sql}")
        sizes = [1 << power for power in reversed(range(max_rows.bit_length()))]
        self._variants = [(size, head + ", ".join([group] * size) + tail) for size in sizes]
        self._width = width

    def batches(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Any]]]:
        """SQL and its values, in as few statements as there are variants for.

        Raises: ValueError when a row has another number of columns.
        """
        if set(map(len, rows)) - {self._width}:
            raise ValueError(f"a row must have {self._width} columns")
        start, total = 0, len(rows)
        for size, sql in self._variants:
            while total - start >= size:
                yield sql, list(chain.from_iterable(rows[start : start + size]))
                start += size


@cache
def inserting(table: str) -> Statement:
    """Inserts rows; an existing key is an error."""
    return _inserting(table, insert(SCHEMA[table]))


@cache
def putting(table: str) -> Statement:
    """Inserts rows or replaces those that have their key.

    Raises: ValueError for an append-only table.
    """
    if table in APPEND_ONLY:
        raise ValueError(f"rows of {table} are never replaced")
    columns, key = TABLES[table]
    rows = sqlite.insert(SCHEMA[table])
    changed = {column: rows.excluded[column] for column in columns[key:] if column not in FIXED_COLUMNS.get(table, ())}
    return _inserting(table, rows.on_conflict_do_update(index_elements=columns[:key], set_=changed))


@cache
def deleting(table: str) -> Statement:
    """Deletes rows by primary key.

    Raises: ValueError for rows that are kept for ever.
    """
    if table in APPEND_ONLY - PRUNABLE:
        raise ValueError(f"rows of {table} are never deleted")
    columns, key = TABLES[table]
    head = str(delete(SCHEMA[table]).compile(dialect=DIALECT))
    group = "(" + ", ".join("?" * key) + ")"
    sql = f"{head} WHERE ({', '.join(columns[:key])}) IN (VALUES {group})"
    return Statement(sql, group, key, _max_rows(table))


def stored(table: str, rows: Sequence[Row]) -> Sequence[Row]:
    """Rows as they are stored: the same, but for the decimal columns of a few tables."""
    decimal = DECIMAL_COLUMNS.get(table)
    return rows if decimal is None else [_convert(row, decimal, "{:d}".format) for row in rows]


def loaded(table: str, rows: list[Row]) -> list[Row]:
    """Rows as the core knows them; the inverse of `stored`."""
    decimal = DECIMAL_COLUMNS.get(table)
    return rows if decimal is None else [_convert(row, decimal, int) for row in rows]


def _convert(row: Row, positions: tuple[int, ...], to: Callable[[Any], Any]) -> Row:
    return tuple(to(value) if at in positions else value for at, value in enumerate(row))


def _inserting(table: str, statement: Insert) -> Statement:
    columns = TABLES[table][0]
    sql = str(statement.compile(dialect=DIALECT, column_keys=list(columns)))
    return Statement(sql, "(" + ", ".join("?" * len(columns)) + ")", len(columns), _max_rows(table))


def _max_rows(table: str) -> int:
    return _LARGE_ROWS.get(table, MAX_ROWS)
