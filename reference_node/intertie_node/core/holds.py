"""Holds: what an order reserves, and how grants, charges, credits and ends move it (design §7, §9).

A hold is judged only from a pair of log prefixes: a charge is measured against the grant that its author
had seen, and an expire voids what its author had not. The table below is the whole machine; every pair
that it does not list cannot occur.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from intertie.amounts import INT64_MAX, exact_charge
from intertie.registry import LIMITS
from intertie.v1 import entry_pb2 as pb

MAX_PRICE_LINES = LIMITS["price_lines"].maximum
Prices = tuple[tuple[str, int, int], ...]
"""(unit, num, den): num/den minor units per atom."""
Units = tuple[str, ...]
Ratios = tuple[tuple[int, int], ...]
"""(num, den) of each price line, in order."""
Columns = tuple[Units, Ratios]


class HoldState(IntEnum):
    """Stored states of a hold; IN_DOUBT is OPEN seen after its deadline."""

    OPEN = 1
    CHARGED = 3
    REJECTED = 4
    EXPIRED = 5


OPEN: Final = HoldState.OPEN
"""By itself: to read a member from its class takes as long as a call."""


# Thousands are open at a time and none can be part of a cycle: the collector need not look through them (gc=False).
class Claim(Struct, frozen=True, array_like=True, gc=False):
    """A valid charge: cumulative, in minor units."""

    seq: int
    amount: int
    quantities: tuple[int, ...]
    final: bool
    refused: bool = False


class Terms(Struct, frozen=True, array_like=True, gc=False):
    """What an order fixed; never changes."""

    id: str
    offer_digest: bytes
    tariff_seq: int
    input_digest: bytes
    units: Units
    prices: Ratios
    max_charge: int
    deadline: int
    claim_until: int
    nonce: bytes
    account: str


Weight = tuple[int, ...]
"""Of one hold: posted, pending, granted, earned (minor units), and 1 while it is open."""
NO_WEIGHT: Weight = (0, 0, 0, 0, 0)


class Hold(Struct, gc=False):
    """One order's reservation. Histories are tuples, so that a shallow copy restores a hold."""

    payer: int
    """ME or THEM."""
    seq: int
    """Seq of the order in the payer's log."""
    terms: Terms
    grants: tuple[tuple[int, int], ...]
    """(seq in the payer's log, cumulative amount), rising."""
    state: HoldState = HoldState.OPEN
    claims: tuple[Claim, ...] = ()
    credits: tuple[tuple[int, int], ...] = ()
    """(seq in the provider's log, cumulative amount), rising."""
    ended_seq: int = 0
    """Seq of the final charge or reject in the provider's log, or of the expire in the payer's."""
    canceled: bool = False
    agreed: int = 0
    """What the payer's last settled signature counts for this order, minor units."""

    @property
    def charged(self) -> int:
        """Last cumulative claim, minor units."""
        return self.claims[-1].amount if self.claims else 0

    def charged_before(self, seq: int) -> int:
        """Last cumulative claim below `seq` of the provider's log, minor units."""
        return next((claim.amount for claim in reversed(self.claims) if claim.seq < seq), 0)

    def usage_before(self, seq: int) -> dict[str, int]:
        """Atoms by unit that the last unrefused claim below `seq` counts."""
        claims = [claim for claim in self.claims if claim.seq < seq and not claim.refused]
        return dict(zip(self.terms.units, claims[-1].quantities, strict=True)) if claims else {}

    @property
    def posted(self) -> int:
        """Claimed less credited, minor units."""
        return self.charged - (self.credits[-1][1] if self.credits else 0)

    @property
    def pending(self) -> int:
        """Still reserved beyond what is charged, minor units."""
        return self.terms.max_charge - self.charged if self.state is OPEN else 0

    @property
    def claimed(self) -> tuple[list[int], int]:
        """Quantities (atoms) and amount (minor units) of the last claim; zeros if there is none."""
        if not self.claims:
            return [0] * len(self.terms.units), 0
        return list(self.claims[-1].quantities), self.claims[-1].amount

    @property
    def granted(self) -> int:
        """Grant of an open hold, minor units; 0 once it has ended."""
        return self.grants[-1][1] if self.state is OPEN else 0

    @property
    def weight(self) -> Weight:
        """What the hold adds to its lane."""
        charged = self.claims[-1].amount if self.claims else 0
        posted = charged - self.credits[-1][1] if self.credits else charged
        if self.state is not OPEN:
            return posted, 0, 0, 0, 0
        return posted, self.terms.max_charge - charged, self.grants[-1][1], charged, 1

    @property
    def last_value_seq(self) -> int:
        """Seq, in the provider's log, of the last entry that moved value or ended the hold."""
        last = self.claims[-1].seq if self.claims else 0
        if self.state is HoldState.REJECTED:
            last = self.ended_seq
        return max(last, self.credits[-1][0]) if self.credits else last

    @property
    def refused(self) -> bool:
        """True while a refusal stands, also one without effect: it may still be withdrawn (RFC 0007, section 3.8)."""
        return True in [claim.refused for claim in self.claims]

    @property
    def fresh(self) -> bool:
        """Whether it is still as its order left it."""
        moved = self.state is not OPEN or self.claims or self.credits or self.canceled
        return not moved and len(self.grants) == 1

    def needed(self, acked: int) -> bool:
        """Whether it must be in memory once its payer has signed for the provider's log up to `acked`."""
        return self.state is OPEN or self.refused or self.last_value_seq > acked

    def grant_at(self, seen: int) -> int:
        """Cumulative grant as of `seen` in the payer's log."""
        if len(self.grants) == 1:
            return self.grants[0][1]
        return max((amount for seq, amount in self.grants if seq <= seen), default=0)

    def agreed_at(self, acked: int) -> int:
        """What a payer owes for this order who has processed the provider's log up to `acked`.

        The last valid unrefused cumulative charge, at most what credits have left (minor units).
        """
        charged = unrefused = credited = 0
        for claim in self.claims:
            if claim.seq <= acked:
                charged = claim.amount
                if not claim.refused:
                    unrefused = claim.amount
        for seq, amount in self.credits:
            if seq <= acked:
                credited = amount
        return min(unrefused, charged - credited)


