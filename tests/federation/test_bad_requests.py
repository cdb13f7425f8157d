"""The consumer face under bad input: every refusal has its name, costs nothing, and disturbs nobody."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tests.kit.live import BUDGET, Consumer, LiveNode, Stream, free_ports, new_id, now_ms, peer, refused, until

from intertie.errors import IntertieError
from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import task_pb2 as ts
from intertie.v1.event_pb2 import InputReply
from intertie_node import config
from intertie_node.adapters.grpc import subscriptions

pytestmark = pytest.mark.asyncio(loop_scope="module")
ECHO, DELAY = "conformance/echo", "conformance/delay"
OFFERS = ("raises", "hangs", "stubborn", "greedy", "negative", "chatty", "endless", "wide")
MCP = Path(__file__).parents[1] / "unit/node/backends/small_mcp_server.py"
DAY_MS = 86_400_000


class Stage:
    """Three grids in a row, and a consumer at the first."""

    def __init__(self, nodes: tuple[LiveNode, LiveNode, LiveNode], consumer: Consumer) -> None:
        self.north, self.hub, self.south = nodes
        self.consumer = consumer

    @property
    def account(self) -> Any:
        return self.north.node.world.books.accounts["alice"]

    async def check_calm(self) -> None:
        """Everybody serves, nothing is reserved that does not run, and books agree with ledgers."""
        for name in ("north", "hub", "south"):
            outcome = await self.consumer.call(Consumer.request(f"{name}.example/{ECHO}"))
            assert outcome.state == ts.TASK_STATE_COMPLETED
        for node in (self.north, self.hub, self.south):
            node.check()
            node.check_books()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("requests")
    mcp = f'[[backend]]\ntype = "mcp"\nname = "small"\ncommand = ["{sys.executable}", "{MCP}"]\n'
    for tool in ("add", "crash", "hang"):
        mcp += f'[backend.tools.{tool}]\noffer = "{tool}"\nprices = {{ order = 1 }}\n'
    north = LiveNode("north.example", folder / "n", offers=OFFERS, extra=mcp)
    hub = LiveNode("hub.example", folder / "h", relay=True)
    south = LiveNode("south.example", folder / "s", offers=OFFERS)
    for node in (north, hub, south):
        await node.start()
    await peer(north, hub)
    await peer(hub, south, claim_window_ms=50_000)
    for ref in (f"hub.example/{ECHO}", "south.example/raises"):
        await north.knows(ref)
    async with north.consumer() as consumer:
        yield Stage((north, hub, south), consumer)
    for node in (north, hub, south):
        await node.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(module_stage: Stage) -> AsyncIterator[Stage]:
    yield module_stage
    nodes = (module_stage.north, module_stage.hub, module_stage.south)
    await until("nothing runs", lambda: not any(node.node.runner.running for node in nodes))
    await until("nothing is reserved", lambda: module_stage.account.reserved == 0)
    await module_stage.check_calm()


GRIDS = pytest.mark.parametrize("grid", ["north", "hub", "south"])
AFAR = pytest.mark.parametrize("grid", ["north", "south"])


# -- who asks ------------------------------------------------------------------------------------------


async def test_tokens(stage: Stage) -> None:
    request = Consumer.request(ECHO)
    other = await stage.north.node.create_token("mallory", 1_000)
    async with stage.north.consumer(other) as mallory:
        assert (await mallory.call(Consumer.request(ECHO))).state == ts.TASK_STATE_COMPLETED
    account = stage.north.node.world.books.accounts["mallory"]
    account.revoked = now_ms()
    for token in ("", "unknown", other, stage.north.token + "x", stage.north.token.upper()):
        async with stage.north.consumer(token) as consumer:
            assert (await refused(consumer.call(request))).reason == "UNAUTHENTICATED"
            stream = consumer.stream()
            assert (await stream.error()).reason == "UNAUTHENTICATED"
            search = consumer.catalog.Search(ct.SearchRequest(), metadata=consumer.metadata)
            assert (await refused(search)).reason == "UNAUTHENTICATED"
            watch = consumer.invocations.Subscribe(iv.SubscribeRequest(id=new_id()), metadata=consumer.metadata)
            assert (await refused(watch.read())).reason == "UNAUTHENTICATED"
    assert (account.reserved, account.spent) == (0, 10)


async def test_plaintext_is_for_loopback_alone(stage: Stage, tmp_path: Path) -> None:
    async with Consumer(grpc.aio.insecure_channel(stage.north.public), stage.north.token) as plain:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await plain.call(Consumer.request(ECHO), seconds=5)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    async with stage.north.secure_consumer() as secure:
        assert (await secure.call(Consumer.request(ECHO))).state == ts.TASK_STATE_COMPLETED
    for address in (f"0.0.0.0:{free_ports(1)[0]}", f"[::]:{free_ports(1)[0]}", f"192.0.2.1:{free_ports(1)[0]}"):
        with pytest.raises((IntertieError, config.ConfigError), match="loopback"):
            await stage.north.node.servers.start_loopback(address)


async def test_another_accounts_invocations_are_unknown(stage: Stage) -> None:
    request = Consumer.request(ECHO)
    await stage.consumer.call(request)
    token = await stage.north.node.create_token("bob", 1_000)
    async with stage.north.consumer(token) as bob:
        assert (await refused(bob.get(request.id))).reason == "NOT_FOUND"
        watch = bob.invocations.Subscribe(iv.SubscribeRequest(id=request.id), metadata=bob.metadata)
        assert (await refused(watch.read())).reason == "NOT_FOUND"
        mine = await bob.call(request)
        assert mine.receipt.charge == 10
    assert stage.north.node.world.books.accounts["bob"].spent == 10


# -- what is asked -------------------------------------------------------------------------------------

BAD_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "id is no uuid": ({"id": "nonsense"}, "ID_INVALID"),
    "no id": ({"id": ""}, "ID_INVALID"),
    "id of version 4": ({"id": "0190f000-0000-4000-8000-000000000000"}, "ID_INVALID"),
    "upper-case id": ({"id": "0190F000-0000-7000-8000-0000000000AB"}, "ID_INVALID"),
    "id of the year 2004": ({"id": "00ff0000-0000-7000-8000-000000000000"}, "ID_EXPIRED"),
    "id of tomorrow": ({"id": "tomorrow"}, "ID_INVALID"),
    "id of eight days ago": ({"id": "last week"}, "ID_EXPIRED"),
    "unknown offer": ({"offer": "north.example/nothing"}, "OFFER_UNKNOWN"),
    "offer of nobody": ({"offer": "nobody.example/echo"}, "OFFER_UNKNOWN"),
    "no offer": ({"offer": ""}, "OFFER_UNKNOWN"),
    "negative maximum": ({"max_charge": -1}, "AMOUNT_INVALID"),
    "negative first grant": ({"first_grant": -1}, "AMOUNT_INVALID"),
    "first grant above the maximum": ({"first_grant": 1_001}, "AMOUNT_INVALID"),
    "negative timeout": ({"timeout_ms": -5}, "DEADLINE_TOO_LONG"),
    "timeout of a year": ({"timeout_ms": 365 * DAY_MS}, "DEADLINE_TOO_LONG"),
    "timeout beyond time": ({"timeout_ms": 2**63 - 1}, "DEADLINE_TOO_LONG"),
    "too little for one order": ({"max_charge": 9}, "BUDGET_EXCEEDED"),
    "nothing at all": ({"max_charge": 0}, "BUDGET_EXCEEDED"),
    "more than the budget": ({"max_charge": BUDGET + 1}, "BUDGET_EXCEEDED"),
    "more than there is": ({"max_charge": 2**63 - 1}, "BUDGET_EXCEEDED"),
    "place not allowed": ({"policy": {"places": ["AQ"]}}, "POLICY_VIOLATION"),
    "input too large": ({"data": b" " * 16_385}, "INPUT_TOO_LARGE"),
}
BAD_INPUTS: dict[str, bytes] = {
    "no json": b"\xff\xfe",
    "empty": b"",
    "another type": b'{"ms": "1"}',
    "missing": b"{}",
    "more than asked": b'{"ms": 1, "x": 2}',
    "out of range": b'{"ms": -1}',
    "a fraction": b'{"ms": 1.5}',
    "too deep": b'{"ms": ' + b"[" * 500 + b"]" * 500 + b"}",
    "not an object": b"7",
    "huge number": b'{"ms": 1' + b"0" * 400 + b"}",
}


@AFAR
@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_bad_request(stage: Stage, grid: str, name: str) -> None:
    fields, reason = BAD_REQUESTS[name]
    times = {"tomorrow": now_ms() + DAY_MS, "last week": now_ms() - 8 * DAY_MS}
    changed = {**fields, **({"id": new_id(times[fields["id"]])} if fields.get("id") in times else {})}
    if name in ("more than there is", "more than the budget") and grid == "south":
        reason = "CREDIT_LIMIT"
    spent = stage.account.spent
    request = Consumer.request(**{"offer": f"{grid}.example/{ECHO}", **changed})
    assert (await refused(stage.consumer.call(request))).reason == reason
    stream = stage.consumer.stream()
    await stream.say(invocations=[request])
    items = await stream.read()
    assert [(item.id, item.refused.reason) for item in items] == [(request.id, reason)]
    await stream.raw.done_writing()
    assert (stage.account.spent, stage.account.reserved) == (spent, 0)
    if "id" not in fields:
        assert (await refused(stage.consumer.get(request.id))).reason == "NOT_FOUND"


@AFAR
@pytest.mark.parametrize("name", BAD_INPUTS)
async def test_input_that_fails_its_schema(stage: Stage, grid: str, name: str) -> None:
    """The consumer's own grid refuses what is its own offer; another origin rejects, and nothing is charged."""
    request = Consumer.request(f"{grid}.example/{DELAY}", BAD_INPUTS[name])
    if grid == "north":
        error = await refused(stage.consumer.call(request))
        assert error.reason == "INPUT_INVALID"
    else:
        outcome = await stage.consumer.call(request)
        assert outcome.state == ts.TASK_STATE_REJECTED
        assert outcome.problem.reason == "INPUT_INVALID"
        assert outcome.receipt.charge == 0


