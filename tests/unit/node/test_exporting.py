"""Exporting from a store, also while it grows (design §7)."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.node.core.small_link import reason, small
from tests.unit.node.core.two_grids import (
    AGREEMENT,
    NORTH,
    SOUTH,
    START,
    K,
    World,
    order,
)

from intertie_node.adapters.storage import SqliteStore
from intertie_node.core.effects import Changes
from intertie_node.core.ledger import ME, THEM
from intertie_node.ports import StoreFailure
from intertie_node.services.exporting import export_link, make_header


def stored(world: World, path: Path) -> SqliteStore:
    """North's rows in a real store."""
    store, changes, rows = SqliteStore(path), Changes(), world.sides[0].rows
    for side in (ME, THEM):
        for seq, data, head in rows.logs[side]:
            changes.append("entries", ("link", side, seq, data, head))
        for seq, acked, data in rows.signed[side]:
            changes.append("signatures", ("link", side, seq, acked, data))
    store.commit(changes)
    return store


HEADER = make_header(NORTH.fingerprint, NORTH.chain, SOUTH.chain, AGREEMENT.envelope)


def test_a_real_store_gives_the_same_file(tmp_path: Path) -> None:
    world, out, calls = small(), io.BytesIO(), list[tuple[int, int]]()
    store = stored(world, tmp_path / "node.db")
    written = export_link(store, "link", HEADER, out, lambda done, total: calls.append((done, total)))
    store.close()
    assert out.getvalue() == world.sides[0].export()
    assert (written.entries, written.bytes, calls[-1]) == ((2, 5), len(out.getvalue()), (7, 7))


def test_a_missing_entry_is_named(tmp_path: Path) -> None:
    world = small()
    del world.sides[0].rows.logs[THEM][3]
    store = stored(world, tmp_path / "node.db")
    with pytest.raises(StoreFailure, match="Entry 4 of side 1"):
        export_link(store, "link", HEADER, io.BytesIO())
    store.close()


@pytest.mark.parametrize("at", range(6))
def test_a_node_may_write_while_it_exports(at: int) -> None:
    """The file is a consistent pair of heads, whatever is committed between two reads."""
    world = small()
    rows = world.sides[0].rows
    reads = {"last_signature": rows.last_signature, "signatures": rows.signatures, "entries": rows.entries}
    count = [0]

    def grow(name: str) -> Callable[..., object]:
        def read(*args: object) -> object:
            if count[0] == at:
                for side in (0, 1, 0):
                    world.sides[side].write(START + 99_999, K.ENTRY_KIND_ORDER, order=order(START + 99_999, 9, 9))
                    world.send(side)
                    world.hear(1 - side)
            count[0] += 1
            return reads[name](*args)  # type: ignore[operator]

        return read

    for name in reads:
        setattr(rows, name, grow(name))
    assert reason(world.sides[0].export()) == ""
