"""RFC 0011, sections 3.4 to 3.6: prices, conversion, deadlines and grants of a relay."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.checks import check
from intertie_conformance.checks.relaying import refused, same
from intertie_conformance.grid.account import ME
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering, relayed
from intertie_conformance.roles.relayed import Chain, Passed
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.amounts import INT64_MAX
from intertie_conformance.wire.build import entry, event
from intertie_conformance.wire.relays import rate

K = pb.EntryKind
ODD: Final = {"markup_num": 7, "markup_den": 3, "fee": 11}
"""A tariff whose conversion nearly never comes out even."""


def grant(passed: Passed, amount: int) -> None:
    """Raise the upstream grant."""
    payer = passed.chain.payer
    payer.write(entry(K.ENTRY_KIND_GRANT, grant={"order_seq": passed.above, "amount": amount}))
    payer.flush()


async def granted(passed: Passed, amount: int) -> None:
    """Wait for the downstream grant. Raises: Failed."""
    shop = passed.chain.shop
    await shop.wait(lambda: passed.hold.granted >= amount, f"a grant of {amount} downstream")
    same(passed.chain.stage, "the downstream grant", amount, passed.hold.granted)


async def asked(passed: Passed, after: int = 0) -> int:
    """Wait until the payer is asked for a grant; returns the amount."""
    payer = passed.chain.payer

    def found() -> list[int]:
        said = [e.grant_needed.amount for e in payer.events if e.HasField("grant_needed")]
        return said[after:]

    return (await payer.wait(found, "grant_needed for the payer"))[0]


@check("IT-RLY-030", role="executor", waits_s=1)
async def tariffs_cover(stage: Stage) -> None:
    """Whatever the executor's tariff is, the relay's covers it."""
    chain = await relayed.chain(stage)
    dear = {"markup_num": stage.random.randrange(2, 90), "markup_den": 7, "fee": stage.random.randrange(900)}
    for terms in (None, ODD, dear, {"markup_num": 1, "markup_den": 3}, {"markup_num": 0, "fee": 4}):
        if terms is not None:
            await chain.reprice(**terms)
        _, below = chain.shop.logs.of_kind(ME, K.ENTRY_KIND_TARIFF)[-1]
        above = chain.tariff[1]
        if not rate(above, below.tariff, 0).usable:
            fail(f"a tariff that covers {below.tariff.markup_num}/{below.tariff.markup_den}", above)
        stage.saw(f"{above.markup_num}/{above.markup_den} and {above.fee} cover the executor's tariff")


@check("IT-RLY-030", role="executor", waits_s=1)
async def too_dear_to_state(stage: Stage) -> None:
    """A tariff that leaves no room for a markup is covered or not sold on; a cheaper one is sold on again."""
    chain = await relayed.chain(stage)
    chain.shop.spoiled = True
    chain.shop.sell(markup_num=INT64_MAX, markup_den=1)
    await chain.shop.expect_signed()
    await chain.payer.up()
    if chain.shop.me.fingerprint in chain.payer.routes:
        _, below = chain.shop.logs.of_kind(ME, K.ENTRY_KIND_TARIFF)[-1]
        if not rate(chain.tariff[1], below.tariff, 0).usable:
            fail(f"no route, or a tariff that covers {INT64_MAX}/1", chain.tariff[1])
    stage.saw("nothing was sold below its price")
    chain.shop.sell()
    await chain.known()
    await chain.still_relays()


async def _even(chain: Chain, field: str) -> None:
    """Orders whose limit comes out even, one below that and one above."""
    first = await chain.order("echo", "x")
    made, offset = first.rate, first.rate.fee + first.rate.lines
    await chain.end(first)
    for _ in range(4):
        even = offset + made.ratio.numerator * chain.stage.random.randrange(20, 9_000)
        for amount in (even - 1, even, even + 1):
            limits = {"max_charge": amount, "grant": amount} if field == "max_charge" else {"grant": amount}
            passed = await chain.order("echo", "x", **{"max_charge": 1_000_000, **limits})
            same(chain.stage, f"the downstream {field} for {amount}", made.down(amount), getattr(passed.order, field))
            await chain.end(passed)


@check("IT-RLY-031", role="executor")
async def max_charge_down(stage: Stage) -> None:
    """max_charge is down(upstream's)."""
    chain = await relayed.chain(stage)
    for amount in (1_000, stage.random.randrange(100, 50_000)):
        passed = await chain.order("echo", "x", max_charge=amount, grant=20)
        same(stage, "the downstream max_charge", passed.rate.down(amount), passed.order.max_charge)
        await chain.end(passed)


@check("IT-RLY-032", role="executor")
async def grant_down(stage: Stage) -> None:
    """The grant is down(upstream's), 0 where nothing is left of it, everything for an offer charged on completion."""
    chain = await relayed.chain(stage)
    for amount in (3, 20, stage.random.randrange(100, 5_000)):
        passed = await chain.order("echo", "x", max_charge=5_000, grant=amount)
        same(stage, f"the downstream grant for {amount}", passed.rate.down(amount), passed.order.grant)
        grant(passed, 5_000)
        await granted(passed, passed.rate.down(5_000))
        await chain.end(passed)
    whole = await chain.order("suite/whole", "x", max_charge=777, grant=777)
    same(stage, "the downstream grant of such an offer", whole.order.max_charge, whole.order.grant)
    await chain.end(whole)


@check("IT-RLY-033", role="executor", waits_s=2)
async def exact(stage: Stage) -> None:
    """Conversions are exact, also at the borders, also under odd tariffs."""
    chain = await relayed.chain(stage)
    await _even(chain, "max_charge")
    await chain.reprice(**ODD)
    await _even(chain, "grant")
    await chain.reprice(markup_num=0, fee=4)
    await _even(chain, "max_charge")


@check("IT-RLY-034", role="executor", refusal=True, waits_s=1)
async def dearer(stage: Stage) -> None:
    """An order under a tariff that no longer covers the executor's is rejected with PRICE_CHANGED."""
    chain = await relayed.chain(stage)
    await chain.still_relays()
    old, _ = chain.tariff
    await chain.reprice(markup_num=3, markup_den=2, fee=0)
    await refused(chain, "PRICE_CHANGED", tariff_seq=old)
    await chain.still_relays()
    before, _ = chain.tariff
    await chain.reprice(markup_num=3, markup_den=2, fee=400)
    await refused(chain, "PRICE_CHANGED", tariff_seq=before)
    await chain.still_relays()


@check("IT-RLY-040", role="executor", waits_s=2)
async def deadline_leaves_room(stage: Stage) -> None:
    """Downstream claims end early enough, whichever link has the longer window or the worse clocks."""
    above: dict[str, Any] = {"claim_window_ms": 2_000, "max_skew_ms": 3_000}
    links: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
        ({"claim_window_ms": 6_000}, above),
        ({"max_skew_ms": 4_000}, {}),
    )
    for below, upstream in links:
        shop = await relayed.executor(stage, **below)
        chain = await relayed.chain(stage, shop=shop, **upstream)
        for ahead in (20_000, 60_000):
            passed = await chain.order("echo", "x", deadline=now_ms() + ahead)
            latest = passed.hold_above.claim_until - relayed.margin_ms(chain)
            if passed.hold.claim_until > latest:
                fail(f"a downstream claim_until of at most {latest}", passed.hold.claim_until)
            stage.saw(f"downstream claims end {passed.hold_above.claim_until - passed.hold.claim_until} ms earlier")
            await chain.end(passed)