async def test_oversize_calls_end_at_the_transport(stage: Stage) -> None:
    request = Consumer.request(ECHO, b" " * (5 << 20))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.consumer.call(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_pages_out_of_range(stage: Stage) -> None:
    calls = stage.consumer
    for request in (
        ct.SearchRequest(page_size=101),
        ct.SearchRequest(text="x" * 257),
        ct.SearchRequest(page_token="§"),
    ):
        assert (await refused(calls.catalog.Search(request, metadata=calls.metadata))).reason == "INVALID_ARGUMENT"
    listing = calls.invocations.List(iv.ListRequest(page_size=2**32 - 1), metadata=calls.metadata)
    assert (await refused(listing)).reason == "INVALID_ARGUMENT"
    nothing = calls.catalog.Get(ct.CatalogServiceGetRequest(ref="x/y"), metadata=calls.metadata)
    assert (await refused(nothing)).reason == "OFFER_UNKNOWN"
    for states in ([99], [-1]):
        page = await calls.invocations.List(iv.ListRequest(states=states), metadata=calls.metadata)
        assert not page.invocations


async def test_commands_for_what_does_not_exist(stage: Stage) -> None:
    calls, unknown = stage.consumer, new_id()
    assert (await refused(calls.get(unknown))).reason == "NOT_FOUND"
    cancel = calls.invocations.Cancel(iv.CancelRequest(id=unknown), metadata=calls.metadata)
    assert (await refused(cancel)).reason == "NOT_FOUND"
    reply = calls.invocations.SendInput(iv.SendInputRequest(id=unknown), metadata=calls.metadata)
    assert (await refused(reply)).reason == "NOT_FOUND"
    stream = calls.stream()
    await stream.say(
        subscriptions=[iv.SubscribeRequest(id=unknown, after_seq=2**64 - 1)],
        inputs=[iv.SendInputRequest(id=unknown)],
        cancels=[iv.CancelRequest(id=unknown)],
        credits=[iv.StreamCredit(id=unknown, bytes=-(2**63)), iv.StreamCredit(id="", bytes=2**63 - 1)],
    )
    while len(stream.items) < 3:
        await stream.read()
    assert {item.refused.reason for item in stream.items} == {"NOT_FOUND"}
    stream.raw.cancel()


# -- the same id ---------------------------------------------------------------------------------------


@GRIDS
async def test_replays_cost_once_however_they_race(stage: Stage, grid: str) -> None:
    spent = stage.account.spent
    for _ in range(10):
        request = Consumer.request(f"{grid}.example/{ECHO}", b'{"n":1}')
        calls = [asyncio.create_task(stage.consumer.call(request)) for _ in range(8)]
        for _ in range(8):
            await asyncio.sleep(random.uniform(0, 0.004))
            calls.append(asyncio.create_task(stage.consumer.call(request)))
        outcomes = await asyncio.gather(*calls)
        assert {outcome.SerializeToString(deterministic=True) for outcome in outcomes} == {
            outcomes[0].SerializeToString(deterministic=True)
        }
        assert outcomes[0].output.data == b'{"n":1}'
        spent += outcomes[0].receipt.charge
    assert stage.account.spent == spent


@GRIDS
async def test_another_request_under_the_same_id(stage: Stage, grid: str) -> None:
    request = Consumer.request(f"{grid}.example/{DELAY}", b'{"ms":150}')
    call = asyncio.create_task(stage.consumer.call(request))
    await asyncio.sleep(0.05)
    other = iv.Invocation()
    other.CopyFrom(request)
    other.max_charge += 1
    assert (await refused(stage.consumer.call(other))).reason == "ID_CONFLICT"
    outcome = await call
    assert (await refused(stage.consumer.call(other))).reason == "ID_CONFLICT"
    traced = iv.Invocation()
    traced.CopyFrom(request)
    traced.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert await stage.consumer.call(traced) == outcome


async def test_the_same_id_twice_on_one_stream(stage: Stage) -> None:
    """One set of events, one outcome; a conflict says so and the first one goes on."""
    stream = stage.consumer.stream()
    request = Consumer.request("conformance/stream", b'{"chunks":20,"bytes":100,"delay_ms":10}')
    other = Consumer.request("conformance/stream", b'{"chunks":1,"bytes":1}', id=request.id)
    await stream.say(invocations=[request, request, other])
    outcome = await _outcome_despite(stream, request.id)
    assert outcome.state == ts.TASK_STATE_COMPLETED
    await stream.raw.done_writing()
    assert [number for number, _ in stream.chunks(request.id)] == list(range(1, 21))
    assert [item.refused.reason for item in stream.items if item.HasField("refused")] == ["ID_CONFLICT"]
    assert len([item for item in stream.items if item.HasField("outcome")]) == 1
    assert await asyncio.wait_for(stream.raw.code(), 5) is grpc.StatusCode.OK


async def _outcome_despite(stream: Stream, invocation: str) -> iv.Outcome:
    while True:
        for item in stream.items:
            if item.HasField("outcome") and item.id == invocation:
                return item.outcome
        await stream.read()


# -- streams -------------------------------------------------------------------------------------------


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


# -- stopping and asking -------------------------------------------------------------------------------


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
    reply = _reply(request.id, b'{"it":"me"}')
    for false in (7, 0):
        sent = stage.consumer.invocations.SendInput(
            _reply(request.id, b'{"it":"nobody"}', false), metadata=stage.consumer.metadata
        )
        assert (await refused(sent)).reason == "INVALID_ARGUMENT"
    assert (await stage.consumer.get(request.id)).state == ts.TASK_STATE_INPUT_REQUIRED
    await stream.say(inputs=[reply, reply, _reply(request.id, b'{"it":"late"}')])
    outcome = await _outcome_despite(stream, request.id)
    assert outcome.output.data == b'{"it":"me"}'
    assert outcome.receipt.charge == 10
    error = await refused(stage.consumer.invocations.SendInput(reply, metadata=stage.consumer.metadata))
    assert error.reason in ("INVALID_ARGUMENT", "NOT_FOUND")
    stream.raw.cancel()


def _reply(invocation: str, data: bytes, request: int = 1) -> iv.SendInputRequest:
    body = InputReply(request=request, payload={"media_type": "application/json", "data": data}, id=new_id())
    return iv.SendInputRequest(id=invocation, reply=body)


async def test_a_reply_that_is_no_answer_fails_by_name(stage: Stage) -> None:
    stream = stage.consumer.stream()
    request = Consumer.request("south.example/conformance/ask")
    await stream.say(invocations=[request])
    while not any(item.event.HasField("input_request") for item in stream.items):
        await stream.read()
    await stream.say(inputs=[_reply(request.id, b"no json")])
    outcome = await stream.outcome(request.id)
    assert (outcome.state, outcome.problem.reason) == (ts.TASK_STATE_FAILED, "INPUT_INVALID")
    stream.raw.cancel()


async def test_an_oversize_reply_is_refused(stage: Stage) -> None:
    stream = stage.consumer.stream()
    request = Consumer.request("south.example/conformance/ask")
    await stream.say(invocations=[request])
    while not any(item.event.HasField("input_request") for item in stream.items):
        await stream.read()
    large = _reply(request.id, b'{"x":"' + b"x" * 100_000 + b'"}')
    sent = stage.consumer.invocations.SendInput(large, metadata=stage.consumer.metadata)
    assert (await refused(sent)).reason == "INPUT_TOO_LARGE"
    assert stage.north.is_open(stage.hub.node.world.fingerprint)
    await stream.say(inputs=[_reply(request.id, b"{}")])
    assert (await _outcome_despite(stream, request.id)).state == ts.TASK_STATE_COMPLETED
    stream.raw.cancel()


# -- backends ------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[str, bytes, str, int]] = {
    "raises": ("raises", b"{}", "EXECUTION_FAILED", 5),
    "hangs": ("hangs", b"{}", "DEADLINE_EXCEEDED", 5),
    "stubborn": ("stubborn", b"{}", "DEADLINE_EXCEEDED", 2),
    "uncountable and priced": ("greedy", b'{"unit":"sim.step"}', "GRANT_EXHAUSTED", 2),
    "uncountable and free": ("greedy", b'{"unit":"rag.query"}', "AMOUNT_OVERFLOW", 2),
    "less than nothing": ("negative", b"{}", "INVALID_ARGUMENT", 2),
    "uncountable by price": (
        "conformance/meter",
        b'{"usage":{"rag.query":9223372036854775807}}',
        "GRANT_EXHAUSTED",
        2,
    ),
    "fails as asked": ("conformance/fail", b'{"steps":7}', "EXECUTION_FAILED", 9),
}


