"""Grids that break RFC 0007, section 3.8: refusals and withdrawals."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import Account, Claim, Hold
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant


@mutant("IT-LOG-080", also=("IT-LOG-035",))
class RefusesAnything(Rules):
    """Takes a refusal of an entry that was never written."""

    def refuse_known(self, entry: pb.Entry) -> bool:
        return True


@mutant("IT-LOG-080")
class RefusesLate(Rules):
    """Takes a refusal of what was agreed to."""

    def refuse_in_time(self, account: Account, author: int, target: int) -> bool:
        return True


@mutant("IT-LOG-080")
class RefusesTwice(Rules):
    """Takes a second refusal of one charge."""

    def refuse_once(self, claim: Claim) -> bool:
        return True


@mutant("IT-LOG-080")
class FearsRefusals(Rules):
    """Holds a refusal for void that names no charge."""

    def refuse_other(self) -> str | None:
        return "REFUSE_INVALID"


@mutant("IT-LOG-080", also=("IT-LOG-035",))
class WithdrawsAnything(Rules):
    """Takes a withdrawal of no refusal."""

    def withdraw_known(self, claim: Claim | None) -> bool:
        return True


@mutant("IT-LOG-090", also=("IT-LOG-080", "IT-LOG-081", "IT-LOG-082", "IT-LOG-084"))
class CountsRefused(Rules):
    """Counts refused claims as agreed."""

    def agreed(self, hold: Hold, acked: int) -> int:
        seen = [claim for claim in hold.claims if claim.seq <= acked]
        return (seen[-1].amount if seen else 0) - sum(amount for seq, amount in hold.credits if seq <= acked)


@mutant("IT-LOG-090")
class RefusedIsNothing(Rules):
    """Owes nothing for an order whose last claim is refused."""

    def agreed(self, hold: Hold, acked: int) -> int:
        seen = [claim for claim in hold.claims if claim.seq <= acked]
        return 0 if seen and seen[-1].refused else super().agreed(hold, acked)
