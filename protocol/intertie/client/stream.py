"""The fast path: many invocations at once over one `Stream` of frames (design §3, §9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, Unpack

import grpc
from grpc.aio import AioRpcError

from intertie.client.events import Ended, InvocationItem
from intertie.client.outbox import Outbox, check_size
from intertie.client.requests import InvocationOptions, make_invocation
from intertie.client.results import CallResult, check_outcome, conclude
from intertie.client.retries import GRACE_S, Backoff
from intertie.client.tracking import PendingCall, PendingEvents, Tracked
from intertie.errors import IntertieError, from_problem
from intertie.grpc_status import from_rpc_error
from intertie.v1.catalog_pb2 import ListedOffer
from intertie.v1.invocation_pb2 import Invocation, InvocationEvent, StreamRequest, StreamResponse

Connection: TypeAlias = "grpc.aio.StreamStreamCall[StreamRequest, StreamResponse]"

CREDIT_STEP_BYTES: Final = 16_384
"""Consumed bytes are returned in steps of this, a quarter of the smallest window that a node may have."""
SWEEP_S: Final = 1.0
"""How often the invocations that have outlived their time are looked for."""


class CallStream:
    """Calls and invocations from many tasks over one connection; used as an async context manager.

    Whatever has gathered while the last frame was being written goes into the next one; a lone call never
    waits. A broken connection is opened again and what is open is asked for again by its id, so that work is
    done once and no durable event is lost or doubled; after several failures without any progress everything
    open ends with NODE_UNAVAILABLE, and the next call tries anew. Whoever stops waiting for an invocation (its
    task is cancelled, its iterator closed) thereby asks the node to stop it.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._open: dict[str, Tracked] = {}
        self._outbox = Outbox()
        self._wake = asyncio.Event()
        self._backoff = Backoff()
        self._task: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run())
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Invocations that are open go on at the node; who waits here gets NODE_UNAVAILABLE."""
        task, self._task = self._task, None
        if self._sweeper is not None:
            self._sweeper.cancel()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def call(
        self, offer: str | ListedOffer, input: Any = None, *, check: bool = True, **options: Unpack[InvocationOptions]
    ) -> CallResult:
        """Invoke `offer` and return how it ended; streamed output is gathered.

        Arguments as of `make_invocation`. Raises InvocationError if it is refused, or unless `check` is false if
        it ends FAILED or REJECTED, or if its end cannot be learned in time or because the connection is lost.
        """
        invocation = make_invocation(offer, input, **options)
        future: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()
        tracked = PendingCall(invocation, self._give_up_at(invocation), future)
        self._begin(tracked)
        try:
            return conclude(await future, check)
        finally:
            if not tracked.done:
                self._abandon(tracked)

    async def invoke(
        self, offer: str | ListedOffer, input: Any = None, **options: Unpack[InvocationOptions]
    ) -> AsyncGenerator[InvocationItem]:
        """Invoke `offer` and yield what happens, the end last, whatever state it is.

        Byte credit is returned as items are taken, so a slow reader slows the work down, not the other
        invocations. Raises InvocationError as `call`, and EVENTS_GONE if events are missing without a stated gap.
        """
        invocation = make_invocation(offer, input, **options)
        tracked = PendingEvents(invocation, self._give_up_at(invocation))
        self._begin(tracked)
        try:
            while True:
                taken = tracked.next()
                if taken is None:
                    if tracked.drained():
                        self._announce(tracked)
                    await tracked.wait()
                    continue
                item, size = taken
                if not tracked.done:
                    self._owe(tracked, size)
                yield item
                if isinstance(item, Ended):
                    return
        finally:
            if not tracked.done:
                self._abandon(tracked)

    def _give_up_at(self, invocation: Invocation) -> float:
        return asyncio.get_running_loop().time() + invocation.timeout_ms / 1000 + GRACE_S

    def _begin(self, tracked: Tracked) -> None:
        if self._task is None or self._task.done():
            raise IntertieError("NODE_UNAVAILABLE", "The stream is not open: use `async with client.stream()`.")
        check_size(tracked.invocation)
        if tracked.id in self._open:
            raise IntertieError("ID_CONFLICT", "An invocation of this id is open on this stream.", id=tracked.id)
        self._open[tracked.id] = tracked
        self._announce(tracked)

    def _announce(self, tracked: Tracked) -> None:
        self._outbox.announce(tracked)
        self._wake.set()

    def _abandon(self, tracked: Tracked) -> None:
        self._forget(tracked)
        if tracked.sent:
            self._outbox.cancel(tracked.id)
            self._wake.set()

    def _forget(self, tracked: Tracked) -> None:
        tracked.done = True
        self._open.pop(tracked.id, None)

    def _fail(self, tracked: Tracked, error: IntertieError) -> None:
        self._forget(tracked)
        tracked.fail(error)

    def _owe(self, tracked: Tracked, size: int) -> None:
        tracked.owed += size
        if tracked.owed >= CREDIT_STEP_BYTES:
            self._outbox.credit(tracked.id, tracked.owed)
            tracked.owed = 0
            self._wake.set()

    def _sweep(self) -> None:
        """Give up what has outlived its time: the node should have said long ago how it ended."""
        now = self._loop.time()
        for tracked in [each for each in self._open.values() if each.give_up_at <= now]:
            self._forget(tracked)
            tracked.fail(IntertieError("DEADLINE_EXCEEDED", "The node has not said in time how the invocation ended."))
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    # --- the connection

    async def _run(self) -> None:
        """Keep a connection while there is need of one."""
        error = IntertieError("NODE_UNAVAILABLE", "The stream was closed; the invocation goes on at the node.")
        try:
            while True:
                while not (self._outbox or self._open):
                    self._wake.clear()
                    await self._wake.wait()
                broken = await self._session()
                try:
                    pause = self._backoff.next(broken)
                except IntertieError as final:
                    self._fail_all(final)
                    self._backoff.reset()
                else:
                    await asyncio.sleep(pause)
        except Exception as bug:
            error = IntertieError("INTERNAL", f"The stream's task broke: {bug!r}")
            raise
        finally:
            self._fail_all(error)

    def _fail_all(self, error: IntertieError) -> None:
        for tracked in list(self._open.values()):
            self._fail(tracked, error)

    async def _session(self) -> IntertieError:
        """Open a connection and use it until it breaks; return why it broke."""
        self._outbox.restart([each for each in self._open.values() if not each.postponed])
        try:
            connection = self._connect()
        except IntertieError as error:
            return error
        reader = asyncio.create_task(self._read(connection))
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            await self._write(connection, reader)
            return await reader
        finally:
            connection.cancel()
            reader.cancel()
            await asyncio.wait([reader])

    async def _write(self, connection: Connection, reader: asyncio.Task[IntertieError]) -> None:
        """Write frames until reading has ended; only the reader knows why a connection broke."""
        while not reader.done():
            if not self._outbox:
                self._wake.clear()
                await self._wake.wait()
                continue
            frame = self._outbox.frame()
            if frame is None:
                continue
            try:
                await connection.write(frame)
            except (AioRpcError, asyncio.InvalidStateError):
                return

    async def _read(self, connection: Connection) -> IntertieError:
        try:
            while True:
                frame = await connection.read()
                if isinstance(frame, StreamResponse):
                    for item in frame.events:
                        self._take(item)
                elif frame is None:
                    return IntertieError("FRAME_MALFORMED", "The node sent what is no frame.")
                else:
                    return IntertieError("NODE_UNAVAILABLE", "The node ended the stream.")
        except AioRpcError as failure:
            return from_rpc_error(failure)

    def _take(self, item: InvocationEvent) -> None:
        """Give one item to whom it concerns; those of unknown ids concern nobody (any more)."""
        tracked = self._open.get(item.id)
        if tracked is None:
            return
        kind = item.WhichOneof("item")
        try:
            if kind == "outcome":
                outcome = check_outcome(item.outcome, tracked.id)
                self._forget(tracked)
                tracked.end(outcome)
                self._backoff.reset()
            elif kind == "event":
                received = tracked.cursor.received
                self._owe(tracked, tracked.take(item.event))
                if tracked.cursor.received > received:
                    self._backoff.reset()
            elif kind == "refused":
                raise from_problem(item.refused)
        except IntertieError as error:
            was_sent = kind == "event"
            self._fail(tracked, error)
            if was_sent:
                self._outbox.cancel(tracked.id)
                self._wake.set()
