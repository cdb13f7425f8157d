"""Hostile providers in memory and virtual time: their claims, and the grants that they ask for."""

from __future__ import annotations

from typing import Any

from tests.kit.identities import limits, make_offer
from tests.kit.network import Network
from tests.kit.rogue import K
from tests.kit.sim_node import Backend, SimNode, is_open
from tests.unit.node.test_misdeeds import MAL, Scene, check_books

from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1 import task_pb2 as ts
from intertie.v1.envelope_pb2 import Payload
from intertie_node.core import executing
from intertie_node.core.holds import HoldState
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.work import StartWork

# -- claims -----------------------------------------------------------------------------------------


def test_a_result_that_never_comes_ends_at_the_deadline() -> None:
    scene = Scene().selling()
    listener, order = scene.ordered(timeout_ms=5_000)
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, {"order": 1}))
    scene.rogue.say()
    scene.net.run()
    assert listener.outcome is None
    scene.net.wait(8_000)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "EVENTS_GONE"
    assert listener.outcome.receipt.charge == 10
    scene.check_calm()


def test_a_result_before_its_charge_costs_nothing_yet() -> None:
    scene = Scene().selling()
    listener, order = scene.ordered()
    scene.rogue.send(lk.Frame(events=[scene.rogue.result(order)]).SerializeToString())
    scene.net.run()
    assert listener.outcome is None
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, {"order": 1}))
    scene.rogue.say()
    scene.net.run()
    assert listener.outcome is not None
    assert listener.outcome.state == ts.TASK_STATE_COMPLETED
    scene.check_calm()


def test_a_provider_that_says_nothing_is_expired_and_its_late_claim_is_void() -> None:
    scene = Scene().selling()
    listener, order = scene.ordered(timeout_ms=1_000)
    scene.net.wait(3_500)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "OUTCOME_UNKNOWN"
    assert listener.outcome.receipt.hold in (ts.HOLD_STATE_IN_DOUBT, ts.HOLD_STATE_EXPIRED)
    scene.net.wait(2_000)
    hold = scene.node.link(MAL).ledger.find(ME, order)
    assert hold is not None
    assert hold.state is HoldState.EXPIRED
    account = scene.node.world.books.accounts["alice"]
    assert (account.reserved, account.spent) == (0, 0)
    body = scene.rogue.claim(order, {"order": 1})
    seq = scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=body)
    scene.rogue.say()
    scene.net.run()
    assert scene.rogue.refused() == {seq: "CHARGE_EXPIRED"}
    scene.check_calm()


def test_an_early_expire_is_void() -> None:
    scene = Scene()
    scene.node.backends["echo"] = lambda node, work: None
    scene.opened()
    order = scene.rogue.buy(scene.offer)
    seq = scene.rogue.write(K.ENTRY_KIND_EXPIRE, expire=pb.Expire(order_seq=order))
    scene.rogue.say()
    scene.net.run()
    assert scene.rogue.refused() == {seq: "EXPIRE_EARLY"}
    assert scene.node.link(MAL).ledger.holds[THEM, order].state is HoldState.OPEN


def test_an_expire_takes_back_in_the_books_what_it_had_not_seen() -> None:
    scene = Scene().opened()
    scene.rogue.answers = False
    seen = scene.rogue.pair.logs[THEM].seq
    order = scene.rogue.buy(scene.offer, deadline=scene.net.now + 500)
    scene.net.run()
    link = scene.node.link(MAL)
    assert link.ledger.lanes[THEM].posted == 10
    check_books(scene.node)
    scene.net.wait(3_000)
    log = scene.rogue.pair.logs[THEM]
    scene.rogue.write(K.ENTRY_KIND_EXPIRE, seen=seen, expire=pb.Expire(order_seq=order))
    scene.rogue.say(scene.rogue.signature(acked=seen, acked_head=log.heads[seen], total=0))
    scene.net.run()
    assert not scene.rogue.closed
    assert link.ledger.lanes[THEM].posted == 0
    check_books(scene.node)


def test_several_claims_in_one_frame_are_booked_once_each() -> None:
    scene = Scene().selling()
    listener, order = scene.ordered()
    for tokens in (100, 200, 300):
        scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, {"llm.output.token": tokens}, False))
    usage = {"order": 1, "llm.output.token": 400}
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, usage))
    scene.rogue.say(events=[scene.rogue.result(order)])
    scene.net.run()
    assert listener.outcome is not None
    assert listener.outcome.receipt.charge == 50
    scene.check_calm()


