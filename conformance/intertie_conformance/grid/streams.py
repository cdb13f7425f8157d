"""Link streams over gRPC: exact bytes both ways, one reader, one writer, bounded in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from intertie.v1 import link_pb2 as lk

LINK: Final = "/intertie.v1.LinkService/Link"
OPTIONS: Final = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 16 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.so_reuseport", 0),
)
UNDECODABLE: Final = b"\xff"
LAST_WORDS_S: Final = 1.0
"""How long what has come is read after the stream can no longer be written to."""
MAX_HEARD: Final = 64 << 20
"""Bytes after which a stream that floods is cut."""


def wrap(frame: bytes) -> bytes:
    """A LinkRequest or LinkResponse around the exact bytes of a frame."""
    size, prefix = len(frame), bytearray(b"\x0a")
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + frame


def unwrap(data: bytes) -> bytes:
    """The frame's bytes inside a LinkRequest or LinkResponse; `UNDECODABLE` if there are none."""
    size = shift = 0
    for position in range(1, min(len(data), 6)):
        size |= (data[position] & 0x7F) << shift
        shift += 7
        if data[position] < 0x80:
            if data[:1] == b"\x0a" and position + 1 + size == len(data):
                return data[position + 1 :]
            break
    try:
        return lk.LinkRequest.FromString(data).frame.SerializeToString()
    except DecodeError:
        return UNDECODABLE


async def say(call: Any, data: bytes) -> bool:
    """Write serialized bytes on a dialled call; False if the call has ended, which its own status then explains.

    `call.write` would do but for one thing: where it meets the end of the call it puts INTERNAL in the place of the
    status that has come, and drops messages that have come and are not read yet. So the call below it is written to.
    """
    try:
        await call.wait_for_connection()
        if call.done():
            return False
        await call._cython_call.send_serialized_message(data)
    except (grpc.aio.AioRpcError, grpc.aio.InternalError):
        return False
    return True


class GrpcStream:
    """A stream, dialled or accepted (`link.Stream`). `call` is a grpc.aio call or a servicer context."""

    def __init__(self, call: Any, heard: Callable[[GrpcStream, bytes], None]) -> None:
        self._call = call
        self._heard = heard
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._bytes = 0
        self._writing = False
        self.writes_first = False
        """True in a grid that does not read while it has something to write: no honest one."""
        self._may_read = asyncio.Event()
        self._may_read.set()
        self.spoken = False
        """Whether anything has come."""
        self.done = asyncio.Event()
        """Set when the stream has ended."""
        self.error: grpc.aio.AioRpcError | None = None
        """The status by which the other side ended the call, if it was an error."""

    def start(self) -> None:
        """Begin to read and write."""
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.done.set()
        if not task.cancelled():
            task.exception()

    def send(self, frame: bytes) -> None:
        """Queue a serialized frame."""
        self._queue.put_nowait(frame)

    def close(self) -> None:
        """End the stream once everything queued is written."""
        self._queue.put_nowait(None)

    async def _read(self) -> None:
        try:
            while (data := await self._call.read()) is not grpc.aio.EOF:
                self.spoken = True
                self._bytes += len(data)
                if self._bytes > MAX_HEARD:
                    return
                self._heard(self, data)
                await self._may_read.wait()
                await self.before_read()
            if isinstance(self._call, grpc.aio.Call):
                await self._status()
        except grpc.aio.AioRpcError as error:
            self.error = error
        except (asyncio.InvalidStateError, grpc.aio.UsageError, grpc.aio.InternalError):
            return

    def pause(self) -> None:
        """Read nothing until `go_on`."""
        self._may_read.clear()

    def go_on(self) -> None:
        """Read again."""
        self._may_read.set()

    async def before_read(self) -> None:
        """Called before each read; waits if this stream is one that writes before it reads."""
        while self.writes_first and not (self._queue.empty() and not self._writing):  # noqa: ASYNC110 - a mutant's
            await asyncio.sleep(0.005)

    async def _status(self) -> None:
        code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            self.error = grpc.aio.AioRpcError(
                code,
                await self._call.initial_metadata(),
                await self._call.trailing_metadata(),
                details=await self._call.details(),
            )

    async def _write(self) -> None:
        while (frame := await self._queue.get()) is not None:
            self._writing = True
            if not await self._put(frame):
                return await self._hear_out()
            self._writing = False
        if isinstance(self._call, grpc.aio.StreamStreamCall):
            await self._call.done_writing()
            await self._hear_out()

    async def _hear_out(self) -> None:
        """Let the reader come to the end of what has been sent."""
        await asyncio.wait(self._tasks[:1], timeout=LAST_WORDS_S)

    async def _put(self, frame: bytes) -> bool:
        """Write one frame; False if the other side has ended the call."""
        if isinstance(self._call, grpc.aio.Call):
            return await say(self._call, wrap(frame))
        try:
            await self._call.write(frame)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError, grpc.aio.InternalError):
            return False
        return True

    async def finished(self) -> None:
        """Wait for the end and release everything."""
        try:
            await self.done.wait()
        finally:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """End the stream now."""
        if isinstance(self._call, grpc.aio.Call):
            self._call.cancel()
        self.done.set()
        await self.finished()


def open_stream(channel: grpc.aio.Channel, heard: Callable[[GrpcStream, bytes], None]) -> GrpcStream:
    """A new Link stream on a channel."""
    call = channel.stream_stream(LINK, request_serializer=wrap, response_deserializer=unwrap)()
    stream = GrpcStream(call, heard)
    stream.start()
    return stream
