"""Grids that break RFC 0011, sections 3.4 to 3.6: prices, conversion, deadlines and grants."""

from __future__ import annotations

from fractions import Fraction

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.relaying import Passed, Plan
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import amounts, relays
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-RLY-030", also=("IT-RLY-068", "IT-RLY-069"))
class OwnTermsOnly(Rules):
    """Advertises its own markup, whatever it pays itself."""

    def resold(self, downstream: pb.Tariff) -> tuple[int, int, int]:
        return 11, 10, 5


@mutant("IT-RLY-030", also=("IT-RLY-068", "IT-RLY-069"))
class FeeNotMarkedUp(Rules):
    """Rounds the fee down and leaves the markup out of it."""

    def resold(self, downstream: pb.Tariff) -> tuple[int, int, int]:
        factor = Fraction(downstream.markup_num, downstream.markup_den) * Fraction(11, 10)
        return factor.numerator, factor.denominator, downstream.fee


@mutant("IT-RLY-030")
class AsMuchAsFits(Rules):
    """Advertises what it has to ask for, cut to what a tariff can hold."""

    def resold(self, downstream: pb.Tariff) -> tuple[int, int, int]:
        num, den, fee = super().resold(downstream)
        return min(num, amounts.INT64_MAX), den, fee


@mutant("IT-RLY-031", also=("IT-RLY-033",))
class WholeMaximum(Rules):
    """Reserves downstream what is reserved upstream."""

    def relayed_max(self, plan: Plan) -> int:
        return plan.order.max_charge


@mutant("IT-RLY-031", also=("IT-RLY-033",))
class NoFeeKept(Rules):
    """Forgets its fee and the lines."""

    def relayed_max(self, plan: Plan) -> int:
        return (Fraction(plan.order.max_charge) / plan.rate.ratio).__floor__()


@mutant("IT-RLY-032", also=("IT-RLY-033", "IT-RLY-050", "IT-RLY-051"))
class WholeGrant(Rules):
    """Grants everything at once."""

    def relayed_grant(self, plan: Plan) -> int:
        return self.relayed_max(plan)


@mutant("IT-RLY-032")
class NeverWhole(Rules):
    """Converts the grant of an offer charged on completion as any other, less a unit."""

    def relayed_grant(self, plan: Plan) -> int:
        whole = plan.order.grant == plan.order.max_charge and plan.offer.message.name.startswith("suite")
        return super().relayed_grant(plan) - whole


@mutant("IT-RLY-033", also=("IT-RLY-051",))
class Floats(Rules):
    """Converts in floating point."""

    def relay_price(self, plan: Plan) -> None:
        super().relay_price(plan)
        plan.rate = _Float(*plan.rate)


class _Float(relays.Rate):
    def down(self, amount: int) -> int:
        return max(0, int((amount - self.fee - self.lines) / float(self.ratio)))


@mutant("IT-RLY-033", also=("IT-RLY-034",))
class NothingOfFree(Rules):
    """Divides by no markup of 0: what costs a fee alone is never passed on."""

    def relay_price(self, plan: Plan) -> None:
        if not plan.route_tariff.markup_num:
            raise Refusal("PRICE_CHANGED", "The price beyond this grid cannot be converted.")
        super().relay_price(plan)


@mutant("IT-RLY-034")
class AnyTariff(Rules):
    """Orders at a loss."""

    def relay_price(self, plan: Plan) -> None:
        made = relays.rate(plan.upstream_tariff, plan.route_tariff, len(plan.order.prices))
        plan.rate = relays.Rate(max(made.ratio, Fraction(1)), max(made.fee, 0), made.lines)


@mutant("IT-RLY-040", also=("IT-RLY-003", "IT-RLY-042"))
class SameDeadline(Rules):
    """Gives the next grid as much time as it has itself."""

    def relayed_deadline(self, plan: Plan) -> int:
        return plan.order.deadline


@mutant("IT-RLY-041")
class LaterDeadline(Rules):
    """Uses all of the payer's claim window."""

    def relayed_deadline(self, plan: Plan) -> int:
        margin = self.outage_ms() + 2 * max(plan.source.terms.max_skew_ms, plan.link.terms.max_skew_ms)
        return plan.hold.claim_until - plan.link.terms.claim_window_ms - margin


@mutant("IT-RLY-042")
class NoOutage(Rules):
    """Tolerates no outage."""

    def outage_ms(self) -> int:
        return 0


@mutant("IT-RLY-050", also=("IT-RLY-051", "IT-RLY-052", "IT-RLY-053", "IT-RLY-032"))
class GrantsAll(Rules):
    """Raises the downstream grant to all that was reserved."""

    def passed_grant(self, passed: Passed) -> int:
        return passed.below.order.max_charge


@mutant("IT-RLY-051", also=("IT-RLY-032", "IT-RLY-050", "IT-RLY-052", "IT-RLY-053"))
class NeverGrants(Rules):
    """Does not raise the downstream grant."""

    def passed_grant(self, passed: Passed) -> int:
        return 0


@mutant("IT-RLY-052", also=("IT-RLY-053",))
class AsksTheSame(Rules):
    """Asks upstream for what it was asked for."""

    def asked_grant(self, passed: Passed, amount: int) -> int:
        return amount


@mutant("IT-RLY-052")
class AsksBeyond(Rules):
    """Asks for more than was ever reserved."""

    def asked_grant(self, passed: Passed, amount: int) -> int:
        return passed.rate.up(amount)


@mutant("IT-RLY-053")
class AsksOnce(Rules):
    """Asks once, whoever listens."""

    def lacks_grant(self, passed: Passed) -> bool:
        return False


@mutant("IT-RLY-040")
class PayersSkewAlone(Rules):
    """Leaves room for the skew of the payer's link alone."""

    def relayed_deadline(self, plan: Plan) -> int:
        margin = self.outage_ms() + 2 * plan.source.terms.max_skew_ms
        return min(plan.order.deadline, plan.hold.claim_until - plan.link.terms.claim_window_ms - margin)
