"""RFC 0008, sections 3.3, 3.7 and 3.8: the target as payer: prices under tariffs, and the way that is taken."""

from __future__ import annotations

import asyncio

from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION
from intertie_conformance.checks import check
from intertie_conformance.checks.routes import opened, ref, stranger
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.roles.customer import outcome_of, refusal_of
from intertie_conformance.roles.market import PRICES, Market
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import amounts
from intertie_conformance.wire.amounts import Price


async def lines(market: Market, offer: Offered, num: int, den: int, fee: int) -> list[Price]:
    """The price lines by which the target orders an offer under a tariff."""
    seq = market.tariff(markup_num=num, markup_den=den, fee=fee)
    market.announce(market.route(market.root(offer), seq))
    wanted = amounts.under_tariff(offer.prices, num, den, fee)
    await market.stage.customer.expect_priced(ref(market, offer), wanted)
    call = market.stage.customer.call(ref(market, offer))
    fact = await market.expect_order()
    order = fact.entry.order
    if order.tariff_seq != seq:
        fail(f"an order under tariff {seq}", order.tariff_seq)
    market.deliver(fact)
    await outcome_of(call)
    return [(line.unit, line.num, line.den) for line in order.prices]


@check("IT-CAT-080", role="executor", consumer=True)
async def prices_under_tariffs(stage: Stage) -> None:
    """Orders state the offer's lines under the tariff, in its order and in lowest terms, exact to the last unit."""
    market = await opened(stage)
    some = stage.random.randrange(2, 50), stage.random.randrange(2, 50), stage.random.randrange(1, 99)
    rows: tuple[tuple[list[Price], tuple[int, int, int]], ...] = (
        ([("order", 1, 2), ("llm.output.token", 3, 1000)], (11, 10, 250)),
        ([("llm.output.token", 3, 1000)], (11, 10, 250)),
        ([("llm.output.token", 0, 7), ("order", 10, 1)], (1, 1, 0)),
        ([("order", 6, 4), ("mcp.call", 10, 4)], (2, 3, 0)),
        ([("mcp.call", 2**61 - 1, 3), ("order", 5, 1)], (3, 2**61 - 1, 0)),
        ([("order", 10, 1), ("mcp.call", 7, 3)], some),
        ([("mcp.call", 5, 3)], (0, 1, 7)),
    )
    for prices, (num, den, fee) in rows:
        got = await lines(market, market.offer(prices=prices), num, den, fee)
        wanted = amounts.under_tariff(prices, num, den, fee)
        if got != wanted:
            fail(f"lines {wanted} under {num}/{den} and {fee}", got)
        stage.saw(f"{wanted}")


@check("IT-CAT-020", role="executor", consumer=True)
async def whole_grant_on_completion(stage: Stage) -> None:
    """An order of an offer that is charged on completion grants its whole maximum, whatever the consumer wishes."""
    market = await opened(stage)
    whole, part = market.offer(charge_on=CHARGE_ON_COMPLETION), market.offer()
    await market.open_market(whole, part)
    for offer, wanted in ((whole, 1_000), (part, 20)):
        call = stage.customer.call(ref(market, offer), max_charge=1_000, first_grant=20)
        fact = await market.expect_order()
        order = fact.entry.order
        market.deliver(fact)
        await outcome_of(call)
        if (order.grant, order.max_charge) != (wanted, 1_000):
            fail(f"a grant of {wanted} of 1000", f"{order.grant} of {order.max_charge}")
        stage.saw(f"a grant of {order.grant} of {order.max_charge}")


@check("IT-CAT-084", role="executor", refusal=True, waits_s=1, consumer=True)
async def expired_tariff(stage: Stage) -> None:
    """Nothing is ordered under a tariff that has expired; before, and under a new one, it is."""
    market = await opened(stage)
    offer = market.offer()
    await market.open_market(offer)
    call = stage.customer.call(ref(market, offer))
    market.deliver(await market.expect_order())
    await outcome_of(call)
    await market.expire(offer)
    await refusal_of(stage.customer.call(ref(market, offer)), "PEER_UNAVAILABLE")
    stage.saw("the call was refused with PEER_UNAVAILABLE")
    await market.open_market(offer)
    call = stage.customer.call(ref(market, offer))
    market.deliver(await market.expect_order())
    await outcome_of(call)


@check("IT-CAT-089", role="executor", refusal=True, consumer=True)
async def unpriceable_offers(stage: Stage) -> None:
    """Offers whose price cannot be stated under a tariff cannot be ordered; all others are, and are listed."""
    market = await opened(stage)
    huge = market.offer(prices=[("order", 2**62, 1)])
    many = market.offer(prices=[(f"x-{n:02d}", 1, 1) for n in range(16)])
    good = market.offer()
    seq = market.tariff(markup_num=3, fee=1)
    market.announce(market.route(market.root(huge, many, good), seq))
    await stage.customer.expect_priced(
        ref(market, good), [("order", 31, 1), ("order.failed", 6, 1), ("order.canceled", 15, 1)]
    )
    for offer in (huge, many):
        await stage.customer.expect_unlisted(ref(market, offer))
        await refusal_of(
            stage.customer.call(ref(market, offer)), "AMOUNT_OVERFLOW", "PEER_UNAVAILABLE", "NO_ROUTE", "OFFER_UNKNOWN"
        )
    priced = {item.digest for item in await stage.customer.found(origin=market.me.grid) if item.prices}
    if priced != {good.digest}:
        fail("the good offer listed with prices, alone", f"{len(priced)} offers")
    if not await stage.customer.found(origin=stage.target.grid):
        fail("the target's own offers listed as before", "none")
    call = stage.customer.call(ref(market, good))
    market.deliver(await market.expect_order())
    await outcome_of(call)


