"""Several subscriptions of one invocation, gaps, and credit for one that is no longer in memory (RFC 0009)."""

from __future__ import annotations

import pytest
from tests.kit.line import Line
from tests.kit.sim_node import Listener, SimNode

from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Event, Gap
from intertie_node.core import executing
from intertie_node.core.effects import Effects
from intertie_node.core.invocations import Invocation
from intertie_node.core.sinks import LocalSink
from intertie_node.core.work import StartWork
from intertie_node.services.consumers import ConsumerDesk

WEEK_MS = 604_800_000
OFFER = "stream"


def idle(node: SimNode, work: StartWork) -> None:
    """A backend that the test drives."""


@pytest.fixture
def line() -> Line:
    line = Line()
    line.north.backends[OFFER] = idle
    line.restart(line.north)
    return line


def desk(node: SimNode) -> ConsumerDesk:
    return ConsumerDesk(node.grid, node.store, node.submit, WEEK_MS, node.clock)


def say(line: Line, key: str, count: int, size: int = 1) -> None:
    """The backend streams `count` pieces."""
    node = line.north

    def act(inv: Invocation, fx: Effects) -> None:
        assert isinstance(inv.sink, LocalSink)
        for _ in range(count):
            inv.sink.chunk(node.world, inv, Payload(media_type="text/plain", data=b"x" * size), fx)

    node.report(key, act)
    line.net.run()


def end(line: Line, key: str) -> None:
    node = line.north
    node.report(key, lambda inv, fx: executing.completed(node.world, inv, Payload(), False, None, fx))
    line.net.run()


def started(line: Line) -> tuple[Listener, str]:
    listener = line.north.invoke(f"north.example/{OFFER}")
    line.net.run()
    return listener, f"{listener.request.id}@alice"


def subscribed(line: Line, first: Listener, after: int) -> Listener:
    listener = Listener(first.request)
    desk(line.north).subscribe("alice", first.request.id, after, listener)
    line.net.run()
    return listener


def test_each_of_several_subscriptions_gets_every_event_once(line: Line) -> None:
    first, key = started(line)
    say(line, key, 1)
    others = [subscribed(line, first, after) for after in (0, 2, 4)]
    say(line, key, 5)
    end(line, key)
    for listener, begins in zip([first, *others], (1, 1, 3, 5), strict=True):
        assert [event.number for event in listener.events] == list(range(begins, 7))
        assert listener.outcome is not None


def test_credit_counts_for_an_ended_invocation_that_is_subscribed_to_just_before(line: Line) -> None:
    node = line.north
    first, key = started(line)
    say(line, key, 4, 16_000)
    end(line, key)
    line.restart(node)
    assert key not in node.world.invocations
    credit, size = node.settings.event_credit, 16_000
    again = Listener(first.request)
    face = desk(node)
    face.subscribe("alice", first.request.id, 0, again)
    face.consumed("alice", first.request.id, 100_000)
    line.net.run()
    sink = node.world.invocations[key].sink
    assert isinstance(sink, LocalSink)
    assert sink.window > credit + 100_000 - 5 * (size + 200)


def test_events_behind_a_gap_come_too(line: Line) -> None:
    """An executor further down has lost two events of running work."""
    south = line.south
    south.backends[OFFER] = idle
    line.restart(south)
    line.connect(line.hub, south)
    line.connect(line.north, line.hub)
    line.net.wait(2_000)
    listener = line.north.invoke(f"south.example/{OFFER}")
    line.net.run()
    (key,) = south.working

    def act(inv: Invocation, fx: Effects) -> None:
        sink = inv.sink
        assert isinstance(sink, LocalSink)
        sink.chunk(south.world, inv, Payload(data=b"x"), fx)
        inv.last_event, sink.next = 3, 4
        inv.source.deliver(south.world, inv, Event(gap=Gap(first=2, last=3)), fx)
        sink.chunk(south.world, inv, Payload(data=b"x"), fx)
        executing.completed(south.world, inv, Payload(), False, None, fx)

    south.report(key, act)
    line.net.run()
    assert [(event.number, event.gap.first, event.gap.last) for event in listener.events] == [
        (1, 0, 0),
        (0, 2, 3),
        (4, 0, 0),
    ]
    assert listener.outcome is not None and not listener.outcome.problem.reason
