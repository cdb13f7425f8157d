"""Consumers that break off, read nothing, race, or answer what nobody asked: nothing is lost, nobody else waits."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.federation.stage import AFAR, DELAY, ECHO, GRIDS, Stage, outcome_despite, reply_to
from tests.kit.flood import COMMANDS
from tests.kit.live import Consumer, LiveNode, now_ms, refused, until

from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import task_pb2 as ts
from intertie_node.adapters.grpc import subscriptions

FLOOD = Path(__file__).parents[1] / "kit/flood.py"

pytestmark = pytest.mark.asyncio(loop_scope="module")


# -- streams ----------------------------------------------------------------------------------------


async def test_an_oversize_stream_frame(stage: Stage) -> None:
    stream = stage.consumer.stream()
    running = Consumer.request(DELAY, b'{"ms":100}')
    await stream.say(invocations=[running])
    await stream.say(invocations=[Consumer.request(ECHO, b" " * 300_000)])
    assert (await stream.error()).reason == "FRAME_TOO_LARGE"
    assert (await stage.consumer.call(running)).state == ts.TASK_STATE_COMPLETED


async def test_garbage_on_a_stream(stage: Stage) -> None:
    raw = stage.consumer.channel.stream_stream("/intertie.v1.InvocationService/Stream")
    call = raw(metadata=stage.consumer.metadata)
    await call.write(b"\xff\xff\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError):
        while await asyncio.wait_for(call.read(), 5) is not grpc.aio.EOF:
            pass
        raise grpc.aio.AioRpcError(await call.code(), grpc.aio.Metadata(), grpc.aio.Metadata())
    assert await call.code() is not grpc.StatusCode.OK


@GRIDS
async def test_an_abandoned_stream_is_taken_up_again(stage: Stage, grid: str) -> None:
    request = Consumer.request(
        f"{grid}.example/conformance/stream", b'{"chunks":60,"bytes":1000,"delay_ms":5}', max_charge=10_000
    )
    pieces: list[tuple[int, bytes]] = []
    for attempt in range(6):
        stream = stage.consumer.stream()
        after = pieces[-1][0] if pieces else 0
        if attempt == 0:
            await stream.say(invocations=[request])
        else:
            await stream.say(subscriptions=[iv.SubscribeRequest(id=request.id, after_seq=after)])
        ended = False
        while len(stream.chunks(request.id)) < 9 or attempt == 5:
            await stream.read()
            ended = any(item.HasField("outcome") for item in stream.items)
            if ended:
                break
        pieces += stream.chunks(request.id)
        stream.raw.cancel()
        if ended:
            break
        await asyncio.sleep(0.02)
    assert [number for number, _ in pieces] == list(range(1, 61))
    whole = b"".join(data for _, data in pieces)
    assert whole == (b"abcdefghijklmnopqrstuvwxyz" * 2400)[:60_000]
    assert (await stage.consumer.call(request)).receipt.charge >= 6_010


@GRIDS
async def test_a_slow_consumer_gets_every_byte_in_order(stage: Stage, grid: str) -> None:
    """Four MiB: they wait on the executor's disk, not in anybody's memory."""
    chunks, size = 256, 16_000
    stream = stage.consumer.stream()
    data = f'{{"chunks":{chunks},"bytes":{size}}}'.encode()
    request = Consumer.request(f"{grid}.example/conformance/stream", data, max_charge=10_000_000)
    await stream.say(invocations=[request])
    while not stream.chunks(request.id):
        await stream.read()
    executor = {"north": stage.north, "hub": stage.hub, "south": stage.south}[grid]
    table = executor.node.store
    key = await until("the work is found", lambda: _key(executor, request.id, grid), 5)
    await until("all is on the disk", lambda: len(table.events(key, 0, 1 << 30)) == chunks + 1, 30)
    await asyncio.sleep(0.3)
    for node in (stage.north, stage.hub, stage.south):
        for link in node.node.world.links.values():
            assert link.connection is None or link.connection._queued < 1 << 20
    read = [0]

    async def reader() -> None:
        while not any(item.HasField("outcome") for item in stream.items):
            await stream.read()
            read[0] = sum(len(piece) for _, piece in stream.chunks(request.id))

    task = asyncio.create_task(reader())
    await asyncio.sleep(0.2)
    assert 0 < read[0] <= 64 * 1024 + size
    given = 0
    while not task.done():
        if read[0] + 64 * 1024 > given:
            given += 300_000
            await stream.say(credits=[iv.StreamCredit(id=request.id, bytes=300_000)])
        await asyncio.sleep(0.01)
    await task
    pieces = stream.chunks(request.id)
    assert [number for number, _ in pieces] == list(range(1, chunks + 1))
    assert b"".join(piece for _, piece in pieces) == (b"abcdefghijklmnopqrstuvwxyz" * 160_000)[: chunks * size]
    outcome = await stream.outcome(request.id)
    assert outcome.state == ts.TASK_STATE_COMPLETED
    stream.raw.cancel()


def _key(executor: LiveNode, invocation: str, grid: str) -> str:
    """Key of the executor's invocation that works for a consumer's: the same id, or the newest behind a relay."""
    found = executor.node.world.invocations.values()
    streams = [inv for inv in found if inv.spec.offer.endswith("conformance/stream")]
    if grid != "south":
        streams = [inv for inv in streams if inv.spec.id == invocation]
    return max(streams, key=lambda inv: inv.spec.created_at).key if streams else ""


async def test_a_consumer_that_reads_nothing_is_cut(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives endless credit on a stream and takes nothing."""
    monkeypatch.setattr(subscriptions, "MAX_QUEUED_BYTES", 8 << 20)
    stream = stage.consumer.stream()
    requests = [
        Consumer.request("conformance/stream", b'{"chunks":1000,"bytes":16000}', max_charge=4_000_000) for _ in range(2)
    ]
    await stream.say(invocations=requests, credits=[])
    await stream.say(credits=[iv.StreamCredit(id=request.id, bytes=1 << 40) for request in requests])
    while True:
        states = [await stage.consumer.get(request.id) for request in requests]
        if all(status.state == ts.TASK_STATE_COMPLETED for status in states):
            break
        await stage.check_calm()
    error = await stream.error()
    assert error.reason == "SLOW_PEER"
    again = stage.consumer.stream()
    await again.say(subscriptions=[iv.SubscribeRequest(id=requests[0].id, after_seq=999)])
    await again.outcome(requests[0].id)
    again.raw.cancel()