@check("IT-RLY-041", role="executor")
async def deadline_no_later(stage: Stage) -> None:
    """The downstream deadline is not after the upstream one, also where the payer's claim window is long."""
    chain = await relayed.chain(stage, claim_window_ms=60_000)
    passed = await chain.order("echo", "x")
    if passed.order.deadline > passed.upstream.deadline:
        fail("a deadline that is not after upstream's", passed.order.deadline - passed.upstream.deadline)
    stage.saw("the downstream deadline is not after the upstream one")
    await chain.end(passed)


@check("IT-RLY-042", role="executor")
async def tolerates_outage(stage: Stage) -> None:
    """The deadline leaves an outage beside twice the skew, the same for every order."""
    chain = await relayed.chain(stage)
    spare = set()
    for ahead in (20_000, 30_000):
        passed = await chain.order("echo", "x", deadline=now_ms() + ahead)
        left = passed.hold_above.claim_until - passed.hold.claim_until - relayed.margin_ms(chain)
        spare.add(left)
        await chain.end(passed)
    if len(spare) != 1 or not min(spare) > 0:
        fail("a tolerated outage beside the skew", f"{sorted(spare)} ms")
    stage.saw(f"an outage of {min(spare)} ms is tolerated")


@check("IT-RLY-050", role="executor")
async def grant_within(stage: Stage) -> None:
    """Asked for more than is granted upstream, the relay asks and does not grant."""
    chain = await relayed.chain(stage)
    passed = await chain.order("meter", {"usage": {"mcp.call": 9}}, max_charge=5_000, grant=100)
    most = passed.rate.down(100)
    chain.shop.say(event(order_seq=passed.seq, at=now_ms(), grant_needed={"amount": most + 50}))
    chain.shop.flush()
    await asked(passed)
    await chain.payer.expect_alive()
    await chain.shop.expect_alive()
    same(stage, "the downstream grant", most, passed.hold.granted)
    grant(passed, 200)
    await granted(passed, passed.rate.down(200))
    await chain.end(passed)


