"""After every commit the store alone gives back the holds that memory needs, and few rows are written for that."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.kit.network import Network
from tests.kit.sim_node import SimNode, echo

from intertie.v1 import entry_pb2 as pb
from intertie_node.core import consuming, link_rows
from intertie_node.core.effects import Changes
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.services.restoring import load_hold, restore_link

OFFERS = ("south.example/echo", "south.example/stays")


class Watched:
    """Two grids; each commit is followed by a comparison of memory with what the store gives back."""

    def __init__(self) -> None:
        self.net = Network()
        self.north, self.south = self.net.add("north.example"), self.net.add("south.example")
        self.south.backends = {"echo": echo, "stays": lambda node, work: None}
        self.net.peer(self.north, self.south)
        self.compared = 0
        for node in (self.north, self.south):
            self._watch(node)
        self.net.start()
        self.north.open_account("alice", 10**6)
        self.net.run()

    def _watch(self, node: SimNode) -> None:
        commit = node.store.commit

        def watched(changes: Changes) -> None:
            commit(changes)
            if "links" in changes.puts:
                link = node.link()
                back = again(node, link)
                assert state(back) == state(link)
                # What has no row must stay so in memory: the link's next row says where it begins.
                for mine, theirs in zip(link.ledger.fresh, back.ledger.fresh, strict=True):
                    assert mine.keys() <= theirs.keys()
                self.compared += 1

        node.store.commit = watched  # type: ignore[method-assign]

    def call(self, offer: str, **options: Any) -> Any:
        listener = self.north.invoke(offer, **options)
        self.net.run()
        assert not listener.refused
        return listener

    def holds(self, node: SimNode) -> list[Any]:
        return node.store.all_rows("holds")


def again(node: SimNode, link: Link) -> Link:
    """A link as a new process would have it."""
    store = node.store
    asset = (link.asset, link.scale)
    made = Link(link.name, link.genesis, link.own, link.peer, link.terms, asset, lambda payer, seq: None)
    restore_link(store, made)
    return made


def state(link: Link) -> Any:
    """What of the account must come back: holds that are needed, lanes, what is not settled."""
    ledger = link.ledger
    needed = {key: hold for key, hold in ledger.holds.items() if hold.needed(ledger.acked[key[0]])}
    return (
        {key: msgspec.msgpack.encode(hold) for key, hold in needed.items()},
        [msgspec.msgpack.encode(lane) for lane in ledger.lanes],
        ledger.dirty,
    )


@pytest.mark.parametrize("reach", [link_rows.MAX_FRESH, 3, 0])
def test_holds_come_back_after_every_commit(monkeypatch: pytest.MonkeyPatch, reach: int) -> None:
    monkeypatch.setattr(link_rows, "MAX_FRESH", reach)
    two = Watched()
    stay = [two.call(OFFERS[1]) for _ in range(3)]
    for _ in range(4):
        two.call(OFFERS[0])
    inv = two.north.world.invocations[f"{stay[1].request.id}@alice"]
    two.north.submit(lambda fx: consuming.cancel(two.north.world, inv, "enough", fx))
    two.net.run()
    two.net.wait(120_000)
    assert two.compared > 20
    for node in (two.north, two.south):
        assert not [hold for hold in node.link().ledger.holds.values() if hold.needed(2**62)]


def test_a_hold_is_written_once_unless_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    row = link_rows.hold_row
    monkeypatch.setattr(link_rows, "hold_row", lambda link, hold: written.append(hold.seq) or row(link, hold))
    two = Watched()
    for _ in range(5):
        two.call(OFFERS[0])
    assert len(written) == 2 * 5
    assert len(two.holds(two.north)) == len(two.holds(two.south)) == 5


def test_a_void_claim_on_what_is_no_order_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    two = Watched()
    two.call(OFFERS[0])
    node, link = two.north, two.north.link()
    stored = msgspec.msgpack.decode(node.store.tables["links"][link.name,][1], type=link_rows.Stored)
    seq = stored.logs[THEM][0]
    for order_seq in (0, 1, 2**63, 2**64 - 1):
        seq += 1
        charge = pb.Entry(kind=pb.ENTRY_KIND_CHARGE, charge=pb.Charge(order_seq=order_seq)).SerializeToString()
        node.store.tables["entries"][link.name, THEM, seq] = (link.name, THEM, seq, charge, bytes(32))
    stored.logs = (stored.logs[ME], (seq, *stored.logs[THEM][1:]))
    node.store.tables["links"][link.name,] = (link.name, msgspec.msgpack.encode(stored))
    read = node.store.row
    monkeypatch.setattr(node.store, "row", lambda table, key: read(table, tuple(map(_kept, key))))
    assert state(again(node, link)) == state(link)


def _kept(part: Any) -> Any:
    """A part of a key that a database can be asked for."""
    assert isinstance(part, str) or 0 <= part < 2**63
    return part


def test_a_settled_hold_is_found_with_its_terms() -> None:
    two = Watched()
    call = two.call(OFFERS[0])
    link = two.south.link()
    ((name, payer, seq, open_, _),) = two.holds(two.south)
    hold = load_hold(two.south.store, name, link.terms, payer, seq)
    assert hold is not None
    assert (open_, hold.terms.id, hold.charged) == (0, call.request.id, call.outcome.receipt.charge)
    assert load_hold(two.south.store, name, link.terms, payer, seq + 1) is None
