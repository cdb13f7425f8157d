"""The account that follows from two logs: holds, lanes, agreed totals (RFC 0007).

Judged entry by entry by the rules given; sums are taken over all holds each time, since logs here are short.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from intertie.v1 import agreement_pb2 as ag
from intertie.v1 import entry_pb2 as pb
from intertie_conformance.wire.amounts import Price

if TYPE_CHECKING:
    from intertie_conformance.grid.rules import Rules

ME: Final = 0
THEM: Final = 1
"""Sides of a link, as one of its grids sees them."""
K = pb.EntryKind


class State(Enum):
    """Where a hold stands."""

    OPEN = "open"
    CHARGED = "charged"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass
class Claim:
    """A valid charge: cumulative."""

    seq: int
    amount: int
    quantities: tuple[int, ...]
    refused: bool = False


@dataclass
class Hold:
    """What one order has reserved, and what came of it."""

    payer: int
    seq: int
    at: int
    order: pb.Order
    claim_until: int
    grants: list[tuple[int, int]]
    """(seq in the payer's log, cumulative amount)."""
    state: State = State.OPEN
    claims: list[Claim] = field(default_factory=list)
    credits: list[tuple[int, int]] = field(default_factory=list)
    """(seq in the provider's log, amount)."""
    end: int = 0
    """Seq of the entry that ended it, in the log of its author."""
    canceled: bool = False
    waits: bool = False
    """Whether its provider has not admitted it for want of room."""

    @property
    def prices(self) -> list[Price]:
        """The order's price lines."""
        return [(line.unit, line.num, line.den) for line in self.order.prices]

    @property
    def charged(self) -> int:
        """Last cumulative claim."""
        return self.claims[-1].amount if self.claims else 0

    @property
    def posted(self) -> int:
        """Charged less credited."""
        return self.charged - sum(amount for _, amount in self.credits)

    @property
    def granted(self) -> int:
        """Last cumulative grant."""
        return self.grants[-1][1]

    def grant_seen(self, seen: int) -> int:
        """The grant that an author knew who had processed `seen` of the payer's log."""
        return max((amount for seq, amount in self.grants if seq <= seen), default=0)


@dataclass(frozen=True)
class Terms:
    """What the agreement fixes; pairs are indexed by ME and THEM."""

    claim_window_ms: int
    max_hold_ms: int
    max_skew_ms: int
    max_open_holds: int
    credit_limit: tuple[int, int]
    max_unagreed: tuple[int, int]

    @classmethod
    def of(cls, message: ag.Agreement, fingerprint: bytes) -> Terms:
        """The terms of an agreement as the grid of a fingerprint sees them."""
        mine, theirs = message.proposer, message.acceptor
        if mine.fingerprint != fingerprint:
            mine, theirs = theirs, mine
        return cls(
            claim_window_ms=message.claim_window_ms,
            max_hold_ms=message.max_hold_ms,
            max_skew_ms=message.max_skew_ms,
            max_open_holds=message.max_open_holds,
            credit_limit=(mine.credit_limit, theirs.credit_limit),
            max_unagreed=(mine.max_unagreed, theirs.max_unagreed),
        )


class Account:
    """Holds and tariffs of one link."""

    def __init__(self, terms: Terms, rules: Rules) -> None:
        self.terms = terms
        self.rules = rules
        self.holds: dict[tuple[int, int], Hold] = {}
        """(payer, seq of the order) → hold."""
        self.tariffs: tuple[dict[int, pb.Tariff], dict[int, pb.Tariff]] = ({}, {})
        self.acked = [0, 0]
        """By signer: what its last signature has acknowledged of the other log."""
        self.void: dict[tuple[int, int], str] = {}
        """(author, seq) → why that entry has no effect."""

    def apply(self, author: int, seq: int, entry: pb.Entry) -> str | None:
        """Apply an entry; the reason why it is void, None if it is not."""
        reason = self.rules.judge(self, author, seq, entry)
        if reason is not None:
            self.void[author, seq] = reason
        return reason

    def of(self, payer: int) -> Iterator[Hold]:
        """Holds of one lane."""
        return (hold for hold in self.holds.values() if hold.payer == payer)

    def open(self, payer: int) -> list[Hold]:
        """Open holds of one lane."""
        return [hold for hold in self.of(payer) if hold.state is State.OPEN]

    def agreed(self, payer: int, acked: int) -> int:
        """The payer's agreed total when it has processed `acked` of the provider's log."""
        return sum(self.rules.agreed(hold, acked) for hold in self.of(payer))

    def gross(self, payer: int) -> int:
        """posted + pending: what counts against the credit limit."""
        return sum(
            hold.posted + (hold.order.max_charge - hold.charged if hold.state is State.OPEN else 0)
            for hold in self.of(payer)
        )

    def unagreed(self, payer: int) -> int:
        """granted − earned + posted − agreed: what counts against max_unagreed."""
        open_grants = sum(hold.granted - hold.charged for hold in self.open(payer))
        posted = sum(hold.posted for hold in self.of(payer))
        return open_grants + posted - self.agreed(payer, self.acked[payer])

    def claim(self, payer: int, seq: int) -> tuple[Hold, Claim] | None:
        """The claim that stands at `seq` of the provider's log."""
        return next(((hold, c) for hold in self.of(payer) for c in hold.claims if c.seq == seq), None)
