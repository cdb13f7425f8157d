"""A relay in memory and virtual time between an honest grid and a hostile one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit.identities import make_offer
from tests.kit.network import Network
from tests.kit.rogue import K, Rogue
from tests.kit.sim_node import is_open
from tests.unit.node.test_misdeeds import MAL, check_books

from intertie.v1 import link_pb2 as lk
from intertie.v1 import task_pb2 as ts
from intertie.v1.envelope_pb2 import Problem


class Between:
    """A relay between an honest consumer's grid and a hostile provider, or an honest one beside."""

    def __init__(self, north: lk.Limits | None = None, **relay: Any) -> None:
        self.net = Network()
        self.north = self.net.add("north.example", own_limits=north)
        self.hub = self.net.add("hub.example", relay=True, **{"fee": 100, **relay})
        self.south = self.net.add("south.example")
        self.net.peer(self.north, self.hub)
        self.net.peer(self.hub, self.south)
        self.net.peer(MAL, self.hub)
        self.net.start()
        self.north.open_account("alice", 10**6)
        self.rogue = self.net.rogue(self.hub, MAL)
        self.net.dial(self.rogue, self.hub)
        self.rogue.open()
        self.net.run()

    def sell(self, prices: dict[str, tuple[int, int]]) -> None:
        data = make_offer(MAL.fingerprint, "tool", prices)
        self.net.catalogs[MAL.fingerprint] = [data]
        self.rogue.say(advertisements=self.rogue.advertise([data]))
        self.net.run()
        self.net.wait(1_000)
        assert "mal.example/tool" in self.north.world.catalog._by_ref

    def check_calm(self) -> None:
        for ref in ("hub.example/echo", "south.example/echo"):
            heard = self.north.invoke(ref)
            self.net.run()
            assert heard.outcome is not None
            assert heard.outcome.state == ts.TASK_STATE_COMPLETED
        for node in (self.north, self.hub, self.south):
            check_books(node)


def _last_order(rogue: Rogue) -> int:
    return rogue.entries(K.ENTRY_KIND_ORDER)[-1].seq


@pytest.mark.parametrize("final", [False, True])
def test_a_relay_is_not_made_to_overcharge(final: bool) -> None:
    """A unit that costs nothing downstream carries the relay's fee upstream."""
    scene = Between()
    scene.sell({"order": (0, 1), "llm.output.token": (1, 10)})
    listener = scene.north.invoke("mal.example/tool")
    scene.net.run()
    order = _last_order(scene.rogue)
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, {"order": 1_000}, final))
    scene.rogue.say(events=[scene.rogue.result(order)] if final else [])
    scene.net.run()
    scene.net.wait(15_000)
    assert listener.outcome is not None
    assert listener.outcome.state == ts.TASK_STATE_FAILED
    assert listener.outcome.receipt.charge == 0
    scene.check_calm()


def test_a_relay_passes_a_huge_refusal_on_in_small() -> None:
    scene = Between()
    scene.sell({"order": (10, 1)})
    listener = scene.north.invoke("mal.example/tool")
    scene.net.run()
    problem = Problem(reason="NODE_BUSY", message="x" * 60_000, metadata={"k" * 1_000: "v" * 2_000})
    scene.rogue.write(K.ENTRY_KIND_REJECT, reject={"order_seq": _last_order(scene.rogue), "problem": problem})
    scene.rogue.say()
    scene.net.run()
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "NODE_BUSY"
    assert len(listener.outcome.problem.message) <= 1_024
    assert is_open(scene.north, scene.hub)
    scene.check_calm()


def test_a_relay_refuses_a_huge_proof() -> None:
    scene = Between()
    scene.sell({"order": (10, 1)})
    listener = scene.north.invoke("mal.example/tool")
    scene.net.run()
    order = _last_order(scene.rogue)
    body = scene.rogue.claim(order, {"order": 1})
    body.proof.record += b"\x9a\x06\xd0\x86\x03" + bytes(50_000)
    seq = scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=body)
    scene.rogue.say()
    scene.net.run()
    assert scene.rogue.refused() == {seq: "CHARGE_UNPROVEN"}
    assert listener.outcome is not None
    assert listener.outcome.state == ts.TASK_STATE_FAILED
    scene.check_calm()


def test_huge_orders_stop_at_the_relay() -> None:
    """What the relay adds must not push an order or its input over the next hop's limits."""
    scene = Between()
    offer = scene.south.own_offer("echo")
    long = scene.rogue.buy(offer, session="x" * 60_000)
    wide = scene.rogue.buy(offer, b"x" * 100_000)
    scene.net.run()
    assert scene.rogue.rejected() == {long: "PAYLOAD_TOO_LARGE", wide: "INPUT_TOO_LARGE"}
    assert is_open(scene.hub, scene.south)
    scene.check_calm()


def test_loops_and_hop_limits() -> None:
    scene = Between()
    offer = scene.south.own_offer("echo")
    looped = scene.rogue.buy(offer, path=["hub.example"])
    tired = scene.rogue.buy(offer, hop_limit=0)
    local = scene.rogue.buy(scene.hub.own_offer("echo"), hop_limit=0)
    scene.net.run()
    assert scene.rogue.rejected() == {looped: "LOOP", tired: "HOP_LIMIT"}
    assert [f.entry.charge.order_seq for f in scene.rogue.entries(K.ENTRY_KIND_CHARGE)] == [local]
    scene.check_calm()


def test_a_short_deadline_leaves_no_time_to_relay() -> None:
    scene = Between(tolerated_outage_ms=60_000)
    seq = scene.rogue.buy(scene.south.own_offer("echo"), deadline=scene.net.now + 1_000)
    scene.net.run()
    assert scene.rogue.rejected() == {seq: "DEADLINE_EXCEEDED"}
