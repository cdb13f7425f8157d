"""One link stream as a `Connection`: one reader, one writer, reading never waits for writing (design §7)."""

import asyncio
from collections import deque
from typing import Any

import grpc

from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Problem
from intertie_node.ports import Receiver

CLOSE_GRACE_S = 1.0
MAX_HANDED = 2
MAX_QUEUED_BYTES = 64 << 20
"""A peer that leaves more unread than this is cut off; what is durable is resent."""


class StreamConnection:
    """A stream, dialled or accepted. `call` is a grpc.aio call or servicer context: read() and write()."""

    def __init__(self, call: Any, fingerprint: bytes, receiver: Receiver) -> None:
        self.fingerprint = fingerprint
        self._call = call
        self._receiver = receiver
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._closing = False
        self.fault = ""
        """Why this side has cut the stream, "" if it has not."""
        self._heard = False
        self._handed = 0
        """Frames that the receiver has not acted upon: beyond a few the peer waits, not the node's memory."""
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.done = asyncio.Event()
        """Set when the stream has ended."""

    def start(self) -> None:
        """Begin to read and write."""
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        for task in self._tasks:
            task.add_done_callback(lambda _: self.end())

    def send(self, frame: bytes) -> None:
        """Queue a frame (see `ports.Connection`)."""
        if self._closing or self.done.is_set():
            return
        self._queue.append(frame)
        self._queued += len(frame)
        if self._queued > MAX_QUEUED_BYTES:
            self.fault = "SLOW_PEER: The peer has stopped reading."
            self.end()
            return
        self._wake.set()

    def expect_open(self, seconds: float) -> None:
        """Close the stream, accepted just now, unless it says something within so many seconds."""
        asyncio.get_running_loop().call_later(seconds, self._check_heard)

    def _check_heard(self) -> None:
        if not self._heard:
            self.fault = "SILENT_PEER: No Open came."
            self.send(lk.Frame(close=Problem(reason="SILENT_PEER", message="No Open came.")).SerializeToString())
            self.close("SILENT_PEER")

    def close(self, reason: str) -> None:
        """Close once what is queued is written (see `ports.Connection`)."""
        if self._closing or self.done.is_set():
            return
        self._closing = True
        self._wake.set()
        asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self.end)

    async def _read(self) -> None:
        while True:
            data = await self._call.read()
            if data is grpc.aio.EOF:
                return
            self._heard = True
            if self._closing:
                continue
            self._handed += 1
            self._receiver.frame(self, data)
            while self._handed >= MAX_HANDED:
                self._room.clear()
                await self._room.wait()

    def taken(self) -> None:
        """A frame has been acted upon (see `ports.Connection`)."""
        self._handed -= 1
        self._room.set()

    async def _write(self) -> None:
        while True:
            while self._queue:
                frame = self._queue.popleft()
                self._queued -= len(frame)
                await self._call.write(frame)
            if self._closing:
                return
            self._wake.clear()
            await self._wake.wait()

    def end(self) -> None:
        """End the stream at once."""
        if self.done.is_set():
            return
        self.done.set()
        for task in self._tasks:
            task.cancel()
        if isinstance(self._call, grpc.aio.Call):
            self._call.cancel()
        self._receiver.lost(self)

    async def finished(self) -> None:
        """Wait until the stream has ended, and swallow how its tasks ended."""
        await self.done.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)