async def test_a_flood_of_commands_waits_at_the_consumer(stage: Stage) -> None:
    """However fast they come, from a process of its own: few wait here, and others are served."""
    engine, token = stage.north.node.engine, await stage.north.node.create_token("erin", 10_000)
    command = (sys.executable, FLOOD, stage.north.loopback, token, "12")
    flooder = await asyncio.create_subprocess_exec(*command, env={"PYTHONPATH": os.pathsep.join(sys.path)})
    steps, longest = engine.steps, 0
    try:
        while engine.steps < steps + 10 * COMMANDS:
            longest = max(longest, len(engine.turns.inbox))
            assert (await stage.consumer.call(Consumer.request(ECHO))).state == ts.TASK_STATE_COMPLETED
    finally:
        flooder.kill()
        await flooder.wait()
    assert longest < 2 * COMMANDS


async def test_a_stream_whose_token_is_revoked_begins_nothing_more(stage: Stage) -> None:
    token = await stage.north.node.create_token("frank", 10_000)
    async with stage.north.consumer(token) as frank:
        stream, first, second = frank.stream(), Consumer.request(ECHO), Consumer.request(ECHO)
        await stream.say(invocations=[first])
        assert (await stream.outcome(first.id)).state == ts.TASK_STATE_COMPLETED
        account = stage.north.node.world.books.accounts["frank"]
        account.revoked = now_ms()
        await stream.say(invocations=[second])
        (refusal,) = await stream.read()
        assert refusal.id == second.id
        assert refusal.refused.reason == "UNAUTHENTICATED"
        assert (account.reserved, account.spent) == (0, 10)
        stream.raw.cancel()


@AFAR
async def test_chatter_is_dropped_before_it_fills_memory(stage: Stage, grid: str) -> None:
    stream = stage.consumer.stream()
    request = Consumer.request(f"{grid}.example/chatty", b'{"reports":20000}')
    await stream.say(invocations=[request])
    await until("the work is done", lambda: _state(stage, request.id) in (0, ts.TASK_STATE_COMPLETED), 30)
    outcome = await stream.outcome(request.id)
    assert outcome.state == ts.TASK_STATE_COMPLETED
    assert sum(item.ByteSize() for item in stream.items) < 24 << 20
    stream.raw.cancel()


