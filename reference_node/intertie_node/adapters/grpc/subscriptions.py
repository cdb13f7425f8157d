"""Where events wait for a consumer: a mailbox an invocation, or a desk for a whole Stream (RFC 0009, section 3.9)."""

import asyncio
from collections import deque
from typing import Any

import grpc

from intertie.errors import IntertieError, to_problem
from intertie.v1 import invocation_pb2 as iv
from intertie_node.adapters.grpc.frames import wrap
from intertie_node.ports import Consumers

MAX_WAITING_BYTES = 4 << 20
MAX_QUEUED_BYTES = 64 << 20
"""A stream whose consumer leaves more unread than this is cut."""
FRAME_BYTES = 240 * 1024
MAX_FRAME_BYTES = 256 * 1024
MAX_AHEAD = 512
"""Commands of a stream that may wait for the engine before the next frame is read."""


class Mailbox:
    """Items of one invocation, for one reader (`ports.Subscription`)."""

    def __init__(self) -> None:
        self.next = 1
        self._items: deque[iv.InvocationEvent] = deque()
        self._size = 0
        self._overrun = False
        self._reader: asyncio.Future[None] | None = None
        """The reader that waits for an item."""

    def push(self, item: iv.InvocationEvent) -> None:
        """Take an item. Byte credit bounds what can wait; a provider that ignores it ends the subscription."""
        size = item.ByteSize()
        if self._size + size > MAX_WAITING_BYTES and item.HasField("event"):
            if item.event.number:
                self._overrun = True
            return
        self._items.append(item)
        self._size += size
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def take(self) -> iv.InvocationEvent:
        """The next item. Raises: IntertieError SLOW_PEER once durable events had to be left out."""
        if not self._items:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        if self._overrun:
            raise IntertieError("SLOW_PEER", "Events came faster than they were taken: subscribe again for the rest.")
        item = self._items.popleft()
        self._size -= item.ByteSize()
        return item


class Seat:
    """One invocation of a Stream (`ports.Subscription`)."""

    __slots__ = ("desk", "next", "repeats")

    def __init__(self, desk: "StreamDesk") -> None:
        self.desk = desk
        self.next = 1
        self.repeats = 0
        """How often the same id was invoked again on this stream: one answer of each may be a refusal."""

    def push(self, item: iv.InvocationEvent) -> None:
        """Pass an item to the desk."""
        self.desk.put(item)


class StreamDesk:
    """Many invocations over one Stream: what has gathered while a frame was written goes into the next one."""

    def __init__(self, consumers: Consumers, account: str, context: Any) -> None:
        self._consumers = consumers
        self._account = account
        self._context = context
        self._seats: dict[str, Seat] = {}
        self._waiting: deque[bytes] = deque()
        """Items, each as the bytes by which it stands in a StreamResponse."""
        self._size = 0
        """Bytes of `_waiting`."""
        self._serving: asyncio.Task[None] | None = None
        self._overrun = False
        self._ready = asyncio.Event()
        self._closing = False
        self._said_all = asyncio.Event()
        """Set when the consumer has closed its side and everything has been written."""

    def put(self, item: iv.InvocationEvent) -> None:
        """Queue an item for the next frame; the last one of an invocation empties its seat."""
        if not item.HasField("event"):
            seat = self._seats.get(item.id)
            if seat is not None and seat.repeats and item.HasField("refused"):
                seat.repeats -= 1
            else:
                self._seats.pop(item.id, None)
        self._queue(item)

    def _queue(self, item: iv.InvocationEvent) -> None:
        """Byte credit bounds what can wait. Beyond, ephemeral events are dropped; then the stream is cut."""
        data = wrap(item.SerializeToString())
        size = len(data)
        if self._size + size > MAX_WAITING_BYTES and item.HasField("event") and not item.event.number:
            return
        if self._size + size > MAX_QUEUED_BYTES and self._serving is not None:
            self._overrun = True
            self._serving.cancel()
        if self._overrun:
            self._waiting.clear()
            return
        self._waiting.append(data)
        self._size += size
        self._ready.set()

    async def run(self) -> None:
        """Serve until the consumer closes its side and everything started here has ended.

        Raises: IntertieError FRAME_TOO_LARGE, SLOW_PEER if the consumer leaves too much unread: what is durable is
        sent again to whoever subscribes.
        """
        writer = asyncio.create_task(self._write())
        self._serving = asyncio.create_task(self._serve())
        try:
            await self._serving
        except asyncio.CancelledError:
            if not self._overrun:
                raise
            raise IntertieError("SLOW_PEER", "Too much waits unread: subscribe again for the rest.") from None
        finally:
            writer.cancel()
            for invocation, seat in self._seats.items():
                self._consumers.unsubscribe(self._account, invocation, seat)

    async def _serve(self) -> None:
        await self._read()
        self._closing = True
        self._ready.set()
        await self._said_all.wait()

    async def _read(self) -> None:
        """Take the consumer's frames, no faster than the engine acts upon them: the rest waits at the consumer."""
        ahead = 0
        while True:
            request = await self._context.read()
            if request is grpc.aio.EOF:
                return
            if request.ByteSize() > MAX_FRAME_BYTES:
                raise IntertieError("FRAME_TOO_LARGE", f"A frame has {request.ByteSize()} bytes; 262144 are allowed.")
            for invocation in request.invocations:
                self._start(invocation)
            if request.subscriptions or request.inputs or request.cancels or request.credits:
                await self._rest(request)
            ahead += len(request.invocations) + len(request.subscriptions) + len(request.credits)
            if ahead > MAX_AHEAD:
                await self._consumers.caught_up()
                ahead = 0

    def _start(self, invocation: iv.Invocation) -> None:
        seat = self._seats.get(invocation.id)
        if seat is None:
            seat = self._seats[invocation.id] = Seat(self)
        else:
            seat.repeats += 1
        self._consumers.invoke(self._account, invocation, seat)

    async def _rest(self, request: iv.StreamRequest) -> None:
        for wanted in request.subscriptions:
            seat = self._seats.setdefault(wanted.id, Seat(self))
            self._consumers.subscribe(self._account, wanted.id, wanted.after_seq, seat)
        for credit in request.credits:
            if credit.bytes > 0:
                self._consumers.consumed(self._account, credit.id, credit.bytes)
        for reply in request.inputs:
            await self._answer(reply.id, self._consumers.send_input(self._account, reply))
        for cancel in request.cancels:
            await self._answer(cancel.id, self._consumers.cancel(self._account, cancel))

    async def _answer(self, invocation: str, work: Any) -> None:
        try:
            await work
        except IntertieError as error:
            self._queue(iv.InvocationEvent(id=invocation, refused=to_problem(error)))

    async def _write(self) -> None:
        while True:
            while self._waiting:
                await self._context.write(self._next_frame())
            if self._closing and not self._seats:
                self._said_all.set()
            self._ready.clear()
            await self._ready.wait()

    def _next_frame(self) -> bytes:
        """A StreamResponse of as many items as one may hold."""
        waiting, size = self._waiting, 0
        batch: list[bytes] = []
        while waiting and (not batch or size + len(waiting[0]) <= FRAME_BYTES):
            size += len(waiting[0])
            batch.append(waiting.popleft())
        self._size -= size
        return b"".join(batch)