@AFAR
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_backend(stage: Stage, grid: str, name: str) -> None:
    offer, data, reason, charge = BROKEN[name]
    request = Consumer.request(f"{grid}.example/{offer}", data, timeout_ms=1_000)
    outcome = await stage.consumer.call(request)
    assert outcome.state == ts.TASK_STATE_FAILED
    assert outcome.problem.reason == reason
    assert "secret" not in outcome.problem.message
    assert outcome.receipt.charge == charge
    assert outcome.receipt.proof.record


@AFAR
async def test_an_output_too_large_for_a_call(stage: Stage, grid: str) -> None:
    request = Consumer.request(f"{grid}.example/wide", b'{"bytes":1500000}')
    assert (await refused(stage.consumer.call(request))).reason == "PAYLOAD_TOO_LARGE"
    small = Consumer.request(f"{grid}.example/wide", b'{"bytes":900000}')
    outcome = await stage.consumer.call(small)
    assert outcome.output.data == b"w" * 900_000


async def test_many_questions_are_answered_in_turn(stage: Stage) -> None:
    stream = stage.consumer.stream()
    request = Consumer.request("south.example/endless", b'{"questions":5}')
    await stream.say(invocations=[request])
    answered = 0
    while not any(item.HasField("outcome") for item in stream.items):
        await stream.read()
        asked = [item.event.input_request.request for item in stream.items if item.event.HasField("input_request")]
        for number in asked[answered:]:
            await stream.say(inputs=[_reply(request.id, b"%d" % number, number)] * 2)
        answered = len(asked)
    assert (await stream.outcome(request.id)).output.data == b'{"replies":["1","2","3","4","5"]}'
    stream.raw.cancel()


async def test_a_server_that_dies_is_started_again(stage: Stage) -> None:
    outcome = await stage.consumer.call(Consumer.request("crash", b"{}"))
    assert outcome.state == ts.TASK_STATE_FAILED
    assert outcome.problem.reason in ("BACKEND_UNAVAILABLE", "EXECUTION_FAILED")
    outcome = await stage.consumer.call(Consumer.request("add", b'{"a":1}'))
    assert outcome.state == ts.TASK_STATE_COMPLETED


async def test_a_server_that_hangs_meets_its_deadline(stage: Stage) -> None:
    outcome = await stage.consumer.call(Consumer.request("hang", b"{}", timeout_ms=500))
    assert outcome.state == ts.TASK_STATE_FAILED
    assert outcome.problem.reason == "DEADLINE_EXCEEDED"
