"""Commands waiting to be written to a stream, gathered into frames (design §3, one stream of frames)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from intertie.client.tracking import Tracked
from intertie.errors import IntertieError
from intertie.registry import LIMITS
from intertie.v1.invocation_pb2 import CancelRequest, Invocation, StreamCredit, StreamRequest

FRAME_BYTES: Final = LIMITS["frame_bytes"].default
_OVERHEAD: Final = 6
"""Bytes of tag and length of one command within a frame, at most."""
_SMALL_BYTES: Final = 128
"""Room for one credit or cancel: an id of 36 bytes, a number or a short comment."""


def check_size(invocation: Invocation) -> None:
    """Raise INPUT_TOO_LARGE if `invocation` does not fit a frame."""
    size = invocation.ByteSize() + _OVERHEAD
    if size > FRAME_BYTES:
        raise IntertieError(
            "INPUT_TOO_LARGE", "The invocation does not fit a frame.", size=str(size), limit=str(FRAME_BYTES)
        )


class Outbox:
    """What the next frames will say: credits first, then cancels, then invocations in order."""

    def __init__(self) -> None:
        self._announcements: deque[Tracked] = deque()
        self._cancels: deque[str] = deque()
        self._credits: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._announcements or self._cancels or self._credits)

    def announce(self, tracked: Tracked) -> None:
        """Send the invocation, or ask for its events again."""
        self._announcements.append(tracked)

    def cancel(self, id: str) -> None:
        """Ask to stop."""
        self._cancels.append(id)

    def credit(self, id: str, size: int) -> None:
        """Allow `size` more bytes of durable events."""
        self._credits[id] = self._credits.get(id, 0) + size

    def restart(self, tracked: Iterable[Tracked]) -> None:
        """Begin a new connection: what is open is announced again; credit of the old one is void."""
        self._announcements = deque(tracked)
        self._credits.clear()

    def frame(self) -> StreamRequest | None:
        """Return everything that has gathered, up to one frame's size; None if nothing needs sending."""
        frame = StreamRequest()
        room = FRAME_BYTES - self._small(frame)
        announcements = self._announcements
        while announcements:
            first = announcements[0]
            if first.done:
                announcements.popleft()
                continue
            message = first.command()
            room -= message.ByteSize() + _OVERHEAD
            if room < 0:
                break
            announcements.popleft()
            first.announced()
            if isinstance(message, Invocation):
                frame.invocations.append(message)
            else:
                frame.subscriptions.append(message)
        return frame if frame.ByteSize() else None

    def _small(self, frame: StreamRequest) -> int:
        """Move credits and cancels into `frame`; return the bytes to set aside for them."""
        room = FRAME_BYTES // 2 // _SMALL_BYTES
        moved = 0
        for id in list(islice(self._credits, room)):
            frame.credits.append(StreamCredit(id=id, bytes=self._credits.pop(id)))
            moved += 1
        while self._cancels and moved < room:
            frame.cancels.append(CancelRequest(id=self._cancels.popleft()))
            moved += 1
        return moved * _SMALL_BYTES
