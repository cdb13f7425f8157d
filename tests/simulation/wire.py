"""Simulated streams: exact frame bytes in order, late, stalled, cut after any byte, noticed sooner or later.

A stream has two ends. Each is the `ports.Connection` of the grid that holds it. A frame of which not every
byte has passed is never delivered, as on a real transport. What the receiver has not taken yet waits, two
frames at most with the receiver, all others on the way.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any, Protocol

MAX_SAID = 60
"""So many first frames of a stream are kept, to be said again (see `Repeater`)."""
WINDOW = 2
"""So many frames are handed to a node before it has acted upon them."""
CUT_ANYWAY_MS = 2_000


class Owner(Protocol):
    """Who holds an end."""

    index: int
    fingerprint: bytes
    life: int
    alive: bool
    frozen: bool
    reading_ms: int

    def hear(self, end: End, frame: bytes) -> None:
        """A frame has arrived."""

    def stream_lost(self, end: End) -> None:
        """The stream has gone."""


class Repeater:
    """Who says again what a grid has said on an earlier stream, and listens to nobody."""

    alive, frozen, life, reading_ms = True, False, 0, 0

    def __init__(self, grid: Owner) -> None:
        self.index, self.fingerprint = grid.index, grid.fingerprint

    def hear(self, end: End, frame: bytes) -> None:
        """Drop a frame."""
        end.taken()

    def stream_lost(self, end: End) -> None:
        """Nothing is done about it."""


class Breaking:
    """How a stream is about to break: at the next frame with an entry of a kind (0: any frame), amid it or after it."""

    def __init__(self, fault: str, kind: int, amid: bool, noticed: float, side: int = -1) -> None:
        self.fault, self.kind, self.amid, self.noticed, self.side = fault, kind, amid, noticed, side

    def meets(self, kinds: tuple[int, ...]) -> bool:
        """Whether this is the frame."""
        return not self.kind or self.kind in kinds


class End:
    """One end of a stream."""

    def __init__(self, stream: Stream, owner: Owner, fingerprint: bytes) -> None:
        self.stream = stream
        self.owner = owner
        self.life = owner.life
        """Of the owner, when the stream was made: a later one knows nothing of it."""
        self.fingerprint = fingerprint
        """Of the grid at the other end."""
        self.fault = ""
        self.other: End
        self.opened: bytes = b""
        """Payload of the Open that was said here."""
        self.said: list[bytes] = []
        """The first frames that were said here."""
        self.shut = False
        """True: nothing more is sent from here."""
        self.gone = False
        """True: the owner has been told that the stream is lost, or is dead itself."""
        self.arriving: deque[tuple[float, bytes | None, tuple[int, ...]]] = deque()
        """(when, frame or None for the loss, kinds of its entries) on the way to this end."""
        self._waiting = 0
        self.last = 0.0
        """When the last of what is on its way to this end arrives."""

    # -- ports.Connection -------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Queue a frame."""
        if self.shut or self.gone:
            return
        sim = self.stream.sim
        kinds = sim.said(self, frame)
        if len(self.said) < MAX_SAID:
            self.said.append(frame)
        breaking = self.stream.breaking
        if breaking is None or not breaking.meets(kinds):
            self.other.come(frame, kinds)
            return
        if not breaking.amid:
            self.other.come(frame, kinds)
            if breaking.fault == "half_open":
                sim.at(self.other.last, self.stream.snap)
                return
        self.stream.snap()

    def taken(self) -> None:
        """A frame has been acted upon: one more may be handed over."""
        self._waiting = max(0, self._waiting - 1)
        if self.arriving:
            self.stream.sim.after(self.owner.reading_ms, self.deliver)

    def close(self, reason: str) -> None:
        """Close after what was sent; both sides are told."""
        if not self.shut:
            self.shut = True
            self.other.come(None, ())
            self.stream.sim.after(self.stream.latency(), self.lose)

    # -- arriving ---------------------------------------------------------------------------------

    def come(self, frame: bytes | None, kinds: tuple[int, ...]) -> None:
        """Something is on its way to this end."""
        sim = self.stream.sim
        self.last = max(self.last, sim.now + self.stream.latency() + self.stream.extra)
        self.arriving.append((self.last, frame, kinds))
        sim.at(self.last, self.deliver)

    def deliver(self) -> None:
        """Hand over what has arrived, as far as the owner takes it."""
        sim, owner = self.stream.sim, self.owner
        while self.arriving and self.arriving[0][0] <= sim.now and not self.gone:
            if self._waiting >= WINDOW or owner.frozen or self.stream.blocked:
                return
            _, frame, _ = self.arriving.popleft()
            if frame is None:
                self.lose()
                return
            self._waiting += 1
            sim.heard(self, frame)
            owner.hear(self, frame)

    def lose(self) -> None:
        """Tell the owner that the stream has gone, once."""
        self.shut = True
        if not self.gone:
            self.gone = True
            self.stream.ended()
            if self.owner.alive and self.owner.life == self.life:
                self.owner.stream_lost(self)


class Stream:
    """A stream between two grids."""

    def __init__(self, sim: Any, number: int, link: int, a: Owner, b: Owner) -> None:
        self.sim = sim
        self.link = link
        """Index of the peering."""
        self._rng = Random(f"stream {sim.plan.seed} {number}")
        self._base = self._rng.choice((1, 1, 5, 20, 60))
        self.breaking: Breaking | None = None
        self.extra = 0
        """Milliseconds that frames take longer now."""
        self.broken = False
        self.ends = (End(self, a, b.fingerprint), End(self, b, a.fingerprint))
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]

    def latency(self) -> float:
        """Milliseconds that the next frame takes."""
        return self._base + self._rng.random() * 3

    @property
    def blocked(self) -> bool:
        """Whether a partition lies between the two grids."""
        return bool(self.sim.parted(self.ends[0].owner.index, self.ends[1].owner.index))

    def cut(self, noticed: float = 0, hard: bool = False) -> None:
        """The stream breaks; `hard`: what is on its way is lost too."""
        if self.broken:
            return
        self.broken = True
        for end in self.ends:
            end.shut = True
            if hard:
                end.arriving.clear()
            end.come(None, ())
            self.sim.after(noticed + CUT_ANYWAY_MS, end.lose)

    def break_at(self, breaking: Breaking) -> None:
        """Break when the frame comes, or a while later if it does not."""
        self.breaking = breaking
        self.sim.after(CUT_ANYWAY_MS, lambda: self.snap() if self.breaking is breaking else None)

    def snap(self) -> None:
        """The moment has come."""
        breaking, self.breaking = self.breaking, None
        if breaking is None:
            return
        if breaking.fault == "half_open":
            self._half_open(breaking.side)
        else:
            self.cut(breaking.noticed, hard=breaking.amid)

    def _half_open(self, side: int) -> None:
        """One side loses the stream; the other hears nothing more and must find out by itself."""
        for each in self.ends:
            each.shut = True
            each.arriving.clear()
        self.ends[side].lose()

    def abandon(self, owner: Owner, silently: bool) -> None:
        """A grid at one end has died; the other is told by its transport, or must find out by itself."""
        for end in self.ends:
            end.shut = True
            if end.owner is owner:
                end.gone = True
            elif not silently:
                end.come(None, ())
        self.ended()

    def ended(self) -> None:
        """Forget the stream once nobody holds it."""
        if all(end.gone for end in self.ends):
            self.sim.forget(self)
