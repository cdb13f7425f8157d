"""CallStream: frames, reopening, events and credit against a scripted node (real sockets)."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.intertie.scripted_node import (
    Link,
    Node,
    chunk,
    echo,
    ended,
    forever,
    outcome,
    progress,
    sent,
    serving,
    working,
)

from intertie.client import Chunk, Ended, InvocationError, Progress, new_id
from intertie.client.outbox import Outbox
from intertie.client.stream import CREDIT_STEP_BYTES
from intertie.errors import IntertieError
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event
from intertie.v1.invocation_pb2 import InvocationEvent
from intertie.v1.task_pb2 import TaskState


async def test_calls_that_gather_go_in_one_frame() -> None:
    node = Node(echo)
    async with serving(node) as client, client.stream() as stream:
        await stream.call("echo", max_charge=1)
        results = await asyncio.gather(*(stream.call("echo", {"n": n}, max_charge=1) for n in range(500)))
    assert [result.json()["n"] for result in results] == list(range(500))
    frames = node.links[0].frames
    assert len(frames[0].invocations) == 1
    assert len(frames) <= 3, [len(frame.invocations) for frame in frames]


async def test_a_lone_call_never_waits() -> None:
    async with serving(Node(echo)) as client, client.stream() as stream:
        await stream.call("echo", max_charge=1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(50):
            await stream.call("echo", max_charge=1)
        assert (loop.time() - began) / 50 < 0.02


async def test_no_frame_exceeds_its_limit_and_nothing_too_large_is_sent() -> None:
    node = Node(echo)
    async with serving(node) as client, client.stream() as stream:
        results = await asyncio.gather(*(stream.call("echo", b"x" * 16_384, max_charge=1) for _ in range(60)))
        assert all(len(result.output) == 16_384 for result in results)
        with pytest.raises(IntertieError, match="INPUT_TOO_LARGE"):
            await stream.call("echo", b"x" * 262_144, max_charge=1)
    assert max(frame.ByteSize() for frame in node.links[0].frames) <= 262_144
    assert len(sent(node, 0)) == 60


async def test_one_id_is_open_once() -> None:
    async with serving(Node(lambda link: forever())) as client, client.stream() as stream:
        id = new_id()
        first = asyncio.create_task(stream.call("echo", max_charge=1, id=id))
        await asyncio.sleep(0)
        with pytest.raises(IntertieError, match="ID_CONFLICT"):
            await stream.call("echo", max_charge=1, id=id)
        first.cancel()


async def test_failures_and_refusals_reach_their_own_call() -> None:
    async def script(link: Link) -> None:
        frame = await link.read()
        failed, refused, fine = frame.invocations
        bad = outcome(failed.id, state=TaskState.TASK_STATE_FAILED)
        bad.problem.CopyFrom(Problem(reason="EXECUTION_LOST", message="m"))
        await link.send(
            InvocationEvent(id=failed.id, outcome=bad),
            InvocationEvent(id=refused.id, refused=Problem(reason="CREDIT_LIMIT", metadata={"limit": "7"})),
            ended(fine.id),
        )
        await forever()

    async with serving(Node(script)) as client, client.stream() as stream:
        calls = (stream.call("echo", max_charge=1) for _ in range(3))
        lost, refused, fine = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(lost, InvocationError) and lost.reason == "EXECUTION_LOST" and lost.result is not None
    assert isinstance(refused, InvocationError) and refused.metadata == {"limit": "7"} and refused.result is None
    assert not isinstance(fine, BaseException) and fine.state == "COMPLETED"


async def test_a_final_error_of_the_stream_ends_everything_at_once() -> None:
    async def script(link: Link) -> None:
        await link.read()
        await link.abort(IntertieError("UNAUTHENTICATED", "The token is revoked."))

    node = Node(script)
    async with serving(node) as client, client.stream() as stream:
        errors = await asyncio.gather(*(stream.call("echo", max_charge=1) for _ in range(3)), return_exceptions=True)
        assert [error.reason for error in errors if isinstance(error, InvocationError)] == ["UNAUTHENTICATED"] * 3
        with pytest.raises(InvocationError, match="UNAUTHENTICATED"):
            await stream.call("echo", max_charge=1)
    assert len(node.links) == 2


async def test_streamed_output_of_a_call_is_gathered_once() -> None:
    async def first(link: Link) -> None:
        invocation = await link.invocation()
        await link.send(working(invocation.id, 1), chunk(invocation.id, 2, b"ti"))
        await asyncio.sleep(0.05)
        await link.break_off()

    async def second(link: Link) -> None:
        (subscription,) = (await link.read()).subscriptions
        assert subscription.after_seq == 2
        id = subscription.id
        await link.send(chunk(id, 2, b"ti"), progress(id, 1), chunk(id, 3, b"de"), ended(id, b""))
        await forever()

    async with serving(Node(first, second)) as client, client.stream() as stream:
        assert (await stream.call("echo", max_charge=1)).text == "tide"


async def test_calls_survive_a_broken_stream_without_loss_or_double() -> None:
    done: dict[str, int] = {}

    async def flaky(link: Link) -> None:
        """Do everything, answer half, and break."""
        frame = await link.read()
        for each in frame.invocations:
            done.setdefault(each.id, len(done))
        answers = [ended(each.id, b"%d" % done[each.id]) for each in frame.invocations]
        await link.send(*answers[: len(answers) // 2 + 1])
        await link.break_off()

    node = Node(flaky)
    async with serving(node) as client, client.stream() as stream:
        results = await asyncio.gather(*(stream.call("echo", {"n": n}, max_charge=1) for n in range(100)))
    assert sorted(int(result.text) for result in results) == list(range(100))
    assert len(done) == 100 and {result.id for result in results} == set(done)
    assert len(node.links) > 3
    first = {each.id: each for frame in node.links[0].frames for each in frame.invocations}
    for link in node.links[1:]:
        assert all(first[each.id] == each for frame in link.frames for each in frame.invocations)


async def test_a_node_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intertie.client.retries.RETRIES", 3)
    monkeypatch.setattr("intertie.client.retries._CAP_S", 0.05)

    async def script(link: Link) -> None:
        await link.break_off()

    node = Node(script)
    async with serving(node) as client, client.stream() as stream:
        with pytest.raises(InvocationError, match="NODE_UNAVAILABLE") as caught:
            await stream.call("echo", max_charge=1)
        assert len(node.links) == 4 and caught.value.id
        node.scripts = [echo]
        await stream.call("echo", max_charge=1)


async def test_a_stream_that_ends_politely_is_opened_again() -> None:
    async def once(link: Link) -> None:
        frame = await link.read()
        await link.send(ended(frame.invocations[0].id))

    node = Node(once)
    async with serving(node) as client, client.stream() as stream:
        await asyncio.gather(*(stream.call("echo", max_charge=1) for _ in range(4)))
    assert len(node.links) == 4


async def test_events_resume_after_the_last_number() -> None:
    async def first(link: Link) -> None:
        invocation = await link.invocation()
        await link.send(*(chunk(invocation.id, number, b"%d" % number) for number in (1, 2, 3)))
        await asyncio.sleep(0.05)
        await link.break_off()

    async def second(link: Link) -> None:
        (subscription,) = (await link.read()).subscriptions
        await link.send(*(chunk(subscription.id, number, b"%d" % number) for number in (2, 3, 4)))
        await link.send(ended(subscription.id, b""))
        await forever()

    node = Node(first, second)
    async with serving(node) as client, client.stream() as stream:
        items = [item async for item in stream.invoke("echo", max_charge=1)]
    assert [item.data for item in items[:-1] if isinstance(item, Chunk)] == [b"1", b"2", b"3", b"4"]
    assert isinstance(items[-1], Ended)
    assert [subscription.after_seq for subscription in node.links[1].frames[0].subscriptions] == [3]


async def test_events_unread_at_a_break_are_kept_and_the_new_window_comes_after_them() -> None:
    """A slow reader never holds more than one window, however often the connection breaks."""
    size = CREDIT_STEP_BYTES

    async def first(link: Link) -> None:
        invocation = (await link.read()).invocations[0]
        await link.send(*(chunk(invocation.id, number, bytes(size)) for number in (1, 2, 3)))
        await asyncio.sleep(0.05)
        await link.break_off()

    async def second(link: Link) -> None:
        frame = await link.read()
        assert [each.offer for each in frame.invocations] == ["other"] and not frame.subscriptions
        reopened.set()
        frame = await link.read()
        assert [each.after_seq for each in frame.subscriptions] == [3] and not frame.credits
        await link.send(chunk(frame.subscriptions[0].id, 4, b"x"), ended(frame.subscriptions[0].id))
        await forever()

    reopened = asyncio.Event()
    async with serving(Node(first, second)) as client, client.stream() as stream:
        items = stream.invoke("echo", max_charge=1)
        assert isinstance(await anext(items), Chunk)
        other = asyncio.create_task(stream.call("other", max_charge=1))
        await reopened.wait()
        rest = [item async for item in items]
        other.cancel()
    assert [item.number for item in rest if isinstance(item, Chunk)] == [2, 3, 4]


async def test_credit_is_returned_as_events_are_consumed() -> None:
    step, returned = CREDIT_STEP_BYTES, []

    async def script(link: Link) -> None:
        id = (await link.invocation()).id
        events = [chunk(id, number, bytes(step)) for number in (1, 2)]
        await link.send(*events, progress(id, 1))
        idle.set()
        for event in events:
            returned.append(await link.credit(id) == event.event.ByteSize())
        await link.send(ended(id))
        await forever()

    idle = asyncio.Event()
    node = Node(script)
    async with serving(node) as client, client.stream() as stream:
        items = stream.invoke("echo", max_charge=1)
        first = await anext(items)
        await idle.wait()
        await asyncio.sleep(0.05)
        assert isinstance(first, Chunk) and len(node.links[0].frames) == 2, "only what was consumed is returned"
        assert [type(item) async for item in items] == [Chunk, Progress, Ended]
    assert returned == [True, True]


def test_credit_of_an_old_connection_is_void() -> None:
    outbox = Outbox()
    outbox.credit("a", 1)
    outbox.credit("a", 2)
    frame = outbox.frame()
    assert frame is not None and [(credit.id, credit.bytes) for credit in frame.credits] == [("a", 3)]
    outbox.credit("a", 4)
    outbox.restart([])
    assert not outbox and outbox.frame() is None


async def test_a_call_and_unknown_events_return_credit_at_once() -> None:
    async def script(link: Link) -> None:
        id = (await link.invocation()).id
        await link.send(*(chunk(id, number, bytes(1000)) for number in range(1, 18)))
        assert CREDIT_STEP_BYTES <= await link.credit(id) < CREDIT_STEP_BYTES + 2000
        await link.send(ended(id, b""))
        id = (await link.invocation()).id
        await link.send(*(InvocationEvent(id=id, event=Event(number=n)) for n in range(1, 10_000)))
        assert await link.credit(id) >= CREDIT_STEP_BYTES
        await link.send(ended(id))
        await forever()

    async with serving(Node(script)) as client, client.stream() as stream:
        assert len((await stream.call("echo", max_charge=1)).output) == 17_000
        assert [type(item) async for item in stream.invoke("echo", max_charge=1)] == [Ended]


async def test_a_slow_reader_gets_the_newest_progress() -> None:
    async def script(link: Link) -> None:
        id = (await link.invocation()).id
        await link.send(*(progress(id, done) for done in range(1000)), chunk(id, 1, b"x"), progress(id, 5), ended(id))
        await forever()

    async with serving(Node(script)) as client, client.stream() as stream:
        items = [item async for item in stream.invoke("echo", max_charge=1)]
    assert [item.done for item in items if isinstance(item, Progress)] in ([999, 5], [0, 999, 5])
