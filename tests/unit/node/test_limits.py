"""What a side declares in its Open is obeyed: no event, input or path beyond it is sent (design §5 rule 8)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.kit.line import ECHO
from tests.kit.worlds import Listener, Network, SimNode, is_open, limits

from intertie.v1 import task_pb2 as ts
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Event, InputReply
from intertie_node.core import consuming, executing
from intertie_node.core.effects import Effects
from intertie_node.core.frames import fitting
from intertie_node.core.invocations import Invocation
from intertie_node.core.work import StartWork

SMALL = {"inline_bytes": 4_096}
LARGE = bytes(range(256)) * 64


def row(*declared: dict[str, int]) -> tuple[Network, list[SimNode]]:
    """north, hub and south, as many of them as declare limits; the ones between relay."""
    net = Network()
    names = ("north.example", "hub.example", "south.example")
    names = names if len(declared) == 3 else (names[0], names[2])
    pairs = zip(names, declared, strict=True)
    nodes = [net.add(name, limits(**each), relay=name == "hub.example") for name, each in pairs]
    for buyer, seller in pairwise(nodes):
        net.peer(buyer, seller, claim_window_ms=20_000 if buyer is nodes[0] else 2_000)
    net.start()
    nodes[0].open_account("alice", 10**6)
    net.run()
    return net, nodes


def asked(net: Network, node: SimNode, **fields: Any) -> Listener:
    listener = node.invoke(ECHO, **{"max_charge": 10**5, **fields})
    net.run()
    return listener


def stream(node: SimNode, work: StartWork) -> None:
    """Makes one piece of 16 KiB and returns as much again."""

    def act(inv: Invocation, fx: Effects) -> None:
        piece, output = (Payload(media_type="text/plain", data=LARGE) for _ in range(2))
        executing.metered(node.world, inv, {}, piece, lambda error: None, fx)
        executing.completed(node.world, inv, output, False, None, fx)

    node.report(work.invocation, act)


def whole(listener: Listener) -> bytes:
    assert listener.outcome is not None
    chunks = [event.chunk.payload.data for event in listener.events if event.HasField("chunk")]
    assert max(map(len, chunks)) <= SMALL["inline_bytes"]
    return b"".join(chunks) + listener.outcome.output.data


def test_output_goes_in_pieces_that_the_payer_takes() -> None:
    net, (north, south) = row(SMALL, {})
    south.backends["echo"] = stream
    listener = asked(net, north)
    assert whole(listener) == LARGE + LARGE
    assert listener.outcome is not None and listener.outcome.state == ts.TASK_STATE_COMPLETED
    assert is_open(north, south)


def test_what_a_relay_cannot_pass_on_is_named_and_its_link_goes_on() -> None:
    """South was told by the hub that 16 KiB are welcome; north takes 4."""
    net, (north, hub, south) = row(SMALL, {}, {})
    south.backends["echo"] = stream
    listener = asked(net, north)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "PAYLOAD_TOO_LARGE"
    gap = next(event.gap for event in listener.events if event.HasField("gap"))
    assert (gap.first, gap.last, gap.problem.reason) == (1, 0, "PAYLOAD_TOO_LARGE")
    assert is_open(north, hub)
    assert is_open(hub, south)


def test_only_numbered_events_leave_a_gap() -> None:
    payload = {"payload": {"data": bytes(9_000)}}
    assert fitting(Event(input_reply=payload), 4_096) is None
    assert fitting(Event(input_reply=payload), 4_600) is not None
    told = fitting(Event(order_seq=3, number=7, at=5, chunk=payload), 4_096)
    assert told is not None
    assert (told.order_seq, told.number, told.at, told.gap.first, told.gap.last) == (3, 0, 5, 7, 0)


def test_an_input_larger_than_the_provider_takes_is_refused() -> None:
    net, (north, south) = row({}, SMALL)
    south.backends["echo"] = lambda node, work: node.report(
        work.invocation, lambda inv, fx: executing.asked(node.world, inv, "?", b"", fx)
    )
    listener = asked(net, north)
    inv = north.grid.by_key(f"{listener.request.id}@alice")
    assert inv is not None
    refused: list[str] = []

    def step(size: int) -> Any:
        def send(fx: Effects) -> None:
            try:
                reply = InputReply(request=1, payload=Payload(data=bytes(size)))
                consuming.send_input(north.world, inv, reply, fx)
            except Exception as error:
                refused.append(getattr(error, "reason", str(error)))

        return send

    for size in (4_097, 4_096):
        north.submit(step(size))
        net.run()
    assert refused == ["INPUT_TOO_LARGE"]
    assert [len(given.data) for given in south.given] == [4_096]
    assert is_open(north, south)


@pytest.mark.parametrize(("hops", "reason"), [(0, "HOP_LIMIT"), (1, "HOP_LIMIT"), (2, "")])
def test_no_order_goes_on_by_a_longer_path_than_the_provider_declares(hops: int, reason: str) -> None:
    net, (north, hub, _) = row({}, {}, {"hops": hops})
    listener = asked(net, north)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == reason
    hub.open_account("alice", 10**6)
    net.run()
    assert asked(net, hub).refused == ""
