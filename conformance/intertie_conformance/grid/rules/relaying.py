"""When a relay orders downstream, and what it orders (RFC 0011, sections 3.1 to 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION
from intertie_conformance.grid import work
from intertie_conformance.grid.account import ME
from intertie_conformance.wire import amounts, relays
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.account import Hold
    from intertie_conformance.grid.catalog import Offered
    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.relaying import Plan
    from intertie_conformance.grid.routes import Route

OUTAGE_MS: Final = 1_000
"""Tolerated outage."""
MAX_TEXT: Final = 32_768
COPIED: Final = ("offer_digest", "nonce", "input", "actors", "policy", "session", "group")


class RelayingRules:
    """Passing orders on."""

    def own_markup(self) -> tuple[Fraction, int]:
        """What this grid adds: factor and fee."""
        return Fraction(11, 10), 5

    def resold(self, downstream: pb.Tariff) -> tuple[int, int, int]:
        """(numerator, denominator, fee) of the tariff for an origin that is reached under another one."""
        return relays.resold(downstream, *self.own_markup())

    def statable(self, downstream: pb.Tariff) -> bool:
        """Whether a tariff can hold what is asked for an origin that is reached under another one."""
        return max(self.resold(downstream)) <= amounts.INT64_MAX

    def check_relayed(self, link: Link, hold: Hold, data: bytes, offer: Offered) -> None:
        """What every order must keep, the place left out: that is checked later. Raises: Refusal."""
        rules: Any = self
        for name in rules.ORDER_CHECKS:
            getattr(self, name)(link, hold, data)
        rules.order_price(link, hold, offer)
        rules.order_tariff_time(link, hold)
        rules.order_least(hold)

    # -- Table 1 ----------------------------------------------------------------------------------

    RELAY_CHECKS: tuple[str, ...] = (
        "relay_hops",
        "relay_place",
        "relay_way",
        "relay_price",
        "relay_time",
        "relay_input",
        "relay_texts",
        "relay_credit",
        "relay_unagreed",
        "relay_share",
        "relay_count",
        "relay_hold",
    )

    def relay_order(self) -> tuple[str, ...]:
        """The checks of Table 1, in the order in which they are made."""
        return self.RELAY_CHECKS

    def relay_hops(self, plan: Plan) -> None:
        """One more hop is allowed."""
        if plan.order.hop_limit < 1:
            raise Refusal("HOP_LIMIT", "The order may take no further hop.")

    def relay_place(self, plan: Plan) -> None:
        """The stated place is allowed."""
        if not work.is_allowed(plan.offer.message.place, plan.order.policy.places):
            raise Refusal("POLICY_VIOLATION", "The work would be done in another place.")

    def relay_way(self, plan: Plan) -> None:
        """There is another link that leads there."""
        plan.find_way()

    def other_link(self, source: Link, route: Route) -> bool:
        """An order does not go back over the link on which it came."""
        return route.link is not source

    def relay_price(self, plan: Plan) -> None:
        """The upstream tariff covers the downstream one."""
        plan.rate = relays.rate(plan.upstream_tariff, plan.route_tariff, len(plan.order.prices))
        if not plan.rate.usable:
            raise Refusal("PRICE_CHANGED", "The price beyond this grid has risen.")

    def relay_time(self, plan: Plan) -> None:
        """Time is left."""
        plan.deadline = self.relayed_deadline(plan)
        if plan.deadline <= plan.source.now():
            raise Refusal("DEADLINE_EXCEEDED", "Too little time is left to pass the order on.")

    def relay_input(self, plan: Plan) -> None:
        """The input fits the next link."""
        if len(plan.data) > plan.link.other_limits.inline_bytes:
            raise Refusal("INPUT_TOO_LARGE", "The input is too large for the next link.")

    def relay_texts(self, plan: Plan) -> None:
        """The order will fit an entry."""
        order = plan.order
        texts = [*order.path, *order.actors, *order.policy.places, order.session, order.group, order.input.media_type]
        if sum(4 * len(text) + 8 for text in texts) > MAX_TEXT:
            raise Refusal("PAYLOAD_TOO_LARGE", "The order's texts are too long.")

    def relay_credit(self, plan: Plan) -> None:
        """The own credit limit has room."""
        link = plan.link
        if link.logs.account.gross(ME) + self.relayed_max(plan) > link.terms.credit_limit[ME]:
            raise Refusal("CREDIT_LIMIT", "The order would exceed a credit limit.")

    def relay_unagreed(self, plan: Plan) -> None:
        """The own max_unagreed has room."""
        link = plan.link
        if link.logs.account.unagreed(ME) + self.relayed_grant(plan) > link.terms.max_unagreed[ME]:
            raise Refusal("UNAGREED_LIMIT", "Too much is granted and not agreed.")

    def relay_share(self, plan: Plan) -> None:
        """One upstream of several takes no more than half of a limit."""
        most = plan.link.terms.credit_limit[ME] // 2
        if plan.shared and plan.used + self.relayed_max(plan) > most:
            raise Refusal("SHARE_EXCEEDED", f"The order is above one upstream's share of {most}.")

    def relay_count(self, plan: Plan) -> None:
        """Not too many orders are open there."""
        most = min(plan.link.terms.max_open_holds, plan.link.other_limits.orders)
        if len(plan.link.logs.account.open(ME)) >= most:
            raise Refusal("TOO_MANY_ORDERS", "Too many orders are open.")

    def relay_hold(self, plan: Plan) -> None:
        """The order is valid there: its path first, then its deadline."""
        self.relay_path(plan)
        if plan.deadline > plan.link.now() + plan.link.terms.max_hold_ms:
            raise Refusal("DEADLINE_TOO_LONG", "The deadline is too far away for the next link.")

    def relay_path(self, plan: Plan) -> None:
        """The next grid takes a path of this length."""
        if len(self.relayed_path(plan.order, plan.grid.me.grid)) > plan.link.other_limits.hops:
            raise Refusal("HOP_LIMIT", "The path is too long for the next grid.")

    # -- the downstream order ---------------------------------------------------------------------

    def relayed_copies(self) -> int:
        """How many orders are placed for one."""
        return 1

    def relayed_fields(self, order: pb.Order) -> Mapping[str, Any]:
        """What is copied."""
        return {name: getattr(order, name) for name in COPIED}

    def relayed_id(self, secret: bytes, at: int, head: bytes) -> str:
        """The hop id."""
        return relays.hop_id(secret, at, head)

    def relayed_max(self, plan: Plan) -> int:
        """max_charge downstream."""
        return plan.rate.down(plan.order.max_charge)

    def relayed_grant(self, plan: Plan) -> int:
        """The first grant downstream."""
        if plan.offer.message.charge_on == CHARGE_ON_COMPLETION:
            return self.relayed_max(plan)
        return plan.rate.down(plan.order.grant)

    def relayed_deadline(self, plan: Plan) -> int:
        """Downstream claims end a margin before those upstream."""
        margin = self.outage_ms() + 2 * max(plan.source.terms.max_skew_ms, plan.link.terms.max_skew_ms)
        latest = plan.hold.claim_until - plan.link.terms.claim_window_ms - margin
        return min(plan.order.deadline, latest)

    def outage_ms(self) -> int:
        """How long the downstream link may be down."""
        return OUTAGE_MS

    def relayed_hops(self, order: pb.Order) -> int:
        """One hop less."""
        return order.hop_limit - 1

    def relayed_path(self, order: pb.Order, me: str) -> list[str]:
        """The path, then this grid."""
        return [*order.path, me]

    def relayed_account(self, order: pb.Order) -> str:
        """Nothing of the account is passed on."""
        return ""

    def relayed_authority(self, order: pb.Order) -> bytes:
        """Authority is not passed on."""
        return b""

    def relayed_input(self, data: bytes) -> bytes:
        """The bytes of the input."""
        return data
