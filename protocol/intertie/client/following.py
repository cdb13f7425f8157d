"""Following one invocation over `Invoke` and `Subscribe`, through broken connections (design §5 rule 7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, TypeAlias

import grpc
from grpc.aio import AioRpcError

from intertie.client.events import Cursor, Ended, InvocationItem, decode
from intertie.client.results import CallResult, InvocationError, check_outcome
from intertie.client.retries import GRACE_S, Backoff
from intertie.errors import IntertieError, from_problem
from intertie.grpc_status import from_rpc_error
from intertie.v1.invocation_pb2 import (
    Invocation,
    InvokeRequest,
    InvokeResponse,
    SubscribeRequest,
    SubscribeResponse,
)

if TYPE_CHECKING:
    from intertie.v1.invocation_pb2_grpc import InvocationServiceAsyncStub

Responses: TypeAlias = (
    "grpc.aio.UnaryStreamCall[InvokeRequest, InvokeResponse]"
    " | grpc.aio.UnaryStreamCall[SubscribeRequest, SubscribeResponse]"
)


class Follower:
    """Reads the events of one invocation, each durable one exactly once, and the outcome last.

    A broken connection is opened again after the last durable event that was received: a bounded number of
    times without progress, and for `timeout` seconds in all where one is given. Transport flow control bounds
    what is held unread.
    """

    def __init__(
        self,
        service: InvocationServiceAsyncStub,
        metadata: tuple[tuple[str, str], ...],
        id: str,
        *,
        invocation: Invocation | None = None,
        after_seq: int = 0,
        timeout: float | None = None,
    ) -> None:
        self._service = service
        self._metadata = metadata
        self._id = id
        self._invocation = invocation
        self._timeout = timeout
        self._cursor = Cursor(after_seq)
        self._backoff = Backoff()
        self.ended = False
        """Whether the invocation is known to have ended or never to have begun."""

    async def items(self) -> AsyncGenerator[InvocationItem]:
        """Yield what happens, the end last; raise InvocationError if that cannot be learned."""
        loop = asyncio.get_running_loop()
        end = None if self._timeout is None else loop.time() + self._timeout + GRACE_S
        try:
            while True:
                responses = self._open(None if end is None else max(0.001, end - loop.time()))
                try:
                    async for response in responses:
                        item = self._take(response)
                        if item is not None:
                            yield item
                        if isinstance(item, Ended):
                            return
                    broken = IntertieError("NODE_UNAVAILABLE", "The node ended the events before the invocation.")
                except AioRpcError as failure:
                    broken = from_rpc_error(failure)
                finally:
                    responses.cancel()
                await asyncio.sleep(self._backoff.next(broken))
        except InvocationError:
            raise
        except IntertieError as error:
            raise InvocationError.of(error, self._id) from None

    def _open(self, timeout: float | None) -> Responses:
        if self._invocation is not None and not self._cursor.received:
            request = InvokeRequest(invocation=self._invocation)
            return self._service.Invoke(request, metadata=self._metadata, timeout=timeout)
        subscription = SubscribeRequest(id=self._id, after_seq=self._cursor.received)
        return self._service.Subscribe(subscription, metadata=self._metadata, timeout=timeout)

    def _take(self, response: InvokeResponse | SubscribeResponse | None) -> InvocationItem | None:
        if response is None or response.event.id != self._id:
            raise IntertieError("FRAME_MALFORMED", "The node sent what is no event of the invocation.")
        event = response.event
        kind = event.WhichOneof("item")
        if kind == "event" and self._cursor.accept(event.event):
            self._backoff.reset()
            return decode(event.event)
        if kind == "outcome":
            outcome = check_outcome(event.outcome, self._id)
            self.ended = True
            return Ended(CallResult(outcome))
        if kind == "refused":
            self.ended = True
            raise InvocationError.of(from_problem(event.refused), self._id)
        return None
