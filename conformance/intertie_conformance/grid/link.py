"""One link of the suite's own grid: opening, re-establishing, frames both ways. No I/O: bytes in, bytes out."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement
from intertie.v1.event_pb2 import Event
from intertie_conformance.grid.account import ME, THEM, Hold, Terms
from intertie_conformance.grid.logs import Fact, Logs
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.identity import Identity
    from intertie_conformance.grid.rules import Rules
    from intertie_conformance.wire.agreements import Agreed
    from intertie_conformance.wire.descriptors import Described

OVERHEAD = 512
"""Bytes of a frame kept free for signature and counters."""


class Phase(Enum):
    """Where the opening stands."""

    DOWN = "down"
    OPENING = "opening"
    CATCHING_UP = "catching up"
    OPEN = "open"


class Stream(Protocol):
    """One Link stream."""

    def send(self, frame: bytes) -> None:
        """Queue a serialized frame."""
        ...

    def close(self) -> None:
        """End the stream once all is written."""
        ...


class Handler(Protocol):
    """What the grid does about what a link hears."""

    def opened(self, link: Link) -> None:
        """The link is open."""
        ...

    def fact(self, link: Link, fact: Fact, data: bytes) -> None:
        """A valid entry of the other side, with the input that came beside it."""
        ...

    def event(self, link: Link, event: Event) -> None:
        """An event."""
        ...

    def advertised(self, link: Link, item: Advertisement) -> None:
        """An advertisement."""
        ...


class Link:
    """One side of a link."""

    def __init__(
        self, me: Identity, peer: Described, agreement: Agreed, rules: Rules, now: Callable[[], int], handler: Handler
    ) -> None:
        self.me = me
        self.peer = peer
        self.agreement = agreement
        self.rules = rules
        self.now = now
        self.handler = handler
        self.genesis = rules.genesis(agreement)
        self.terms = Terms.of(agreement.message, me.fingerprint)
        self.peer_keys = peer.keys()
        self.logs = Logs(self.genesis, self.terms, rules, (me.keys, self.peer_keys))
        self.phase = Phase.DOWN
        self.stream: Stream | None = None
        self.dialled = False
        self.session = bytes(32)
        self.confirmed = False
        self.targets = (0, 0)
        """What must be held of the own and the other log before the link is open."""
        self.frame_bytes = 1 << 18
        self.other_limits = rules.own_limits()
        """What the other side has declared."""
        self.heard_at = self._pinged_at = 0
        """When a frame last came, by `now`."""
        self.inputs_sent: dict[int, bytes] = {}
        self.was_open = False
        self._my_open = b""
        self._backlog: list[tuple[Fact, bytes]] = []
        self._unsent = 0
        """Own entries that are in no frame yet."""
        self._owes = False
        self._inputs: list[tuple[int, bytes]] = []
        self._events: list[Event] = []
        self._advertisements: list[Advertisement] = []
        self._pong = 0
        self.fault: Refusal | None = None
        """Why a stream was last closed here."""

    @property
    def is_open(self) -> bool:
        """Whether both logs are whole and everything may be said."""
        return self.phase is Phase.OPEN

    def describe(self, described: Described) -> None:
        """Take up a newer descriptor of the peer."""
        self.peer, self.peer_keys = described, described.keys()
        self.logs.keys = (self.logs.keys[ME], described.ever())

    def signers(self, described: Described) -> dict[bytes, Ed25519PublicKey]:
        """Keys of a descriptor that may sign now, give or take the agreed skew."""
        now, skew = self.now(), self.terms.max_skew_ms
        return described.keys(now - skew) | described.keys(now + skew)

    # -- streams ----------------------------------------------------------------------------------

    def dial(self, stream: Stream) -> None:
        """An own stream stands: say Open."""
        if self.phase is not Phase.DOWN:
            stream.close()
            return
        self.phase, self.stream, self.dialled, self.confirmed = Phase.OPENING, stream, True, False
        first = self.rules.first_said()
        if first is not None:
            stream.send(first.SerializeToString())
        stream.send(self._open_frame())

    def lost(self, stream: Stream) -> None:
        """A stream has ended."""
        if stream is self.stream:
            self.phase, self.stream, self.confirmed = Phase.DOWN, None, False
            self._events, self._advertisements = [], []

    def hear(self, stream: Stream, data: bytes) -> None:
        """A frame came. A bad one closes its stream by name."""
        try:
            self._hear(stream, data)
        except Refusal as refusal:
            self.fault = refusal
            if self.rules.bad_open_ends() and self.stream is not None:
                self.refuse(self.stream, refusal)
            self.refuse(stream, refusal)
        self.flush()

    def refuse(self, stream: Stream, refusal: Refusal) -> None:
        """Close a stream by name."""
        said = self.rules.closes(refusal)
        if said is not None:
            stream.send(said)
        more = self.rules.after_close()
        if more is not None:
            stream.send(more.SerializeToString())
        if self.rules.deaf():
            stream.close()
            self.lost(stream)

    def _hear(self, stream: Stream, data: bytes) -> None:
        self.heard_at = self.now()
        self.rules.frame_size(data)
        frame = self.rules.frame_payload(data)
        if self.rules.ends(frame):
            stream.close()
            self.lost(stream)
        elif frame.open:
            self._opened(stream, frame)
        elif stream is not self.stream or self.phase in (Phase.DOWN, Phase.OPENING):
            self.rules.first_frame(frame)
        else:
            self._receive(frame)

    # -- opening ----------------------------------------------------------------------------------

    def _open_frame(self) -> bytes:
        logs = self.logs
        fields: dict[str, object] = {
            "genesis": self.genesis,
            "nonce": os.urandom(16),
            "descriptor_version": len(self.me.chain),
            "agreement_version": 1,
            "features": ["record-batches"],
            "limits": self.rules.own_limits(),
            "clock": self.now(),
            "own": lk.Cursor(seq=logs.seq(ME), head=logs.heads[ME][-1]),
            "other": lk.Cursor(seq=logs.seq(THEM), head=logs.heads[THEM][-1]),
            "descriptors": self.me.chain,
        }
        opened = lk.Open(**self.rules.own_open(self, fields))  # type: ignore[arg-type]
        self._my_open = opened.SerializeToString()
        sealed = self.rules.sign_open(self, self._my_open)
        return self.rules.own_frame(lk.Frame(open=sealed)).SerializeToString()

    def _opened(self, stream: Stream, frame: lk.Frame) -> None:
        answers = stream is self.stream and self.phase is Phase.OPENING
        if stream is self.stream and not answers:
            self.rules.second_open()
        if self.fault is not None and not self.rules.forgives(self.fault.reason):
            raise self.fault
        payload, opened = self.rules.check_open(frame, self)
        if not answers:
            self._contend()
            self.stream, self.dialled = stream, False
            stream.send(self._open_frame())
        self.phase, self.confirmed = Phase.CATCHING_UP, False
        self.session = self.rules.session(self.dialled, self._my_open, payload)
        self.frame_bytes = self.rules.largest_frame(opened)
        self.other_limits = opened.limits
        self.targets = (max(self.logs.seq(ME), opened.other.seq), max(self.logs.seq(THEM), opened.own.seq))
        self._reestablish(opened)
        self._maybe_open()

    def _contend(self) -> None:
        """A second stream of the peer: one of the two goes."""
        if self.stream is None:
            return
        if self.rules.stays(self.dialled, self.me.fingerprint < self.peer.fingerprint, self.phase is Phase.OPEN):
            raise Refusal("SUPERSEDED", "Another stream of this link is being opened.")
        self.refuse(self.stream, self.rules.superseded())

    def _reestablish(self, opened: lk.Open) -> None:
        if self._unsent:
            self.logs.sign(self.session, self.rules.head_key(self))
            self._unsent, self._inputs = 0, []
        first = self.rules.returns_signature(self)
        frames = [first] if first is not None else []
        for frame in [*frames, *self.rules.resends(self, opened)]:
            self._say(frame)
        self._owes = self.rules.signs_after_open()

    def _maybe_open(self) -> None:
        if self.phase is not Phase.CATCHING_UP or not self.rules.is_complete(self):
            return
        self.phase, self.was_open = Phase.OPEN, True
        if self.logs.seq(ME) == 0 and self.agreement.message.proposer.fingerprint == self.me.fingerprint:
            self.write(entry(pb.ENTRY_KIND_AGREEMENT, agreement={"agreement": self.agreement.sealed}))
        backlog, self._backlog = self._backlog, []
        for fact, data in backlog:
            self._fact(fact, data)
        self.handler.opened(self)

    # -- hearing ----------------------------------------------------------------------------------

    def _receive(self, frame: lk.Frame) -> None:
        self.rules.check_frame(frame)
        facts: list[Fact] = []
        if frame.HasField("returned_signature"):
            self._take_back(frame)
        if frame.HasField("signature"):
            self.rules.signed_session(self, frame.signature)
            self.rules.signed_whole(self, frame.signature)
            latest = self.now() + self.terms.max_skew_ms
            facts = self.logs.take(THEM, frame.first_seq, frame.entries, frame.signature, latest)
        self._owes |= self.rules.acknowledges(frame, len(facts))
        self._pong = self.rules.pong(frame.ping) if frame.ping else self._pong
        if self.rules.events_first():
            self._heed(frame)
        inputs = {item.order_seq: item.data for item in frame.inputs}
        for seq in inputs.keys() - {fact.seq for fact in facts}:
            self.rules.stray_input(seq)
        if self.rules.signs_first([fact.entry for fact in facts]):
            self._owes = True
            self.flush()
        for fact in facts:
            self._fact(fact, inputs.get(fact.seq, b""))
        self._maybe_open()
        if not self.rules.events_first():
            self._heed(frame)

    def _heed(self, frame: lk.Frame) -> None:
        """Pass on what moves no value."""
        for event in frame.events:
            self.handler.event(self, event)
        for item in frame.advertisements:
            self.handler.advertised(self, item)

    def _take_back(self, frame: lk.Frame) -> None:
        """Own entries that were lost, or the last own signature alone: what it states must be held again."""
        signature = frame.returned_signature
        if frame.returned:
            self.logs.take(ME, frame.first_returned, frame.returned, signature)
            return
        self.rules.returned_own(self, signature)
        own, other = self.targets
        self.targets = (max(own, signature.seq), max(other, signature.acked))

    def _fact(self, fact: Fact, data: bytes) -> None:
        if not self.was_open:
            self._backlog.append((fact, data))
        elif fact.void is not None:
            rule = self.rules.refuses_void(fact.void)
            if rule is not None:
                self.write(entry(pb.ENTRY_KIND_REFUSE, refuse={"entry_seq": fact.seq, "rule": rule}))
        else:
            self.handler.fact(self, fact, data)

    # -- saying -----------------------------------------------------------------------------------

    def write(self, entry: pb.Entry, data: bytes = b"") -> int:
        """Append an own entry, with the input that travels beside it; returns its seq."""
        fact = self.logs.append(entry, self.now())
        self._unsent += 1
        if data:
            self.inputs_sent[fact.seq] = data
            self._inputs.append((fact.seq, data))
        return fact.seq

    def has_room(self, hold: Hold) -> bool:
        """Whether the peer has no more than its max_unagreed at stake for an order: those that wait behind it aside."""
        account = self.logs.account
        stake = account.unagreed(THEM) - self.rules.behind(hold, account.open(THEM))
        return stake <= self.terms.max_unagreed[THEM]

    def say(self, *events: Event) -> None:
        """Send events with the next frame, if the link is open."""
        if self.phase is Phase.OPEN:
            self._events.extend(events)

    def tick(self) -> None:
        """Ping a peer of which nothing was heard for long, give up one of which nothing was heard for very long."""
        silent, rules = (self.now() - self.heard_at) / 1_000, self.rules
        if self.stream is None or self.phase is not Phase.OPEN:
            return
        if silent > rules.dead_after_s():
            self.refuse(self.stream, Refusal("SILENT_PEER", f"Nothing was heard for {silent:.0f} s."))
        elif silent > rules.ping_after_s() and self.now() - self._pinged_at > 5_000:
            self._pinged_at = self.now()
            self._say(lk.Frame(ping=self.now()))

    def advertise(self, *items: Advertisement) -> None:
        """Send advertisements with the next frame."""
        self._advertisements.extend(items)

    def flush(self) -> None:
        """Send everything that was gathered."""
        if self.phase in (Phase.DOWN, Phase.OPENING):
            return
        frame = lk.Frame()
        if self._unsent or (self._owes and self.rules.may_sign(self)):
            self._entries(frame)
        frame.pong, self._pong = self._pong, 0
        room = self.frame_bytes - OVERHEAD - frame.ByteSize()
        for name, items in (("advertisements", self._advertisements), ("events", self._events)):
            for item in items:
                room -= item.ByteSize() + 16
                if room < 0:
                    self._say(frame)
                    frame, room = lk.Frame(), self.frame_bytes - OVERHEAD - item.ByteSize()
                getattr(frame, name).append(item)
        self._advertisements, self._events = [], []
        if frame.ListFields():
            self._say(frame)

    def _entries(self, frame: lk.Frame) -> None:
        """Put the unsent entries and one signature into a frame."""
        first = self.logs.seq(ME) - self._unsent + 1
        if self._unsent:
            frame.first_seq = first
            frame.entries.extend(self.rules.own_entry(data) for data in self.logs.entries[ME][first - 1 :])
        frame.signature.CopyFrom(self.logs.sign(self.session, self.rules.head_key(self)))
        for seq, data in self._inputs:
            frame.inputs.add(order_seq=seq, data=data)
        self._unsent, self._owes, self._inputs = 0, False, []

    def _say(self, frame: lk.Frame) -> None:
        if self.stream is not None:
            self.stream.send(self.rules.own_bytes(self.rules.own_frame(frame)))
