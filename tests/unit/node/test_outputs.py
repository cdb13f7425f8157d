"""What is delivered is compared with what the executor's record proves (design §9, execution records)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit.line import Line
from tests.kit.rogue import K
from tests.kit.sim_node import Listener
from tests.unit.node.test_misdeeds import Scene

from intertie.digests import salted
from intertie.v1 import task_pb2 as ts
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Chunk, Event, Result
from intertie_node.core import executing
from intertie_node.core.effects import Effects
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.sinks import LocalSink, OrderSink, Rate
from intertie_node.core.work import StartWork
from intertie_node.core.world import problem

USAGE = {"order": 1}


def chunk(order: int, number: int, data: bytes) -> Event:
    return Event(order_seq=order, number=number, at=1, chunk=Chunk(payload=Payload(data=data)))


def bought(scene: Scene) -> tuple[Listener, int]:
    return scene.ordered(max_charge=100)


def lane(scene: Scene) -> tuple[int, int]:
    own = scene.node.link(scene.rogue.own).ledger.lanes[ME]  # type: ignore[arg-type]
    return own.posted, own.agreed


def test_a_charge_for_another_output_than_was_delivered_is_refused() -> None:
    scene = Scene().selling()
    listener, order = bought(scene)
    seq = scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, USAGE))
    scene.rogue.say(events=[scene.rogue.result(order, b"other")])
    scene.net.run()
    assert scene.rogue.refused() == {seq: "OUTPUT_MISMATCH"}
    assert lane(scene) == (10, 0)
    assert listener.outcome is not None
    assert (listener.outcome.state, listener.outcome.receipt.charge) == (ts.TASK_STATE_FAILED, 0)
    assert listener.outcome.problem.reason == "OUTPUT_MISMATCH"
    scene.check_calm()


@pytest.mark.parametrize("counted, rule", [(1, ""), (2, ""), (3, "RECORD_MISMATCH"), (400, "RECORD_MISMATCH")])
def test_more_bytes_than_were_streamed_are_not_paid_for(counted: int, rule: str) -> None:
    """Two bytes pass as pieces, a few more as the output itself, which this unit does not count."""
    scene = Scene().selling({"order": (1, 1), "text.output.byte": (1, 1)})
    listener, order = scene.ordered(max_charge=1_000)
    usage = USAGE | {"text.output.byte": counted}
    proof = scene.rogue.proof(
        order, usage, output_digest=salted(scene.rogue.ledger.holds[THEM, order].terms.nonce, b"ab{}")
    )
    seq = scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, usage, proof=proof))
    events = [chunk(order, 1, b"a"), chunk(order, 2, b"b"), scene.rogue.result(order, b"{}", 3)]
    scene.rogue.say(events=events)
    scene.net.run()
    assert scene.rogue.refused() == ({seq: rule} if rule else {})
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == rule
    assert listener.outcome.receipt.charge == (0 if rule else 1 + counted)
    scene.check_calm()


@pytest.mark.parametrize("unit", ["order.failed", "order.canceled"])
def test_an_end_that_was_not_is_not_paid_for(unit: str) -> None:
    scene = Scene().selling({"order": (1, 1), unit: (1, 1)})
    listener, order = scene.ordered(max_charge=1_000)
    seq = scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, USAGE | {unit: 1}))
    scene.rogue.say(events=[scene.rogue.result(order)])
    scene.net.run()
    assert scene.rogue.refused() == {seq: "RECORD_MISMATCH"}
    assert listener.outcome is not None
    assert listener.outcome.receipt.charge == 0
    scene.check_calm()


@pytest.mark.parametrize("pieces", [[b"{", b"}"], [b"", b"{}"], [b"{}"]])
def test_pieces_count_in_order(pieces: list[bytes]) -> None:
    scene = Scene().selling()
    listener, order = bought(scene)
    *first, last = pieces
    scene.rogue.say(events=[chunk(order, number, data) for number, data in enumerate(first, 1)])
    scene.net.run()
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, USAGE))
    scene.rogue.say(events=[scene.rogue.result(order, last, len(pieces))])
    scene.net.run()
    assert scene.rogue.refused() == {}
    assert listener.outcome is not None
    assert not listener.outcome.HasField("problem")
    assert lane(scene) == (10, 10)


def test_pieces_sent_again_count_once() -> None:
    scene = Scene().selling()
    listener, order = bought(scene)
    again = [chunk(order, 1, b"{"), chunk(order, 1, b"{"), chunk(order, 2, b"}"), chunk(order, 1, b"x")]
    scene.rogue.say(events=again)
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, USAGE))
    scene.rogue.say(events=[scene.rogue.result(order, b"", 3)])
    scene.net.run()
    assert listener.outcome is not None
    assert not listener.outcome.HasField("problem")
    scene.check_calm()


def test_an_output_that_comes_after_its_charge_is_named() -> None:
    """The charge has been agreed to by then: it stays, and the consumer is told."""
    scene = Scene().selling()
    listener, order = bought(scene)
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, USAGE))
    scene.rogue.say()
    scene.net.run()
    assert lane(scene) == (10, 10)
    scene.rogue.say(events=[scene.rogue.result(order, b"other")])
    scene.net.run()
    assert scene.rogue.refused() == {}
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "OUTPUT_MISMATCH"
    assert not listener.outcome.output.data
    assert listener.outcome.receipt.charge == 10
    scene.check_calm()


def test_missing_pieces_are_no_contradiction() -> None:
    scene = Scene().selling()
    listener, order = bought(scene)
    scene.rogue.write(K.ENTRY_KIND_CHARGE, charge=scene.rogue.claim(order, USAGE))
    scene.rogue.say(events=[scene.rogue.result(order, b"rest", 3)])
    scene.net.wait(13_000)
    assert scene.rogue.refused() == {}
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "EVENTS_GONE"


@pytest.mark.parametrize("streamed", [False, True])
def test_an_honest_output_passes_a_relay(streamed: bool) -> None:
    line = Line()

    def work(node: Any, started: StartWork) -> None:
        output = Payload(data=b"x" * 40_000 if streamed else b"short")
        node.report(started.invocation, lambda inv, fx: executing.completed(node.world, inv, output, False, None, fx))

    line.south.backends["echo"] = work
    listener = line.north.invoke("south.example/echo")
    line.net.run()
    assert listener.outcome is not None
    assert listener.outcome.state == ts.TASK_STATE_COMPLETED
    assert not listener.outcome.HasField("problem")
    pieces = b"".join(event.chunk.payload.data for event in listener.events)
    whole = pieces + listener.outcome.output.data
    assert len(whole) == (40_000 if streamed else 5)


def test_a_relay_refuses_it_and_charges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """South's record is about another output than south sends."""
    line = Line()
    real = executing._end

    def other(world: Any, inv: Any, sink: Any, event: Event, energy: Any, fx: Effects) -> None:
        event.result.output.data = b"other"
        real(world, inv, sink, event, energy, fx)

    monkeypatch.setattr(executing, "_end", other)
    listener = line.north.invoke("south.example/echo")
    line.net.run()
    assert listener.outcome is not None
    assert (listener.outcome.state, listener.outcome.receipt.charge) == (ts.TASK_STATE_FAILED, 0)
    assert listener.outcome.problem.reason == "OUTPUT_MISMATCH"
    assert line.hub.link(line.south).ledger.lanes[ME].agreed == 0
    assert line.north.link(line.hub).ledger.lanes[ME].posted == 0


