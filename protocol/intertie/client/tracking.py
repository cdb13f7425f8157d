"""Invocations that are open on a stream: what must be sent for them, and who waits for what comes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from intertie.client.events import Cursor, Ended, InvocationItem, Progress, decode
from intertie.client.results import CallResult, InvocationError
from intertie.errors import IntertieError
from intertie.v1.event_pb2 import Event
from intertie.v1.invocation_pb2 import Invocation, Outcome, SubscribeRequest

MAX_UNREAD_BYTES: Final = 16 << 20
"""No node may have more bytes of durable events on the way than this; also the most that a call gathers."""


class Tracked:
    """One open invocation."""

    __slots__ = ("cursor", "done", "give_up_at", "id", "invocation", "owed", "sent")

    def __init__(self, invocation: Invocation, give_up_at: float) -> None:
        self.invocation = invocation
        self.id = invocation.id
        self.give_up_at = give_up_at
        """Seconds of the loop's clock."""
        self.cursor = Cursor()
        self.sent = False
        """Whether it may be known to the node."""
        self.done = False
        self.owed = 0
        """Bytes of durable events that were consumed and not yet returned as credit."""

    def command(self) -> Invocation | SubscribeRequest:
        """Return what makes the node send this invocation's events from the next one on, the first time or again."""
        received = self.cursor.received
        return SubscribeRequest(id=self.id, after_seq=received) if received else self.invocation

    def announced(self) -> None:
        """The command is being sent: the node then starts from a full window, so nothing is owed any more."""
        self.sent, self.owed = True, 0

    @property
    def postponed(self) -> bool:
        """Whether announcing it again must wait until what was received before is read."""
        return False

    def take(self, event: Event) -> int:
        """Take one event; return the bytes of it that are consumed. Raises IntertieError for one that is wrong."""
        raise NotImplementedError

    def end(self, outcome: Outcome) -> None:
        """The invocation has ended."""
        raise NotImplementedError

    def fail(self, error: IntertieError) -> None:
        """Its end will not be learned here."""
        raise NotImplementedError


class PendingCall(Tracked):
    """One whose outcome alone is awaited; streamed output is gathered."""

    __slots__ = ("_chunks", "_gathered", "future")

    def __init__(self, invocation: Invocation, give_up_at: float, future: asyncio.Future[CallResult]) -> None:
        super().__init__(invocation, give_up_at)
        self.future = future
        self._chunks: list[bytes] = []
        self._gathered = 0

    def take(self, event: Event) -> int:
        """Keep a chunk; everything else is of no interest to a call. Raises: IntertieError PAYLOAD_TOO_LARGE."""
        if not self.cursor.accept(event) or not event.number:
            return 0
        if event.HasField("chunk"):
            data = event.chunk.payload.data
            self._chunks.append(data)
            self._gathered += len(data)
            if self._gathered > MAX_UNREAD_BYTES:
                limit = str(MAX_UNREAD_BYTES)
                raise IntertieError("PAYLOAD_TOO_LARGE", "The output is too large to gather: use invoke.", limit=limit)
        return event.ByteSize()

    def end(self, outcome: Outcome) -> None:
        """Resolve the future."""
        if not self.future.done():
            self.future.set_result(CallResult(outcome, b"".join(self._chunks) if self._chunks else None))

    def fail(self, error: IntertieError) -> None:
        """Break the future."""
        if not self.future.done():
            self.future.set_exception(InvocationError.of(error, self.id))


class PendingEvents(Tracked):
    """One whose events are read one by one."""

    __slots__ = ("_error", "_items", "_stale", "_unread", "_waiter")

    def __init__(self, invocation: Invocation, give_up_at: float) -> None:
        super().__init__(invocation, give_up_at)
        self._items: deque[tuple[InvocationItem, int]] = deque()
        self._unread = 0
        self._stale = False
        self._error: IntertieError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def postponed(self) -> bool:
        """True while durable events of an earlier connection are unread: a new window comes after them."""
        self._stale = self._unread > 0
        return self._stale

    def take(self, event: Event) -> int:
        """Queue an event for the reader; one that says nothing to it is consumed at once.

        Raises: IntertieError FRAME_MALFORMED.
        """
        if not self.cursor.accept(event):
            return 0
        size = event.ByteSize() if event.number else 0
        item = decode(event)
        if item is None:
            return size
        if isinstance(item, Progress) and self._items and isinstance(self._items[-1][0], Progress):
            self._items.pop()
        self._unread += size
        if self._unread > MAX_UNREAD_BYTES:
            raise IntertieError("FRAME_MALFORMED", "The node sent more events than it had credit for.", field="events")
        self._put(item, size)
        return 0

    def end(self, outcome: Outcome) -> None:
        """Queue the end."""
        self._put(Ended(CallResult(outcome)), 0)

    def fail(self, error: IntertieError) -> None:
        """Let the reader have what is queued, then the error."""
        self._error = InvocationError.of(error, self.id)
        self._stir()

    def _put(self, item: InvocationItem, size: int) -> None:
        self._items.append((item, size))
        self._stir()

    def _stir(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def next(self) -> tuple[InvocationItem, int] | None:
        """Return the next item and the bytes of credit it gives back; None if there is none now.

        Raises InvocationError once everything before it is read.
        """
        if self._items:
            item, size = self._items.popleft()
            self._unread -= size
            return item, 0 if self._stale else size
        if self._error is not None:
            raise self._error
        return None

    def drained(self) -> bool:
        """Return whether the invocation was waiting for this moment to be announced again."""
        stale, self._stale = self._stale, False
        return stale and not self.done

    async def wait(self) -> None:
        """Wait until there is a next item or an error."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
