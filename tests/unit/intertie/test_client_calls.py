"""Client: requests, errors and retries of unary calls against a scripted node (real sockets)."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import pytest
from tests.unit.intertie.scripted_node import (
    TOKEN,
    Node,
    forever,
    outcome,
    refused,
    serving,
    start,
)

from intertie.client import (
    CallResult,
    Client,
    InvocationError,
    new_id,
)
from intertie.client.requests import make_invocation, make_payload
from intertie.errors import IntertieError
from intertie.ids import parse_uuid7
from intertie.v1 import account_pb2 as account_pb
from intertie.v1 import catalog_pb2 as catalog_pb
from intertie.v1 import invocation_pb2 as pb
from intertie.v1.metering_pb2 import Energy, EnergyMethod
from intertie.v1.task_pb2 import TaskState


def test_inputs_state_their_media_type() -> None:
    assert make_payload({"a": [1]}).data == b'{"a":[1]}'
    assert make_payload({"a": [1]}).media_type == "application/json"
    assert make_payload("ä").data == "ä".encode()
    assert make_payload(b"{}", "application/json").media_type == "application/json"
    for bad in (object(), "\ud800", {"a": object()}):
        with pytest.raises(IntertieError, match="INPUT_INVALID"):
            make_payload(bad)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_charge": -1}, "AMOUNT_INVALID"),
        ({"max_charge": 2**63}, "AMOUNT_INVALID"),
        ({"max_charge": 1, "first_grant": 2}, "AMOUNT_INVALID"),
        ({"max_charge": 1, "first_grant": -1}, "AMOUNT_INVALID"),
        ({"max_charge": 1, "timeout": 0}, "INVALID_ARGUMENT"),
        ({"max_charge": 1, "timeout": float("nan")}, "INVALID_ARGUMENT"),
        ({"max_charge": 1, "id": "1"}, "ID_INVALID"),
        ({"max_charge": 1, "id": ""}, "ID_INVALID"),
    ],
)
def test_bad_requests_are_refused_before_sending(options: Any, reason: str) -> None:
    with pytest.raises(IntertieError, match=reason):
        make_invocation("echo", **options)


async def test_a_call_carries_everything_and_returns_what_came() -> None:
    async def call(request: pb.CallRequest, context: Any) -> pb.CallResponse:
        done = outcome(request.invocation.id, b'{"ok":true}')
        receipt = done.receipt
        receipt.usage.add(unit="rag.query", quantity=2)
        receipt.energy.CopyFrom(Energy(method=EnergyMethod.ENERGY_METHOD_MEASURED, millijoules=5, upper=6))
        receipt.executed_by, receipt.place, receipt.hold = "south.example", "DE", 3
        receipt.path.extend(["north.example", "south.example"])
        return pb.CallResponse(outcome=done)

    node, id = Node(Call=call), new_id()
    async with serving(node) as client:
        result = await client.call(
            catalog_pb.ListedOffer(ref="south.example/rag"),
            {"q": 1},
            max_charge=500,
            timeout=2.5,
            id=id,
            first_grant=5,
            places=["DE"],
            session="s",
            group="g",
            traceparent="t",
        )
    (request,) = node.requests
    sent = request.invocation
    assert (sent.id, sent.offer, sent.max_charge, sent.timeout_ms) == (id, "south.example/rag", 500, 2500)
    assert (sent.first_grant, list(sent.policy.places), sent.session, sent.group) == (5, ["DE"], "s", "g")
    assert node.metadata["authorization"] == f"Bearer {TOKEN}"
    assert (result.id, result.state, result.json(), result.text) == (id, "COMPLETED", {"ok": True}, '{"ok":true}')
    assert (result.charge, result.price, result.usage) == (125, "0.0125 EUR", {"rag.query": 2})
    assert result.energy is not None and (result.energy.method, result.energy.upper) == ("measured", 6)
    assert (result.executed_by, result.place, result.hold) == ("south.example", "DE", "CHARGED")
    assert (result.path, result.proof, result.problem) == (("north.example", "south.example"), None, None)


def test_energy_that_is_unknown_is_not_zero() -> None:
    assert CallResult(outcome(new_id())).energy is None


async def test_a_refused_call_names_reason_and_invocation() -> None:
    async def call(request: Any, context: Any) -> Any:
        raise IntertieError("BUDGET_EXCEEDED", "Too little.", budget="1", available="0", max_charge="5")

    node = Node(Call=call)
    async with serving(node) as client:
        with pytest.raises(InvocationError) as caught:
            await client.call("echo", max_charge=5)
    error = caught.value
    assert (error.reason, error.message, error.metadata["available"]) == ("BUDGET_EXCEEDED", "Too little.", "0")
    assert error.id == node.requests[0].invocation.id and error.result is None
    assert len(node.requests) == 1


@pytest.mark.parametrize("state", [TaskState.TASK_STATE_FAILED, TaskState.TASK_STATE_REJECTED])
async def test_a_failure_is_an_error_unless_it_is_wanted_as_a_result(state: TaskState) -> None:
    async def call(request: pb.CallRequest, context: Any) -> pb.CallResponse:
        done = outcome(request.invocation.id, state=state)
        done.problem.CopyFrom(refused("BACKEND_TIMEOUT", backend="b"))
        return pb.CallResponse(outcome=done)

    async with serving(Node(Call=call)) as client:
        with pytest.raises(InvocationError, match="BACKEND_TIMEOUT") as caught:
            await client.call("echo", max_charge=5)
        assert caught.value.result is not None and caught.value.result.charge == 125
        result = await client.call("echo", max_charge=5, check=False)
    assert result.problem is not None and result.problem.metadata == {"backend": "b"}


async def test_canceled_and_tool_errors_are_results() -> None:
    async def call(request: pb.CallRequest, context: Any) -> pb.CallResponse:
        done = outcome(request.invocation.id, state=TaskState.TASK_STATE_CANCELED)
        done.is_error = True
        return pb.CallResponse(outcome=done)

    async with serving(Node(Call=call)) as client:
        result = await client.call("echo", max_charge=5)
    assert (result.state, result.is_error) == ("CANCELED", True)


@pytest.mark.parametrize(
    "answer",
    [
        pb.CallResponse(),
        pb.CallResponse(outcome=outcome("another")),
        pb.CallResponse(outcome=outcome("", state=TaskState.TASK_STATE_WORKING)),
        pb.CallResponse(outcome=outcome("", state=99)),
        b"\xff\xff\xff",
    ],
    ids=["empty", "another id", "not ended", "unknown state", "no message"],
)
async def test_hostile_answers_to_a_call_are_named(answer: Any) -> None:
    async def call(request: pb.CallRequest, context: Any) -> Any:
        if isinstance(answer, pb.CallResponse) and answer.HasField("outcome") and not answer.outcome.id:
            answer.outcome.id = request.invocation.id
        return answer

    async with serving(Node(Call=call)) as client:
        with pytest.raises(InvocationError) as caught:
            await client.call("echo", max_charge=5)
    assert caught.value.reason in ("FRAME_MALFORMED", "INTERNAL")


async def test_transport_failures_are_retried_with_the_same_id() -> None:
    async def call(request: pb.CallRequest, context: Any) -> pb.CallResponse:
        if len(node.requests) < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return pb.CallResponse(outcome=outcome(request.invocation.id))

    node = Node(Call=call)
    async with serving(node) as client:
        result = await client.call("echo", max_charge=5)
    assert [request.invocation for request in node.requests] == [node.requests[0].invocation] * 3
    assert parse_uuid7(result.id) and result.id == node.requests[0].invocation.id


async def test_retries_end_with_the_time() -> None:
    async def call(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "never")

    node = Node(Call=call)
    async with serving(node) as client:
        began = asyncio.get_running_loop().time()
        with pytest.raises(InvocationError, match="NODE_UNAVAILABLE"):
            await client.call("echo", max_charge=5, timeout=0.4)
        assert asyncio.get_running_loop().time() - began < 1
    assert 2 <= len(node.requests) <= 6


async def test_what_the_node_itself_refuses_is_not_retried() -> None:
    async def call(request: Any, context: Any) -> Any:
        raise IntertieError("NO_ROUTE", "No link leads there.")

    node = Node(Call=call)
    async with serving(node) as client:
        with pytest.raises(InvocationError, match="NO_ROUTE"):
            await client.call("echo", max_charge=5)
    assert len(node.requests) == 1


async def test_a_node_that_starts_late_is_found() -> None:
    async def account(request: Any, context: Any) -> Any:
        return account_pb.GetAccountResponse(budget=7)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Client(f"127.0.0.1:{port}", TOKEN, insecure=True) as client:
        asking = asyncio.create_task(client.account())
        await asyncio.sleep(0.15)
        server, _ = await start(Node(GetAccount=account), port)
        assert (await asking).budget == 7
    await server.stop(0)


async def test_a_cancelled_call_tells_the_node() -> None:
    async def call(request: Any, context: Any) -> Any:
        await forever()

    async def cancel(request: pb.CancelRequest, context: Any) -> pb.CancelResponse:
        return pb.CancelResponse()

    node = Node(Call=call, Cancel=cancel)
    async with serving(node) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.call("echo", max_charge=5)
    first, last = node.requests
    assert isinstance(last, pb.CancelRequest) and last.id == first.invocation.id
