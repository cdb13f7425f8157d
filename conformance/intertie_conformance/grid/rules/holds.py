"""What entries do to an open hold (RFC 0007): one method a rule, each returning the reason why it is void or None."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import Claim, Hold, State
from intertie_conformance.wire.amounts import charge


class HoldRules:
    """Entries about an open hold."""

    def grant_rises(self, hold: Hold, amount: int) -> bool:
        """A grant rises."""
        return amount > hold.granted

    def grant_within(self, hold: Hold, amount: int) -> bool:
        """A grant is at most the maximum charge."""
        return amount <= hold.order.max_charge

    def grant_open(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """A higher grant."""
        amount = entry.grant.amount
        if not (self.grant_rises(hold, amount) and self.grant_within(hold, amount)):
            return "GRANT_INVALID"
        hold.grants.append((seq, amount))
        return None

    def cancel_open(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """A wish to stop."""
        hold.canceled = True
        return None

    def reject_open(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """No work was done: void after any charge."""
        if hold.claims and not self.reject_after_charge(hold):
            return "REJECT_AFTER_CHARGE"
        hold.state, hold.end = State.REJECTED, seq
        return None

    def reject_after_charge(self, hold: Hold) -> bool:
        """Whether a reject may follow a charge."""
        return False

    def charge_lines(self, hold: Hold, entry: pb.Entry) -> str | None:
        """One quantity a price line, none below zero."""
        quantities = entry.charge.quantities
        good = len(quantities) == len(hold.order.prices) and all(quantity >= 0 for quantity in quantities)
        return None if good else "CHARGE_ARITHMETIC"

    def charge_rises(self, hold: Hold, entry: pb.Entry) -> str | None:
        """No quantity falls."""
        before = hold.claims[-1].quantities if hold.claims else ()
        falls = any(now < then for now, then in zip(entry.charge.quantities, before, strict=False))
        return "CHARGE_DECREASED" if falls else None

    def charge_granted(self, hold: Hold, entry: pb.Entry) -> str | None:
        """The amount is at most the grant that the author had seen."""
        return None if 0 <= entry.charge.amount <= hold.grant_seen(entry.seen) else "CHARGE_BEYOND_GRANT"

    def charge_sum(self, hold: Hold, entry: pb.Entry) -> str | None:
        """The amount is what the quantities cost."""
        good = len(entry.charge.quantities) == len(hold.prices)
        cost = charge(hold.prices, entry.charge.quantities) if good else -1
        return None if cost == entry.charge.amount else "CHARGE_ARITHMETIC"

    CHARGE_RULES: tuple[str, ...] = ("charge_lines", "charge_rises", "charge_granted", "charge_sum")

    def charge_open(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """A cumulative claim."""
        for name in self.CHARGE_RULES:
            reason: str | None = getattr(self, name)(hold, entry)
            if reason is not None:
                return reason
        hold.claims.append(Claim(seq, entry.charge.amount, tuple(entry.charge.quantities)))
        if entry.charge.final:
            hold.state, hold.end = State.CHARGED, seq
        return None

    def credit_open(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """Takes back 1 to what is posted."""
        if not self.credit_within(hold, entry.credit.amount):
            return "CREDIT_INVALID"
        hold.credits.append((seq, entry.credit.amount))
        return None

    def credit_within(self, hold: Hold, amount: int) -> bool:
        """A credit is 1 to what is posted."""
        return 1 <= amount <= hold.posted

    def expire_time(self, hold: Hold, entry: pb.Entry) -> bool:
        """An expire is not earlier than claim_until."""
        return entry.at >= hold.claim_until

    def expire_open(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """Ends the hold; voids what its author had not seen."""
        if not self.expire_time(hold, entry):
            return "EXPIRE_EARLY"
        self.expire_voids(hold, entry)
        hold.state, hold.end = State.EXPIRED, seq
        return None

    def expire_voids(self, hold: Hold, entry: pb.Entry) -> None:
        """Charges and credits beyond `seen` are void."""
        hold.claims = [claim for claim in hold.claims if claim.seq <= entry.seen]
        hold.credits = [item for item in hold.credits if item[0] <= entry.seen]
