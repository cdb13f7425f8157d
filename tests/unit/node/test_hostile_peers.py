"""Hostile peers in memory and virtual time: what needs many frames, other links, or hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.kit.rogue import HOUR_MS, K, Rogue
from tests.kit.worlds import Backend, Identity, Network, SimNode, is_open, limits, make_offer, snapshot
from tests.unit.node.test_misdeeds import MAL, Scene, check_books

from intertie import descriptors, envelope
from intertie.digests import multihash
from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1 import task_pb2 as ts
from intertie.v1.catalog_pb2 import Advertisement, OriginRoute
from intertie.v1.envelope_pb2 import Payload, Problem
from intertie.v1.event_pb2 import Event
from intertie_node.core import executing
from intertie_node.core.holds import HoldState
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.opening import Phase
from intertie_node.core.peering import PeeringState
from intertie_node.core.routing import MAX_ROUTES
from intertie_node.core.work import StartWork

EVIL = Identity("evil.example")


# -- the session ---------------------------------------------------------------------------------------


def test_a_bad_open_on_a_second_stream_leaves_the_first_alone() -> None:
    scene = Scene().opened()
    second = scene.net.rogue(scene.node, MAL)
    scene.net.dial(second, scene.node)
    second.open(genesis=scene.rogue.genesis, clock=2**60)
    scene.net.run()
    assert second.closed == "CLOCK"
    assert not scene.rogue.closed
    assert is_open(scene.node, MAL)
    scene.rogue.buy(scene.offer)
    scene.net.run()
    assert scene.rogue.entries(K.ENTRY_KIND_CHARGE)
    scene.check_calm()


def test_a_good_open_on_a_second_stream_takes_over() -> None:
    scene = Scene().opened()
    scene.rogue.buy(scene.offer)
    scene.net.run()
    old_send = scene.rogue.send
    scene.net.dial(scene.rogue, scene.node)
    scene.rogue.open()
    scene.net.run()
    assert is_open(scene.node, MAL)
    old_send(lk.Frame(ping=3).SerializeToString())  # the old stream is dead
    scene.net.run()
    assert scene.rogue.pair.logs[THEM].seq == scene.node.link(MAL).pair.logs[ME].seq
    scene.check_calm()


def test_a_cursor_beyond_everything_is_named_once_nothing_more_comes() -> None:
    """It holds more of this log, it says, and then signs without having returned it."""
    scene = Scene()
    scene.rogue.open(other=lk.Cursor(seq=9, head=bytes(32)))
    scene.net.run()
    assert not scene.rogue.closed
    scene.rogue.say(scene.rogue.signature())
    scene.net.run()
    assert scene.rogue.closed == "CURSOR_AHEAD"
    scene.net.dial(scene.rogue, scene.node)
    scene.rogue.open()
    scene.net.run()
    assert is_open(scene.node, MAL)
    scene.check_calm()


def test_a_cursor_beyond_everything_is_named_after_a_silence() -> None:
    scene = Scene()
    scene.rogue.open(other=lk.Cursor(seq=9, head=bytes(32)))
    for _ in range(29):
        scene.net.wait(1_000)
        scene.rogue.send(lk.Frame(pong=1).SerializeToString())
    assert not scene.rogue.closed
    scene.net.wait(2_000)
    assert scene.rogue.closed == "CURSOR_AHEAD"
    scene.check_calm()


def test_a_replayed_stream_changes_nothing() -> None:
    """The bytes of a whole session, sent once more: its Open is heard, the rest is of another session."""
    scene = Scene()
    said: list[bytes] = []
    inner = scene.rogue.send

    def tee(frame: bytes) -> None:
        said.append(frame)
        inner(frame)

    scene.rogue.send = tee
    scene.opened()
    scene.rogue.buy(scene.offer)
    scene.net.run()
    lane = scene.node.link(MAL).ledger.lanes[THEM]
    assert lane.agreed == 10
    replayer = scene.net.rogue(scene.node, MAL)
    replayer.answers, replayer.relax = False, True
    scene.net.dial(replayer, scene.node)
    before = scene.node.link(MAL).pair.logs[THEM].seq, lane.posted
    for frame in said:
        replayer.send(frame)
        scene.net.run()
    assert (scene.node.link(MAL).pair.logs[THEM].seq, lane.posted) == before
    assert replayer.closed == "SIGNATURE_INVALID"
    scene.check_calm()


def test_entries_that_are_held_already_are_skipped() -> None:
    scene = Scene().opened()
    seq = scene.rogue.buy(scene.offer)
    scene.net.run()
    first, entries, _ = scene.rogue.groups[0]
    before = snapshot(scene.node)
    frame = lk.Frame(first_seq=first, entries=entries, signature=scene.rogue.signature())
    scene.rogue.send(frame.SerializeToString())
    scene.net.run()
    assert is_open(scene.node, MAL)
    assert len([f for f in scene.rogue.entries(K.ENTRY_KIND_CHARGE) if f.entry.charge.order_seq == seq]) == 1
    assert snapshot(scene.node)[2:] == before[2:]
    scene.check_calm()


def test_a_silent_peer_is_pinged_then_closed() -> None:
    scene = Scene().opened()
    scene.net.wait(11_000, tick=1_000)
    assert any(frame.ping for frame in scene.rogue.heard)
    scene.net.wait(21_000, tick=1_000)
    assert scene.rogue.closed == "SILENT_PEER"
    assert not is_open(scene.node, MAL)
    assert is_open(scene.node, scene.south)
    scene.check_calm()


def test_a_peer_that_dials_no_open_after_ours_is_closed() -> None:
    scene = Scene()
    scene.net.cut(scene.net.wires[-1])
    scene.net.answer(scene.rogue, scene.node)
    scene.rogue.hear = lambda data: scene.rogue.heard.append(lk.Frame.FromString(data))  # type: ignore[method-assign]
    scene.net.run()
    assert scene.node.link(MAL).phase is Phase.OPENING
    scene.net.wait(31_000, tick=1_000)
    assert scene.rogue.heard[-1].close.reason == "SILENT_PEER"
    scene.check_calm()


def test_a_claim_to_hold_more_than_was_written_keeps_the_link_shut_alone() -> None:
    scene = Scene()
    theirs = scene.rogue.pair.logs[THEM]
    scene.rogue.open(other=lk.Cursor(seq=theirs.seq + 5, head=bytes(32)))
    scene.net.run()
    assert scene.node.link(MAL).phase is Phase.CATCHING_UP
    scene.check_calm()


# -- events --------------------------------------------------------------------------------------------

EXTREMES = {
    "unknown body": Event(order_seq=1, number=3),
    "resume of nothing": Event(order_seq=2**64 - 1, resume={"after_seq": 2**64 - 1, "credit": -1}),
    "resume of an ended order": Event(order_seq=1, resume={"after_seq": 2**64 - 1, "credit": 2**63 - 1}),
    "resume below zero": Event(order_seq=1, resume={"after_seq": 0, "credit": -(2**63)}),
    "huge credit": Event(order_seq=1, byte_credit={"bytes": 2**63 - 1}),
    "negative credit": Event(order_seq=1, byte_credit={"bytes": -(2**63)}),
    "reply to nothing": Event(order_seq=1, input_reply={"request": 7, "payload": {"data": b"x"}}),
    "result of an own order": Event(order_seq=1, number=1, result={"state": ts.TASK_STATE_COMPLETED}),
    "grant needed of nothing": Event(order_seq=9, grant_needed={"amount": 2**63 - 1}),
    "number of the future": Event(order_seq=1, number=2**64 - 1, chunk={"payload": {"data": b"x"}}),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("ended", [False, True])
def test_absurd_events_do_nothing(name: str, ended: bool) -> None:
    scene = Scene()
    if not ended:
        scene.node.backends["echo"] = lambda node, work: None
    scene.opened()
    scene.rogue.buy(scene.offer)
    scene.net.run()
    scene.rogue.send(lk.Frame(events=[EXTREMES[name]]).SerializeToString())
    scene.net.run()
    assert is_open(scene.node, MAL)
    if ended:
        scene.check_calm()


def test_absurd_requests_for_a_grant_are_clamped() -> None:
    scene = Scene().selling()
    listener, order = scene.ordered(first_grant=1)
    for amount in (-(2**63), 0, 2**63 - 1):
        scene.rogue.send(lk.Frame(events=[Event(order_seq=order, grant_needed={"amount": amount})]).SerializeToString())
        scene.net.run()
    hold = scene.node.link(MAL).ledger.holds[ME, order]
    assert hold.granted == hold.terms.max_charge == 1_000
    assert listener.outcome is None
    scene.check_calm()


# -- orders --------------------------------------------------------------------------------------------


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


# -- claims --------------------------------------------------------------------------------------------


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


# -- relays --------------------------------------------------------------------------------------------


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


# -- advertisements ------------------------------------------------------------------------------------


def _stolen(name: str) -> Identity:
    """Another grid that says it has this name."""
    thief = Identity("thief.example")
    keys = (descriptors.SigningKey(thief.key.public, 0, 2**50),)
    statement = descriptors.Statement(grid=name, issued_at=1, signing_keys=keys)
    thief.chain = [descriptors.issue([], statement, thief.root)]
    thief.grid = name
    return thief


def _lie(scene: Scene, name: str) -> list[Advertisement]:
    rogue, offers = scene.rogue, [make_offer(MAL.fingerprint, "tool")]
    thief = _stolen("south.example" if name == "a peer's name" else "north.example")
    tariff = pb.Tariff(origin=thief.fingerprint, markup_num=1, markup_den=1, expires_at=rogue.now() + HOUR_MS)
    if name in ("a peer's name", "the node's own name"):
        seq = rogue.write(K.ENTRY_KIND_TARIFF, tariff=tariff)
        payload = envelope.peek_unverified(rogue.root(offers, origin=thief.fingerprint))[1]
        root = envelope.seal(envelope.CATALOG_ROOT, payload, [thief.key])
        path = [MAL.fingerprint, thief.fingerprint]
        return rogue.advertise(offers, seq, descriptors=thief.chain, path=path, root=root)
    changes: dict[str, dict[str, Any]] = {
        "path through the receiver": {"path": [MAL.fingerprint, scene.node.fingerprint, MAL.fingerprint]},
        "path from another": {"path": [EVIL.fingerprint, MAL.fingerprint]},
        "no path": {"path": []},
        "path too long": {"path": [MAL.fingerprint] * 17},
        "chain of another": {"descriptors": EVIL.chain},
        "no chain": {"descriptors": []},
        "garbage chain": {"descriptors": [b"\xff" * 9]},
        "root of another origin": {"root": rogue.root(offers, origin=EVIL.fingerprint)},
        "root signed by another": {
            "root": envelope.seal(envelope.CATALOG_ROOT, envelope.peek_unverified(rogue.root(offers))[1], [EVIL.key])
        },
        "expired root": {"root": rogue.root(offers, expires_at=rogue.now() - 1)},
        "unsorted root": {"root": rogue.root(offers, offers=[b"b", b"a"])},
        "root is garbage": {"root": envelope.seal(envelope.CATALOG_ROOT, b"\xff" * 9, [MAL.key])},
        "root is no envelope": {"root": b"\xff" * 9},
        "unknown tariff": {"tariff_seq": 77},
        "tariff of another origin": {},
    }
    if name == "tariff of another origin":
        return rogue.advertise(offers, rogue.write(K.ENTRY_KIND_TARIFF, tariff=tariff))
    return rogue.advertise(offers, **changes[name])


LIES = {
    "a peer's name": "DESCRIPTOR_INVALID",
    "the node's own name": "DESCRIPTOR_INVALID",
    "path through the receiver": "LOOP",
    "path from another": "LOOP",
    "no path": "LOOP",
    "path too long": "LOOP",
    "chain of another": "DESCRIPTOR_INVALID",
    "no chain": "DESCRIPTOR_INVALID",
    "garbage chain": "INVALID_ARGUMENT",
    "root of another origin": "INVALID_ARGUMENT",
    "root signed by another": "SIGNATURE_INVALID",
    "expired root": "INVALID_ARGUMENT",
    "unsorted root": "INVALID_ARGUMENT",
    "root is garbage": "INVALID_ARGUMENT",
    "root is no envelope": "INVALID_ARGUMENT",
    "unknown tariff": "TARIFF_INVALID",
    "tariff of another origin": "TARIFF_INVALID",
}


@pytest.mark.parametrize("name", LIES)
def test_a_false_advertisement_is_dropped_by_name(name: str) -> None:
    scene = Scene().opened()
    scene.rogue.say(advertisements=_lie(scene, name))
    scene.net.run()
    catalog = scene.node.world.catalog
    assert catalog.refused[scene.node.link(MAL).name].startswith(LIES[name])
    assert not [key for key in catalog.routes if key[0] == scene.node.link(MAL).name]
    assert set(catalog._by_ref) == {"north.example/echo", "south.example/echo"}
    assert is_open(scene.node, MAL)
    known = {d.grid: fingerprint for fingerprint, d in scene.node.world.executors.items()}
    assert known["south.example"] == scene.south.fingerprint
    scene.check_calm()


def test_offers_outside_the_root_are_not_taken() -> None:
    scene = Scene().opened()
    listed, other = make_offer(MAL.fingerprint, "tool"), make_offer(MAL.fingerprint, "trap")
    stolen = make_offer(scene.south.fingerprint, "echo", {"order": (1, 1)})
    scene.net.catalogs[MAL.fingerprint] = [other, listed]
    scene.rogue.say(advertisements=scene.rogue.advertise([listed]))
    scene.net.run()
    refs = {"north.example/echo", "south.example/echo", "mal.example/tool"}
    assert set(scene.node.world.catalog._by_ref) == refs
    assert multihash(stolen) not in scene.node.world.catalog.offers
    scene.check_calm()


def test_a_flood_of_origins_leaves_the_routes_of_others() -> None:
    scene = Scene().opened()
    link = scene.node.link(MAL)
    template = next(iter(scene.node.world.catalog.routes.values()))
    for number in range(MAX_ROUTES):  # as if advertised: making so many chains takes too long
        origin = b"\x12\x20" + number.to_bytes(32, "big")
        changed = {"link": link.name, "origin": origin, "offers": (), "epoch": 1}
        route = type(template)(**{**{f: getattr(template, f) for f in template.__struct_fields__}, **changed})
        scene.node.world.catalog.routes[link.name, origin] = route
    scene.rogue.say(advertisements=_lie(scene, "no path")[:1] + scene.rogue.advertise([], path=[MAL.fingerprint])[:1])
    scene.net.wait(2_000)
    assert (link.name, MAL.fingerprint) not in scene.node.world.catalog.routes
    scene.south.submit(lambda fx: scene.south.grid.set_offers([scene.south.own_offer("echo")], fx))
    scene.net.wait(2_000)
    assert (scene.node.link(scene.south).name, scene.south.fingerprint) in scene.node.world.catalog.routes
    scene.rogue.send(lk.Frame(advertisements=[Advertisement(epoch=2, end=True)]).SerializeToString())
    scene.net.run()
    assert len(scene.node.world.catalog.routes) == 1
    scene.check_calm()


def test_a_huge_advertisement_is_not_passed_on() -> None:
    """Whoever takes smaller frames than the hostile peer's would be lost to the relay."""
    scene = Between(limits(frame_bytes=65_536))
    offers = [make_offer(MAL.fingerprint, f"tool{n}") for n in range(2_000)]  # a root of 68 kB
    scene.net.catalogs[MAL.fingerprint] = offers
    scene.rogue.say(advertisements=scene.rogue.advertise(offers))
    scene.net.run()
    scene.net.wait(1_000)
    assert "mal.example/tool7" in scene.hub.world.catalog._by_ref
    assert "mal.example/tool7" not in scene.north.world.catalog._by_ref
    assert is_open(scene.north, scene.hub)
    assert is_open(scene.hub, scene.south)
    scene.check_calm()


