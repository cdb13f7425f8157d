"""What a side declares in its Open is obeyed: no event, input or path beyond it is sent (design §5 rule 8)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.kit.identities import limits
from tests.kit.line import ECHO
from tests.kit.network import Network
from tests.kit.sim_node import Listener, SimNode, is_open

from intertie.errors import IntertieError
from intertie.v1 import task_pb2 as ts
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Event, InputReply
from intertie_node.core import consuming, executing
from intertie_node.core.effects import Effects
from intertie_node.core.frames import INLINE_BYTES, MAX_EVENT_BYTES, event_size
from intertie_node.core.invocations import Invocation
from intertie_node.core.work import StartWork
from intertie_node.services.runner import ActiveRun

LARGE = bytes(range(256)) * 80
"""20 KiB."""


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
    """Makes one piece of 20 KiB and returns as much again."""

    def act(inv: Invocation, fx: Effects) -> None:
        piece, output = (Payload(media_type="text/plain", data=LARGE) for _ in range(2))
        executing.metered(node.world, inv, {}, piece, lambda error: None, fx)
        executing.completed(node.world, inv, output, False, None, fx)

    node.report(work.invocation, act)


def whole(listener: Listener) -> bytes:
    assert listener.outcome is not None
    chunks = [event.chunk.payload.data for event in listener.events if event.HasField("chunk")]
    assert max(map(len, chunks)) <= INLINE_BYTES
    return b"".join(chunks) + listener.outcome.output.data


def test_output_goes_in_pieces_that_every_way_takes() -> None:
    net, nodes = row({}, {}, {})
    nodes[-1].backends["echo"] = stream
    listener = asked(net, nodes[0])
    assert whole(listener) == LARGE + LARGE
    assert listener.outcome is not None and listener.outcome.state == ts.TASK_STATE_COMPLETED


@pytest.mark.parametrize("seq", [0, 1, 127, 128, 2**63])
def test_an_event_has_one_size_on_every_link(seq: int) -> None:
    event = Event(order_seq=seq, number=1, at=5)
    assert event_size(event) == Event(number=1, at=5).ByteSize()


@pytest.mark.parametrize(
    ("size", "id_size", "reason"),
    [
        (INLINE_BYTES + 1, 0, "INPUT_TOO_LARGE"),
        (INLINE_BYTES, MAX_EVENT_BYTES - INLINE_BYTES, "INPUT_TOO_LARGE"),
        (INLINE_BYTES, 36, ""),
    ],
)
def test_a_reply_is_refused_that_no_link_takes(size: int, id_size: int, reason: str) -> None:
    net, (north, south) = row({}, {})
    south.backends["echo"] = lambda node, work: node.report(
        work.invocation, lambda inv, fx: executing.asked(node.world, inv, "?", b"", fx)
    )
    listener = asked(net, north)
    inv = north.grid.by_key(f"{listener.request.id}@alice")
    assert inv is not None
    refused: list[str] = []

    def send(fx: Effects) -> None:
        try:
            reply = InputReply(request=1, payload=Payload(data=bytes(size)), id="i" * id_size)
            consuming.send_input(north.world, inv, reply, fx)
        except IntertieError as error:
            refused.append(error.reason)

    north.submit(send)
    net.run()
    assert refused == ([reason] if reason else [])
    assert [len(given.data) for given in south.given] == ([] if reason else [size])
    assert is_open(north, south)


async def test_a_prompt_that_no_event_holds_is_refused() -> None:
    nobody: Any = None
    run = ActiveRun(nobody, nobody, StartWork("key", "tool", b"", "", 0))
    with pytest.raises(IntertieError) as refused:
        await run.ask("é" * (INLINE_BYTES // 2), b"{")
    assert refused.value.reason == "PAYLOAD_TOO_LARGE"


@pytest.mark.parametrize(("hops", "reason"), [(0, "HOP_LIMIT"), (1, "HOP_LIMIT"), (2, "")])
def test_no_order_goes_on_by_a_longer_path_than_the_provider_declares(hops: int, reason: str) -> None:
    net, (north, hub, _) = row({}, {}, {"hops": hops})
    listener = asked(net, north)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == reason
    hub.open_account("alice", 10**6)
    net.run()
    assert asked(net, hub).refused == ""