def copy_of(hold: Hold) -> Hold:
    """A shallow copy; enough to restore it, since histories are immutable."""
    return msgspec.structs.replace(hold)


class Lines(Struct, frozen=True, gc=False):
    """Price lines by column, and what follows from them for every order that states them."""

    units: Units
    prices: Ratios
    sound: bool
    """Whether an order may state them: not too many, no unit twice, and each a price."""
    least: int
    """What one order costs at least, minor units."""


@lru_cache(4096)
def lines_of(prices: Prices) -> Lines:
    """The lines of an offer's prices, or of those that an order states; the same object for the same prices."""
    units = tuple([unit for unit, _, _ in prices])
    sound = len(units) <= MAX_PRICE_LINES and len(set(units)) == len(units)
    sound = sound and all(num >= 0 and den > 0 for _, num, den in prices)
    least = sum(-(-num // den) for unit, num, den in prices if unit == "order") if sound else 0
    return Lines(units, tuple([(num, den) for _, num, den in prices]), sound, least)


def order_fault(order: pb.Order, lines: Lines, at: int, window: int, longest: int) -> str:
    """Why an order written at `at` would be void, as a reason for whoever asked for it; "" if it would be valid.

    Both logs are judged by it, and so is the payer by itself before it reserves anything (design §7, order).
    `lines` are those of the order's prices.
    """
    if not lines.sound:
        return "PRICE_CHANGED"
    if not 0 <= order.grant <= order.max_charge:
        return "AMOUNT_INVALID"
    deadline = order.deadline
    if deadline <= at:
        return "DEADLINE_EXCEEDED"
    if deadline > min(at + longest, INT64_MAX - window):
        return "DEADLINE_TOO_LONG"
    return "" if len(order.id) == 36 and 16 <= len(order.nonce) <= 32 else "ORDER_INVALID"


def open_hold(payer: int, seq: int, at: int, order: pb.Order, window: int, longest: int) -> Hold | str:
    """A hold for a well-formed order, or the reason why the order is void (ORDER_INVALID)."""
    lines = lines_of(tuple([(line.unit, line.num, line.den) for line in order.prices]))
    if order_fault(order, lines, at, window, longest):
        return "ORDER_INVALID"
    return sound_hold(payer, seq, order, lines, window)


def sound_hold(payer: int, seq: int, order: pb.Order, lines: Lines, window: int) -> Hold:
    """The hold of an order in which `order_fault` finds nothing; `lines` are those of its prices."""
    terms = Terms(
        id=order.id,
        offer_digest=order.offer_digest,
        tariff_seq=order.tariff_seq,
        input_digest=order.input.digest,
        units=lines.units,
        prices=lines.prices,
        max_charge=order.max_charge,
        deadline=order.deadline,
        claim_until=order.deadline + window,
        nonce=order.nonce,
        account=order.account,
    )
    return Hold(payer=payer, seq=seq, terms=terms, grants=((seq, order.grant),))


def _raise_grant(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
    amount = entry.grant.amount
    if not hold.grants[-1][1] < amount <= hold.terms.max_charge:
        return "GRANT_INVALID"
    hold.grants = (*hold.grants, (seq, amount))
    return None


def _cancel(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
    hold.canceled = True
    return None


def _reject(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
    if hold.claims:
        return "REJECT_AFTER_CHARGE"
    hold.state, hold.ended_seq = HoldState.REJECTED, seq
    return None


def _charge(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
    body, terms = entry.charge, hold.terms
    quantities, amount = tuple(body.quantities[:]), body.amount
    before = hold.claims[-1] if hold.claims else None
    if len(quantities) != len(terms.prices) or min(quantities, default=0) < 0:
        return "CHARGE_ARITHMETIC"
    if before and any(now < then for now, then in zip(quantities, before.quantities, strict=True)):
        return "CHARGE_DECREASED"
    if not 0 <= amount <= hold.grant_at(entry.seen):
        return "CHARGE_BEYOND_GRANT"
    if exact_charge(terms.prices, quantities) != amount:
        return "CHARGE_ARITHMETIC"
    hold.claims = (*hold.claims, Claim(seq, amount, quantities, body.final))
    if body.final:
        hold.state, hold.ended_seq = HoldState.CHARGED, seq
    return None


def _credit(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
    amount = entry.credit.amount
    if not 1 <= amount <= hold.posted:
        return "CREDIT_INVALID"
    before = hold.credits[-1][1] if hold.credits else 0
    hold.credits = (*hold.credits, (seq, before + amount))
    return None


def _expire(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
    if entry.at < hold.terms.claim_until:
        return "EXPIRE_EARLY"
    if hold.state is not OPEN and hold.ended_seq <= entry.seen:
        return "ORDER_ENDED"
    hold.claims = tuple(c for c in hold.claims if c.seq <= entry.seen)
    kept = [c for c in hold.credits if c[0] <= entry.seen]
    hold.credits = tuple(kept)
    hold.state, hold.ended_seq = HoldState.EXPIRED, seq
    return None


def _late_grant(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
    """Judged as its author saw the hold: open, unless the author had seen the end."""
    return "ORDER_ENDED" if hold.ended_seq <= entry.seen else _raise_grant(hold, seq, entry)


def _late_credit(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
    """Void if the expire crossed it, as `_expire` drops it where it came first."""
    return "CHARGE_EXPIRED" if entry.seen < hold.ended_seq else _credit(hold, seq, entry)


def _late(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
    """No effect; a fault only if the author had seen the end."""
    return "ORDER_ENDED" if hold.ended_seq <= entry.seen else None


def _void(reason: str) -> "Rule":
    def rule(hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return reason

    rule.__name__ = f"void_{reason}"
    return rule


Rule = Callable[[Hold, int, pb.Entry], str | None]
"""Changes a hold, or says why the entry is void and changes nothing."""

_S, _K = HoldState, pb.EntryKind
HOLD_TABLE: Mapping[tuple[HoldState, int], Rule] = {
    (_S.OPEN, _K.ENTRY_KIND_GRANT): _raise_grant,
    (_S.OPEN, _K.ENTRY_KIND_CANCEL): _cancel,
    (_S.OPEN, _K.ENTRY_KIND_REJECT): _reject,
    (_S.OPEN, _K.ENTRY_KIND_CHARGE): _charge,
    (_S.OPEN, _K.ENTRY_KIND_CREDIT): _credit,
    (_S.OPEN, _K.ENTRY_KIND_EXPIRE): _expire,
    (_S.CHARGED, _K.ENTRY_KIND_GRANT): _late_grant,
    (_S.CHARGED, _K.ENTRY_KIND_CANCEL): _late,
    (_S.CHARGED, _K.ENTRY_KIND_REJECT): _void("ORDER_ENDED"),
    (_S.CHARGED, _K.ENTRY_KIND_CHARGE): _void("CHARGE_AFTER_END"),
    (_S.CHARGED, _K.ENTRY_KIND_CREDIT): _credit,
    (_S.CHARGED, _K.ENTRY_KIND_EXPIRE): _expire,
    (_S.REJECTED, _K.ENTRY_KIND_GRANT): _late_grant,
    (_S.REJECTED, _K.ENTRY_KIND_CANCEL): _late,
    (_S.REJECTED, _K.ENTRY_KIND_REJECT): _void("ORDER_ENDED"),
    (_S.REJECTED, _K.ENTRY_KIND_CHARGE): _void("CHARGE_AFTER_END"),
    (_S.REJECTED, _K.ENTRY_KIND_CREDIT): _void("CREDIT_INVALID"),
    (_S.REJECTED, _K.ENTRY_KIND_EXPIRE): _expire,
    (_S.EXPIRED, _K.ENTRY_KIND_GRANT): _void("ORDER_ENDED"),
    (_S.EXPIRED, _K.ENTRY_KIND_CANCEL): _void("ORDER_ENDED"),
    (_S.EXPIRED, _K.ENTRY_KIND_REJECT): _void("CHARGE_EXPIRED"),
    (_S.EXPIRED, _K.ENTRY_KIND_CHARGE): _void("CHARGE_EXPIRED"),
    (_S.EXPIRED, _K.ENTRY_KIND_CREDIT): _late_credit,
    (_S.EXPIRED, _K.ENTRY_KIND_EXPIRE): _void("ORDER_ENDED"),
}
