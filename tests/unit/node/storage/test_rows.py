"""What is committed is what is read: appends, puts, deletes, all or nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.unit.node.storage.samples import APPEND_ONLY, KEYED, add, key, row, successor

from intertie_node.adapters.storage import SqliteStore
from intertie_node.adapters.storage.schema import FIXED_COLUMNS
from intertie_node.core.effects import Changes, Row
from intertie_node.ports import TABLES, StoreFailure


@pytest.mark.parametrize("table", TABLES)
def test_rows_come_back_as_they_were(store: SqliteStore, path: Path, table: str) -> None:
    rows = [row(table, n) for n in range(700)]  # more than a statement holds, and no power of two
    store.commit(add(Changes(), table, *rows))
    assert sorted(store.all_rows(table)) == sorted(rows)
    store.close()
    again = SqliteStore(path)
    assert sorted(again.all_rows(table)) == sorted(rows)
    again.close()


@pytest.mark.parametrize("table", [name for name in TABLES if TABLES[name][1]])
def test_a_row_is_found_by_its_key(store: SqliteStore, table: str) -> None:
    rows = [row(table, n) for n in range(3)]
    store.commit(add(Changes(), table, *rows))
    assert [store.row(table, key(table, each)) for each in rows] == rows
    assert store.row(table, key(table, row(table, 9))) is None


def test_a_key_is_whole_and_exists(store: SqliteStore) -> None:
    with pytest.raises(ValueError, match="zip"):
        store.row("balances", ("name",))
    with pytest.raises(ValueError, match="no key"):
        store.row("transfers", ())


@pytest.mark.parametrize("table", KEYED)
def test_a_put_replaces_and_none_deletes(store: SqliteStore, table: str) -> None:
    rows = [row(table, n) for n in range(300)]
    store.commit(add(Changes(), table, *rows))
    changed = [successor(table, each, row(table, 1)) for each in rows[:20]]
    changes = add(Changes(), table, *changed)
    for gone in rows[20:293]:
        changes.put(table, key(table, gone), None)
    changes.put(table, key(table, row(table, 999)), None)
    store.commit(changes)
    assert sorted(store.all_rows(table)) == sorted(changed + rows[293:])


@pytest.mark.parametrize("table", FIXED_COLUMNS)
def test_a_fixed_column_stays_as_it_was_first_written(store: SqliteStore, table: str) -> None:
    first, other = row(table, 1), row(table, 2)
    store.commit(add(Changes(), table, first))
    changes = Changes()
    changes.put(table, key(table, first), (*key(table, first), *other[TABLES[table][1] :]))
    store.commit(changes)
    assert store.all_rows(table) == [successor(table, first, other)]


@pytest.mark.parametrize("table", ["entries", "signatures", "events"])
def test_an_append_never_overwrites(store: SqliteStore, path: Path, table: str) -> None:
    first = row(table, 1)
    store.commit(add(Changes(), table, first))
    changes = add(Changes(), table, row(table, 2), (*first[:-1], b"other"))
    changes.put("settings", ("a",), ("a", b"1"))
    with pytest.raises(StoreFailure, match="SQLITE_CONSTRAINT_PRIMARYKEY"):
        store.commit(changes)
    assert store.all_rows(table) == [first]
    assert store.all_rows("settings") == []


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_a_put_never_replaces_a_row_of_a_log(store: SqliteStore, table: str) -> None:
    changes = Changes()
    changes.put(table, key(table, row(table, 1)), row(table, 1))
    with pytest.raises(StoreFailure, match="never replaced"):
        store.commit(changes)
    assert store.all_rows(table) == []


@pytest.mark.parametrize("table", ["entries", "signatures", "transfers"])
def test_rows_of_a_log_are_never_deleted(store: SqliteStore, table: str) -> None:
    store.commit(add(Changes(), table, row(table, 1)))
    changes = Changes()
    changes.put(table, key(table, row(table, 1)), None)
    with pytest.raises(StoreFailure, match="never deleted"):
        store.commit(changes)
    assert store.all_rows(table) == [row(table, 1)]


def test_events_may_be_deleted(store: SqliteStore) -> None:
    store.commit(add(Changes(), "events", row("events", 1), row("events", 2)))
    changes = Changes()
    changes.put("events", key("events", row("events", 1)), None)
    store.commit(changes)
    assert store.all_rows("events") == [row("events", 2)]


BAD_ROWS: dict[str, tuple[str, Row]] = {
    "not complete": ("holds", ("link", 0, 1, None, 0, b"")),
    "too wide": ("settings", ("name", b"value", b"more")),
    "not 64 bits": ("holds", ("link", 0, 1, 1, 2**63, b"")),
    "not a value": ("settings", ("name", object())),
    "not a balance": ("balances", ("name", "EUR", None, 0)),
    "not UTF-8": ("settings", ("\ud800", b"")),
    "not a table": ("nothing", ("a",)),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_one_bad_row_undoes_the_batch(store: SqliteStore, path: Path, name: str) -> None:
    table, bad = BAD_ROWS[name]
    changes = Changes()
    for each in TABLES:
        add(changes, each, row(each, 1))
    changes.put(table, bad[:1], bad)
    with pytest.raises(StoreFailure, match=r"node\.db"):
        store.commit(changes)
    assert [store.all_rows(each) for each in TABLES] == [[] for _ in TABLES]


def test_rows_of_unequal_width_never_shift(store: SqliteStore) -> None:
    changes = Changes()
    changes.append("events", ("call", 1, b"a", b"b"))
    changes.append("events", ("call", 2))
    with pytest.raises(StoreFailure, match="3 columns"):
        store.commit(changes)


def test_after_a_failure_every_commit_is_refused(store: SqliteStore, path: Path) -> None:
    with pytest.raises(StoreFailure):
        store.commit(add(Changes(), "holds", ("link", 0, 1, None, 0, b"")))
    with pytest.raises(StoreFailure, match="earlier commit failed"):
        store.commit(add(Changes(), "holds", row("holds", 1)))
    store.close()
    again = SqliteStore(path)
    again.commit(add(Changes(), "holds", row("holds", 1)))
    assert again.all_rows("holds") == [row("holds", 1)]
    again.close()


def test_commits_come_from_another_thread(store: SqliteStore) -> None:
    thread = threading.Thread(target=store.commit, args=(add(Changes(), "holds", row("holds", 1)),))
    thread.start()
    thread.join()
    assert store.all_rows("holds") == [row("holds", 1)]


class Puts(RuleBasedStateMachine):
    """Puts and deletes of a few keys in batches, against a dict."""

    store: SqliteStore
    numbers = st.integers(0, 5)

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[tuple[str, Row], Row] = {}
        for table in KEYED:
            changes = Changes()
            for each in self.store.all_rows(table):
                changes.put(table, key(table, each), None)
            self.store.commit(changes)

    @rule(puts=st.lists(st.tuples(st.sampled_from(KEYED), numbers, st.one_of(st.none(), numbers)), max_size=12))
    def commit(self, puts: list[tuple[str, int, int | None]]) -> None:
        changes = Changes()
        for table, n, value in puts:
            wanted = key(table, row(table, n))
            new = None if value is None else successor(table, row(table, n), row(table, value))
            changes.put(table, wanted, new)
            if new is None:
                self.model.pop((table, wanted), None)
            else:
                self.model[table, wanted] = new
        self.store.commit(changes)

    @invariant()
    def same(self) -> None:
        found = {(table, key(table, each)): each for table in KEYED for each in self.store.all_rows(table)}
        assert found == self.model


def test_any_sequence_of_puts_equals_a_dict(store: SqliteStore) -> None:
    machine = type("PutsOfThisStore", (Puts,), {"store": store})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=12))
