"""Every misdeed of a peer, in memory: the named answer, an unchanged ledger, and nothing else disturbed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.kit.identities import PRICES, Identity, make_offer
from tests.kit.misdeeds import FRAMES, OPENS
from tests.kit.misdeeds_of_charges import AFTER_END, UNPROVEN_CHARGES, VOID_CHARGES
from tests.kit.misdeeds_of_orders import ORDERS, VOID_ENTRIES, VOID_ORDERS
from tests.kit.network import Network
from tests.kit.rogue import K, Rogue
from tests.kit.sim_node import Listener, SimNode, is_open, snapshot

from intertie.registry import ERRORS
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import task_pb2 as ts
from intertie_node.core.ledger import ME, THEM

MAL = Identity("mal.example")
ANY = {"FRAME_MALFORMED", "SIGNATURE_INVALID", "INVALID_ARGUMENT", "LOG_GAP"}


class Scene:
    """A node with an honest peer and a hostile one."""

    def __init__(self, **terms: int) -> None:
        self.net = Network()
        self.node = self.net.add("north.example", relay=True)
        self.south = self.net.add("south.example")
        self.net.peer(self.node, self.south)
        self.net.peer(MAL, self.node, **terms)
        self.net.start()
        self.node.open_account("alice", 10**6)
        self.net.run()
        self.rogue = self.net.rogue(self.node, MAL)
        self.net.dial(self.rogue, self.node)
        self.offer = self.node.own_offer("echo")

    def opened(self) -> Scene:
        """With the rogue's link open."""
        self.rogue.open()
        self.net.run()
        assert is_open(self.node, MAL)
        return self

    def selling(self, prices: Mapping[str, tuple[int, int]] = PRICES) -> Scene:
        """With an offer of the rogue's in the node's catalog."""
        self.opened()
        data = make_offer(MAL.fingerprint, "tool", prices)
        self.net.catalogs[MAL.fingerprint] = [data]
        self.rogue.say(advertisements=self.rogue.advertise([data]))
        self.net.run()
        assert "mal.example/tool" in self.node.world.catalog._by_ref
        return self

    def ordered(self, **fields: Any) -> tuple[Listener, int]:
        """An order of the node at the rogue."""
        listener = self.node.invoke("mal.example/tool", **fields)
        self.net.run()
        return listener, self.rogue.entries(K.ENTRY_KIND_ORDER)[-1].seq

    def check_calm(self) -> None:
        """The node works, at home and over its other link, and its books are those of its ledgers."""
        for ref in ("north.example/echo", "south.example/echo"):
            heard = self.node.invoke(ref)
            self.net.run()
            assert heard.outcome is not None
            assert heard.outcome.state == ts.TASK_STATE_COMPLETED
        check_books(self.node)


def check_books(node: SimNode) -> None:
    """What the books say of each link is what its ledger says."""
    balances = node.world.books.balances
    for name, link in node.world.links.items():
        debits, credits_ = balances.get((f"receivable/{name}", "XTS"), (0, 0))
        assert debits - credits_ == link.ledger.lanes[THEM].posted
        debits, credits_ = balances.get((f"payable/{name}", "XTS"), (0, 0))
        assert credits_ - debits == link.ledger.lanes[ME].posted


def same(reason: str, wanted: str) -> bool:
    return reason in ANY if wanted == "*" else reason == wanted


@pytest.mark.parametrize("name", OPENS)
def test_bad_opening(name: str) -> None:
    scene = Scene()
    before = snapshot(scene.node)
    OPENS[name].act(scene.rogue)
    scene.net.run()
    assert same(scene.rogue.closed, OPENS[name].reason), scene.rogue.closed
    assert snapshot(scene.node) == before
    scene.check_calm()
    rogue = scene.net.rogue(scene.node, MAL)
    scene.net.dial(rogue, scene.node)
    rogue.open()
    scene.net.run()
    assert is_open(scene.node, MAL)


@pytest.mark.parametrize("name", FRAMES)
def test_bad_frame(name: str) -> None:
    scene = Scene().opened()
    scene.rogue.relax = True
    before = snapshot(scene.node)
    FRAMES[name].act(scene.rogue, scene.offer)
    if name == "equivocating entry":
        before = None
    scene.net.run()
    assert same(scene.rogue.closed, FRAMES[name].reason), scene.rogue.closed
    assert not is_open(scene.node, MAL)
    if before is not None:
        assert snapshot(scene.node) == before
    scene.check_calm()


@pytest.mark.parametrize("name", ORDERS)
def test_order_that_cannot_be_served(name: str) -> None:
    scene = Scene().opened()
    seq = ORDERS[name].act(scene.rogue, scene.offer)
    scene.net.run()
    assert scene.rogue.rejected() == {seq: ORDERS[name].reason}
    lane = scene.node.link(MAL).ledger.lanes[THEM]
    assert (lane.posted, lane.pending, lane.granted, lane.open) == (0, 0, 0, 0)
    assert not scene.node.working
    scene.check_calm()