def test_a_flood_of_unproven_claims_is_refused_before_it_is_acknowledged() -> None:
    """More refusals than one frame holds: a frame cut on the way must not acknowledge what follows."""
    net = Network()
    node = net.add("north.example")
    net.peer(MAL, node)
    net.start()
    node.open_account("alice", 10**9)
    rogue = net.rogue(node, MAL, limits(frame_bytes=65_536))
    net.dial(rogue, node)
    rogue.open()
    net.run()
    data = make_offer(MAL.fingerprint, "tool")
    net.catalogs[MAL.fingerprint] = [data]
    rogue.say(advertisements=rogue.advertise([data]))
    net.run()
    heard = [node.invoke("mal.example/tool", max_charge=10) for _ in range(1_500)]
    net.run()
    orders = [fact.seq for fact in rogue.entries(K.ENTRY_KIND_ORDER)]
    assert len(orders) == 1_500
    for order in orders:
        body = rogue.claim(order, {"order": 1})
        body.ClearField("proof")
        rogue.write(K.ENTRY_KIND_CHARGE, charge=body)
    rogue.say()
    net.run()
    assert not rogue.closed
    assert is_open(node, MAL)
    assert len(rogue.refused()) == 1_500
    assert len([f for f in rogue.heard if f.entries]) > 2
    assert all(listener.outcome and listener.outcome.receipt.charge == 0 for listener in heard)
    lane = node.link(MAL).ledger.lanes[ME]
    assert (lane.posted, lane.agreed) == (15_000, 0)
    check_books(node)


# -- grants -----------------------------------------------------------------------------------------


def _metering(steps: int, tokens: int) -> Backend:
    """A backend that uses so many tokens a step and goes on when it is told that it may."""

    def work(node: SimNode, started: StartWork) -> None:
        def step(left: int) -> None:
            if not left:
                node.report(
                    started.invocation,
                    lambda inv, fx: executing.completed(node.world, inv, Payload(data=b"done"), False, None, fx),
                )
                return

            def done(error: IntertieError | None) -> None:
                if error is None:
                    step(left - 1)

            usage = {"llm.output.token": tokens}
            node.report(started.invocation, lambda inv, fx: executing.metered(node.world, inv, usage, None, done, fx))

        step(steps)

    return work


def test_grants_raised_beyond_max_unagreed_are_not_worked_off() -> None:
    """Each order fits when it is admitted; then each is granted everything, and nothing is ever acknowledged."""
    net = Network()
    node = net.add("north.example")
    net.peer(MAL, node, max_unagreed=250)
    node.backends["meter"] = _metering(10, 1_000)
    net.start()
    rogue = net.rogue(node, MAL)
    net.dial(rogue, node)
    rogue.open()
    net.run()
    rogue.answers = False
    frozen, head = rogue.pair.logs[THEM].seq, rogue.pair.logs[THEM].head
    offer = node.own_offer("meter")

    def say(**fields: Any) -> None:
        rogue.say(rogue.signature(acked=frozen, acked_head=head, total=0), **fields)
        net.run()

    orders = []
    for _ in range(20):
        order = rogue.order(offer, max_charge=1_010, grant=10)
        orders.append(rogue.write(K.ENTRY_KIND_ORDER, seen=frozen, order=order))
        say(inputs=[lk.OrderInput(order_seq=orders[-1], data=b"{}")])
    for seq in orders:
        rogue.write(K.ENTRY_KIND_GRANT, seen=frozen, grant=pb.Grant(order_seq=seq, amount=1_010))
    say()
    net.wait(5_000)
    lane = node.link(MAL).ledger.lanes[THEM]
    assert lane.posted - lane.agreed <= 250
    net.wait(8_000)
    assert lane.posted - lane.agreed <= 250
    assert lane.open == 0
    check_books(node)


def test_honest_grants_wait_for_room_and_all_work_is_done() -> None:
    net = Network()
    north, south = net.add("north.example"), net.add("south.example")
    net.peer(north, south, max_unagreed=400)
    south.backends["meter"] = _metering(10, 300)
    net.start()
    north.open_account("alice", 10**6)
    net.run()
    heard = [north.invoke("south.example/meter", first_grant=10, max_charge=400) for _ in range(8)]
    net.wait(9_000)
    for listener in heard:
        assert listener.outcome is not None, listener.refused
        assert (listener.outcome.state, listener.outcome.receipt.charge) == (ts.TASK_STATE_COMPLETED, 310)
    for node in (north, south):
        check_books(node)
        assert not node.world.paused
    assert north.link().ledger.lanes[ME].agreed == 8 * 310
