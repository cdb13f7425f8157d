"""`Stream` of the suite's own consumer face: many invocations in frames, each with a window (RFC 0009, 3.14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from intertie.v1 import invocation_pb2 as iv
from intertie_conformance.grid.rules.telling import FIRST_WINDOW
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.invocations import Account, Face, Run


class Window:
    """Bytes of events that may still be sent for one invocation."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.moved = asyncio.Event()

    def add(self, left: int) -> None:
        """The window has changed."""
        self.left = left
        self.moved.set()

    async def take(self, size: int) -> None:
        """Wait until the window is above 0 and take off an event."""
        while self.left <= 0:
            self.moved.clear()
            await self.moved.wait()
        self.left -= size


async def follow(run: Run, after: int, window: Window | None = None) -> AsyncIterator[iv.InvocationEvent]:
    """Events of an invocation from one number on, then its outcome."""
    rules, at = run.grid.rules, 0
    first = rules.first_shown_late(after) if run.outcome is not None else rules.first_shown(after)
    while True:
        changed = run.changed
        while at < len(run.events):
            event = run.events[at]
            at += 1
            if event.number and event.number < first:
                continue
            if window is not None and event.number:
                await window.take(event.ByteSize())
            yield iv.InvocationEvent(id=run.request.id, event=event)
        if run.outcome is not None:
            for outcome in rules.outcomes(run.outcome):
                yield iv.InvocationEvent(id=run.request.id, outcome=outcome)
            return
        await changed.wait()


class Streaming:
    """One Stream of one account."""

    def __init__(self, face: Face, account: Account) -> None:
        self._face = face
        self._account = account
        self._rules = face.grid.rules
        self._out: asyncio.Queue[iv.InvocationEvent | None] = asyncio.Queue()
        self._windows: dict[str, Window] = {}
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self.refusal: Refusal | None = None
        """Why the stream as a whole ends."""

    async def run(self, requests: AsyncIterator[iv.StreamRequest]) -> AsyncIterator[iv.StreamResponse]:
        """Take the commands; send frames until everything has been told. Raises: Refusal."""
        reader = asyncio.create_task(self._read(requests))
        try:
            async for frame in self._frames():
                yield frame
        finally:
            reader.cancel()
            for pump in self._pumps.values():
                pump.cancel()
        if self.refusal is not None:
            raise self.refusal

    async def _read(self, requests: AsyncIterator[iv.StreamRequest]) -> None:
        try:
            async for frame in requests:
                self._rules.stream_frame(frame.ByteSize())
                for kind in self._rules.stream_order():
                    for command in getattr(frame, kind):
                        self._command(kind, command)
            await asyncio.gather(*self._pumps.values())
        except Refusal as refusal:
            self.refusal = refusal
        if self.refusal is not None or self._rules.stream_ends():
            self._out.put_nowait(None)

    def _command(self, kind: str, command: Any) -> None:
        try:
            getattr(self, f"_{kind}")(command)
        except Refusal as refusal:
            item = iv.InvocationEvent(id=command.id, refused=refusal.problem())
            for refused in self._rules.stream_refused([item]):
                self._out.put_nowait(refused)
            if self._rules.refusal_ends_stream():
                raise

    def _invocations(self, wanted: iv.Invocation) -> None:
        run = self._face.start(self._account, wanted)
        if wanted.id not in self._pumps:
            self._follow(run, self._rules.repeated_from(run.repeated))

    def _subscriptions(self, wanted: iv.SubscribeRequest) -> None:
        self._follow(self._face.run(self._account, wanted.id), wanted.after_seq)

    def _credits(self, credit: iv.StreamCredit) -> None:
        window = self._windows.get(credit.id)
        if window is not None:
            window.add(self._rules.stream_credited(window.left, credit.bytes))

    def _inputs(self, wanted: iv.SendInputRequest) -> None:
        self._face.reply(self._account, wanted)

    def _cancels(self, wanted: iv.CancelRequest) -> None:
        self._face.cancel(self._account, wanted)

    def _follow(self, run: Run, after: int) -> None:
        window = Window(FIRST_WINDOW)
        if self._windows and self._rules.shares_window():
            window = next(iter(self._windows.values()))
        self._windows[run.request.id] = window
        before = self._pumps.get(run.request.id)
        if before is not None:
            before.cancel()
        self._pumps[run.request.id] = asyncio.create_task(self._pump(run, after, window))

    async def _pump(self, run: Run, after: int, window: Window) -> None:
        async for item in follow(run, after, window):
            self._out.put_nowait(item)

    async def _frames(self) -> AsyncIterator[iv.StreamResponse]:
        """Whatever has gathered goes into the next frame, as far as it fits."""
        limit = self._rules.own_stream_frame()
        frame, room = iv.StreamResponse(), limit
        while True:
            if self._out.empty() and frame.events:
                yield frame
                frame, room = iv.StreamResponse(), limit
            item = await self._out.get()
            if item is None:
                break
            if room < _size(item) and frame.events:
                yield frame
                frame, room = iv.StreamResponse(), limit
            room -= _size(item)
            frame.events.append(item)
        if frame.events:
            yield frame


def _size(item: Message) -> int:
    """Bytes of an item within its frame, at most."""
    return item.ByteSize() + 8