@pytest.mark.parametrize("name", VOID_ORDERS)
def test_void_order(name: str) -> None:
    scene = Scene().opened()
    entry = VOID_ORDERS[name](scene.rogue, scene.offer)
    _void(scene, entry, "ORDER_INVALID")


@pytest.mark.parametrize("name", VOID_ENTRIES)
def test_void_entry(name: str) -> None:
    scene = Scene().opened()
    scene.rogue.write(200)
    scene.rogue.say()
    _void(scene, *VOID_ENTRIES[name])


def _void(scene: Scene, entry: pb.Entry, rule: str) -> None:
    copy = pb.Entry()
    copy.CopyFrom(entry)
    body = copy.WhichOneof("body")
    fields = {body: getattr(copy, body)} if body else {}
    seq = scene.rogue.write(copy.kind, **fields)
    scene.rogue.say()
    scene.net.run()
    assert scene.rogue.refused() == {seq: rule}
    assert rule in ERRORS
    assert is_open(scene.node, MAL)
    lane = scene.node.link(MAL).ledger.lanes[THEM]
    assert (lane.posted, lane.pending, lane.granted, lane.open) == (0, 0, 0, 0)
    scene.check_calm()


def test_unknown_uncritical_entries_have_no_effect() -> None:
    scene = Scene().opened()
    seq = scene.rogue.write(200)
    scene.rogue.say()
    scene.net.run()
    assert scene.node.link(MAL).pair.logs[THEM].seq == seq
    assert not scene.rogue.refused()
    scene.check_calm()


@pytest.mark.parametrize("name", VOID_CHARGES)
def test_void_charge(name: str) -> None:
    scene = Scene().selling()
    listener, order = scene.ordered()
    seq = VOID_CHARGES[name].act(scene.rogue, order)
    scene.net.run()
    assert scene.rogue.refused() == {seq: VOID_CHARGES[name].reason}
    assert listener.outcome is None
    link = scene.node.link(MAL)
    assert link.ledger.holds[ME, order].state == 1
    scene.check_calm()
    sound = {"order": 1, "llm.output.token": 200}
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, sound))
    scene.rogue.say(events=[scene.rogue.result(order)])
    scene.net.run()
    assert listener.outcome is not None
    assert (listener.outcome.state, listener.outcome.receipt.charge) == (ts.TASK_STATE_COMPLETED, 30)
    assert link.ledger.lanes[ME].agreed == 30
    scene.check_calm()


@pytest.mark.parametrize("name", UNPROVEN_CHARGES)
def test_unproven_charge(name: str) -> None:
    scene = Scene().selling()
    listener, order = scene.ordered()
    seq = UNPROVEN_CHARGES[name].act(scene.rogue, order)
    scene.net.run()
    assert scene.rogue.refused() == {seq: UNPROVEN_CHARGES[name].reason}
    assert listener.outcome is not None
    assert listener.outcome.state == ts.TASK_STATE_FAILED
    assert listener.outcome.problem.reason == UNPROVEN_CHARGES[name].reason
    assert listener.outcome.receipt.charge == 0
    account = scene.node.world.books.accounts["alice"]
    assert (account.reserved, account.spent) == (0, 0)
    lane = scene.node.link(MAL).ledger.lanes[ME]
    assert (lane.agreed, lane.open, lane.pending) == (0, 0, 0)
    assert lane.posted > 0
    _refused_before_acknowledged(scene.rogue, seq)
    scene.check_calm()


def _refused_before_acknowledged(rogue: Rogue, seq: int) -> None:
    """The frame whose signature first acknowledges an entry carries its refusal, or an earlier one did."""
    refused = False
    for frame in rogue.heard:
        entries = [pb.Entry.FromString(data) for data in frame.entries]
        refused |= any(e.refuse.entry_seq == seq for e in entries if e.kind == K.ENTRY_KIND_REFUSE)
        if frame.HasField("signature") and frame.signature.acked >= seq:
            assert refused
            return
    raise AssertionError("never acknowledged")


@pytest.mark.parametrize("name", AFTER_END)
def test_after_the_end(name: str) -> None:
    scene = Scene().selling()
    listener, order = scene.ordered()
    seq = AFTER_END[name].act(scene.rogue, order)
    scene.rogue.say(events=[scene.rogue.result(order)])
    scene.net.run()
    assert scene.rogue.refused() == {seq: AFTER_END[name].reason}
    assert listener.outcome is not None
    assert (listener.outcome.state, listener.outcome.receipt.charge) == (ts.TASK_STATE_COMPLETED, 10)
    assert scene.node.link(MAL).ledger.lanes[ME].agreed == 10
    scene.check_calm()