def meter(line: Line, tokens: int, piece: bytes | None = None) -> None:
    """South's only run uses tokens, and perhaps sends a piece."""
    payload = Payload(data=piece) if piece is not None else None
    used, world = {"llm.output.token": tokens}, line.south.world
    key = next(iter(world.invocations))
    line.south.report(key, lambda inv, fx: executing.metered(world, inv, used, payload, lambda error: None, fx))
    line.net.run()


def test_what_was_sent_before_a_restart_counts_in_the_record() -> None:
    """South has sent a piece when it stops; its record of the lost work is about that piece."""
    line = Line()
    line.south.backends["echo"] = lambda node, started: None
    listener = line.north.invoke("south.example/echo")
    line.net.run()
    meter(line, 150, b"piece")
    assert [event.chunk.payload.data for event in listener.events] == [b"piece"]
    line.restart(line.south)
    line.connect(line.hub, line.south)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "EXECUTION_LOST"
    lane = line.hub.link(line.south).ledger.lanes[ME]
    assert lane.agreed == lane.posted > 0
    assert listener.outcome.receipt.charge == lane.posted


def test_a_relay_that_refuses_the_end_claims_what_it_owes_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is charged while the relay's upstream link has not opened since its start; the end is then refused."""
    line = Line()
    line.south.backends["echo"] = lambda node, started: None
    listener = line.north.invoke("south.example/echo", first_grant=30)
    line.net.run()
    line.cut(line.hub, line.south)
    meter(line, 150)
    meter(line, 3_000)
    line.restart(line.hub)
    line.connect(line.hub, line.south)
    line.connect(line.north, line.hub)
    monkeypatch.setattr(LocalSink, "output_digest", salted(bytes(16), b"other"))
    meter(line, 0, b"piece")
    key = next(iter(line.south.world.invocations))
    failure = problem("BACKEND_FAILED", "It broke.")
    line.south.report(key, lambda inv, fx: executing.failed(line.south.world, inv, failure, fx))
    line.net.run()
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "OUTPUT_MISMATCH"
    down, up = line.hub.link(line.south).ledger.lanes[ME], line.hub.link(line.north).ledger.lanes[THEM]
    assert down.posted > down.agreed > 0
    assert up.agreed == up.posted == down.agreed == listener.outcome.receipt.charge


def test_the_count_is_the_origins() -> None:
    nonce = bytes(16)
    origin = LocalSink(nonce, 0)
    payer = OrderSink(Line().north.link(), 1, Rate())
    for number, data in enumerate((b"a", b"", b"bc"), 1):
        origin.hash(data)
        payer.count(nonce, chunk(1, number, data))
    assert payer.delivered is None
    origin.hash(b"d")
    payer.count(nonce, Event(number=4, result=Result(output=Payload(data=b"d"))))
    assert payer.delivered == origin.output_digest == salted(nonce, b"abcd")
    silent = OrderSink(Line().north.link(), 1, Rate())
    silent.count(nonce, Event(number=1, result=Result()))
    assert silent.delivered == LocalSink(nonce, 0).output_digest == b""