@check("IT-RLY-051", role="executor")
async def grant_rises(stage: Stage) -> None:
    """A raised upstream grant raises the downstream one, converted."""
    chain = await relayed.chain(stage)
    passed = await chain.order("echo", "x", max_charge=5_000, grant=50)
    for amount in (stage.random.randrange(60, 900), stage.random.randrange(1_000, 4_000), 5_000):
        grant(passed, amount)
        await granted(passed, passed.rate.down(amount))
    await chain.end(passed)


@check("IT-RLY-052", role="executor")
async def asks_up(stage: Stage) -> None:
    """grant_needed of y becomes grant_needed of up(y), at most the upstream max_charge."""
    chain = await relayed.chain(stage)
    passed = await chain.order("echo", "x", max_charge=2_000, grant=20)
    for number, needed in enumerate((100, stage.random.randrange(200, 900), 1_900)):
        chain.shop.say(event(order_seq=passed.seq, at=now_ms(), grant_needed={"amount": needed}))
        chain.shop.flush()
        wanted = min(passed.rate.up(needed), 2_000)
        same(stage, f"what is asked for {needed}", wanted, await asked(passed, number))
    grant(passed, 2_000)
    await granted(passed, passed.rate.down(2_000))
    await chain.end(passed)


@check("IT-RLY-053", role="executor")
async def asks_after_reopening(stage: Stage) -> None:
    """A payer that was away is asked again."""
    chain = await relayed.chain(stage)
    passed = await chain.order("echo", "x", max_charge=2_000, grant=20)
    await chain.payer.hang_up()
    chain.shop.say(event(order_seq=passed.seq, at=now_ms(), grant_needed={"amount": 300}))
    chain.shop.flush()
    await chain.shop.expect_alive()
    await asyncio.sleep(0.05)
    await chain.payer.up()
    same(stage, "what is asked for again", passed.rate.up(300), await asked(passed))
    await chain.known()
    grant(passed, 2_000)
    await granted(passed, passed.rate.down(2_000))
    charge = await chain.end(passed)
    if not charge.final:
        fail("a final charge", charge)
    await ordering.when(chain.payer, lambda: not passed.is_open, "the upstream order ended")
