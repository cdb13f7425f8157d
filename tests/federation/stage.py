"""Three grids in a row and a consumer at the first, for tests that ask badly."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit.live import Consumer, LiveNode, Stream, new_id

from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import task_pb2 as ts
from intertie.v1.event_pb2 import InputReply

ECHO, DELAY = "conformance/echo", "conformance/delay"
OFFERS = ("raises", "hangs", "stubborn", "greedy", "negative", "chatty", "endless", "wide", "misspeaks", "gives_up")

GRIDS = pytest.mark.parametrize("grid", ["north", "hub", "south"])
AFAR = pytest.mark.parametrize("grid", ["north", "south"])


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


async def outcome_despite(stream: Stream, invocation: str) -> iv.Outcome:
    """The outcome of an invocation, whatever is refused under its id meanwhile."""
    while True:
        for item in stream.items:
            if item.HasField("outcome") and item.id == invocation:
                return item.outcome
        await stream.read()


def reply_to(invocation: str, data: bytes, request: int = 1) -> iv.SendInputRequest:
    """An answer to an input request, under a new id."""
    body = InputReply(request=request, payload={"media_type": "application/json", "data": data}, id=new_id())
    return iv.SendInputRequest(id=invocation, reply=body)
