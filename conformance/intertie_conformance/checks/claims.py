"""RFC 0007, sections 3.7 and 3.8: what providers write about orders of the target, judged by it as payer."""

from __future__ import annotations

from typing import Any, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.task_pb2 import TASK_STATE_FAILED
from intertie_conformance.checks import check
from intertie_conformance.checks.holds import Written, expect_standing, expect_void
from intertie_conformance.checks.refusals import put
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.logs import Fact
from intertie_conformance.registry import ERRORS
from intertie_conformance.roles.shop import Bought, Shop
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.build import event
from intertie_conformance.wire.keys import Key

K = pb.EntryKind
USAGE: Final = {"mcp.call": 5}


def charge(body: pb.Charge) -> Written:
    """A charge as an entry."""
    return K.ENTRY_KIND_CHARGE, {"charge": body}


def credit(order: int, amount: int) -> Written:
    """A credit as an entry."""
    return K.ENTRY_KIND_CREDIT, {"credit": {"order_seq": order, "amount": amount}}


def reject(order: int) -> Written:
    """A reject as an entry."""
    return K.ENTRY_KIND_REJECT, {"reject": {"order_seq": order, "problem": {"reason": "NODE_BUSY"}}}


def owed(shop: Shop) -> int:
    """What the target owes, by the suite's own account."""
    return shop.logs.account.agreed(THEM, shop.logs.seq(ME))


def partial(shop: Shop, order: int, **changes: Any) -> pb.Charge:
    """A sound claim before the end, but for the changes."""
    return shop.claim(order, USAGE, final=False, **changes)


async def settle(shop: Shop, bought: Bought) -> None:
    """The positive control: a sound final charge of the same order is agreed and ends it."""
    hold = shop.hold(bought.seq)
    before = owed(shop) - shop.script.agreed(hold, shop.logs.seq(ME))
    body = shop.claim(bought.seq, {**USAGE, "order": 1})
    shop.charge(body)
    outcome = await bought.outcome()
    if outcome.receipt.charge != body.amount:
        fail(f"the consumer is told a charge of {body.amount}", outcome.receipt.charge)
    await shop.expect_agreed(before + body.amount)


@check("IT-LOG-063", role="hostile peer", refusal=True, consumer=True)
async def arithmetic(stage: Stage) -> None:
    """Charges one too high, one too low, rounded down, with lines missing, added or negative are CHARGE_ARITHMETIC."""
    shop = await stage.seller()
    bought = await shop.ordered("meter", {"usage": USAGE})
    body = partial(shop, bought.seq)
    quantities = list(body.quantities)
    bad: list[dict[str, Any]] = [
        {"amount": body.amount + 1},
        {"amount": body.amount - 1},
        {"amount": 0},
        {"quantities": quantities[:-1]},
        {"quantities": [*quantities, 0]},
        {"quantities": []},
        {"quantities": [-1, *quantities[1:]]},
    ]
    await expect_void(shop, "CHARGE_ARITHMETIC", *(charge(partial(shop, bought.seq, **changes)) for changes in bad))
    await settle(shop, bought)


@check("IT-LOG-064", role="hostile peer", refusal=True, consumer=True)
async def decreasing(stage: Stage) -> None:
    """A charge in which one cumulative quantity falls is void as CHARGE_DECREASED, though its amount rises."""
    shop = await stage.seller()
    bought = await shop.ordered("meter", {"usage": USAGE})
    seq = put(shop, charge(partial(shop, bought.seq)))
    shop.flush()
    await expect_standing(shop, [seq])
    lower = shop.claim(bought.seq, {"mcp.call": 4}, final=False)
    other = shop.claim(bought.seq, {"mcp.call": 4, "sim.step": 50}, final=False)
    await expect_void(shop, "CHARGE_DECREASED", charge(lower), charge(other))
    await settle(shop, bought)


@check("IT-LOG-065", role="hostile peer", refusal=True, consumer=True)
async def beyond_grant(stage: Stage) -> None:
    """Charges above the grant, or above the grant that their author had seen, or below 0 are CHARGE_BEYOND_GRANT."""
    shop = await stage.seller()
    bought = await shop.ordered("meter", {"usage": USAGE}, first_grant=30, max_charge=500)
    grant = shop.hold(bought.seq).granted
    above = shop.claim(bought.seq, {"sim.step": grant + 1}, final=False)
    below = partial(shop, bought.seq, amount=-1)
    await expect_void(shop, "CHARGE_BEYOND_GRANT", charge(above), charge(below))
    seen, shop.answers = max(shop.logs.seen[ME], shop.logs.seq(THEM)), False
    shop.lie(lk.Frame(events=[event(order_seq=bought.seq, at=now_ms(), grant_needed={"amount": 2 * grant})]))
    await shop.wait(lambda: shop.hold(bought.seq).granted > grant, f"a higher grant of order {bought.seq}")
    shop.answers = True
    kind, body = charge(above)
    seq = shop.put(kind, seen=seen, **body)
    shop.flush()
    await shop.expect_refused(seq, "CHARGE_BEYOND_GRANT")
    await settle(shop, bought)


