"""When an order is rejected, and what is claimed for work (RFC 0009, RFC 0010)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1.envelope_pb2 import Problem
from intertie_conformance.grid import work
from intertie_conformance.grid.account import THEM
from intertie_conformance.registry import LIMITS
from intertie_conformance.wire import amounts, ids
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.digests import salted
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from intertie_conformance.grid.account import Hold
    from intertie_conformance.grid.catalog import Offered
    from intertie_conformance.grid.link import Link

MAX_HOPS: Final = 16


class SellingRules:
    """The provider's side."""

    def order_in_time(self, link: Link, hold: Hold, data: bytes) -> None:
        """The deadline has not passed."""
        if hold.order.deadline <= link.now():
            raise Refusal("DEADLINE_EXCEEDED", "The deadline had passed when the order arrived.")

    def order_uuid(self, link: Link, hold: Hold, data: bytes) -> None:
        """The id is a UUIDv7."""
        if not ids.is_id(hold.order.id):
            raise Refusal("ID_INVALID", "The id of an order is no UUIDv7 in lower-case text form.")

    def order_credit(self, link: Link, hold: Hold, data: bytes) -> None:
        """posted + pending stays within the credit limit."""
        if link.logs.account.gross(THEM) > link.terms.credit_limit[THEM]:
            raise Refusal("CREDIT_LIMIT", "The order exceeds the credit limit.")

    def order_unagreed(self, link: Link, hold: Hold, data: bytes) -> None:
        """A grant that can never fit is rejected."""
        if hold.order.grant > link.terms.max_unagreed[THEM]:
            raise Refusal("UNAGREED_LIMIT", "The grant can never fit max_unagreed.")

    def order_count(self, link: Link, hold: Hold, data: bytes) -> None:
        """Not too many holds are open."""
        if len(link.logs.account.open(THEM)) > min(link.terms.max_open_holds, LIMITS["orders"].default):
            raise Refusal("TOO_MANY_ORDERS", "Too many orders are open.")

    def order_loop(self, link: Link, hold: Hold, data: bytes) -> None:
        """The order has not passed this grid."""
        if link.me.grid in hold.order.path:
            raise Refusal("LOOP", "The order has passed this grid before.")

    def order_hops(self, link: Link, hold: Hold, data: bytes) -> None:
        """Path and hop limit are within 16."""
        if len(hold.order.path) > MAX_HOPS or hold.order.hop_limit > MAX_HOPS:
            raise Refusal("HOP_LIMIT", "The path or hop limit of an order is above 16.")

    def order_size(self, link: Link, hold: Hold, data: bytes) -> None:
        """The input is not larger than was declared."""
        rules: Any = self
        if max(hold.order.input.size, len(data)) > rules.own_limits().inline_bytes:
            raise Refusal("INPUT_TOO_LARGE", "The input is too large.")

    def order_input(self, link: Link, hold: Hold, data: bytes) -> None:
        """The input is the one that the order names."""
        described = hold.order.input
        if described.size != len(data) or described.digest != salted(hold.order.nonce, data):
            raise Refusal("INPUT_INVALID", "The input is not the one that the order's digest names.")

    def order_encoding(self, link: Link, hold: Hold, data: bytes) -> None:
        """No content encoding is defined."""
        if hold.order.input.encoding:
            raise Refusal("INPUT_INVALID", "The content encoding of an input is not known.")

    ORDER_CHECKS: tuple[str, ...] = (
        "order_in_time",
        "order_uuid",
        "order_credit",
        "order_unagreed",
        "order_count",
        "order_loop",
        "order_hops",
        "order_size",
        "order_input",
        "order_encoding",
    )

    def check_order(self, link: Link, hold: Hold, data: bytes, offer: Offered | None) -> Offered:
        """The ordered offer. Raises: Refusal, the reason of the reject."""
        for name in self.ORDER_CHECKS:
            getattr(self, name)(link, hold, data)
        if offer is None:
            raise Refusal("OFFER_UNKNOWN", "No offer has this digest.")
        self.order_price(link, hold, offer)
        self.order_tariff_time(link, hold)
        self.order_least(hold)
        self.order_fits(offer, data)
        self.order_place(link, hold, offer)
        return offer

    def order_price(self, link: Link, hold: Hold, offer: Offered) -> None:
        """The prices are those of the named tariff."""
        tariff = link.logs.account.tariffs[0].get(hold.order.tariff_seq)
        if tariff is None or tariff.origin != offer.message.origin:
            raise self.price_changed(link, "The order names no tariff of this origin.", offer.message.origin)
        priced = amounts.under_tariff(offer.prices, tariff.markup_num, tariff.markup_den, tariff.fee)
        if hold.prices != priced:
            raise self.price_changed(link, "The order's prices are not those of its tariff.", offer.message.origin)

    def order_tariff_time(self, link: Link, hold: Hold) -> None:
        """The tariff has not expired, max_skew in the payer's favour."""
        tariff = link.logs.account.tariffs[0].get(hold.order.tariff_seq)
        if tariff is not None and tariff.expires_at + link.terms.max_skew_ms < link.now():
            raise self.price_changed(link, "The tariff of an order has expired.", tariff.origin)

    def price_changed(self, link: Link, message: str, origin: bytes) -> Refusal:
        """Names the newest tariff of an origin."""
        newest = max((seq for seq, t in link.logs.account.tariffs[0].items() if t.origin == origin), default=0)
        return Refusal("PRICE_CHANGED", message, tariff_seq=str(newest))

    def order_least(self, hold: Hold) -> None:
        """One order can be paid for."""
        least = sum(-(-num // den) for unit, num, den in hold.prices if unit == "order")
        if hold.order.max_charge < least:
            raise Refusal("BUDGET_EXCEEDED", f"One order costs at least {least}.")

    def order_fits(self, offer: Offered, data: bytes) -> None:
        """The input is what the schema asks for."""
        rules: Any = self
        rules.check_input(offer.message.input_schema, data)

    def order_place(self, link: Link, hold: Hold, offer: Offered) -> None:
        """The place of work is allowed."""
        place = offer.message.place or link.me.described.message.place
        if not work.is_allowed(place, hold.order.policy.places):
            raise Refusal("POLICY_VIOLATION", "The work would be done in another place.")

    # -- claiming ---------------------------------------------------------------------------------

    def may_start(self, link: Link, hold: Hold) -> bool:
        """An order that does not fit max_unagreed now waits."""
        return link.has_room(hold)

    def behind(self, hold: Hold, holds: Iterable[Hold]) -> int:
        """Grants of orders that wait behind one: they count against none before them."""
        return sum(other.granted for other in holds if other.waits and other.seq > hold.seq)

    def price_usage(self, hold: Hold, usage: Mapping[str, int]) -> int:
        """What usage costs under the order's own lines."""
        return amounts.charge(hold.prices, [usage.get(unit, 0) for unit, _, _ in hold.prices])

    def charge_quantities(self, hold: Hold, usage: Mapping[str, int]) -> list[int]:
        """The cumulative quantities that a charge states, in the order of the order's lines."""
        return [usage.get(unit, 0) for unit, _, _ in hold.prices]

    def charge_amount(self, hold: Hold, usage: Mapping[str, int]) -> int:
        """The amount that a charge states."""
        return self.price_usage(hold, usage)

    def grant_needed(self, needed: int) -> list[dict[str, int]]:
        """What is said when work waits for a higher grant."""
        return [{"amount": needed}]

    def within_grant(self, hold: Hold, cost: int) -> bool:
        """Work goes on only within the grant."""
        return cost <= hold.granted

    def within_unagreed(self, hold: Hold, cost: int, room: bool) -> bool:
        """Beyond the first grant, or what is claimed, work goes on only while the lane is within max_unagreed."""
        return room or cost <= max(hold.grants[0][1], hold.charged)

    def rejects_begun(self, hold: Hold) -> bool:
        """Work that was begun is charged, never rejected."""
        return False

    def reject(self, hold: Hold, problem: Problem) -> pb.Entry | None:
        """The entry that rejects an order."""
        return entry(pb.ENTRY_KIND_REJECT, reject={"order_seq": hold.seq, "problem": problem})
