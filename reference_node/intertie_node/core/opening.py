"""Opening and re-establishing a link: one visible table, pure functions (design §7, Open).

The dialler sends its `Open` first; the acceptor answers with its own. From both the two sides agree on a
session and learn how much each holds of both logs. Each then resends what the other lacks, also entries
of the other's own log; a side is open when it again holds everything that either had.
"""

from collections.abc import Mapping
from enum import Enum

import msgspec
from msgspec import Struct

from intertie.chain import session_id
from intertie.errors import IntertieError
from intertie.registry import LIMITS
from intertie.v1 import link_pb2 as lk


class Phase(Enum):
    """Where the opening of a link stands."""

    DOWN = "down"
    OPENING = "opening"
    """Dialled, own Open sent, the other's awaited."""
    CATCHING_UP = "catching up"
    """Both Opens known; entries are still missing here."""
    OPEN = "open"


class Signal(Enum):
    """What can happen to an opening."""

    DIALLED = "dialled"
    OPEN_FRAME = "open frame"
    ENTRY_FRAME = "entry frame"
    CAUGHT_UP = "caught up"
    LOST = "lost"


class Step(Enum):
    """What is done about it."""

    SEND_OPEN = "send the own Open"
    ANSWER_OPEN = "check the Open, answer it, resend"
    TAKE_OPEN = "check the Open, resend"
    CONTEND = "a second stream: keep or supersede"
    RECEIVE = "process the frame"
    FINISH = "sign, advertise, resume"
    RESET = "forget the session"
    IGNORE = "nothing"
    UNEXPECTED = "close with UNEXPECTED_FRAME"


P, S = Phase, Signal
OPENING_TABLE: Mapping[tuple[Phase, Signal], tuple[Step, Phase]] = {
    (P.DOWN, S.DIALLED): (Step.SEND_OPEN, P.OPENING),
    (P.DOWN, S.OPEN_FRAME): (Step.ANSWER_OPEN, P.CATCHING_UP),
    (P.DOWN, S.ENTRY_FRAME): (Step.UNEXPECTED, P.DOWN),
    (P.DOWN, S.CAUGHT_UP): (Step.IGNORE, P.DOWN),
    (P.DOWN, S.LOST): (Step.IGNORE, P.DOWN),
    (P.OPENING, S.DIALLED): (Step.IGNORE, P.OPENING),
    (P.OPENING, S.OPEN_FRAME): (Step.TAKE_OPEN, P.CATCHING_UP),
    (P.OPENING, S.ENTRY_FRAME): (Step.UNEXPECTED, P.DOWN),
    (P.OPENING, S.CAUGHT_UP): (Step.IGNORE, P.OPENING),
    (P.OPENING, S.LOST): (Step.RESET, P.DOWN),
    (P.CATCHING_UP, S.DIALLED): (Step.IGNORE, P.CATCHING_UP),
    (P.CATCHING_UP, S.OPEN_FRAME): (Step.CONTEND, P.CATCHING_UP),
    (P.CATCHING_UP, S.ENTRY_FRAME): (Step.RECEIVE, P.CATCHING_UP),
    (P.CATCHING_UP, S.CAUGHT_UP): (Step.FINISH, P.OPEN),
    (P.CATCHING_UP, S.LOST): (Step.RESET, P.DOWN),
    (P.OPEN, S.DIALLED): (Step.IGNORE, P.OPEN),
    (P.OPEN, S.OPEN_FRAME): (Step.CONTEND, P.OPEN),
    (P.OPEN, S.ENTRY_FRAME): (Step.RECEIVE, P.OPEN),
    (P.OPEN, S.CAUGHT_UP): (Step.IGNORE, P.OPEN),
    (P.OPEN, S.LOST): (Step.RESET, P.DOWN),
}


class Plan(Struct, frozen=True):
    """What each side lacks, by its cursors."""

    resend_after: int
    """Own entries above this are resent to the other side."""
    return_after: int
    """Entries of the other's log above this are returned to it."""
    own_target: int
    """The own log is whole when it reaches this seq."""
    other_target: int
    """The other's log is whole, as held here, when it reaches this seq."""
    acked: int = 0
    """How much of the other's log an own signature that came back has acknowledged."""

    def with_signature(self, seq: int, acked: int) -> "Plan":
        """The plan when the other side has returned an own signature that states (seq, acked)."""
        return msgspec.structs.replace(
            self,
            own_target=max(self.own_target, seq),
            other_target=max(self.other_target, acked),
            acked=max(self.acked, acked),
        )


def plan(own_seq: int, other_seq: int, theirs: lk.Open) -> Plan:
    """Compare what is held here with the other side's `Open`.

    In `theirs`, `own` speaks of the other side's log and `other` of ours.
    """
    return Plan(
        resend_after=min(theirs.other.seq, own_seq),
        return_after=min(theirs.own.seq, other_seq),
        own_target=max(own_seq, theirs.other.seq),
        other_target=max(other_seq, theirs.own.seq),
    )


def check_open(opened: lk.Open, genesis: bytes, now: int, max_skew_ms: int, features: frozenset[str]) -> None:
    """Check what an `Open` says of itself.

    Raises: IntertieError UNKNOWN_GENESIS, UNSUPPORTED_FEATURE, CLOCK, FRAME_MALFORMED.
    """
    if opened.genesis != genesis:
        raise IntertieError("UNKNOWN_GENESIS", "The Open names another peering than this link's.")
    if not 16 <= len(opened.nonce) <= 32 or len(opened.own.head) != 32 or len(opened.other.head) != 32:
        raise IntertieError("FRAME_MALFORMED", "The Open's nonce or heads have a wrong length.")
    for name in opened.required_features:
        if name not in features:
            raise IntertieError(
                "UNSUPPORTED_FEATURE", f"The feature {name} is required but not known here.", feature=name
            )
    if opened.clock > now + max_skew_ms:
        raise IntertieError(
            "CLOCK",
            f"The other side's clock leads by {opened.clock - now} ms; at most {max_skew_ms} are agreed.",
        )
    for name in ("frame_bytes", "inline_bytes"):
        least = LIMITS[name].minimum
        if getattr(opened.limits, name) < least:
            raise IntertieError("FRAME_MALFORMED", f"The Open declares {name} below {least}.", field=f"limits.{name}")


class Obeyed(Struct, frozen=True):
    """Limits of a peer, as this side keeps to them (see `lk.Limits`)."""

    frame_bytes: int
    inline_bytes: int
    orders: int
    hops: int


def obeyed(limits: lk.Limits) -> Obeyed:
    """What is sent to a peer that declares `limits`: never more than the protocol's largest."""
    return Obeyed(*[min(getattr(limits, name), LIMITS[name].maximum) for name in Obeyed.__struct_fields__])


def stays(current_dialled_by_me: bool, me_smaller: bool, open_done: bool) -> bool:
    """Whether the current stream stays when a second authenticated `Open` arrives on a stream of the peer's.

    Until an opening completes, of two crossing streams the one dialled by the smaller fingerprint stays;
    after that, and between two streams dialled by the same side, the newer one supersedes.
    """
    if open_done or not current_dialled_by_me:
        return False
    return me_smaller


def session_of(dialled_by_me: bool, mine: bytes, theirs: bytes) -> bytes:
    """The session's id: SHA-256 over both Opens' payload bytes, the dialler's first (32 bytes)."""
    return session_id(mine, theirs) if dialled_by_me else session_id(theirs, mine)
