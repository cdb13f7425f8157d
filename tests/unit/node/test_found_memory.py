"""What simulated worlds have found of what stays in memory, each at the smallest depth that shows it.

`tests/simulation/FOUND.md` says what, why and which rule changed.
"""

from __future__ import annotations

import pytest
from tests.kit.line import ECHO, Line
from tests.kit.sim_node import Listener
from tests.kit.small_worlds import desk_of, served_by, silent

from intertie.v1 import invocation_pb2 as iv
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.task_pb2 import HoldState as PbHoldState
from intertie_node.core import executing
from intertie_node.core.ledger import ME
from intertie_node.core.work import RecallOrder
from intertie_node.core.world import problem


@pytest.fixture
def line() -> Line:
    return Line()


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