def _state(stage: Stage, invocation: str) -> int:
    inv = stage.north.node.world.invocations.get(f"{invocation}@alice")
    return inv.state if inv is not None else 0


# -- stopping and asking ----------------------------------------------------------------------------


@GRIDS
async def test_cancel_races_completion(stage: Stage, grid: str) -> None:
    spent = stage.account.spent
    ends: set[int] = set()
    for number in range(30):
        request = Consumer.request(f"{grid}.example/{DELAY}", b'{"ms":%d}' % (number % 10))
        call = asyncio.create_task(stage.consumer.call(request))
        await asyncio.sleep(random.uniform(0, 0.015))
        wishes = [
            stage.consumer.invocations.Cancel(iv.CancelRequest(id=request.id), metadata=stage.consumer.metadata)
            for _ in range(3)
        ]
        await asyncio.gather(*(asyncio.ensure_future(_quiet(wish)) for wish in wishes))
        outcome = await call
        ends.add(outcome.state)
        costs = {ts.TASK_STATE_COMPLETED: 10, ts.TASK_STATE_CANCELED: 5, ts.TASK_STATE_REJECTED: 0}
        assert outcome.receipt.charge == costs[outcome.state]
        assert (await stage.consumer.get(request.id)).state == outcome.state
        spent += outcome.receipt.charge
    assert stage.account.spent == spent


async def _quiet(call: Any) -> None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND  # it came before the call did


@GRIDS
async def test_duplicate_and_false_replies(stage: Stage, grid: str) -> None:
    stream = stage.consumer.stream()
    request = Consumer.request(f"{grid}.example/conformance/ask", b'{"prompt":"who?"}')
    await stream.say(invocations=[request])
    while not any(item.event.HasField("input_request") for item in stream.items):
        await stream.read()
    reply = reply_to(request.id, b'{"it":"me"}')
    for false in (7, 0):
        sent = stage.consumer.invocations.SendInput(
            reply_to(request.id, b'{"it":"nobody"}', false), metadata=stage.consumer.metadata
        )
        assert (await refused(sent)).reason == "INVALID_ARGUMENT"
    assert (await stage.consumer.get(request.id)).state == ts.TASK_STATE_INPUT_REQUIRED
    await stream.say(inputs=[reply, reply, reply_to(request.id, b'{"it":"late"}')])
    outcome = await outcome_despite(stream, request.id)
    assert outcome.output.data == b'{"it":"me"}'
    assert outcome.receipt.charge == 10
    error = await refused(stage.consumer.invocations.SendInput(reply, metadata=stage.consumer.metadata))
    assert error.reason in ("INVALID_ARGUMENT", "NOT_FOUND")
    stream.raw.cancel()


async def test_a_reply_that_is_no_answer_fails_by_name(stage: Stage) -> None:
    stream = stage.consumer.stream()
    request = Consumer.request("south.example/conformance/ask")
    await stream.say(invocations=[request])
    while not any(item.event.HasField("input_request") for item in stream.items):
        await stream.read()
    await stream.say(inputs=[reply_to(request.id, b"no json")])
    outcome = await stream.outcome(request.id)
    assert (outcome.state, outcome.problem.reason) == (ts.TASK_STATE_FAILED, "INPUT_INVALID")
    stream.raw.cancel()


async def test_an_oversize_reply_is_refused(stage: Stage) -> None:
    stream = stage.consumer.stream()
    request = Consumer.request("south.example/conformance/ask")
    await stream.say(invocations=[request])
    while not any(item.event.HasField("input_request") for item in stream.items):
        await stream.read()
    large = reply_to(request.id, b'{"x":"' + b"x" * 100_000 + b'"}')
    sent = stage.consumer.invocations.SendInput(large, metadata=stage.consumer.metadata)
    assert (await refused(sent)).reason == "INPUT_TOO_LARGE"
    assert stage.north.is_open(stage.hub.node.world.fingerprint)
    await stream.say(inputs=[reply_to(request.id, b"{}")])
    assert (await outcome_despite(stream, request.id)).state == ts.TASK_STATE_COMPLETED
    stream.raw.cancel()
