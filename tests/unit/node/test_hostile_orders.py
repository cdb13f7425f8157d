"""Hostile payers in memory and virtual time: floods of orders, and what is never acknowledged."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.kit.identities import limits
from tests.kit.network import Network
from tests.kit.rogue import K
from tests.kit.sim_node import is_open
from tests.unit.node.test_misdeeds import MAL, Scene

from intertie.v1 import link_pb2 as lk
from intertie_node.core.ledger import THEM
from intertie_node.core.peering import PeeringState


def test_an_expired_tariff_names_the_new_one() -> None:
    scene = Scene().opened()
    old = scene.rogue.tariff_of(scene.node.fingerprint)
    for _ in range(190):  # an hour and more, staying awake
        scene.net.wait(20_000, tick=10_000)
        scene.rogue.send(lk.Frame(ping=1).SerializeToString())
        scene.net.run()
    assert is_open(scene.node, MAL)
    seq = scene.rogue.buy(scene.offer, tariff_seq=old)
    scene.net.run()
    reject = scene.rogue.entries(K.ENTRY_KIND_REJECT)[-1].entry.reject
    assert reject.order_seq == seq
    assert reject.problem.reason == "PRICE_CHANGED"
    fresh = int(reject.problem.metadata["tariff_seq"])
    assert fresh > old
    scene.rogue.buy(scene.offer, tariff_seq=fresh)
    scene.net.run()
    assert scene.rogue.entries(K.ENTRY_KIND_CHARGE)
    scene.check_calm()


@dataclass
class Flood:
    """Terms or limits, and the reason why orders beyond them are rejected."""

    terms: dict[str, int]
    reason: str
    orders: int = 4_096


FLOODS = {
    "declared orders": Flood({}, "TOO_MANY_ORDERS", orders=5),
    "max_open_holds": Flood({"max_open_holds": 5}, "TOO_MANY_ORDERS"),
    "credit limit": Flood({"credit_limit": 500}, "CREDIT_LIMIT"),
}


@pytest.mark.parametrize("name", FLOODS)
@pytest.mark.parametrize("in_one_frame", [False, True])
def test_order_floods_stop_at_the_limit(name: str, in_one_frame: bool) -> None:
    flood = FLOODS[name]
    net = Network()
    node = net.add("north.example", own_limits=limits(orders=flood.orders))
    net.peer(MAL, node, **flood.terms)
    net.start()
    started: list[str] = []
    node.backends["echo"] = lambda node, work: started.append(work.invocation)
    rogue = net.rogue(node, MAL)
    net.dial(rogue, node)
    rogue.open()
    net.run()
    offer = node.own_offer("echo")
    seqs = []
    for _ in range(40):
        seq = rogue.write(K.ENTRY_KIND_ORDER, order=rogue.order(offer, max_charge=100, grant=100))
        seqs.append(lk.OrderInput(order_seq=seq, data=b"{}"))
        if not in_one_frame:
            rogue.say(inputs=seqs)
            seqs = []
            net.run()
    if in_one_frame:
        rogue.say(inputs=seqs)
        net.run()
    assert len(started) == 5
    assert set(rogue.rejected().values()) == {flood.reason}
    assert len(rogue.rejected()) == 35
    assert node.link(MAL).ledger.lanes[THEM].open == 5


def test_what_is_never_acknowledged_stops_at_max_unagreed() -> None:
    """A payer that signs for nothing gets no more than max_unagreed, and what waits ends at its deadline."""
    net = Network()
    node = net.add("north.example")
    net.peer(MAL, node, max_unagreed=250)
    net.start()
    rogue = net.rogue(node, MAL)
    net.dial(rogue, node)
    rogue.open()
    net.run()
    rogue.answers = False
    offer = node.own_offer("echo")
    frozen, head = rogue.pair.logs[THEM].seq, rogue.pair.logs[THEM].head
    for _ in range(40):
        order = rogue.order(offer, max_charge=10, grant=10)
        seq = rogue.write(K.ENTRY_KIND_ORDER, seen=frozen, order=order)
        made = rogue.signature(acked=frozen, acked_head=head, total=0)
        rogue.say(made, inputs=[lk.OrderInput(order_seq=seq, data=b"{}")])
        net.run()
    lane = node.link(MAL).ledger.lanes[THEM]
    assert not rogue.closed
    assert lane.posted == 250
    assert lane.agreed == 0
    assert len(node.world.waiting[node.link(MAL).name]) == 15
    net.wait(12_000)
    assert set(rogue.rejected().values()) == {"DEADLINE_EXCEEDED"}
    assert lane.posted == 250


def test_a_grant_too_large_for_max_unagreed_is_rejected() -> None:
    scene = Scene(max_unagreed=250).opened()
    seq = scene.rogue.buy(scene.offer, max_charge=300, grant=251)
    scene.net.run()
    assert scene.rogue.rejected() == {seq: "UNAGREED_LIMIT"}
    scene.check_calm()


def test_a_suspended_peering_takes_no_orders_but_money_goes_on() -> None:
    scene = Scene().selling()
    listener, order = scene.ordered()
    link = scene.node.link(MAL)
    scene.node.desk._set_state(link.name, PeeringState.SUSPENDED)
    seq = scene.rogue.buy(scene.offer)
    refused = scene.node.invoke("mal.example/tool")
    scene.net.run()
    assert scene.rogue.rejected() == {seq: "PEERING_SUSPENDED"}
    assert refused.refused in ("PEERING_SUSPENDED", "PEER_UNAVAILABLE")
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, {"order": 1}))
    scene.rogue.say(events=[scene.rogue.result(order)])
    scene.net.run()
    assert listener.outcome is not None
    assert listener.outcome.receipt.charge == 10
    scene.check_calm()
