"""The unary `Call`: pieces come back in one output, and whoever goes away or asks too much listens no longer."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from intertie.v1 import invocation_pb2 as iv
from intertie.v1.envelope_pb2 import Payload, Problem
from intertie.v1.event_pb2 import Chunk, Event
from intertie_node.adapters.grpc.calls import OpenCalls
from intertie_node.adapters.grpc.consumer import MAX_COLLECTED_BYTES, InvocationFace

ID = "01a20000-0000-7000-8000-000000000000"


class Node:
    """What the face asks of the node (`ports.Consumers`), and its caller's context."""

    def __init__(self) -> None:
        self.mailbox: Any = None
        self.taken: list[int] = []
        self.left = 0
        self.status: Any = None

    def account(self, token: str) -> str:
        return "alice"

    def invoke(self, account: str, request: iv.Invocation, mailbox: Any) -> None:
        self.mailbox = mailbox

    def consumed(self, account: str, invocation: str, size: int) -> None:
        self.taken.append(size)

    def unsubscribe(self, account: str, invocation: str, mailbox: Any) -> None:
        assert (invocation, mailbox) == (ID, self.mailbox)
        self.left += 1

    def invocation_metadata(self) -> Any:
        return (("authorization", "Bearer t"),)

    async def abort_with_status(self, status: Any) -> None:
        self.status = status
        raise grpc.aio.AbortError

    async def call(self) -> asyncio.Task[bytes]:
        request = iv.CallRequest(invocation=iv.Invocation(id=ID))
        task = asyncio.create_task(InvocationFace(self, OpenCalls()).Call(request, self))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return task


def piece(data: bytes) -> iv.InvocationEvent:
    chunk = Chunk(payload=Payload(media_type="text/plain", data=data))
    return iv.InvocationEvent(id=ID, event=Event(number=1, chunk=chunk))


async def test_pieces_stand_before_the_rest() -> None:
    node = Node()
    task = await node.call()
    node.mailbox.push(piece(b"one "))
    await asyncio.sleep(0)
    node.mailbox.push(piece(b"two "))
    outcome = iv.Outcome(id=ID, output=Payload(data=b"three"))
    node.mailbox.push(iv.InvocationEvent(id=ID, outcome=outcome))
    output = iv.CallResponse.FromString(await task).outcome.output
    assert (output.data, output.media_type) == (b"one two three", "text/plain")
    assert node.taken == [piece(b"one ").ByteSize()] * 2
    assert node.left == 0


async def test_whoever_goes_away_listens_no_longer() -> None:
    node = Node()
    task = await node.call()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    node.mailbox.push(piece(b"late"))
    assert node.left == 1


async def test_too_much_for_one_answer() -> None:
    node = Node()
    task = await node.call()
    for _ in range(2):
        node.mailbox.push(piece(bytes(MAX_COLLECTED_BYTES // 2 + 1)))
    with pytest.raises(grpc.aio.AbortError):
        await task
    assert (node.left, "1 MiB" in str(node.status)) == (1, True)


async def test_a_refusal_is_the_answer() -> None:
    node = Node()
    task = await node.call()
    node.mailbox.push(iv.InvocationEvent(id=ID, refused=Problem(reason="NO_ROUTE", message="none")))
    with pytest.raises(grpc.aio.AbortError):
        await task
    assert (node.left, "none" in str(node.status)) == (0, True)
