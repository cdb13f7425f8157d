"""Each read of the Store protocol, and that none of them scans a table that grows."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from pathlib import Path

import pytest
from tests.unit.node.storage.samples import add, row

from intertie_node.adapters.storage import SqliteStore, reads
from intertie_node.core.effects import Changes
from intertie_node.ports import ME, THEM


def test_open_holds_are_those_open_or_under_refusal(store: SqliteStore) -> None:
    rows = {
        "open": ("l", ME, 1, 1, b""),
        "mine, ended": ("l", ME, 3, 0, b""),
        "theirs, ended": ("l", THEM, 5, 0, b""),
        "theirs, refused": ("l", THEM, 7, 2, b""),
        "of another link": ("m", ME, 1, 1, b""),
    }
    store.commit(add(Changes(), "holds", *rows.values()))
    assert sorted(store.open_holds("l")) == [rows["open"], rows["theirs, refused"]]
    assert store.open_holds("none") == []


def test_active_and_newest_invocations(store: SqliteStore) -> None:
    assert store.newest_invocation_id("account-1") == ""
    assert store.active_invocations() == []
    rows = [row("invocations", n) for n in range(6)]
    store.commit(add(Changes(), "invocations", *reversed(rows)))
    assert store.active_invocations() == [rows[1], rows[3], rows[5]]
    assert [store.newest_invocation_id(f"account-{n}") for n in range(3)] == [rows[4][0], rows[5][0], ""]


def test_pages_of_invocations_fall(store: SqliteStore) -> None:
    rows = [row("invocations", n) for n in range(30)]
    store.commit(add(Changes(), "invocations", *rows))
    down = rows[::-1]
    assert store.invocations_page(None, "", 100, ()) == down
    assert store.invocations_page(None, "", 4, ()) == down[:4]
    assert store.invocations_page(None, down[3][0], 4, ()) == down[4:8]
    assert store.invocations_page(None, down[-1][0], 4, ()) == []
    assert store.invocations_page(None, "", 0, ()) == []
    assert store.invocations_page("account-1", "", 3, ()) == down[0:6:2]
    assert store.invocations_page("account-1", down[4][0], 3, ()) == down[6:12:2]
    assert store.invocations_page("nobody", "", 3, ()) == []
    assert store.invocations_page(None, "", 9, [4, 5]) == [r for r in down if r[4] in (4, 5)]
    assert store.invocations_page("account-0", down[1][0], 2, [4]) == [
        r for r in down[2:] if r[4] == 4 and r[1] == "account-0"
    ]


def test_entries_are_paged_by_bytes(store: SqliteStore) -> None:
    rows = [("l", 0, seq, bytes(100), b"h%d" % seq) for seq in range(1, 11)]
    store.commit(add(Changes(), "entries", *rows, ("l", 1, 5, b"", b""), ("m", 0, 5, b"", b"")))
    short = [each[2:] for each in rows]
    assert store.entries("l", 0, 0, 10, 10**9) == short
    assert store.entries("l", 0, 2, 5, 10**9) == short[2:5]
    assert store.entries("l", 0, 0, 10, 300) == short[:3]
    assert store.entries("l", 0, 0, 10, 299) == short[:2]
    assert store.entries("l", 0, 4, 10, 1) == short[4:5]
    assert store.entries("l", 0, 4, 10, 0) == short[4:5]
    assert store.entries("l", 0, 10, 10, 300) == []
    assert store.entries("l", 0, 10, 20, 300) == []


def test_signatures_of_a_side(store: SqliteStore) -> None:
    assert store.last_signature("l", ME) is None
    pairs = [(0, 0), (0, 3), (2, 3), (2, 12), (10, 12)]
    rows = [("l", ME, *pair, b"%d-%d" % pair) for pair in pairs]
    others = [("l", THEM, 99, 99, b"theirs"), ("m", ME, 99, 99, b"elsewhere")]
    store.commit(add(Changes(), "signatures", *reversed(rows), *others))
    short = [each[2:] for each in rows]
    assert store.signatures("l", ME, -1, 99) == short
    assert store.signatures("l", ME, 0, 9) == short[2:4]
    assert store.signatures("l", ME, 2, 10) == short[4:]
    assert store.signatures("l", ME, 10, 99) == []
    assert store.last_signature("l", ME) == b"10-12"
    assert store.last_signature("l", THEM) == b"theirs"


def test_events_are_paged_by_bytes(store: SqliteStore) -> None:
    rows = [("call", n, bytes(50)) for n in range(1, 6)]
    store.commit(add(Changes(), "events", *rows, ("other", 1, b"")))
    short = [each[1:] for each in rows]
    assert store.events("call", 0, 10**6) == short
    assert store.events("call", 3, 10**6) == short[3:]
    assert store.events("call", 0, 100) == short[:2]
    assert store.events("call", 0, 1) == short[:1]
    assert store.events("call", 5, 100) == []


def test_pages_of_transfers_fall(store: SqliteStore) -> None:
    rows = [row("transfers", n) for n in range(10)]
    store.commit(add(Changes(), "transfers", *rows))
    down = [(n + 1, *rows[n]) for n in range(9, -1, -1)]
    assert store.transfers_page(0, 100) == down
    assert store.transfers_page(2**63 - 1, 3) == down[:3]
    assert store.transfers_page(8, 3) == down[3:6]
    assert store.transfers_page(1, 3) == []


def test_a_page_that_ends_early_holds_no_snapshot(store: SqliteStore) -> None:
    store.commit(add(Changes(), "events", *(("call", n, bytes(50)) for n in range(5))))
    assert len(store.events("call", -1, 60)) == 1
    store.commit(add(Changes(), "events", ("call", 5, b"")))
    assert len(store.events("call", -1, 600)) == 6


QUERIES = {
    "open_holds": reads.OPEN_HOLDS,
    "active_invocations": reads.ACTIVE_INVOCATIONS,
    "newest_invocation_id": reads.NEWEST_INVOCATION_ID,
    "entries": reads.ENTRIES,
    "signatures": reads.SIGNATURES,
    "last_signature": reads.LAST_SIGNATURE,
    "events": reads.EVENTS,
    "transfers_page": reads.TRANSFERS_PAGE,
    "invocations_page": reads.invocations_page(False, True, False),
    "invocations_page of an account": reads.invocations_page(True, True, True),
    "row": reads.row("holds"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_reads_search_by_index(store: SqliteStore, path: Path, name: str) -> None:
    with sqlite3.connect(path) as connection:
        values = defaultdict(int)
        plan = [step[3] for step in connection.execute("EXPLAIN QUERY PLAN " + QUERIES[name], values)]
    connection.close()
    assert [step for step in plan if step.startswith("SCAN") and "VIRTUAL" not in step] == []
    sorted_late = [step for step in plan if "TEMP B-TREE" in step]
    assert sorted_late == []


def test_events_past_their_retention_are_pruned_by_the_time_in_their_ids(store: SqliteStore) -> None:
    old, new = "01900000-0000-7000-8000-000000000000@a", "01a00000-0000-7000-8000-000000000000@a"
    changes = Changes()
    for invocation in (old, new):
        for number in (1, 2):
            changes.append("events", (invocation, number, b"x"))
    store.commit(changes)
    assert store.prune_events("01a00000-0000") == 2
    assert store.events(old, 0, 1000) == []
    assert [row[0] for row in store.events(new, 0, 1000)] == [1, 2]
