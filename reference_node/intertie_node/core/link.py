"""One link: two logs, the session over them, and what is about to be said (design §7)."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from intertie import envelope
from intertie.encoding import parse
from intertie.errors import IntertieError, to_problem
from intertie.keys import PrivateKey
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event
from intertie_node.core.books import LinkAccounts
from intertie_node.core.effects import Effects
from intertie_node.core.frames import MAX_FRAME_ENTRIES, OVERHEAD, Outbox
from intertie_node.core.holds import Hold, Lines
from intertie_node.core.ledger import ME, THEM, LinkTerms, Load
from intertie_node.core.link_rows import LinkRows, Stored
from intertie_node.core.log import MAX_ENTRY_BYTES
from intertie_node.core.opening import OPENING_TABLE, Phase, Plan, Signal, Step, check_open, obeyed, plan, session_of
from intertie_node.core.pair import Fact, Keys, LogPair, signed_by
from intertie_node.core.pinning import PeerSide, successor
from intertie_node.core.work import CloseLink, ReadEntries

NO_SESSION = bytes(32)
PING_AFTER_MS = 10_000
DEAD_AFTER_MS = 30_000


class OwnSide(Struct):
    """What this grid brings to every link."""

    fingerprint: bytes
    grid: str
    key: PrivateKey
    keys: Keys
    """Own keys, past ones included, by key id."""
    descriptors: Sequence[bytes]
    limits: lk.Limits
    features: frozenset[str]


class Link:
    """A link with one peer, keyed by the genesis of its agreement."""

    def __init__(
        self,
        name: str,
        genesis: bytes,
        own: OwnSide,
        peer: PeerSide,
        terms: LinkTerms,
        asset: tuple[str, int],
        load: Load,
    ) -> None:
        self.name = name
        """Genesis as hex: the key of the link's rows."""
        self.genesis = genesis
        self.accounts = LinkAccounts.of(name)
        self.own = own
        self.peer = peer
        self.terms = terms
        self.asset, self.scale = asset
        self.pair = LogPair(genesis, terms, lambda side: own.keys if side == ME else self._peer_keys(), load)
        self.ledger = self.pair.ledger
        self.phase = Phase.DOWN
        self.connection: Any = None
        self.dialled_by_me = False
        self.session = NO_SESSION
        self.signers: Keys = {}
        """The peer's keys that may sign in this session."""
        self.confirmed = False
        """True once the peer has signed in this session."""
        self.plan: Plan | None = None
        self.their_limits = obeyed(own.limits)
        self.my_open = b""
        self.outbox = Outbox()
        self.held: list[lk.Frame] | None = None
        """Frames that wait until the resending is over; None when nothing is being resent."""
        self.heard_at = 0
        self.progressed_at = 0
        """When the last entries came, or the stream opened."""
        self.pinged_at = 0
        self.agreement = b""
        """Serialized Envelope of the agreement, if this grid proposed it and so writes it into its log."""
        self.met_upto = 0
        """Entries of the other log up to this seq may have been met before the process started."""
        self.left: set[Any] = set()
        """Connections that this side has closed and that have not gone yet: what still comes from them is dropped."""
        self.rows = LinkRows(name)

    def restore(self, stored: Stored, holds: Sequence[Hold], heads: tuple[dict[int, bytes], dict[int, bytes]]) -> None:
        """Put a stored link back (see `LinkRows.restore`)."""
        self.rows.restore(self.pair, stored, holds, heads)

    def stored(self) -> Stored:
        """The link's own row."""
        return self.rows.stored(self.pair)

    # -- speaking ---------------------------------------------------------------------------------

    @property
    def can_append(self) -> bool:
        """Whether entries may be appended now."""
        return self.rows.writable

    @property
    def settled(self) -> bool:
        """Whether no hold is open, and each side has acknowledged the other's whole log."""
        mine, theirs = self.pair.logs
        return not any(lane.open for lane in self.ledger.lanes) and self.ledger.acked == [theirs.seq, mine.seq]

    def room(self, payer: int) -> int:
        """How much more may be granted under `max_unagreed`, minor units."""
        return max(0, self.terms.max_unagreed[payer] - self.ledger.lanes[payer].unagreed)

    def say(self, event: Event) -> None:
        """Send an event if the link is open."""
        if self.phase is Phase.OPEN:
            self.outbox.events.append(event)

    def append(self, entry: pb.Entry, fx: Effects, data: bytes = b"", judged: Lines | None = None) -> int:
        """Append an own entry, with the input that travels beside it; returns its seq.

        `judged` are the lines of an order that has been judged already (`LogPair.append`).
        It may end a frame: what of the other log is not acted upon yet (`pair.unhandled`) stays unacknowledged.
        """
        assert self.rows.writable, "nothing is written before the first opening is complete"
        self.rows.fx = fx
        box = self.outbox
        if box.entries and not self._fits(entry, len(data)):
            self._cut(fx)
        seq, encoded, _ = self.pair.append(entry, fx.now, self.rows, judged)
        box.entry(seq, encoded)
        if data:
            box.input(seq, data)
        if box.size > self.their_limits.frame_bytes // 2 or len(box.entries) >= MAX_FRAME_ENTRIES:
            self._cut(fx)
        return seq

    def _fits(self, entry: pb.Entry, input_bytes: int) -> bool:
        """Whether the gathered frame takes the entry too; it is measured where the largest one would not fit."""
        room = self.their_limits.frame_bytes - 2 * OVERHEAD - self.outbox.size - input_bytes
        return room >= MAX_ENTRY_BYTES or room >= entry.ByteSize()

    def _cut(self, fx: Effects) -> None:
        frame = self._signed_frame(fx)
        self._emit(frame, fx)

    def _signed_frame(self, fx: Effects) -> lk.Frame:
        self.rows.fx = fx
        return self.outbox.entry_frame(self.pair.sign(self.session, self.own.key, self.rows))

    def flush(self, fx: Effects) -> None:
        """End of a batch: sign once, send everything gathered, write the rows."""
        box = self.outbox
        # Until the first opening is complete nothing is judged, so nothing is agreed to either.
        frame = self._signed_frame(fx) if box.entries or (box.sign and self.can_append) else None
        if self.connection is None or self.phase in (Phase.DOWN, Phase.OPENING):
            box.events, box.advertisements = [], []
        else:
            for ready in box.rest(frame, self.their_limits.frame_bytes):
                self._emit(ready, fx)
        self.rows.save(self.pair, fx)

    def _emit(self, frame: lk.Frame, fx: Effects) -> None:
        if self.connection is None or self.phase in (Phase.DOWN, Phase.OPENING):
            return
        if self.held is not None:
            self.held.append(frame)
        else:
            fx.sends.append((self.connection, frame.SerializeToString()))

    # -- opening ----------------------------------------------------------------------------------

    def dialled(self, connection: Any, nonce: bytes, fx: Effects) -> None:
        """A connection to the peer stands: say `Open`."""
        step, phase = OPENING_TABLE[self.phase, Signal.DIALLED]
        if step is not Step.SEND_OPEN:
            self._close(connection, IntertieError("SUPERSEDED", "Another stream of this link stands already."), fx)
            return
        self.phase, self.connection, self.dialled_by_me = phase, connection, True
        self.heard_at = fx.now
        fx.sends.append((connection, self._open_frame(nonce, fx.now)))

    def check_open(self, frame: lk.Frame, now: int) -> tuple[bytes, lk.Open, PeerSide | None]:
        """The peer's `Open` with its exact payload bytes, once its signature and contents hold.

        It is signed by a key of the descriptor that it carries, which must follow the pinned one; that is returned
        too if it is new. Raises: IntertieError as `check_open`, `successor` and `envelope.unseal` do,
        FRAME_MALFORMED, LOG_FORK.
        """
        if len(frame.ListFields()) > 1:
            raise IntertieError("FRAME_MALFORMED", "The frame of an Open may hold nothing else.")
        stated = parse(lk.Open, envelope.peek_unverified(frame.open)[1], envelope.MAX_BYTES, "FRAME_MALFORMED")
        newer = successor(self.peer, stated.descriptors, stated.descriptor_version)
        signers = (newer or self.peer).current(now, self.terms.max_skew_ms)
        payload = envelope.unseal(frame.open, envelope.OPEN, signers).payload
        theirs = parse(lk.Open, payload, envelope.MAX_BYTES, "FRAME_MALFORMED")
        check_open(theirs, self.genesis, now, self.terms.max_skew_ms, self.own.features)
        self._check_cursors(theirs)
        return payload, theirs, newer

    def opened(self, connection: Any, payload: bytes, theirs: lk.Open, nonce: bytes, fx: Effects) -> None:
        """The peer's `Open`, checked, arrived on `connection`."""
        answering = connection is not self.connection
        if answering:
            self.connection, self.dialled_by_me = connection, False
            fx.sends.append((connection, self._open_frame(nonce, fx.now)))
        if self.outbox.entries:
            self._signed_frame(fx)
        self.phase, self.heard_at, self.pinged_at, self.confirmed = Phase.CATCHING_UP, fx.now, 0, False
        self.progressed_at = fx.now
        self.session = session_of(self.dialled_by_me, self.my_open, payload)
        self.signers = self.peer.current(fx.now, self.terms.max_skew_ms)
        self.their_limits = obeyed(theirs.limits)
        self.outbox = Outbox()
        self.held = []
        mine, other = self.pair.logs
        self.plan = plan(mine.seq, other.seq, theirs)
        fx.work.append(self._reading(self.plan.resend_after, mine.seq, self.plan.return_after, other.seq))

    def _check_cursors(self, theirs: lk.Open) -> None:
        mine, other = self.pair.logs
        for log, cursor in ((mine, theirs.other), (other, theirs.own)):
            known = log.heads.get(cursor.seq)
            if known is not None and known != cursor.head:
                raise IntertieError("LOG_FORK", f"The heads at seq {cursor.seq} differ between the two sides.")

    def _open_frame(self, nonce: bytes, now: int) -> bytes:
        mine, theirs = self.pair.logs
        opened = lk.Open(
            genesis=self.genesis,
            nonce=nonce,
            descriptor_version=len(self.own.descriptors),
            agreement_version=1,
            features=sorted(self.own.features),
            limits=self.own.limits,
            clock=now,
            own=lk.Cursor(seq=mine.seq, head=mine.head),
            other=lk.Cursor(seq=theirs.seq, head=theirs.head),
            descriptors=self.own.descriptors,
        )
        self.my_open = opened.SerializeToString()
        return lk.Frame(open=envelope.seal(envelope.OPEN, self.my_open, [self.own.key])).SerializeToString()

    def _reading(self, own_after: int, own_upto: int, other_after: int, other_upto: int) -> ReadEntries:
        return ReadEntries(self.name, self.connection, own_after, own_upto, other_after, other_upto, first=True)

    def resend(self, work: ReadEntries, frames: Sequence[bytes], rest: ReadEntries | None, fx: Effects) -> None:
        """Frames for the other side were read from the store; `rest` is what is still to be read."""
        if work.connection is not self.connection or self.held is None:
            return
        fx.sends.extend((self.connection, frame) for frame in frames)
        if rest is not None:
            fx.work.append(rest)
            return
        held, self.held = self.held, None
        self.outbox.sign = True
        fx.sends.extend((self.connection, frame.SerializeToString()) for frame in held)

    def caught_up(self) -> bool:
        """Step to OPEN if nothing is missing any more; True at that moment only."""
        if self.phase is not Phase.CATCHING_UP or self.plan is None:
            return False
        mine, theirs = self.pair.logs
        if mine.seq < self.plan.own_target or theirs.seq < self.plan.other_target:
            return False
        self.pair.promised(self.plan.acked)
        self.phase = OPENING_TABLE[self.phase, Signal.CAUGHT_UP][1]
        if not self.rows.writable:
            self.rows.writable, self.met_upto = True, theirs.seq
        return True

    def lost(self, connection: Any) -> bool:
        """The connection has gone; True if it was the current one."""
        self.left.discard(connection)
        if connection is not self.connection:
            return False
        self.phase = OPENING_TABLE[self.phase, Signal.LOST][1]
        self.connection, self.held, self.plan = None, None, None
        self.outbox.events, self.outbox.advertisements = [], []
        return True

    def _peer_keys(self) -> Keys:
        """Keys by which the peer's next signature is verified.

        One of this session must be made by a key of the newest descriptor, a resent one by any of the chain.
        """
        return self.signers if self.confirmed else self.peer.keys

    # -- hearing ----------------------------------------------------------------------------------

    def receive(self, frame: lk.Frame, fx: Effects) -> list[Fact]:
        """Take the entries and signatures of a frame. Raises: IntertieError as `LogPair.take` does."""
        _check_shape(frame)
        self.rows.fx = fx
        if self.outbox.size > self.their_limits.frame_bytes // 4:
            self._cut(fx)
        self.heard_at = fx.now
        facts: list[Fact] = []
        if frame.HasField("returned_signature") and not frame.returned:
            self._recall_signature(frame.returned_signature)
        elif frame.HasField("returned_signature"):
            facts += self.pair.take(ME, frame.first_returned, frame.returned, frame.returned_signature, self.rows)
        if frame.HasField("signature"):
            self._check_session(frame.signature)
            if self.confirmed:
                self._check_whole()
            facts += self.pair.take(
                THEM, frame.first_seq, frame.entries, frame.signature, self.rows, fx.now + self.terms.max_skew_ms
            )
            self.outbox.sign |= bool(frame.entries)
        if frame.ping:
            self.outbox.pong = frame.ping
        if facts:
            self.progressed_at = fx.now
        return facts

    def _check_whole(self) -> None:
        """A peer signs in a session once it has returned what it holds: more of the own log will not come.

        Raises: IntertieError CURSOR_AHEAD.
        """
        last = self.pair.logs[ME].seq
        if self.phase is Phase.CATCHING_UP and self.plan is not None and last < self.plan.own_target:
            raise IntertieError(
                "CURSOR_AHEAD",
                f"The other side says that it holds {self.plan.own_target} entries of this log, and returned {last}.",
                seq=str(self.plan.own_target),
                last=str(last),
            )

    def _recall_signature(self, signature: lk.HeadSignature) -> None:
        """The last own signature that the other side holds: what it states must be held before anything is written."""
        if not signed_by(self.genesis, signature, self.own.keys):
            raise IntertieError("SIGNATURE_INVALID", "The returned signature was not made by this grid.")
        if self.plan is not None:
            self.plan = self.plan.with_signature(signature.seq, signature.acked)

    def _check_session(self, signature: lk.HeadSignature) -> None:
        """Resent groups keep the signatures of their time; after the first of this session all must be of it."""
        if signature.session == self.session:
            self.confirmed = True
        elif self.confirmed:
            raise IntertieError("SIGNATURE_INVALID", "The signature belongs to another session.")

    def tick(self, fx: Effects) -> None:
        """Ping a silent peer, give up a dead one."""
        if self.connection is None:
            return
        if fx.now - self.progressed_at > DEAD_AFTER_MS:
            try:
                self._check_whole()
            except IntertieError as error:
                self.fail(self.connection, error, fx)
                return
        silent = fx.now - self.heard_at
        if silent > DEAD_AFTER_MS:
            self.fail(self.connection, IntertieError("SILENT_PEER", f"Nothing heard for {silent} ms."), fx)
        elif silent > PING_AFTER_MS and fx.now - self.pinged_at > PING_AFTER_MS and self.phase is not Phase.OPENING:
            self.pinged_at = fx.now
            self.outbox.ping = fx.now

    def fail(self, connection: Any, error: IntertieError, fx: Effects) -> None:
        """Close a connection by name; the link itself is down if it was the current one."""
        self.lost(connection)
        self._close(connection, error, fx)

    def _close(self, connection: Any, error: IntertieError, fx: Effects) -> None:
        self.left.add(connection)
        fx.sends.append((connection, lk.Frame(close=to_problem(error)).SerializeToString()))
        fx.work.append(CloseLink(connection, error.reason, error.message))


def _check_shape(frame: lk.Frame) -> None:
    """Raise before anything is taken: entries come with a signature, and from one log only, so that all holds or none.

    Raises: IntertieError SIGNATURE_INVALID, FRAME_MALFORMED, FRAME_TOO_LARGE.
    """
    returned, signed = frame.HasField("returned_signature"), frame.HasField("signature")
    if len(frame.entries) + len(frame.returned) > MAX_FRAME_ENTRIES:
        raise IntertieError("FRAME_TOO_LARGE", f"A frame may hold {MAX_FRAME_ENTRIES} entries.")
    if (frame.entries and not signed) or (frame.returned and not returned):
        raise IntertieError("SIGNATURE_INVALID", "A frame with entries must end with a signature.")
    if returned and signed:
        raise IntertieError("FRAME_MALFORMED", "A frame holds own entries or returned ones, not both.")
