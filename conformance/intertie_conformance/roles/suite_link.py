"""A link of the suite's own over real streams: dialling, hearing, waiting; what a scripted peer is built on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import grpc

from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement, OriginRoute
from intertie.v1.event_pb2 import Event
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.identity import Identity, now_ms
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.logs import Fact
from intertie_conformance.grid.rules import Rules
from intertie_conformance.grid.streams import GrpcStream, open_stream
from intertie_conformance.roles.waiting import until
from intertie_conformance.verdicts import Failed, fail
from intertie_conformance.wire import envelope
from intertie_conformance.wire.agreements import Agreed
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import said

if TYPE_CHECKING:
    from intertie_conformance.roles.peer import Peer
    from intertie_conformance.stage import Stage

T = TypeVar("T")


class Aside(NamedTuple):
    """A stream beside the present one, and what came on it."""

    stream: GrpcStream
    frames: list[lk.Frame]


class Script(Rules):
    """Honest rules, except for what a check has changed in the next Open."""

    def __init__(self) -> None:
        self.changes: dict[str, Any] = {}
        self.keys: tuple[Key, ...] = ()
        """Keys that sign the Open; empty: the signing key."""

    def own_open(self, link: Link, fields: dict[str, object]) -> dict[str, object]:
        """The fields of an honest Open, but for the changes."""
        return {**fields, **self.changes}

    def sign_open(self, link: Link, payload: bytes) -> bytes:
        """By the signing key, or by these."""
        return link.me.seal_open(payload, *self.keys)


class SuiteLink(Link):
    """One side of a peering with the target; frames are traced, observed and judged."""

    def __init__(self, me: Identity, target: Described, agreed: Agreed, channel: grpc.aio.Channel) -> None:
        self.script = Script()
        super().__init__(me, target, agreed, self.script, now_ms, self)
        self.channel = channel
        self.stage: Stage
        self.closed = ""
        """Reason by which the target closed the stream, "" if it has not."""
        self.close_message = ""
        self.metadata: dict[str, str] = {}
        """Metadata of the close."""
        self.fault: Refusal | None = None
        """What the target did on this stream that no honest node does."""
        self.frames: list[lk.Frame] = []
        """Frames of the target on the present stream."""
        self.facts: list[Fact] = []
        self.events: list[Event] = []
        self.inputs: dict[int, bytes] = {}
        self.routes: dict[bytes, OriginRoute] = {}
        self.epoch_ended = False
        self.memory: dict[str, Any] = {}
        """What passive rules keep of the present stream."""
        self.answers = True
        """Whether frames are answered as an honest node does."""
        self.judges = True
        """Whether frames of the target are verified and taken."""
        self.spoiled = False
        """Whether the two sides may differ by now: such a peer is not used again."""
        self.home: list[Any] | None = None
        """Where it is kept between checks; None: with the other peers."""
        self._now: GrpcStream | None = None
        self._watched: list[tuple[GrpcStream, list[lk.Frame]]] = []

    # -- streams ----------------------------------------------------------------------------------

    async def connect(self) -> GrpcStream:
        """A new stream to the target; nothing is said yet."""
        stream = open_stream(self.channel, self._frame)
        self.begin_on(stream)
        return stream

    def begin_on(self, stream: GrpcStream) -> None:
        """Make a stream the present one: what came on the one before is forgotten."""
        self.closed, self.close_message, self.metadata, self.fault = "", "", {}, None
        self.frames, self.facts, self.events, self.routes, self.epoch_ended = [], [], [], {}, False
        self.memory = {}
        self._now = stream
        self.stage.keep(stream)

    @property
    def settled(self) -> bool:
        """Whether no order is open and the target has acknowledged everything: nothing will come of what was.

        Nor may the own log be ahead of the clock: a short deadline of a later check would be over as it is written.
        """
        account = self.logs.account
        idle = not account.open(ME) and not account.open(THEM)
        return idle and account.acked[THEM] == self.logs.seq(ME) and self.logs.at[ME] <= now_ms()

    def knows(self, stream: GrpcStream) -> bool:
        """Whether a stream that is not the present one is watched."""
        return any(other is stream for other, _ in self._watched)

    async def begin(self, **changes: Any) -> None:
        """Dial and say an honest Open, but for the changes."""
        await self.hang_up()
        stream = await self.connect()
        self.script.changes = changes
        try:
            self.dial(_Traced(self, stream))
        finally:
            self.script.changes = {}

    async def hang_up(self) -> None:
        """End the present stream, if there is one."""
        stream, self._now = self._now, None
        if stream is not None:
            await stream.stop()
        if self.stream is not None:
            self.lost(self.stream)

    async def leave(self) -> None:
        """End everything: this peer is not used again."""
        await self.hang_up()
        await self.channel.close()

    def serves(self, stream: GrpcStream) -> bool:
        """Whether a stream is the present one."""
        return stream is self._now

    def present(self) -> GrpcStream:
        """The stream that was dialled last."""
        assert self._now is not None, "nothing is connected"
        return self._now

    async def until_over(self, what: str, seconds: float | None = None) -> None:
        """Wait for the end of the present stream. Raises: Failed."""
        await until(self.present().done.is_set, what, self.stage.patience if seconds is None else seconds)

    def target_open(self) -> lk.Open:
        """The Open that the target has sent on this stream."""
        sealed = next(frame.open for frame in self.frames if frame.open)
        return lk.Open.FromString(envelope.peek(sealed).payload)

    def raw(self, data: bytes) -> None:
        """Send exact bytes as one frame."""
        self.stage.trace.sent(self.me.grid, data)
        self.present().send(data)

    def lie(self, frame: lk.Frame) -> None:
        """Send a frame that no honest node sends."""
        self.raw(frame.SerializeToString())

    def unhand(self) -> None:
        """Let go of the present stream without ending it."""
        self._now = None

    def watch(self, stream: GrpcStream, frames: list[lk.Frame]) -> None:
        """Gather what comes on a stream that is not the present one any more."""
        self._watched.append((stream, frames))

    async def aside(self, first: bytes) -> Aside:
        """Another stream beside the present one; `first` is said on it."""
        frames: list[lk.Frame] = []
        stream = open_stream(self.channel, lambda _, data: self._beside(frames, data))
        self.stage.keep(stream)
        self.stage.trace.note(self.me.grid, "→ on a stream of its own:")
        self.stage.trace.sent(self.me.grid, first)
        stream.send(first)
        return Aside(stream, frames)

    def _beside(self, frames: list[lk.Frame], data: bytes) -> None:
        self.stage.trace.note(self.me.grid, "← on the other stream:")
        self.stage.trace.heard(self.me.grid, data)
        frames.append(lk.Frame.FromString(data))

    # -- hearing ----------------------------------------------------------------------------------

    def _frame(self, stream: GrpcStream, data: bytes) -> None:
        if stream is not self._now:
            for other, frames in self._watched:
                if other is stream:
                    self._beside(frames, data)
            return
        self.stage.trace.heard(self.me.grid, data)
        self.stage.observe(cast("Peer", self), data)
        try:
            frame = lk.Frame.FromString(data)
        except Exception:
            self.fault = Refusal("FRAME_MALFORMED", "The target sent bytes that are no frame.")
            return
        self.frames.append(frame)
        if frame.HasField("close"):
            self.closed, self.close_message = frame.close.reason, frame.close.message
            self.metadata = dict(frame.close.metadata)
        self.inputs.update({item.order_seq: item.data for item in frame.inputs})
        if self.judges:
            self._take(stream, data)

    def _take(self, stream: GrpcStream, data: bytes) -> None:
        same = isinstance(self.stream, _Traced) and self.stream.stream is stream
        traced = self.stream if same and self.stream is not None else _Traced(self, stream)
        try:
            self._hear(traced, data)
        except Refusal as refusal:
            self.fault = refusal
            self.stage.trace.note(self.me.grid, f"the frame breaks a rule: {refusal}")
            return
        if self.answers:
            self.flush()

    def opened(self, link: Link) -> None:
        """The link is open (`link.Handler`)."""

    def fact(self, link: Link, fact: Fact, data: bytes) -> None:
        """An entry of the target (`link.Handler`)."""
        self.facts.append(fact)

    def event(self, link: Link, event: Event) -> None:
        """An event of the target (`link.Handler`)."""
        self.events.append(event)

    def advertised(self, link: Link, item: Advertisement) -> None:
        """An advertisement of the target (`link.Handler`)."""
        if item.HasField("route"):
            self.routes[item.route.path[-1]] = item.route
        self.epoch_ended |= item.end

    # -- waiting ----------------------------------------------------------------------------------

    async def wait(self, look: Callable[[], T], what: str, seconds: float | None = None) -> T:
        """Wait until `look` finds something true. Raises: Failed if the stream ends before, or at the bound."""

        def looked() -> T | bool:
            found = look()
            return found if found else self._over()

        bound = self.stage.patience if seconds is None else seconds
        try:
            found = await until(looked, what, bound)
        except Failed as failed:
            raise Failed(what, self.how_it_stands(failed.got)) from None
        value = look()
        if not value:
            fail(what, self.how_it_stands("the stream ended"))
        del found
        return value

    def _over(self) -> bool:
        """Whether nothing more will come on this stream."""
        return bool(self.closed or self.fault or self._now is None or self._now.done.is_set())

    def how_it_stands(self, otherwise: str) -> str:
        """What the target has done instead."""
        if self.fault is not None:
            return f"a frame that breaks a rule: {self.fault}"
        if self.closed:
            return f"close {self.closed}: {self.close_message}"
        if self._now is not None and self._now.error is not None:
            return f"the call ended: {said(self._now.error)}"
        return "the stream ended without a word" if self._over() else otherwise + self._elsewhere()

    def _elsewhere(self) -> str:
        """What explains silence: signatures of the target that name no session of this link."""
        named = {frame.signature.session for frame in self.frames if frame.HasField("signature")} - {self.session}
        if self.confirmed or not named:
            return ""
        dialler = "suite" if self.dialled else "target"
        wrong = ", ".join(sorted(session.hex() for session in named))
        return f"; the target signs in session {wrong}, this one is {self.session.hex()} (the {dialler} has dialled)"


class _Traced:
    """A stream whose frames are noted in the trace (`link.Stream`)."""

    def __init__(self, peer: SuiteLink, stream: GrpcStream) -> None:
        self._peer = peer
        self.stream = stream

    def send(self, frame: bytes) -> None:
        """Send and note."""
        self._peer.stage.trace.sent(self._peer.me.grid, frame)
        self.stream.send(frame)

    def close(self) -> None:
        """End the stream."""
        self.stream.close()
