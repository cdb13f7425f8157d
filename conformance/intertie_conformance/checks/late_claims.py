"""RFC 0007, section 3.7: orders that their payer, the target, has let expire."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.checks import check
from intertie_conformance.checks.claims import charge, credit, owed, partial, reject
from intertie_conformance.checks.holds import expect_standing, expect_void
from intertie_conformance.checks.refusals import put
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.roles.shop import Bought, Shop
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail

K = pb.EntryKind
EXPIRES_S = 6.0
"""How long after its deadline the order of a living link may stay open: the claim window is one second."""


async def expired(shop: Shop) -> tuple[Bought, int]:
    """An order with one claim that its payer has seen, then expired: (order, seq of the expire)."""
    bought = await shop.ordered("meter", {"usage": {"mcp.call": 5}}, timeout_ms=800)
    seq = put(shop, charge(partial(shop, bought.seq)))
    shop.flush()
    await shop.expect_signed(seq)
    shop.answers = False
    fact = await shop.wait(
        lambda: next((f for f in shop.facts if f.entry.expire.order_seq == bought.seq), None),
        f"an expire of order {bought.seq} after its claim window",
        EXPIRES_S,
    )
    shop.answers = True
    assert fact is not None
    if fact.void is not None:
        fail(f"a valid expire of order {bought.seq}", fact.void)
    return bought, fact.seq


@check("IT-LOG-072", role="honest peer", consumer=True, waits_s=2)
async def payer_expires(stage: Stage) -> None:
    """The target expires an own order of which it hears no end, not before claim_until; what was claimed stays owed."""
    shop = await stage.seller()
    before = owed(shop)
    bought, seq = await expired(shop)
    at, claim_until = shop.logs.entry(THEM, seq).at, shop.hold(bought.seq).claim_until
    if at < claim_until:
        fail(f"an expire at {claim_until} or later", f"at {at}")
    shop.put(200)
    shop.flush()
    await shop.expect_agreed(before + 12)
    await bought.outcome()


@check("IT-LOG-067", role="hostile peer", refusal=True, consumer=True, waits_s=2)
async def after_expire(stage: Stage) -> None:
    """After an expire charges and rejects, seen or crossing, and crossing credits are CHARGE_EXPIRED; others stand."""
    shop = await stage.seller()
    before = owed(shop)
    bought, expire = await expired(shop)
    final = shop.claim(bought.seq, {"mcp.call": 5, "order": 1})
    crossing = [
        shop.put(kind, seen=max(shop.logs.seen[ME], bought.seq), **body)
        for kind, body in (charge(final), reject(bought.seq), credit(bought.seq, 1))
    ]
    if shop.logs.seen[ME] >= expire:
        fail("entries that cross the expire", "the suite has acknowledged the expire before")
    shop.flush()
    for seq in crossing:
        await shop.expect_refused(seq, "CHARGE_EXPIRED")
    await expect_void(shop, "CHARGE_EXPIRED", charge(final), reject(bought.seq))
    late = put(shop, credit(bought.seq, 5))
    shop.flush()
    await expect_standing(shop, [late])
    await shop.expect_agreed(before + 7)
    await bought.outcome()