def test_an_older_or_forked_descriptor_does_not_take_the_place_of_the_known() -> None:
    scene = Scene().opened()
    south = scene.south.identity
    statement = descriptors.Statement(
        grid=south.grid, issued_at=2, signing_keys=(descriptors.SigningKey(south.key.public, 0, 2**50),)
    )
    forked = [descriptors.issue([], statement, south.root)]
    tariff = pb.Tariff(origin=south.fingerprint, markup_num=1, markup_den=1, expires_at=scene.net.now + HOUR_MS)
    seq = scene.rogue.write(K.ENTRY_KIND_TARIFF, tariff=tariff)
    route = OriginRoute(
        descriptors=forked,
        root=scene.south.grid._told.root,
        path=[MAL.fingerprint, south.fingerprint],
        tariff_seq=seq,
    )
    scene.rogue.say(advertisements=[Advertisement(epoch=1, route=route)])
    scene.net.run()
    assert scene.node.world.catalog.refused[scene.node.link(MAL).name].startswith("DESCRIPTOR_EQUIVOCATION")
    assert scene.node.world.executors[south.fingerprint].digest == south.descriptor.digest
    scene.check_calm()


def test_a_flood_of_tariffs_is_not_kept_for_ever() -> None:
    scene = Scene().opened()
    for _ in range(30):
        for _ in range(200):
            body = pb.Tariff(origin=MAL.fingerprint, markup_num=1, markup_den=1, expires_at=scene.net.now + HOUR_MS)
            scene.rogue.write(K.ENTRY_KIND_TARIFF, tariff=body)
        scene.rogue.say()
        scene.net.run()
    assert len(scene.node.link(MAL).ledger.tariffs[THEM]) <= 2_048
    assert is_open(scene.node, MAL)
    scene.check_calm()


# -- grants --------------------------------------------------------------------------------------------


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
