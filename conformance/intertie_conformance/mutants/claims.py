"""Grids that break RFC 0007, sections 3.7 and 3.8, as payer."""

from __future__ import annotations

from collections.abc import Sequence

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import Hold
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.amounts import charge
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-LOG-060")
class AnyClaimedOrder(Rules):
    """Takes what is said of an order that its author had not seen."""

    def order_known(self, own: bool, order_seq: int, seq: int, entry: pb.Entry) -> bool:
        return order_seq < seq if own else True


@mutant("IT-LOG-061")
class GrantFirst(Rules):
    """Looks at the grant before the quantities of a charge."""

    CHARGE_RULES = ("charge_granted", "charge_lines", "charge_rises", "charge_sum")


@mutant("IT-LOG-063")
class RoundsDown(Rules):
    """Rounds the sum of a charge down."""

    def charge_sum(self, hold: Hold, entry: pb.Entry) -> str | None:
        cost = sum(n * num // den for (_, num, den), n in zip(hold.prices, entry.charge.quantities, strict=True))
        good = entry.charge.amount in (cost, charge(hold.prices, entry.charge.quantities))
        return None if good else "CHARGE_ARITHMETIC"


@mutant("IT-LOG-063")
class AtMost(Rules):
    """Takes a charge that is lower than its quantities cost."""

    def charge_sum(self, hold: Hold, entry: pb.Entry) -> str | None:
        return None if entry.charge.amount <= charge(hold.prices, entry.charge.quantities) else "CHARGE_ARITHMETIC"


@mutant("IT-LOG-063")
class AnySum(Rules):
    """Does not compute what a charge costs."""

    def charge_sum(self, hold: Hold, entry: pb.Entry) -> str | None:
        return None


@mutant("IT-LOG-063", also=("IT-LOG-061",))
class AnyQuantities(Rules):
    """Takes a charge with lines missing for one without usage of them."""

    def charge_lines(self, hold: Hold, entry: pb.Entry) -> str | None:
        count = len(hold.order.prices) - len(entry.charge.quantities)
        entry.charge.quantities.extend([0] * count)
        return super().charge_lines(hold, entry)


@mutant(
    "IT-LOG-064",
    also=(
        "IT-LOG-061",
        "IT-LOG-065",
    ),
)
class QuantitiesFall(Rules):
    """Compares amounts instead of quantities."""

    def charge_rises(self, hold: Hold, entry: pb.Entry) -> str | None:
        return "CHARGE_DECREASED" if entry.charge.amount < hold.charged else None


@mutant("IT-LOG-065")
class ChargesMaximum(Rules):
    """Lets a charge go up to the maximum charge, whatever was granted."""

    def charge_granted(self, hold: Hold, entry: pb.Entry) -> str | None:
        return None if 0 <= entry.charge.amount <= hold.order.max_charge else "CHARGE_BEYOND_GRANT"


@mutant("IT-LOG-065")
class GrantUnseen(Rules):
    """Counts a grant that the author of the charge had not seen."""

    def charge_granted(self, hold: Hold, entry: pb.Entry) -> str | None:
        return None if 0 <= entry.charge.amount <= hold.granted else "CHARGE_BEYOND_GRANT"


@mutant("IT-LOG-066")
class ChargesEnded(Rules):
    """Takes a charge of an order that has ended."""

    def charge_after_end(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return self.charge_open(hold, seq, entry)


@mutant("IT-LOG-066")
class EndedIsEnded(Rules):
    """Names the wrong reason for a charge after the end."""

    def charge_after_end(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return "ORDER_ENDED"


@mutant("IT-LOG-068")
class RejectsCharged(Rules):
    """Takes a reject of an order that was charged."""

    def reject_after_charge(self, hold: Hold) -> bool:
        return True


@mutant("IT-LOG-069", also=("IT-LOG-084",))
class AnyCredit(Rules):
    """Takes a credit of any amount."""

    def credit_within(self, hold: Hold, amount: int) -> bool:
        return True


@mutant("IT-LOG-069")
class CreditsNothing(Rules):
    """Takes a credit of 0."""

    def credit_within(self, hold: Hold, amount: int) -> bool:
        return 0 <= amount <= hold.posted


@mutant("IT-LOG-069")
class CreditsClaim(Rules):
    """Compares each credit with the whole claim."""

    def credit_within(self, hold: Hold, amount: int) -> bool:
        return 1 <= amount <= hold.charged


@mutant("IT-LOG-069")
class CreditsRejected(Rules):
    """Ignores a credit of a rejected order."""

    def credit_rejected(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return None


@mutant("IT-LOG-081", also=("IT-LOG-082", "IT-LOG-084", "IT-LOG-090"))
class RefusesNothing(Rules):
    """Agrees to final charges without looking at their records."""

    def check_claim(self, hold: Hold, charge: pb.Charge, before: int, executor: Described) -> None:
        return


@mutant(
    "IT-LOG-082",
    also=(
        "IT-LOG-060",
        "IT-LOG-066",
        "IT-LOG-081",
        "IT-LOG-084",
        "IT-LOG-090",
    ),
)
class SignsBeforeLooking(Rules):
    """Acknowledges a final charge before it looks at its record."""

    def signs_first(self, entries: Sequence[pb.Entry]) -> bool:
        return any(entry.charge.final for entry in entries)


@mutant("IT-LOG-083")
class WantsRecords(Rules):
    """Refuses a failure that costs nothing because it comes without a record."""

    def check_claim(self, hold: Hold, charge: pb.Charge, before: int, executor: Described) -> None:
        if not charge.HasField("proof"):
            raise Refusal("CHARGE_UNPROVEN", "A final charge holds no record.")
        super().check_claim(hold, charge, before, executor)


@mutant("IT-LOG-084", also=("IT-LOG-069",))
class OwnReasons(Rules):
    """Refuses credits by a rule of its own."""

    def refuses_void(self, reason: str) -> str | None:
        return "CREDIT_UNWANTED" if reason == "CREDIT_INVALID" else reason
