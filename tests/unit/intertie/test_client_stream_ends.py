"""CallStream: abandoning, closing, silence and hostile nodes (real sockets)."""

from __future__ import annotations

import asyncio
import gc

import pytest
from tests.unit.intertie.scripted_node import (
    Link,
    Node,
    Script,
    chunk,
    echo,
    ended,
    forever,
    outcome,
    sent,
    serving,
)

from intertie.client import CallStream, Chunk, Ended, InvocationError, InvocationItem, new_id, tracking
from intertie.client import stream as stream_module
from intertie.errors import IntertieError
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event
from intertie.v1.event_pb2 import Gap as GapMessage
from intertie.v1.invocation_pb2 import InvocationEvent
from intertie.v1.task_pb2 import TaskState


async def test_whoever_stops_waiting_stops_the_work() -> None:
    async def script(link: Link) -> None:
        for _ in range(2):
            id = (await link.invocation()).id
            await link.send(chunk(id, 1, b"x"))
            (cancel,) = (await link.read()).cancels
            assert cancel.id == id
            await link.send(chunk(id, 2, b"late"), ended(id))
        await echo(link)

    async with serving(Node(script)) as client, client.stream() as stream:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await stream.call("echo", max_charge=1)
        await asyncio.sleep(0.05)
        items = stream.invoke("echo", max_charge=1)
        assert isinstance(await anext(items), Chunk)
        await items.aclose()
        await asyncio.sleep(0.05)
        assert (await stream.call("echo", {"n": 1}, max_charge=1)).json() == {"n": 1}


async def test_what_was_abandoned_before_it_was_sent_is_never_sent() -> None:
    node = Node(echo)
    async with serving(node) as client, client.stream() as stream:
        await stream.call("echo", max_charge=1)
        waiting = stream.call("echo", max_charge=1)
        waiting.send(None)
        waiting.close()
        await stream.call("echo", max_charge=1)
    assert len(sent(node, 0)) == 2 and not any(frame.cancels for frame in node.links[0].frames)


async def test_closing_breaks_the_waiting_calls() -> None:
    async with serving(Node(lambda link: forever())) as client:
        async with client.stream() as stream:
            waiting = asyncio.create_task(stream.call("echo", max_charge=1))
            await asyncio.sleep(0.05)
        with pytest.raises(InvocationError, match="goes on at the node"):
            await waiting
        with pytest.raises(IntertieError, match="NODE_UNAVAILABLE: The stream is not open"):
            await stream.call("echo", max_charge=1)


async def test_a_silent_node_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "SWEEP_S", 0.02)
    monkeypatch.setattr(stream_module, "GRACE_S", 0.05)
    async with serving(Node(lambda link: forever())) as client, client.stream() as stream:
        with pytest.raises(InvocationError, match="DEADLINE_EXCEEDED"):
            await stream.call("echo", max_charge=1, timeout=0.05)
        with pytest.raises(InvocationError, match="DEADLINE_EXCEEDED"):
            await anext(stream.invoke("echo", max_charge=1, timeout=0.05))


def says(*events: InvocationEvent) -> Script:
    """A node that sends these of the id "?" to every invocation, then answers it."""

    async def script(link: Link) -> None:
        while True:
            for each in (await link.read()).invocations:
                for event in events:
                    mine = InvocationEvent()
                    mine.CopyFrom(event)
                    mine.id = each.id if event.id == "?" else event.id
                    await link.send(mine)
                await link.send(ended(each.id))

    return script


@pytest.mark.parametrize(
    "events",
    [
        [ended(new_id()), chunk("", 1, b""), InvocationEvent(id=new_id(), refused=Problem(reason="X"))],
        [InvocationEvent(id="?"), InvocationEvent(id="?", event=Event())],
        [InvocationEvent(id="?", event=Event(number=1)), chunk("?", 1, b"double")],
    ],
    ids=["unknown ids", "nothing said", "doubles"],
)
async def test_what_says_nothing_is_passed_over(events: list[InvocationEvent]) -> None:
    async with serving(Node(says(*events))) as client, client.stream() as stream:
        assert (await stream.call("echo", max_charge=1)).output == b"{}"
        assert [type(item) async for item in stream.invoke("echo", max_charge=1)] == [Ended]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (InvocationEvent(id="?", outcome=outcome(new_id())), "FRAME_MALFORMED"),
        (InvocationEvent(id="?", outcome=outcome("?", state=TaskState.TASK_STATE_WORKING)), "FRAME_MALFORMED"),
        (InvocationEvent(id="?", event=Event(gap=GapMessage(first=2, last=1))), "FRAME_MALFORMED"),
        (chunk("?", 2, b"x"), "EVENTS_GONE"),
        (chunk("?", 2**64 - 1, b"x"), "EVENTS_GONE"),
        (InvocationEvent(id="?", refused=Problem(reason="FROM_THE_FUTURE")), "FROM_THE_FUTURE"),
    ],
)
async def test_a_wrong_event_ends_its_own_invocation_alone(event: InvocationEvent, reason: str) -> None:
    node = Node(says(event))
    async with serving(node) as client, client.stream() as stream:
        with pytest.raises(InvocationError) as caught:
            await stream.call("echo", max_charge=1)
        assert caught.value.reason == reason
        with pytest.raises(InvocationError) as caught:
            await anext(stream.invoke("echo", max_charge=1))
        assert caught.value.reason == reason
    assert len(node.links) == 1


async def test_a_frame_that_is_none_ends_the_stream_by_name() -> None:
    async def script(link: Link) -> None:
        await link.read()
        await link.send_bytes(b"\xff\xff\xff")
        await forever()

    async with serving(Node(script)) as client, client.stream() as stream:
        with pytest.raises(InvocationError, match="FRAME_MALFORMED"):
            await stream.call("echo", max_charge=1)


async def test_a_node_that_ignores_credit_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "MAX_UNREAD_BYTES", 100_000)
    flood = [chunk("?", number, bytes(10_000)) for number in range(1, 30)]
    async with serving(Node(says(*flood))) as client, client.stream() as stream:
        with pytest.raises(InvocationError, match="PAYLOAD_TOO_LARGE"):
            await stream.call("echo", max_charge=1)
        items, taken = stream.invoke("echo", max_charge=1), list[InvocationItem]()
        taken.append(await anext(items))
        await asyncio.sleep(0.2)
        with pytest.raises(InvocationError, match="credit"):
            async for item in items:
                taken.append(item)
    assert len(taken) < 15


async def test_nothing_is_left_behind() -> None:
    async with serving(Node(echo)) as client:
        async with client.stream() as stream:
            await asyncio.gather(*(stream.call("echo", max_charge=1) for _ in range(200)))
        gc.collect()
        names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
        assert not any(name.startswith(CallStream.__name__) for name in names)
        assert not stream._open and not stream._outbox
