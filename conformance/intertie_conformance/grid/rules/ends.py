"""Entries about ended holds, refusals, and the agreed total (RFC 0007)."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import Account, Claim, Hold
from intertie_conformance.grid.rules.holds import HoldRules


class EndRules(HoldRules):
    """What may still be said once a hold has ended, and what is refused."""

    def late(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """No effect; a fault only if the author had seen the end."""
        return "ORDER_ENDED" if hold.end <= entry.seen else None

    def after_end(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """Its author knows the end."""
        return "ORDER_ENDED"

    def charge_after_end(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """Nothing is charged for an order that has been charged finally or rejected."""
        return "CHARGE_AFTER_END"

    def expired(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """The payer has ended the hold."""
        return "CHARGE_EXPIRED"

    def grant_late(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """Judged as its author saw the hold."""
        return "ORDER_ENDED" if hold.end <= entry.seen else self.grant_open(hold, seq, entry)

    def expire_late(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """An expire may cross an end that its author had not seen."""
        if not self.expire_time(hold, entry):
            return "EXPIRE_EARLY"
        return "ORDER_ENDED" if hold.end <= entry.seen else self.expire_open(hold, seq, entry)

    def credit_rejected(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """Nothing was charged."""
        return "CREDIT_INVALID"

    def credit_expired(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        """Void if the expire crossed it."""
        return "CHARGE_EXPIRED" if entry.seen < hold.end else self.credit_open(hold, seq, entry)

    # -- refusals ---------------------------------------------------------------------------------

    def refuse_known(self, entry: pb.Entry) -> bool:
        """A refusal names an entry that its author has seen."""
        return 1 <= entry.refuse.entry_seq <= entry.seen

    def refuse_in_time(self, account: Account, author: int, target: int) -> bool:
        """A refusal precedes the first signature that acknowledges its charge."""
        return target > account.acked[author]

    def refuse_other(self) -> str | None:
        """A refusal of an entry that is no valid charge has no effect."""
        return None

    def refuse_once(self, claim: Claim) -> bool:
        """A charge is refused once."""
        return not claim.refused

    def withdraw_known(self, claim: Claim | None) -> bool:
        """What is withdrawn is a standing refusal."""
        return claim is not None and claim.refused

    def apply_refuse(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        """An entry of the other log is not agreed; only charges change anything by it."""
        if not self.refuse_known(entry):
            return "REFUSE_INVALID"
        target = entry.refuse.entry_seq
        if not self.refuse_in_time(account, author, target):
            return "REFUSE_LATE"
        found = account.claim(author, target)
        if found is None:
            return self.refuse_other()
        if not self.refuse_once(found[1]):
            return "REFUSE_INVALID"
        found[1].refused = True
        return None

    def apply_withdraw(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        """A standing refusal of a charge is taken back."""
        found = account.claim(author, entry.withdraw.entry_seq)
        if not self.withdraw_known(found[1] if found else None):
            return "WITHDRAW_INVALID"
        if found is not None:
            found[1].refused = False
        return None

    # -- totals -----------------------------------------------------------------------------------

    def agreed(self, hold: Hold, acked: int) -> int:
        """What the payer owes for one order: its last unrefused charge, at most what credits have left."""
        seen = [claim for claim in hold.claims if claim.seq <= acked]
        charged = seen[-1].amount if seen else 0
        unrefused = next((claim.amount for claim in reversed(seen) if not claim.refused), 0)
        credited = sum(amount for seq, amount in hold.credits if seq <= acked)
        return min(unrefused, charged - credited)
