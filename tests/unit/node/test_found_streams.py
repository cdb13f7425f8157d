"""What simulated worlds have found of streams and events, each at the smallest depth that shows it.

`tests/simulation/FOUND.md` says what, why and which rule changed.
"""

from __future__ import annotations

import pytest
from tests.kit.line import Line
from tests.kit.rogue import K
from tests.kit.sim_node import is_open
from tests.unit.node.test_misdeeds import Scene

from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Chunk, Event


@pytest.fixture
def line() -> Line:
    return Line()


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
