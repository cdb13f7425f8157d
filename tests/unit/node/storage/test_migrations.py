"""A database of an earlier version is converted, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from sqlalchemy import create_engine

from intertie.v1 import entry_pb2 as pb
from intertie_node.adapters.storage import SqliteStore, migrate, schema
from intertie_node.core.effects import Changes
from intertie_node.core.holds import Claim, Hold, HoldState, open_hold
from intertie_node.core.ledger import ME, THEM, LinkTerms
from intertie_node.services.restoring import load_hold

TERMS = LinkTerms(1_000, 60_000, 1_000, 10, (10**6, 10**6), (10**6, 10**6))
ORDER = pb.Order(id="0" * 36, max_charge=100, grant=40, deadline=9_000, nonce=bytes(16))
ORDER.prices.add(unit="order", num=7, den=1)


def first_version(path: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """A file as version 1 made it, with rows."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        settings = migrate.config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0001")
        for sql, values in statements:
            connection.exec_driver_sql(sql, values)
        connection.exec_driver_sql(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.exec_driver_sql("PRAGMA user_version = 1")
    engine.dispose()


def hold(payer: int, seq: int) -> Hold:
    made = open_hold(payer, seq, 5_000, ORDER, TERMS.claim_window_ms, TERMS.max_hold_ms)
    assert isinstance(made, Hold)
    return made


def test_a_hold_keeps_what_has_moved(path: Path) -> None:
    fresh, ended, refused = hold(ME, 1), hold(ME, 2), hold(THEM, 3)
    ended.grants = (*ended.grants, (5, 80))
    ended.claims, ended.credits = (Claim(4, 7, (1,), True),), ((6, 2),)
    ended.state, ended.ended_seq, ended.canceled, ended.agreed = HoldState.CHARGED, 4, True, 5
    refused.claims = (Claim(9, 14, (2,), False, refused=True),)
    order = pb.Entry(kind=pb.ENTRY_KIND_ORDER, at=5_000, order=ORDER).SerializeToString()
    insert = "INSERT INTO holds VALUES ('l', ?, ?, ?, ?, ?)"
    old = [(fresh, 1, 0), (ended, 0, 6), (refused, 2, 9)]
    rows = [(insert, (h.payer, h.seq, open_, last, msgspec.msgpack.encode(h))) for h, open_, last in old]
    first_version(path, *rows)
    store = SqliteStore(path)
    changes = Changes()
    for each, _, _ in old:
        changes.append("entries", ("l", each.payer, each.seq, order, bytes(32)))
    store.commit(changes)
    ended.agreed = 0  # follows from the signatures
    assert [load_hold(store, "l", TERMS, h.payer, h.seq) for h, _, _ in old] == [fresh, ended, refused]
    assert [row[:4] for row in store.open_holds("l")] == [("l", ME, 1, 1), ("l", THEM, 3, 2)]
    store.close()


@pytest.mark.parametrize(("caller", "account"), [("alice", "alice"), ("link:ab:7", None)])
def test_only_a_consumers_invocation_names_an_account(path: Path, caller: str, account: str | None) -> None:
    values = (f"0190@{caller}", caller, b"digest", "offer", 2, 1, 0, 1, b"record", b"")
    first_version(path, ("INSERT INTO invocations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values))
    store = SqliteStore(path)
    assert store.active_invocations() == [(values[0], account, *values[2:])]
    assert len(store.invocations_page("alice", "", 9, [])) == (account == "alice")
    store.close()