@check("IT-LOG-066", role="hostile peer", refusal=True, consumer=True)
async def after_end(stage: Stage) -> None:
    """A charge after the final one, or after a reject, is void as CHARGE_AFTER_END, and what is owed stays."""
    shop = await stage.seller()
    bought = await shop.ordered("echo", {"x": 1})
    await settle(shop, bought)
    more = shop.claim(bought.seq, {**USAGE, "order": 2})
    await expect_void(shop, "CHARGE_AFTER_END", charge(more))
    rejected = await shop.ordered("echo", {"x": 1})
    seq = put(shop, reject(rejected.seq))
    shop.flush()
    await expect_standing(shop, [seq])
    await expect_void(shop, "CHARGE_AFTER_END", charge(shop.claim(rejected.seq, {"order": 1})))
    await shop.expect_agreed(owed(shop))


@check("IT-LOG-068", role="hostile peer", refusal=True, consumer=True)
async def reject_after_charge(stage: Stage) -> None:
    """A reject of an order of which something is charged is void as REJECT_AFTER_CHARGE, and the order goes on."""
    shop = await stage.seller()
    bought = await shop.ordered("meter", {"usage": USAGE})
    put(shop, charge(partial(shop, bought.seq)))
    seq = put(shop, reject(bought.seq))
    shop.flush()
    await shop.expect_refused(seq, "REJECT_AFTER_CHARGE")
    await settle(shop, bought)


@check("IT-LOG-069", role="hostile peer", refusal=True, consumer=True)
async def credits(stage: Stage) -> None:
    """Credits of nothing, below 0, above the claim, or of a rejected order are void; sound ones lower what is owed."""
    shop = await stage.seller()
    bought = await shop.ordered("echo", {"x": 1})
    await expect_void(shop, "CREDIT_INVALID", credit(bought.seq, 1))
    await settle(shop, bought)
    before = owed(shop)
    await expect_void(shop, "CREDIT_INVALID", *(credit(bought.seq, amount) for amount in (0, -1, 11)))
    seq = put(shop, credit(bought.seq, 4))
    shop.flush()
    await expect_standing(shop, [seq])
    await shop.expect_agreed(before - 4)
    await expect_void(shop, "CREDIT_INVALID", credit(bought.seq, 7))
    put(shop, credit(bought.seq, 6))
    shop.flush()
    await shop.expect_agreed(before - 10)
    rejected = await shop.ordered("echo", {"x": 1})
    put(shop, reject(rejected.seq))
    await expect_void(shop, "CREDIT_INVALID", credit(rejected.seq, 1))


@check("IT-LOG-060", role="hostile peer", refusal=True, consumer=True)
async def unknown_to_payer(stage: Stage) -> None:
    """Charges, credits and rejects of no order of the target, or of one beyond their `seen`, are ORDER_UNKNOWN."""
    shop = await stage.seller()
    before, shop.answers = max(shop.logs.seen[ME], shop.logs.seq(THEM)), False
    bought = await shop.ordered("echo", {"x": 1})
    shop.answers = True
    body = shop.claim(bought.seq, {"order": 1})
    seqs = [shop.put(kind, seen=before, **made) for kind, made in (charge(body), reject(bought.seq))]
    for order in (0, bought.seq + 1, 2**40):
        other = pb.Charge()
        other.CopyFrom(body)
        other.order_seq = order
        seqs += [put(shop, made) for made in (charge(other), reject(order), credit(order, 1))]
    shop.flush()
    for seq in seqs:
        await shop.expect_refused(seq, "ORDER_UNKNOWN")
    await settle(shop, bought)


@check("IT-LOG-061", role="hostile peer", refusal=True, consumer=True)
async def first_rule(stage: Stage) -> None:
    """Of two faults in a charge the earlier rule names the reason; a reject of an ended order is ORDER_ENDED."""
    shop = await stage.seller()
    bought = await shop.ordered("meter", {"usage": USAGE}, first_grant=100, max_charge=200)
    put(shop, charge(partial(shop, bought.seq)))
    shop.flush()
    short = partial(shop, bought.seq, quantities=[0], amount=1_000)
    fallen = shop.claim(bought.seq, {"mcp.call": 4}, final=False, amount=1_000)
    beyond = shop.claim(bought.seq, {"mcp.call": 6}, final=False, amount=1_000)
    await expect_void(shop, "CHARGE_ARITHMETIC", charge(short))
    await expect_void(shop, "CHARGE_DECREASED", charge(fallen))
    await expect_void(shop, "CHARGE_BEYOND_GRANT", charge(beyond))
    await settle(shop, bought)
    await expect_void(shop, "ORDER_ENDED", reject(bought.seq))


