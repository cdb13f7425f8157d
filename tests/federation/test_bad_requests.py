"""The consumer face under bad input: every refusal has its name, costs nothing, and disturbs nobody."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.federation.stage import AFAR, DELAY, ECHO, GRIDS, Stage, outcome_despite
from tests.kit.live import BUDGET, Consumer, free_ports, new_id, now_ms, refused

from intertie.errors import IntertieError
from intertie.v1 import account_pb2 as ac
from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import task_pb2 as ts
from intertie_node import config

pytestmark = pytest.mark.asyncio(loop_scope="module")
DAY_MS = 86_400_000


# -- who asks ---------------------------------------------------------------------------------------


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


# -- what is asked ----------------------------------------------------------------------------------


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
    for bad in ({"page_size": 2**32 - 1}, {"page_token": "x"}, {"page_token": new_id()}, {"page_token": "x@alice"}):
        listing = calls.invocations.List(iv.ListRequest(**bad), metadata=calls.metadata)
        assert (await refused(listing)).reason == "INVALID_ARGUMENT"
        charges = calls.accounts.ListCharges(ac.ListChargesRequest(**bad), metadata=calls.metadata)
        assert (await refused(charges)).reason == "INVALID_ARGUMENT"
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


# -- the same id ------------------------------------------------------------------------------------


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
    outcome = await outcome_despite(stream, request.id)
    assert outcome.state == ts.TASK_STATE_COMPLETED
    await stream.raw.done_writing()
    assert [number for number, _ in stream.chunks(request.id)] == list(range(1, 21))
    assert [item.refused.reason for item in stream.items if item.HasField("refused")] == ["ID_CONFLICT"]
    assert len([item for item in stream.items if item.HasField("outcome")]) == 1
    assert await asyncio.wait_for(stream.raw.code(), 5) is grpc.StatusCode.OK
