"""What simulated worlds have found in the core and its desks, each at the smallest depth that shows it.

`tests/simulation/FOUND.md` says what, why and which rule changed.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
from tests.kit.line import ECHO, HOUR_MS, Line
from tests.kit.rogue import K, Rogue
from tests.kit.worlds import Identity, Listener, Network, SimNode, is_open
from tests.unit.node.test_misdeeds import Scene

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Chunk, Event
from intertie.v1.task_pb2 import HoldState as PbHoldState
from intertie_node.core import consuming, executing
from intertie_node.core.effects import Effects
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.peering import PeeringState
from intertie_node.core.routing import ROOT_LIFETIME_MS, Advertised
from intertie_node.core.work import RecallOrder
from intertie_node.core.world import problem
from intertie_node.services.consumers import ConsumerDesk

MAL = Identity("mal.example")


@pytest.fixture
def line() -> Line:
    return Line()


def silent(node: SimNode, work: Any) -> None:
    """A backend that never answers."""


def served_by(name: str, backend: Any, **settings: Any) -> tuple[Network, SimNode, SimNode]:
    """north buys from south, whose only other offer is `name`."""
    net = Network()
    north, south = net.add("north.example"), net.add("south.example", **settings)
    south.backends[name] = backend
    net.peer(north, south)
    net.start()
    north.open_account("alice", 10**6)
    net.run()
    return net, north, south


def hostile() -> tuple[Network, SimNode, Rogue]:
    net = Network()
    node = net.add("node.example")
    net.peer(MAL, node)
    node.boot()
    net.run()
    rogue = net.rogue(node, MAL)
    net.dial(rogue, node)
    rogue.open()
    net.run()
    return net, node, rogue


def desk_of(node: SimNode) -> ConsumerDesk:
    return ConsumerDesk(node.grid, node.store, node.submit, HOUR_MS, node.clock)


# -- what stays in memory -----------------------------------------------------------------------------


def test_an_ended_call_asked_for_with_another_body_does_not_stay_in_memory(line: Line) -> None:
    listener = line.north.invoke(ECHO)
    line.net.run()
    assert listener.outcome is not None
    line.restart(line.north)
    other = iv.Invocation()
    other.CopyFrom(listener.request)
    other.max_charge += 1
    answer = Listener(other)
    desk_of(line.north).invoke("alice", other, answer)
    line.net.run()
    assert answer.refused == "ID_CONFLICT"
    line.net.wait(61_000)
    assert not line.north.world.invocations


def test_who_listens_while_an_end_is_being_committed_is_told_it() -> None:
    """The events are read from the store, and the call stays in memory until they have been told."""
    net, _, south = served_by("slow", silent)
    south.open_account("bob", 10**6)
    first = south.invoke("south.example/slow", account="bob")
    net.run()
    world, turns, key = south.world, south.turns, next(iter(south.world.invocations))
    piece = Payload(data=b"piece")
    south.report(key, lambda inv, fx: executing.metered(world, inv, {}, piece, lambda error: None, fx))
    net.run()
    south.report(key, lambda inv, fx: executing.completed(world, inv, Payload(data=b"."), False, None, fx))
    turns.compute()
    ended = turns.launch()
    again = Listener(first.request)
    desk_of(south).subscribe("bob", first.request.id, 0, again)
    turns.compute()
    assert ended is not None
    south.store.commit(ended)
    turns.landed()
    assert first.outcome is not None
    assert turns.launch() is None
    net.run()
    assert [event.chunk.payload.data for event in again.events] == [b"piece"]
    assert again.outcome == first.outcome
    net.wait(61_000)
    assert not world.invocations


def test_a_rejected_order_whose_events_are_asked_for_does_not_stay_in_memory(line: Line) -> None:
    line.south.world.suspended.add(line.south.link(line.hub).name)
    listener = line.north.invoke(ECHO)
    line.net.run()
    assert listener.outcome is not None
    hub, south = line.hub.link(line.south), line.south
    seq = max(seq for link, payer, seq in line.hub.store.tables["holds"] if (link, payer) == (hub.name, ME))
    south.links.recall(RecallOrder(hub.name, seq, 0, 1_000))
    line.net.run()
    line.net.wait(61_000)
    assert not south.world.invocations


def test_a_reject_after_the_unknown_outcome_is_told_in_the_receipt_and_forgotten() -> None:
    net, north, south = served_by("slow", silent)
    listener = north.invoke("south.example/slow", timeout_ms=1_000)
    net.run()
    key = next(iter(south.world.invocations))
    wire = next(w for w in net.wires if w.owner is north)
    net.cut(wire)
    south.report(key, lambda inv, fx: executing.refused(south.world, inv, problem("NODE_BUSY", "No."), fx))
    net.wait(3_500)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "OUTCOME_UNKNOWN"
    net.connect(north, south)
    net.run()
    assert not north.world.invocations
    row = north.store.row("invocations", (f"{listener.request.id}@alice",))
    assert row is not None
    assert iv.Outcome.FromString(row[9]).receipt.hold != PbHoldState.HOLD_STATE_IN_DOUBT


# -- streams ------------------------------------------------------------------------------------------


def test_frames_of_a_superseded_stream_are_dropped_and_not_blamed(line: Line) -> None:
    first, _ = line.net.wires[0], line.net.wires[1]
    one, other = first.owner, first.other.owner
    late = one.links
    line.net.connect(one, other)
    line.net.run()
    sent: list[bytes] = []
    gone = [wire for wire in (first, first.other) if wire.owner is other]
    gone[0].closed, gone[0].gone = "", False
    gone[0].send = sent.append  # type: ignore[method-assign]
    link = other.link(one)
    link.left.add(gone[0])
    other.links._by_connection[gone[0]] = link  # type: ignore[index]
    other.links.frame(gone[0], b"\x18\x01")  # type: ignore[arg-type]
    line.net.run()
    assert not sent
    assert is_open(one, other)
    assert late is one.links


def test_a_dialled_stream_that_says_close_first_is_not_blamed(line: Line) -> None:
    frame = lk.Frame()
    frame.close.reason = "SUPERSEDED"
    sent: list[bytes] = []
    wire = line.net.wires[0]
    end = type(wire)(line.hub, line.north.fingerprint)
    end.send = sent.append  # type: ignore[method-assign]
    line.hub.links.frame(end, frame.SerializeToString())  # type: ignore[arg-type]
    assert not sent
    assert end.closed == "SUPERSEDED"


def test_a_result_that_overtakes_lost_events_is_asked_for_again() -> None:
    scene = Scene().selling()
    listener, order = scene.ordered(max_charge=100)
    claim = scene.rogue.claim(order, {"order": 1})
    result = scene.rogue.result(order, number=2)
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=claim)
    scene.rogue.say(events=[result])
    scene.net.run()
    assert listener.outcome is None
    asked = [event.resume.after_seq for event in scene.rogue.events if event.HasField("resume")]
    assert asked[-1] == 0
    lost = Event(order_seq=order, number=1, at=1, chunk=Chunk(payload=Payload()))
    scene.rogue.say(events=[lost, result])
    scene.net.run()
    assert listener.outcome is not None
    assert [event.number for event in listener.events] == [1]


# -- starting again -----------------------------------------------------------------------------------


def test_a_peer_s_odd_order_id_does_not_keep_the_node_from_starting() -> None:
    net, node, rogue = hostile()
    node.backends["echo"] = silent
    offer = node.own_offer("echo")
    rogue.buy(offer, id="x" * 36)
    net.run()
    assert "ID_INVALID" in rogue.rejected().values()
    node.boot()
    desk_of(node)


def test_a_restored_provider_claims_no_less_than_it_had_charged() -> None:
    net, north, south = served_by("slow", silent)
    listener = north.invoke("south.example/slow", first_grant=5)
    net.run()
    key = next(iter(south.world.invocations))
    older = copy.deepcopy(south.store)
    for tokens in (30, 1_000):
        usage = {"llm.output.token": tokens}
        south.report(
            key, lambda inv, fx, usage=usage: executing.metered(south.world, inv, usage, None, lambda error: None, fx)
        )
    net.run()
    hold = north.link(south).ledger.holds[ME, max(seq for _, seq in north.link(south).ledger.holds)]
    assert hold.charged == 3
    for wire in [w for w in net.wires if w.owner is north]:
        net.cut(wire)
    south.store = older
    south.boot()
    net.connect(north, south)
    net.run()
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "EXECUTION_LOST"
    assert listener.outcome.receipt.charge == 3


def test_a_result_that_never_comes_after_a_restart_is_said_to_be_gone() -> None:
    net, north, south = served_by("echo", silent)
    listener = north.invoke("south.example/echo", timeout_ms=1_000)
    net.run()
    key = next(iter(south.world.invocations))
    inv = south.world.invocations[key]
    deliver = inv.source.deliver
    inv.source.deliver = lambda *args: None  # type: ignore[method-assign]
    south.report(key, lambda inv, fx: executing.completed(south.world, inv, Payload(data=b"."), False, None, fx))
    net.run()
    assert listener.outcome is None
    assert deliver is not None
    for wire in [w for w in net.wires if w.owner is north]:
        net.cut(wire)
    north.boot()
    again = Listener(listener.request)
    desk_of(north).subscribe("alice", listener.request.id, 0, again)
    net.wait(6_000)
    assert again.outcome is not None
    assert again.outcome.problem.reason == "EVENTS_GONE"
    assert again.outcome.receipt.charge == 10


# -- clocks and limits ---------------------------------------------------------------------------------


def test_a_clock_set_back_makes_no_void_order_or_tariff() -> None:
    net, north, south = served_by("slow", silent, tariff_lifetime_ms=600)
    listener = north.invoke("south.example/slow", timeout_ms=5_000)
    net.run()
    assert not listener.refused
    for wire in [w for w in net.wires if w.owner is north]:
        net.cut(wire)
    net.now -= 900
    for node in (north, south):
        node.boot()
    net.connect(north, south)
    net.run()
    assert is_open(north, south)
    late = north.invoke("south.example/slow", timeout_ms=500)
    net.run()
    assert late.refused == "DEADLINE_EXCEEDED"


def test_a_root_has_no_lower_version_after_a_restart_with_the_clock_set_back(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    for leads in (900, 0):
        monkeypatch.setattr(line.south, "clock", lambda leads=leads: line.net.now + leads)
        line.restart(line.south)
        line.net.connect(line.hub, line.south)
        line.net.run()
        assert not line.hub.world.catalog.refused
        assert line.refusal(line.north) == ""


def test_a_restored_grid_renews_its_root_when_later_entries_come_back(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = line.backup(line.south)
    monkeypatch.setattr(line.south, "clock", lambda: line.net.now + 900)
    line.restart(line.south)
    line.net.connect(line.hub, line.south)
    line.net.run()
    line.north.invoke(ECHO)
    line.net.run()
    monkeypatch.setattr(line.south, "clock", lambda: line.net.now)
    line.restart(line.south, older)
    line.net.connect(line.hub, line.south)
    line.net.run()
    assert not line.hub.world.catalog.refused
    assert line.refusal(line.north) == ""


def test_a_restored_grid_whose_clock_had_led_is_known_again_soon(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    older = line.backup(line.south)
    monkeypatch.setattr(line.south, "clock", lambda: line.net.now + 900)
    line.restart(line.south)
    line.net.connect(line.hub, line.south)
    line.net.run()
    monkeypatch.setattr(line.south, "clock", lambda: line.net.now)
    line.restart(line.south, older)
    line.net.connect(line.hub, line.south)
    line.net.run()
    assert "newer one" in line.hub.world.catalog.refused[line.hub.link(line.south).name]
    line.net.wait(6_000)
    assert line.refusal(line.north) == ""


def test_what_was_told_with_any_lead_is_passed_in_twice_that_time(line: Line) -> None:
    """Roots are renewed when the process has run twice as long as at the last time, at first soon, at last seldom."""
    told, now, started = Advertised(), line.net.now, line.net.now
    ages = []
    for _ in range(20):
        told.renew(line.south.world, Effects(now))
        ages.append(now - started)
        assert not told.is_due(line.south.world, told.renew_at - 1)
        now = told.renew_at
    assert ages[1] < 10_000
    assert all(later <= 2 * earlier for earlier, later in pairwise(ages[1:]))
    assert ages[-1] - ages[-2] == ROOT_LIFETIME_MS // 2


def test_work_that_ends_before_it_began_by_a_clock_set_back_is_proven_all_the_same() -> None:
    net, north, south = served_by("slow", silent)
    listener = north.invoke("south.example/slow")
    net.run()
    net.now -= 500
    key = next(iter(south.world.invocations))
    south.turns._last_now = 0
    south.report(key, lambda inv, fx: executing.completed(south.world, inv, Payload(data=b"."), False, None, fx))
    net.run()
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == ""
    assert listener.outcome.receipt.charge == 10


def test_work_that_ends_while_meterings_of_it_wait_for_a_grant_is_charged_for_what_it_ended_with() -> None:
    """The first of three grants in a frame covers the end, the second one metering, which the end has made void."""
    net, north, south = served_by("slow", silent)
    listener = north.invoke("south.example/slow", max_charge=90, first_grant=9)
    net.run()
    world, key = south.world, next(iter(south.world.invocations))
    south.report(key, lambda inv, fx: executing.completed(world, inv, Payload(data=b"."), False, None, fx))
    used = {"llm.output.token": 150}
    for _ in range(2):
        south.report(key, lambda inv, fx: executing.metered(world, inv, used, None, lambda error: None, fx))
    net.run()
    assert listener.outcome is not None
    assert (listener.outcome.problem.reason, listener.outcome.receipt.charge) == ("", 10)


@pytest.mark.parametrize("canceled", [False, True])
def test_an_order_that_comes_back_with_its_charges_is_not_worked_off_again(canceled: bool) -> None:
    """South was put back to before the order: its own charges, which come back, show that it had begun."""
    begun: list[Any] = []
    net, north, south = served_by("slow", lambda node, work: begun.append(work))
    older = copy.deepcopy(south.store)
    listener = north.invoke("south.example/slow", max_charge=900, first_grant=40)
    net.run()
    used, key = {"llm.output.token": 300}, begun[0].invocation
    for _ in range(2):
        south.report(key, lambda inv, fx: executing.metered(south.world, inv, used, None, lambda error: None, fx))
        net.run()
    charged = north.link().ledger.lanes[ME].posted
    assert charged > 0
    for wire in [w for w in net.wires if w.owner is south]:
        net.cut(wire)
    if canceled:
        inv = north.world.invocations[f"{listener.request.id}@alice"]
        north.submit(lambda fx: consuming.cancel(north.world, inv, "", fx))
        net.run()
    south.store = older
    south.boot()
    net.connect(north, south)
    net.run()
    net.wait(1_000)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == ("CANCELED" if canceled else "EXECUTION_LOST")
    assert listener.outcome.receipt.charge >= charged
    assert len(begun) == 1


def test_an_order_longer_than_the_agreement_allows_is_refused_by_name() -> None:
    net = Network()
    north, south = net.add("north.example"), net.add("south.example")
    net.peer(north, south, max_hold_ms=5_000)
    net.start()
    north.open_account("alice", 10**6)
    net.run()
    listener = north.invoke("south.example/echo", timeout_ms=10_000)
    net.run()
    assert listener.refused == "DEADLINE_TOO_LONG"
    assert north.world.books.accounts["alice"].reserved == 0


def test_a_relay_rejects_an_order_longer_than_its_next_agreement_allows() -> None:
    net = Network()
    north, hub, south = net.add("north.example"), net.add("hub.example", relay=True), net.add("south.example")
    net.peer(north, hub, claim_window_ms=20_000)
    net.peer(hub, south, max_hold_ms=5_000)
    net.start()
    north.open_account("alice", 10**6)
    net.run()
    listener = north.invoke(ECHO, timeout_ms=10_000)
    net.run()
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "DEADLINE_TOO_LONG"
    assert not hub.link(south).ledger.holds


# -- peerings that have ended -------------------------------------------------------------------------


def test_a_terminated_link_is_dialled_until_nothing_is_left_to_say() -> None:
    net, north, south = served_by("slow", silent)
    net.run()
    links = [(node, node.link()) for node in (north, south)]
    for node, link in links:
        assert node.links.wanted(link)
        node.desk._set_state(link.name, PeeringState.TERMINATED)
        assert not node.links.wanted(link)
        node.desk._set_state(link.name, PeeringState.ACTIVE)
        node.world.ended.clear()
    listener = north.invoke("south.example/slow", timeout_ms=1_000)
    net.run()
    net.cut(net.wires[0])
    for node, link in links:
        node.desk._set_state(link.name, PeeringState.TERMINATED)
        assert node.links.wanted(link)
    net.wait(4_000)
    net.connect(north, south)
    net.run()
    net.wait(1_000)
    assert listener.outcome is not None
    assert north.world.books.accounts["alice"].reserved == 0
    assert not any(node.links.wanted(link) for node, link in links)


def test_an_entry_that_nobody_has_acknowledged_keeps_a_terminated_link_wanted(line: Line) -> None:
    link = line.south.link()
    line.south.desk._set_state(link.name, PeeringState.TERMINATED)
    assert not line.south.links.wanted(link)
    body = pb.Tariff(origin=line.south.fingerprint, markup_num=2, markup_den=1, expires_at=line.net.now + HOUR_MS)
    link.append(pb.Entry(kind=pb.ENTRY_KIND_TARIFF, tariff=body), Effects(line.net.now))
    assert line.south.links.wanted(link)


def test_a_settled_link_of_an_ended_peering_is_dialled_once_after_a_start(line: Line) -> None:
    """A copy was put back: the peer may hold entries that this node has lost."""
    line.restart(line.south)
    link = line.south.link()
    line.south.desk._set_state(link.name, PeeringState.TERMINATED)
    assert link.settled
    assert line.south.links.wanted(link)
    line.connect(line.hub, line.south)
    line.net.wait(1_000)
    assert not line.south.links.wanted(link)


# -- orders that wait for room ------------------------------------------------------------------------


class Unsigned:
    """A payer who orders and signs for nothing that it has been charged."""

    def __init__(self) -> None:
        self.scene = Scene(max_unagreed=250).opened()
        self.rogue, self.node, self.net = self.scene.rogue, self.scene.node, self.scene.net
        self.rogue.answers = False
        theirs = self.rogue.pair.logs[THEM]
        self._seen, self._head = theirs.seq, theirs.head

    def buy(self, grant: int, **changes: Any) -> int:
        order = self.rogue.order(self.scene.offer, max_charge=250, grant=grant, **changes)
        seq = self.rogue.write(K.ENTRY_KIND_ORDER, seen=self._seen, order=order)
        made = self.rogue.signature(acked=self._seen, acked_head=self._head, total=0)
        self.rogue.say(made, inputs=[lk.OrderInput(order_seq=seq, data=b"{}")])
        self.net.run()
        return seq

    @property
    def waiting(self) -> int:
        return len(self.node.world.waiting[self.node.link(MAL).name])

    def posted(self, seq: int) -> int:
        hold = self.node.link(MAL).ledger.find(THEM, seq)
        assert hold is not None
        return hold.posted


def test_an_order_is_admitted_when_the_one_before_it_gives_up_waiting() -> None:
    """Room comes from the own reject alone."""
    payer = Unsigned()
    served, large, small = payer.buy(10), payer.buy(250, deadline=payer.net.now + 2_000), payer.buy(100)
    assert payer.posted(served) == 10
    assert payer.waiting == 2
    payer.net.wait(3_000)
    assert payer.rogue.rejected() == {large: "DEADLINE_EXCEEDED"}
    assert not payer.waiting
    assert payer.posted(small) == 10


def test_an_order_is_admitted_when_the_one_before_it_is_rejected_after_its_wait() -> None:
    """What was set aside for the first one is free for the second one at once."""
    payer = Unsigned()
    served, large, small = payer.buy(10), payer.buy(250, policy=pb.Policy(places=["XX"])), payer.buy(100)
    assert payer.posted(served) == 10
    assert payer.waiting == 2
    payer.rogue.say()
    payer.net.run()
    assert payer.rogue.rejected() == {large: "POLICY_VIOLATION"}
    assert not payer.waiting
    assert payer.posted(small) == 10
