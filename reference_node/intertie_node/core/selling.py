"""The provider's side of a link: admitting orders, and what the payer says about them (design §9)."""

from collections.abc import Callable

import msgspec

from intertie.digests import salted
from intertie.errors import IntertieError, to_problem
from intertie.ids import parse_uuid7
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION
from intertie_node.core.catalog import KnownOffer, priced
from intertie_node.core.effects import Effects
from intertie_node.core.executing import begin
from intertie_node.core.holds import OPEN, Columns, Hold, lines_of
from intertie_node.core.invocations import Invocation, Spec
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.core.pair import Fact
from intertie_node.core.placing import (
    best_way,
    check_input,
    check_place,
    check_room,
    check_texts,
    draft,
    first_grant,
    place,
    relay_order_id,
    relay_rate,
)
from intertie_node.core.rejoining import keep_back, take_decidable
from intertie_node.core.sharing import check_share
from intertie_node.core.sources import OrderSource
from intertie_node.core.tasks import TaskSignal
from intertie_node.core.world import World, problem


def on_order(world: World, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
    """An order has arrived."""
    order = fact.entry.order
    hold = link.ledger.holds.get((THEM, fact.seq))
    if hold is None or hold.state is not OPEN:
        return
    inv = Invocation(_spec(world, link, fact, hold, data), OrderSource(link, fact.seq))
    world.orders[link.name, THEM, fact.seq] = inv
    world.add(inv)
    decide(world, link, inv, order, fx)


def decide(world: World, link: Link, inv: Invocation, order: pb.Order, fx: Effects) -> None:
    """Reject an order, let it wait for room or for what a restored node has to learn, or admit it."""
    if keep_back(world, inv, order, fx):
        return
    try:
        offer = _check(world, link, order, _stated(inv), inv.spec.input, fx.now)
    except IntertieError as error:
        _refuse_order(world, inv, error, fx)
        return
    lane, limit = link.ledger.lanes[THEM], link.terms.max_unagreed[THEM]
    if lane.unagreed > limit:
        world.waiting.setdefault(link.name, []).append(inv)
        world.at(order.deadline, "deadline", inv.key)
    else:
        admit(world, inv, offer, fx)


def _stated(inv: Invocation) -> Columns:
    """The price lines of an order, from its hold: an order is decided while that is open."""
    source = inv.source
    hold = source.hold if isinstance(source, OrderSource) else None
    assert hold is not None, f"no open order stands behind {inv.key}"
    return hold.terms.units, hold.terms.prices


def _spec(world: World, link: Link, fact: Fact, hold: Hold, data: bytes) -> Spec:
    order, terms = fact.entry.order, hold.terms
    known = world.catalog.offers.get(terms.offer_digest)
    return Spec(
        id=terms.id,
        caller=f"link:{link.name}:{fact.seq}",
        offer=known.ref if known else "",
        offer_digest=terms.offer_digest,
        nonce=terms.nonce,
        input_digest=terms.input_digest,
        media_type=order.input.media_type,
        input=data,
        max_charge=terms.max_charge,
        grant=hold.grants[0][1],
        deadline=terms.deadline,
        created_at=fact.entry.at,
        hop_limit=order.hop_limit,
        path=tuple(order.path[:]),
        places=tuple(order.policy.places) if order.HasField("policy") else (),
        actors=tuple(order.actors[:]),
        session=order.session,
        group=order.group,
        digest=fact.head,
    )


def _refuse_order(world: World, inv: Invocation, error: IntertieError, fx: Effects) -> None:
    inv.source.reject(world, inv, to_problem(error), fx)
    fx.reply(world.forget, inv)


Check = Callable[[World, Link, pb.Order, bytes, int], None]


def _check(world: World, link: Link, order: pb.Order, stated: Columns, data: bytes, now: int) -> KnownOffer:
    for check in ORDER_CHECKS:
        check(world, link, order, data, now)
    offer = world.offer_of(order.offer_digest)
    _check_price(link, order, stated, offer, now)
    if offer.origin == world.fingerprint:
        world.check_input(offer.offer.input_schema, data)
    return offer


def _check_open_for_orders(world: World, link: Link, order: pb.Order, data: bytes, now: int) -> None:
    if world.draining:
        raise IntertieError("NODE_DRAINING", "This node is shutting down; try again later.")
    if link.name in world.suspended:
        raise IntertieError("PEERING_SUSPENDED", "This peering takes no new orders.")


def _check_time(world: World, link: Link, order: pb.Order, data: bytes, now: int) -> None:
    if order.deadline <= now:
        raise IntertieError("DEADLINE_EXCEEDED", "The order's deadline had passed when it arrived.")


def _check_id(world: World, link: Link, order: pb.Order, data: bytes, now: int) -> None:
    parse_uuid7(order.id)


def _check_limits(world: World, link: Link, order: pb.Order, data: bytes, now: int) -> None:
    lane, terms = link.ledger.lanes[THEM], link.terms
    if lane.gross > terms.credit_limit[THEM]:
        raise IntertieError("CREDIT_LIMIT", f"The order exceeds the credit limit {terms.credit_limit[THEM]}.")
    if order.grant > terms.max_unagreed[THEM]:
        raise IntertieError("UNAGREED_LIMIT", f"The grant can never fit max_unagreed {terms.max_unagreed[THEM]}.")
    if lane.open > min(terms.max_open_holds, world.own.limits.orders):
        raise IntertieError("TOO_MANY_ORDERS", f"{lane.open} orders are open on this link.")


def _check_path(world: World, link: Link, order: pb.Order, data: bytes, now: int) -> None:
    path = order.path
    if world.own.grid in path:
        raise IntertieError("LOOP", "The order has passed this grid before.")
    if len(path) > 16 or order.hop_limit > 16:
        raise IntertieError("HOP_LIMIT", "The order's path or hop limit is above 16.")


def _check_payload(world: World, link: Link, order: pb.Order, data: bytes, now: int) -> None:
    limit, payload = min(world.settings.max_input_bytes, world.own.limits.inline_bytes), order.input
    if payload.size > limit or len(data) > limit:
        raise IntertieError("INPUT_TOO_LARGE", f"Inputs may have {limit} bytes.")
    if payload.size != len(data) or payload.digest != salted(order.nonce, data):
        raise IntertieError("INPUT_INVALID", "The input is not the one that the order's digest names.")
    if payload.encoding:
        raise IntertieError("INPUT_INVALID", f"The content encoding {payload.encoding} is not known.")


ORDER_CHECKS: tuple[Check, ...] = (
    _check_open_for_orders,
    _check_time,
    _check_id,
    _check_limits,
    _check_path,
    _check_payload,
)
"""What every order must pass, in this order; each raises IntertieError with the reason of the reject."""


def _check_price(link: Link, order: pb.Order, stated: Columns, offer: KnownOffer, now: int) -> None:
    tariff = link.ledger.tariffs[ME].get(order.tariff_seq)
    prices = priced(offer, tariff) if tariff is not None and tariff.origin == offer.origin else None
    lines = lines_of(prices) if prices is not None else None
    if tariff is None or lines is None or stated != (lines.units, lines.prices):
        raise _price_changed(link, offer, "The order's prices are not those of the tariff that it names.")
    if tariff.expires_at + link.terms.max_skew_ms < now:
        raise _price_changed(link, offer, "The tariff that the order names has expired.")
    if offer.offer.charge_on == CHARGE_ON_COMPLETION and order.grant != order.max_charge:
        raise IntertieError("GRANT_INVALID", "This offer is charged on completion: grant must equal max_charge.")
    if order.max_charge < lines.least:
        message = f"One order costs at least {lines.least}; max_charge is {order.max_charge}."
        raise IntertieError("BUDGET_EXCEEDED", message)


def _price_changed(link: Link, offer: KnownOffer, message: str) -> IntertieError:
    newest = max((s for s, t in link.ledger.tariffs[ME].items() if t.origin == offer.origin), default=0)
    return IntertieError("PRICE_CHANGED", message, tariff_seq=str(newest))


def admit(world: World, inv: Invocation, offer: KnownOffer, fx: Effects) -> None:
    """Start an admitted order here, or pass it on."""
    try:
        if offer.origin == world.fingerprint:
            check_place(inv.spec.places, offer.offer.place or world.settings.place)
            begin(world, inv, fx)
        else:
            _relay(world, inv, offer, fx)
    except IntertieError as error:
        _refuse_order(world, inv, error, fx)


def _relay(world: World, inv: Invocation, offer: KnownOffer, fx: Effects) -> None:
    settings, spec, source = world.settings, inv.spec, inv.source
    assert isinstance(source, OrderSource)
    if not settings.relay:
        raise IntertieError("OFFER_UNKNOWN", "This grid does not relay.")
    if spec.hop_limit < 1:
        raise IntertieError("HOP_LIMIT", "The order may take no further hop.")
    check_place(spec.places, offer.offer.place)
    way = best_way(world, offer, fx.now, source.link)
    upstream = source.hold
    assert upstream is not None
    tariff = source.link.ledger.tariffs[ME].get(upstream.terms.tariff_seq)
    if tariff is None:
        raise IntertieError("PRICE_CHANGED", "The tariff that the order names is no longer kept.")
    rate = relay_rate(tariff, way.tariff, len(upstream.terms.prices))
    up, down = source.link.terms, way.link.terms
    margin = settings.tolerated_outage_ms + 2 * max(up.max_skew_ms, down.max_skew_ms)
    deadline = min(spec.deadline, upstream.terms.claim_until - down.claim_window_ms - margin)
    if deadline <= fx.now:
        raise IntertieError("DEADLINE_EXCEEDED", "Too little time is left to pass the order on.")
    order_id = relay_order_id(world, spec.created_at, spec.digest)
    inv.spec = msgspec.structs.replace(spec, hop_limit=spec.hop_limit - 1)
    max_charge = rate.down(spec.max_charge)
    grant = first_grant(offer, max_charge, rate.down(spec.grant))
    try:
        check_input(spec, way.link.their_limits.inline_bytes)
        check_texts(spec)
        check_room(world, way.link, max_charge, grant)
        check_share(world, way.link, inv, max_charge, grant)
        order = draft(world, inv, way, order_id, max_charge, grant, deadline, fx.now)
    except IntertieError as error:  # by reason alone: what is agreed further down is not the upstream's to know
        raise IntertieError(error.reason, "The way beyond this grid does not take this order now.") from error
    place(world, inv, way, order, rate, fx)
    inv.signal(TaskSignal.STARTED, fx.now)


def decide_recovered(world: World, fx: Effects) -> None:
    """A link has opened for the first time: decide the orders that waited for what it would bring."""
    for inv, order in take_decidable(world, fx):
        source = inv.source
        assert isinstance(source, OrderSource)
        hold = source.hold
        if hold is not None and hold.canceled:
            _refuse_order(world, inv, IntertieError("CANCELED", "Cancelled before work started."), fx)
        else:
            decide(world, source.link, inv, order, fx)


def on_grant(world: World, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
    """The payer has raised a grant."""
    inv = world.orders.get((link.name, THEM, fact.entry.grant.order_seq))
    if inv is not None and inv.sink is not None:
        inv.sink.granted(world, inv, fx)


def on_cancel(world: World, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
    """The payer wants to stop."""
    inv = world.orders.get((link.name, THEM, fact.entry.cancel.order_seq))
    if inv is None or inv.ended or inv.key in world.recovering:
        return  # what was placed before a restart is stopped when it is joined
    if inv.sink is None:
        error = IntertieError("CANCELED", "Cancelled before work started.")
        _unwait(world, link, inv)
        _refuse_order(world, inv, error, fx)
    else:
        inv.sink.cancel(world, inv, fact.entry.cancel.comment, fx)


def on_expire(world: World, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
    """The payer has ended a hold: what was claimed beyond what it had seen is lost, in the books too."""
    to, origin = link.accounts, (link.name, THEM, fact.seq, "")
    world.books.align(fx, to.receivable, to.revenue, link.ledger.lanes[THEM].posted, link.asset, origin)
    inv = world.orders.get((link.name, THEM, fact.entry.expire.order_seq))
    if inv is None or inv.finished:
        return
    _unwait(world, link, inv)
    if inv.sink is not None:
        inv.sink.cancel(world, inv, "expired", fx)
    inv.signal(TaskSignal.FAILED, fx.now)
    inv.finished = True
    world.touch(inv)
    fx.reply(world.forget, inv)


def on_refuse(world: World, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
    """The other side does not agree to an entry of ours; the account already shows it."""


def credit(world: World, link: Link, order_seq: int, amount: int, comment: str, fx: Effects) -> int:
    """Take back part of what was charged for an order; returns the entry's seq.

    Raises: IntertieError PEER_UNAVAILABLE until the link has been open, CREDIT_INVALID beyond what is charged.
    """
    if not link.can_append:
        raise IntertieError("PEER_UNAVAILABLE", f"The link with {link.peer.grid} has not been open yet; try again.")
    hold = link.ledger.find(THEM, order_seq)
    if hold is None or not 1 <= amount <= hold.posted:
        charged = hold.posted if hold else 0
        raise IntertieError("CREDIT_INVALID", f"Of order {order_seq}, {charged} is charged; a credit is 1 to that.")
    body = pb.Credit(order_seq=order_seq, amount=amount, comment=comment[:256])
    seq = link.append(pb.Entry(kind=pb.ENTRY_KIND_CREDIT, credit=body), fx)
    to, origin = link.accounts, (link.name, ME, seq, "")
    world.books.transfer(fx, to.revenue, to.receivable, amount, link.asset, origin)
    return seq


def _unwait(world: World, link: Link, inv: Invocation) -> None:
    world.recovering.pop(inv.key, None)
    queue = world.waiting.get(link.name)
    if queue and inv in queue:
        queue.remove(inv)


def admit_waiting(world: World, link: Link, fx: Effects) -> None:
    """Admit waiting orders, the first one first, as far as `max_unagreed` has room again.

    Room comes from the payer's signature, and from an own entry that ends a hold.
    """
    queue = world.waiting.get(link.name)
    if not queue:
        return
    lane, most = link.ledger.lanes[THEM], link.terms.max_unagreed[THEM]
    parked = world.parked(link)
    while queue and lane.unagreed - parked + (first := world.granted(link, queue[0])) <= most:
        inv = queue.pop(0)
        parked -= first
        if inv.ended:
            continue
        try:
            admit(world, inv, world.offer_of(inv.spec.offer_digest), fx)
        except IntertieError as error:
            _refuse_order(world, inv, error, fx)


def waiting_deadline(world: World, inv: Invocation, fx: Effects) -> None:
    """The deadline of an order that was never admitted has passed."""
    if inv.sink is None and not inv.ended and inv.key not in world.recovering:
        source = inv.source
        assert isinstance(source, OrderSource)
        _unwait(world, source.link, inv)
        error = problem("DEADLINE_EXCEEDED", "The order was not admitted before its deadline.")
        inv.source.reject(world, inv, error, fx)
        fx.reply(world.forget, inv)