# -- refusing -------------------------------------------------------------------------------------


async def unproven(shop: Shop, bought: Bought, **changes: Any) -> int:
    """Charge an order finally with a record that does not hold; returns the charge's seq."""
    body = shop.claim(bought.seq, {"order": 1})
    if changes:
        body.proof.CopyFrom(shop.proof(bought.seq, {"order": 1}, **changes))
    else:
        body.ClearField("proof")
    return shop.charge(body)


def refusal_of(shop: Shop, seq: int) -> Fact | None:
    """The target's refusal of an own entry."""
    return next((f for f in shop.facts if f.entry.HasField("refuse") and f.entry.refuse.entry_seq == seq), None)


async def refused_by(shop: Shop, seq: int) -> str:
    """Wait for the rule by which the target refuses an own entry."""
    found = await shop.wait(lambda: refusal_of(shop, seq), f"a refuse of entry {seq}")
    assert found is not None
    return found.entry.refuse.rule


@check("IT-LOG-081", role="hostile peer", refusal=True, consumer=True)
async def refuses_unproven(stage: Stage) -> None:
    """Final charges without a record, by another executor's key, or about another order are refused by name."""
    shop = await stage.seller()
    before = owed(shop)
    for rule, changes in (
        ("CHARGE_UNPROVEN", {}),
        ("CHARGE_UNPROVEN", {"key": Key()}),
        ("RECORD_MISMATCH", {"nonce": stage.random.randbytes(16)}),
    ):
        bought = await shop.ordered("echo", {"x": 1})
        await shop.expect_refused(await unproven(shop, bought, **changes), rule)
        outcome = await bought.outcome()
        if outcome.state != TASK_STATE_FAILED:
            fail("FAILED for the consumer of an unproven charge", outcome.state)
    await shop.expect_agreed(before)
    await shop.still_buys()


@check("IT-LOG-082", role="hostile peer", refusal=True, consumer=True)
async def refuses_before_signing(stage: Stage) -> None:
    """The refusal of a charge whose record is another order's precedes the first signature that acknowledges it."""
    shop = await stage.seller()
    bought = await shop.ordered("echo", {"x": 1})
    seq = await unproven(shop, bought, nonce=stage.random.randbytes(16))
    await shop.expect_refused(seq, "RECORD_MISMATCH")
    await shop.expect_agreed(owed(shop))
    first = next(group.signature for group in shop.logs.groups[THEM] if group.signature.acked >= seq)
    refusal = refusal_of(shop, seq)
    if refusal is None or refusal.seq > first.seq:
        fail(f"the refusal of charge {seq} at or below seq {first.seq}, which first acknowledges it", refusal)
    await shop.still_buys()


@check("IT-LOG-083", role="honest peer", consumer=True)
async def refuses_nothing_sound(stage: Stage) -> None:
    """Sound claims, final ones of a failed order and of amount 0 included, are not refused."""
    shop = await stage.seller()
    bought = await shop.ordered("meter", {"usage": USAGE})
    seqs = [put(shop, charge(partial(shop, bought.seq)))]
    shop.flush()
    failed: dict[str, Any] = {"state": TASK_STATE_FAILED, "problem": {"reason": "EXECUTION_FAILED"}}
    nothing = await shop.ordered("echo", {"x": 1})
    seqs.append(shop.charge(shop.claim(nothing.seq, {}, proof=None, **failed)))
    some = await shop.ordered("echo", {"x": 1})
    proof = shop.proof(some.seq, {"order.failed": 1}, state=TASK_STATE_FAILED, output_digest=b"")
    seqs.append(shop.charge(shop.claim(some.seq, {"order.failed": 1}, proof=proof, **failed), result=False))
    await settle(shop, bought)
    await expect_standing(shop, seqs)
    await shop.expect_agreed(owed(shop))


@check("IT-LOG-084", role="hostile peer", refusal=True, consumer=True)
async def refuses_by_registry(stage: Stage) -> None:
    """The rule of every refusal, of void entries and of unproven charges, is a reason of the errors registry."""
    shop = await stage.seller()
    bought = await shop.ordered("echo", {"x": 1})
    seqs = [shop.put(99), shop.put(K.ENTRY_KIND_TARIFF), put(shop, credit(bought.seq, 5)), put(shop, reject(0))]
    seqs.append(await unproven(shop, bought))
    for seq in seqs:
        rule = await refused_by(shop, seq)
        if rule not in ERRORS:
            fail("a reason of the errors registry", rule)
        stage.saw(f"entry {seq} is refused by {rule}")
    await shop.still_buys()