# -- ways ---------------------------------------------------------------------------------------------


async def two_ways(stage: Stage) -> tuple[Market, Market, Offered, str]:
    """Two markets that lead to one origin, the first over a shorter path; the offer and its reference."""
    near, far = await opened(stage), await opened(stage)
    offer = near.offer()
    name = ref(near, offer)
    await near.open_market(offer)
    far.spoiled = True  # a later check would find what it has led to beside what near then offers
    root = far.root(offer, origin=near.me)
    far.announce(far.route(root, far.tariff(near.me), near.me))
    await far.expect_signed()
    return near, far, offer, name


async def taken(stage: Stage, name: str, *markets: Market) -> Market:
    """Call an offer; the market at which the target has ordered, which delivers."""
    before = [len(market.orders()) for market in markets]
    call = stage.customer.call(name)

    def ordered() -> Market | None:
        pairs = zip(markets, before, strict=True)
        return next((market for market, count in pairs if len(market.orders()) > count), None)

    found = await markets[0].wait(ordered, f"an order for {name} at one of {len(markets)} markets")
    assert found is not None
    fact = await found.expect_order()
    order, origin = fact.entry.order, markets[0].me
    record = found.record(order, {"order": 1}, executor=origin.fingerprint)
    found.deliver(fact, b"", proof=found.prove(record, origin))
    await outcome_of(call)
    return found


@check("IT-CAT-090", role="executor", consumer=True)
async def candidates_only(stage: Stage) -> None:
    """A shorter way under an expired tariff is not taken; the longer one in force is."""
    near, far, offer, name = await two_ways(stage)
    seq = near.tariff(life_ms=400)
    near.announce(near.route(near.root(offer), seq))
    await near.expect_signed()
    await asyncio.sleep(0.6)
    if await taken(stage, name, near, far) is not far:
        fail("an order over the way whose tariff is in force", "one over the other")
    stage.saw("ordered over the way whose tariff is in force")


@check("IT-CAT-091", role="executor", consumer=True)
async def shortest_first(stage: Stage) -> None:
    """Of two ways the one with the shorter path is taken."""
    near, far, _, name = await two_ways(stage)
    for _ in range(2):
        if await taken(stage, name, near, far) is not near:
            fail("an order over the shorter path", "one over the longer")
    stage.saw("ordered twice over the shorter path")


@check("IT-CAT-092", role="executor", refusal=True, waits_s=1, consumer=True)
async def unreachable_by_name(stage: Stage) -> None:
    """A way that is down is PEER_UNAVAILABLE, one that was withdrawn NO_ROUTE, and none ever OFFER_UNKNOWN."""
    market = await opened(stage)
    offer = market.offer()
    await market.open_market(offer)
    name = ref(market, offer)
    market.announce()
    await stage.customer.expect_unlisted(name)
    await refusal_of(stage.customer.call(name), "NO_ROUTE")
    stage.saw("a withdrawn way: NO_ROUTE")
    await market.open_market(offer)
    await market.hang_up()
    await stage.customer.expect_unlisted(name)
    await refusal_of(stage.customer.call(name), "PEER_UNAVAILABLE")
    stage.saw("a way that is down: PEER_UNAVAILABLE")
    await refusal_of(stage.customer.call(f"{market.me.grid}/never/heard-of"), "OFFER_UNKNOWN")
    await market.up()
    await market.open_market(offer)
    call = stage.customer.call(name)
    market.deliver(await market.expect_order())
    await outcome_of(call)


@check("IT-CAT-067", role="executor", consumer=True)
async def known_while_withdrawn(stage: Stage) -> None:
    """An offer of a withdrawn route is out of reach, not unknown, until the route's tariff has expired."""
    market = await opened(stage)
    offer = market.offer(prices=PRICES)
    await market.open_market(offer)
    name = ref(market, offer)
    market.announce()
    await stage.customer.expect_unlisted(name)
    await refusal_of(stage.customer.call(name), "NO_ROUTE", "PEER_UNAVAILABLE")
    origin = stranger(market)
    other = market.offer(origin=origin)
    market.announce(market.route(market.root(other, origin=origin), market.tariff(origin), origin))
    await stage.customer.expect_listed(ref(market, other, origin))
    await refusal_of(stage.customer.call(name), "NO_ROUTE", "PEER_UNAVAILABLE")
    stage.saw("the offer stayed known after two rounds without it")
