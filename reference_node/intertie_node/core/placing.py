"""Placing an order downstream: route, tariff, limits, conversion (design §7 order, §9 relay)."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from msgspec import Struct

from intertie.errors import IntertieError
from intertie.ids import hop_id
from intertie.registry import LIMITS
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION
from intertie.v1.metering_pb2 import PriceLine
from intertie_node.core.blinding import blinded
from intertie_node.core.catalog import KnownOffer, Route, priced
from intertie_node.core.effects import Effects
from intertie_node.core.holds import Hold, Prices, lines_of, order_fault
from intertie_node.core.invocations import Invocation, Spec
from intertie_node.core.ledger import ME, THEM, TariffTerms
from intertie_node.core.link import Link
from intertie_node.core.log import MAX_ENTRY_BYTES
from intertie_node.core.opening import Phase
from intertie_node.core.sharing import note
from intertie_node.core.sinks import OrderSink, Rate
from intertie_node.core.standing import FADED
from intertie_node.core.world import World

MAX_TEXT_BYTES = 32 * 1024
"""Longest that an order's names may be together, so that the next hop's order fits an entry as well."""
MIN_HOPS = LIMITS["hops"].minimum
ENTRY_OVERHEAD = 64
"""Bytes of an entry beside its body, at most."""
_VOID: Mapping[str, Callable[[pb.Order, Link], IntertieError]] = {
    "PRICE_CHANGED": lambda order, link: IntertieError(
        "PRICE_CHANGED",
        "The price there takes more lines than an order may have.",
        tariff_seq=str(order.tariff_seq),
    ),
    "DEADLINE_EXCEEDED": lambda order, link: IntertieError(
        "DEADLINE_EXCEEDED",
        f"The order would end before the clock of the log with {link.peer.grid}, which leads this node's.",
        deadline=str(order.deadline),
    ),
    "DEADLINE_TOO_LONG": lambda order, link: IntertieError(
        "DEADLINE_TOO_LONG",
        f"Orders to {link.peer.grid} may be open for {link.terms.max_hold_ms} ms.",
        limit_ms=str(link.terms.max_hold_ms),
    ),
}
"""Reason of `order_fault` → what the caller is told; any other is told by its reason alone."""


class Way(Struct, frozen=True):
    """A usable route with the tariff in force on it."""

    link: Link
    route: Route
    tariff: TariffTerms
    prices: Prices


def ways(world: World, offer: KnownOffer, now: int, upstream: Link | None = None) -> list[Way]:
    """Usable ways to an offer, cheapest path first, for a consumer or for an order that came over `upstream`.

    Those are left out on which its price cannot be stated.
    """
    found = []
    for route in world.catalog.routes_to(offer):
        tariff = _in_force(world, route, now, upstream)
        if tariff is None:
            continue
        prices = priced(offer, tariff)
        if prices is not None:
            found.append(Way(world.links[route.link], route, tariff, prices))
    return found


def _in_force(world: World, route: Route, now: int, upstream: Link | None) -> TariffTerms | None:
    """The tariff under which a route can be ordered over now, None if it cannot."""
    link = world.links.get(route.link)
    if link is None or link is upstream or link.phase is not Phase.OPEN or route.link in world.suspended:
        return None
    if route.epoch == FADED or route.expires_at <= now or not _same_asset(world, link, upstream):
        return None
    tariff = link.ledger.tariffs[THEM].get(route.tariff_seq)
    return tariff if tariff is not None and tariff.expires_at > now else None


def _same_asset(world: World, link: Link, upstream: Link | None) -> bool:
    """Whether amounts on a link are those of the accounts here, or of the upstream link: nothing converts yet."""
    payer = upstream or world.settings
    return (link.asset, link.scale) == (payer.asset, payer.scale)


def best_way(world: World, offer: KnownOffer, now: int, upstream: Link | None = None) -> Way:
    """The way that is taken; the one found before in this batch, while it is one.

    Raises: IntertieError NO_ROUTE, PEER_UNAVAILABLE, and AMOUNT_OVERFLOW if the price cannot be stated on any way.
    """
    key = (offer.digest, upstream.name if upstream else "")
    known: Way | None = world.ways.get(key)
    if known is not None and _still(world, known, now, upstream):
        return known
    found = ways(world, offer, now, upstream)
    if found:
        world.ways[key] = found[0]
        return found[0]
    if any(_in_force(world, route, now, upstream) for route in world.catalog.routes_to(offer)):
        raise IntertieError("AMOUNT_OVERFLOW", f"The price of {offer.ref} cannot be stated on the way to it.")
    raise out_of_reach(world, offer, upstream)


def _still(world: World, way: Way, now: int, upstream: Link | None) -> bool:
    """Whether a way has stayed one: links, peerings, routes and tariffs change within a batch as well."""
    route = way.route
    listed = world.catalog.routes.get((route.link, route.origin)) is route
    return listed and _in_force(world, route, now, upstream) is way.tariff


def out_of_reach(world: World, offer: KnownOffer, upstream: Link | None = None) -> IntertieError:
    """Why a known offer cannot be ordered now: PEER_UNAVAILABLE, or NO_ROUTE if no next grid advertises it.

    A link of another asset leads nowhere, whether it is open or not. A peering that takes no orders is
    PEER_UNAVAILABLE like a link that is down (RFC 0008, IT-CAT-092); the message tells them apart.
    """
    foreign = ""
    for route in world.catalog.routes_to(offer):
        link = world.links.get(route.link)
        if link is None or link is upstream:
            continue
        if not _same_asset(world, link, upstream):
            foreign = link.asset
        elif route.epoch != FADED or link.phase is not Phase.OPEN:
            return IntertieError("PEER_UNAVAILABLE", _shut(world, offer, link), grid=link.peer.grid)
    why = f"is paid in the asset asked for, one in {foreign} is" if foreign else "is open now; try again"
    return IntertieError("NO_ROUTE", f"No way to {offer.grid} {why}.", offer=offer.ref)


def _shut(world: World, offer: KnownOffer, link: Link) -> str:
    """What keeps orders from a way that is known."""
    if link.name in world.suspended:
        return suspended_with(world, link)
    return f"The way to {offer.grid} over {link.peer.grid} is down or its tariff has expired; try again."


def suspended_with(world: World, link: Link) -> str:
    """What is said of a peering that this grid has suspended or terminated, and how it is taken up again."""
    return (
        f"{world.own.grid} has suspended or ended its peering with {link.peer.grid} and orders nothing there: "
        f"its operator resumes a suspended one (intertie peer resume {link.peer.grid})."
    )


def relay_rate(upstream: TariffTerms, downstream: TariffTerms, lines: int) -> Rate:
    """How amounts convert between the two sides of a relay.

    Raises: IntertieError PRICE_CHANGED if the upstream tariff no longer covers the downstream one.
    """
    ratio = Fraction(upstream.markup_num, upstream.markup_den)
    down = Fraction(downstream.markup_num, downstream.markup_den)
    # Where work costs nothing but a fee, no quantity can make it dearer downstream than upstream.
    ratio = ratio / down if down > 0 else max(ratio, Fraction(1))
    fee = upstream.fee - ratio * downstream.fee
    if ratio < 1 or fee < 0:
        raise IntertieError("PRICE_CHANGED", "The price beyond this grid has risen; a new tariff follows.")
    return Rate(-int(-fee // 1), lines, ratio.numerator, ratio.denominator)


def kept_rate(upstream: Link, order: Hold, downstream: Link, placed: Hold) -> Rate:
    """How the amounts of two orders convert, one placed for the other; unchanged if a tariff is kept no longer."""
    asked = upstream.ledger.tariffs[ME].get(order.terms.tariff_seq)
    paid = downstream.ledger.tariffs[THEM].get(placed.terms.tariff_seq)
    return relay_rate(asked, paid, len(order.terms.prices)) if asked and paid else Rate()


def check_room(world: World, link: Link, max_charge: int, grant: int) -> None:
    """Check the payer's own limits on a link before ordering.

    Raises: IntertieError PEERING_SUSPENDED, CREDIT_LIMIT, UNAGREED_LIMIT, TOO_MANY_ORDERS.
    """
    lane, terms = link.ledger.lanes[ME], link.terms
    if link.name in world.suspended:
        raise IntertieError("PEERING_SUSPENDED", suspended_with(world, link))
    if lane.gross + max_charge > terms.credit_limit[ME]:
        raise IntertieError(
            "CREDIT_LIMIT",
            f"An order of {max_charge} would exceed the credit limit {terms.credit_limit[ME]} with {link.peer.grid}.",
            limit=str(terms.credit_limit[ME]),
            used=str(lane.gross),
            requested=str(max_charge),
        )
    if lane.unagreed + grant > terms.max_unagreed[ME]:
        raise IntertieError(
            "UNAGREED_LIMIT",
            f"Too much is granted and not yet agreed with {link.peer.grid}; try again.",
            limit=str(terms.max_unagreed[ME]),
            used=str(lane.unagreed),
            requested=str(grant),
        )
    if lane.open >= min(terms.max_open_holds, link.their_limits.orders):
        raise IntertieError("TOO_MANY_ORDERS", f"{lane.open} orders are open with {link.peer.grid}; try again.")


def first_grant(offer: KnownOffer, max_charge: int, wished: int) -> int:
    """The grant of an order: all of it at once where the offer is charged on completion."""
    return max_charge if offer.offer.charge_on == CHARGE_ON_COMPLETION else min(wished, max_charge)


def check_place(allowed: Sequence[str], place: str) -> None:
    """Check the place of work, "" if not stated, against the places that a policy allows, none for any.

    Raises: IntertieError POLICY_VIOLATION.
    """
    if allowed and not any(place == p or place.startswith(p + "-") for p in allowed):
        raise IntertieError("POLICY_VIOLATION", f"The work would be done in {place or 'an unstated place'}.")


def check_input(spec: Spec, inline_bytes: int) -> None:
    """Check that the next grid takes an input of this size. Raises: IntertieError INPUT_TOO_LARGE."""
    if len(spec.input) > inline_bytes:
        raise IntertieError("INPUT_TOO_LARGE", f"Inputs may have {inline_bytes} bytes on this way.")


def check_texts(spec: Spec) -> None:
    """Check, before anything is reserved, that an order will fit an entry, and a call for own work memory and row.

    Raises: IntertieError PAYLOAD_TOO_LARGE.
    """
    texts = (*spec.path, *spec.actors, *spec.places, spec.session, spec.group, spec.media_type)
    if 4 * len("".join(texts)) + 8 * len(texts) > MAX_TEXT_BYTES:
        raise IntertieError("PAYLOAD_TOO_LARGE", "Path, actors, places, session, group and media type are too long.")


@lru_cache(4096)
def _common(offer_digest: bytes, tariff_seq: int, prices: Prices) -> pb.Order:
    """What all orders of an offer under one tariff state alike: to be copied, not changed."""
    lines = [PriceLine(unit=unit, num=num, den=den) for unit, num, den in prices]
    return pb.Order(offer_digest=offer_digest, tariff_seq=tariff_seq, prices=lines)


def draft(
    world: World, inv: Invocation, way: Way, order_id: str, max_charge: int, grant: int, deadline: int, now: int
) -> pb.Entry:
    """The order of an invocation on a way, judged as both sides will judge it, before anything is reserved for it.

    Raises: IntertieError HOP_LIMIT, PAYLOAD_TOO_LARGE, PRICE_CHANGED, AMOUNT_INVALID, DEADLINE_EXCEEDED,
    DEADLINE_TOO_LONG.
    """
    spec, entry = inv.spec, pb.Entry(kind=pb.ENTRY_KIND_ORDER)
    order = entry.order
    order.CopyFrom(_common(spec.offer_digest, way.route.tariff_seq, way.prices))
    order.id, order.nonce, order.account = order_id, spec.nonce, blinded(world.secret, spec.caller)
    order.max_charge, order.grant, order.deadline = max_charge, grant, deadline
    order.hop_limit, order.session, order.group = spec.hop_limit, spec.session, spec.group
    order.path.extend((*spec.path, world.own.grid))
    payload = order.input
    payload.media_type, payload.digest, payload.size = spec.media_type, spec.input_digest, len(spec.input)
    if spec.actors:
        order.actors.extend(spec.actors)
    if spec.places:
        order.policy.places.extend(spec.places)
    _check_valid(way, order, len(spec.path) + 1, now)
    return entry


def _check_valid(way: Way, order: pb.Order, path: int, now: int) -> None:
    """Check that the next grid and the log take an order, and that it would not be void there."""
    link = way.link
    hops = max(MIN_HOPS, link.their_limits.hops)
    if path > hops:
        message = f"The order's path would have {path} links; {link.peer.grid} takes {hops}."
        raise IntertieError("HOP_LIMIT", message, hop_limit=str(order.hop_limit))
    terms, size = link.terms, order.ByteSize() + ENTRY_OVERHEAD
    if size > MAX_ENTRY_BYTES:
        message = f"The order would have {size} bytes; an entry may have {MAX_ENTRY_BYTES}."
        raise IntertieError("PAYLOAD_TOO_LARGE", message, size=str(size), limit=str(MAX_ENTRY_BYTES))
    lines = lines_of(way.prices)
    fault = order_fault(order, lines, link.pair.next_at(now), terms.claim_window_ms, terms.max_hold_ms)
    if fault:
        told = _VOID.get(fault)
        raise told(order, link) if told else IntertieError(fault, "The order would not be valid on the way there.")


def place(world: World, inv: Invocation, way: Way, entry: pb.Entry, rate: Rate, fx: Effects) -> None:
    """Append a drafted order to the way's link and make it the invocation's sink; `check_room` has passed."""
    link, spec, order = way.link, inv.spec, entry.order
    seq = link.append(entry, fx, spec.input, lines_of(way.prices))
    inv.sink = OrderSink(link, seq, rate)
    note(world, link, inv, 1, order.max_charge, order.grant)
    world.orders[link.name, ME, seq] = inv
    world.at(order.deadline + link.terms.claim_window_ms, "expire", f"{link.name}:{seq}")
    world.touch(inv)


def relay_order_id(world: World, upstream_at: int, upstream_head: bytes) -> str:
    """The downstream order's id: the same however often the upstream order is met again (design §5 rule 4)."""
    return hop_id(upstream_at, world.secret, upstream_head, 0)
