"""Rows for the tests of the storage, and a shell that writes until it is killed."""

from __future__ import annotations

from intertie_node.adapters.storage.schema import FIXED_COLUMNS
from intertie_node.core.effects import Changes, Row
from intertie_node.ports import TABLES

APPEND_ONLY = ("entries", "signatures", "events", "transfers")
KEYED = tuple(name for name in TABLES if name not in APPEND_ONLY)
BIG = 2**63 - 1


def row(table: str, n: int) -> Row:
    """The n-th sample row of a table; rows of different n have different keys."""
    rows: dict[str, Row] = {
        "entries": ("link", n % 2, n, b"entry %d\0" % n, bytes(32)),
        "signatures": ("link", n % 2, n, n + 1, b"signature %d" % n),
        "events": (f"call-{n % 3}", n, b"event %d" % n),
        "transfers": ("assets:cash", "holds:x", BIG - n, "EUR", n, "link", 0, n, f"call-{n}"),
        "links": (f"link-{n}", b"\xff state %d" % n),
        "holds": ("link", n % 2, n, n % 2, b"hold %d" % n),
        "invocations": (
            *(f"0190-{n:09d}", f"account-{n % 2}", b"\x12\x20digest", f"offer-{n}", n % 9, n, 0, n % 2),
            *(b"record %d" % n, b"outcome %d" % n),
        ),
        "accounts": (f"account-{n}", b"hash %d" % n, BIG, n, n, n, 0),
        "balances": (f"name-{n}", "EUR", 2**127 - n, n),
        "peerings": (b"genesis %d" % n, b"print %d" % n, "north.example", 1, b"agreement", b"descriptors", n),
        "proposals": (b"digest %d" % n, 1, b"print %d" % n, "north.example", 0, b"agreement", b"", n),
        "routes": ("link", b"origin %d" % n, b"route"),
        "offers": (b"digest %d" % n, b"origin %d" % n, f"name-{n}", b"offer"),
        "settings": (f"name-{n}", b"value %d" % n),
    }
    return rows[table]


def key(table: str, of: Row) -> Row:
    return of[: TABLES[table][1]]


def successor(table: str, old: Row, new: Row) -> Row:
    """What may replace `old`: the columns of `new`, but for key and fixed ones."""
    columns, width = TABLES[table]
    fixed = {*columns[:width], *FIXED_COLUMNS.get(table, ())}
    return tuple(a if name in fixed else b for name, a, b in zip(columns, old, new, strict=True))


def add(changes: Changes, table: str, *rows: Row) -> Changes:
    """Append or put rows, as the table wants it."""
    for each in rows:
        if table in APPEND_ONLY:
            changes.append(table, each)
        else:
            changes.put(table, key(table, each), each)
    return changes


def batch(n: int, size: int) -> Changes:
    """Batch n: `size` rows in each of a few tables, whose `at`, `seq` or state name the batch."""
    changes = Changes()
    for i in range(n * size, (n + 1) * size):
        changes.append("entries", ("link", 0, i, b"e" * 200, bytes(32)))
        changes.append("transfers", ("a", "b", 1, "EUR", n, "link", 0, i, "call"))
        changes.put("holds", ("link", 0, i), ("link", 0, i, 1, b"h" * 100))
    changes.put("settings", ("last",), ("last", b"%d" % n))
    changes.put("balances", ("a", "EUR"), ("a", "EUR", (n + 1) * size, 0))
    return changes
