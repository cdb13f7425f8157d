"""RFC 0007, sections 3.1 to 3.3 and 3.9: chain, signatures, agreed totals, and the limits that a payer keeps."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_conformance.checks import check
from intertie_conformance.checks.claims import charge, credit, owed, partial, settle, unproven
from intertie_conformance.checks.holds import expect_void
from intertie_conformance.checks.refusals import put
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.catalog import HOUR_MS
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering
from intertie_conformance.roles.customer import invocation
from intertie_conformance.roles.peer import Peer
from intertie_conformance.roles.shop import Shop
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.build import event
from intertie_conformance.wire.digests import total_of

K = pb.EntryKind
QUIET_S: Final = 0.3
TARIFFS: Final = 2_048


def signatures(peer: Peer) -> list[lk.HeadSignature]:
    """Signatures of the target, those of this session."""
    return [frame.signature for frame in peer.frames if frame.HasField("signature")]


@check("IT-LOG-003", role="honest peer")
async def entries_stay(stage: Stage) -> None:
    """A peer that has lost both logs is sent the target's entries again, byte by byte as before."""
    peer = await (await stage.peer()).up()
    await ordering.still_sells(peer)
    before = list(peer.logs.entries[THEM])
    peer.forget()
    await peer.up()
    again = peer.logs.entries[THEM][: len(before)]
    if again != before:
        different = [seq for seq, (a, b) in enumerate(zip(before, again, strict=False), 1) if a != b]
        fail(f"the same {len(before)} entries", f"{len(again)}, different at seqs {different}")
    stage.saw(f"{len(before)} entries came again as they were")


@check("IT-LOG-004", role="honest peer")
async def one_head_a_seq(stage: Stage) -> None:
    """Over several sessions, and after the suite has lost both logs, each seq is signed with one head only."""
    peer = await (await stage.peer()).up()
    heads: dict[int, bytes] = {}
    for again in range(3):
        await ordering.still_sells(peer)
        for signature in signatures(peer):
            if heads.setdefault(signature.seq, signature.head) != signature.head:
                fail(f"one head at seq {signature.seq}", "a second one")
        if again == 1:
            peer.forget()
        await peer.up()
    stage.saw(f"{len(heads)} seqs, one head each")


@check("IT-LOG-010", role="honest peer")
async def seen_is_true(stage: Stage) -> None:
    """Charges and refusals have seen what they answer, and no more than what their signature acknowledges."""
    peer = await (await stage.peer()).up()
    order = await ordering.order(peer, "echo", {"x": 1})
    end = await ordering.end_of(peer, order)
    if end.entry.seen < order:
        fail(f"a charge of order {order} that has seen it", f"seen {end.entry.seen}")
    (void,) = await expect_void(peer, "UNSUPPORTED_ENTRY", (99, {}))
    refusal = next(f for f in peer.facts if f.entry.HasField("refuse") and f.entry.refuse.entry_seq == void)
    if refusal.entry.seen < void or refusal.void is not None:
        fail(f"a refuse that has seen entry {void}", f"seen {refusal.entry.seen}, void: {refusal.void}")
    for group in peer.logs.groups[THEM]:
        for seq in range(group.first, group.first + len(group.entries)):
            if peer.logs.entry(THEM, seq).seen > group.signature.acked:
                fail(f"entry {seq} has seen no more than {group.signature.acked}", peer.logs.entry(THEM, seq).seen)


@check("IT-LOG-022", role="hostile peer", refusal=True)
async def acts_before_signing(stage: Stage) -> None:
    """The refuse of a void entry stands in the log before the first signature that acknowledges that entry."""
    peer = await (await stage.peer()).up()
    seqs = await expect_void(peer, "UNSUPPORTED_ENTRY", (99, {}), (98, {}))
    await peer.expect_signed()
    for seq in seqs:
        first = next(s for s in signatures(peer) if s.acked >= seq)
        refusal = next(f.seq for f in peer.facts if f.entry.HasField("refuse") and f.entry.refuse.entry_seq == seq)
        if refusal > first.seq:
            fail(f"a refuse of entry {seq} at or below seq {first.seq}", f"at seq {refusal}")


@check("IT-LOG-026", role="honest peer")
async def keeps_logs(stage: Stage) -> None:
    """After several sessions a peer that has lost everything gets both logs back, each group with its signature."""
    peer = await (await stage.peer()).up()
    await ordering.still_sells(peer)
    await peer.up()
    await ordering.still_sells(peer)
    await peer.expect_signed()
    mine, theirs = list(peer.logs.entries[ME]), list(peer.logs.entries[THEM])
    peer.forget()
    await peer.up()
    if peer.logs.entries[ME] != mine or peer.logs.entries[THEM][: len(theirs)] != theirs:
        fail("both logs back, entry by entry", f"{peer.logs.seq(ME)} own and {peer.logs.seq(THEM)} of the target")
    stage.saw(f"{len(mine)} own entries and {len(theirs)} of the target came back, signed")
    await ordering.still_sells(peer)


@check("IT-LOG-043", role="honest peer", consumer=True, waits_s=1)
async def keeps_tariffs(stage: Stage) -> None:
    """A tariff after which 2,047 newer ones were written can still be ordered by."""
    shop = await (await stage.shop()).up()
    named = max(shop.logs.account.tariffs[ME])
    expires = now_ms() + HOUR_MS
    for _ in range(TARIFFS - 1):
        other = stage.random.randbytes(32)
        tariff = {"origin": b"\x12\x20" + other, "markup_num": 1, "markup_den": 1, "expires_at": expires}
        shop.put(K.ENTRY_KIND_TARIFF, tariff=tariff)
    shop.flush()
    await shop.expect_signed()
    bought = await shop.ordered("echo", {"x": 1})
    if bought.order.tariff_seq != named:
        fail(f"an order by tariff {named}", f"by {bought.order.tariff_seq}")
    await settle(shop, bought)


# -- totals ---------------------------------------------------------------------------------------


@check("IT-LOG-024", role="honest peer", consumer=True)
async def signs_its_total(stage: Stage) -> None:
    """After each claim the target signs the total at the pair of seqs that its signature names."""
    shop = await stage.seller()
    before = owed(shop)
    bought = await shop.ordered("meter", {"usage": {"mcp.call": 5}})
    body = partial(shop, bought.seq)
    put(shop, charge(body))
    shop.flush()
    await shop.expect_agreed(before + body.amount)
    await settle(shop, bought)


@check("IT-LOG-093", role="honest peer", consumer=True)
async def agrees_at_once(stage: Stage) -> None:
    """The first signature that acknowledges a sound charge, final or not, agrees to it."""
    shop = await stage.seller()
    bought = await shop.ordered("meter", {"usage": {"mcp.call": 5}})
    before = owed(shop)
    for body in (partial(shop, bought.seq), shop.claim(bought.seq, {"mcp.call": 6, "order": 1})):
        seq = shop.charge(body)
        await shop.expect_signed(seq)
        first = next(g.signature for g in shop.logs.groups[THEM] if g.signature.acked >= seq)
        if total_of(first.agreed_total) != before + body.amount:
            fail(f"a total of {before + body.amount} in the first signature", total_of(first.agreed_total))
    await bought.outcome()


@check("IT-LOG-090", role="honest peer", consumer=True)
async def credited_totals(stage: Stage) -> None:
    """A payer owes the lower of its last unrefused claim and of what credits have left of the last claim."""
    shop = await stage.seller()
    before = owed(shop)
    bought = await shop.ordered("echo", {"x": 1})
    body = shop.claim(bought.seq, {}, final=False)
    put(shop, charge(body))
    await shop.expect_refused(await unproven(shop, bought), "CHARGE_UNPROVEN")
    await shop.expect_agreed(before)
    other = await shop.ordered("meter", {"usage": {"mcp.call": 5}})
    put(shop, charge(partial(shop, other.seq)))
    final = shop.claim(other.seq, {"mcp.call": 20, "order": 1})
    final.ClearField("proof")
    await shop.expect_refused(shop.charge(final), "CHARGE_UNPROVEN")
    await shop.expect_agreed(before + 12)
    put(shop, credit(other.seq, final.amount - 12))
    shop.flush()
    await shop.expect_agreed(before + 12)
    put(shop, credit(other.seq, 5))
    shop.flush()
    await shop.expect_agreed(before + 7)


# -- limits of a payer ----------------------------------------------------------------------------


async def expect_no_order(shop: Shop, **changes: Any) -> None:
    """A consumer's call that the lane has no room for is not ordered."""
    orders = len(shop.logs.account.holds)
    said = await shop.stage.customer.run(invocation(shop.ref("echo"), {}, **{"timeout_ms": 2_000, **changes}))
    await shop.expect_alive()
    if len(shop.logs.account.holds) != orders:
        fail("no order beyond the limit", "an order")
    shop.stage.saw(f"no order was placed: {str(said)[:120]}")


@check("IT-LOG-091", role="honest peer", refusal=True, consumer=True, waits_s=1)
async def credit_limit(stage: Stage) -> None:
    """The target does not order beyond its credit limit, alone or with what is open and posted; below it, it does."""
    shop = await (await stage.shop(acceptor_credit_limit=100)).up()
    await expect_no_order(shop, max_charge=101)
    bought = await shop.ordered("echo", {}, max_charge=60)
    await expect_no_order(shop, max_charge=60)
    await settle_echo(shop, bought.seq)
    await expect_no_order(shop, max_charge=91)
    bought = await shop.ordered("echo", {}, max_charge=90)
    await settle_echo(shop, bought.seq)


@check("IT-LOG-092", role="honest peer", refusal=True, consumer=True, waits_s=1)
async def unagreed_limit(stage: Stage) -> None:
    """The target neither orders nor raises a grant so that more than its max_unagreed is at stake."""
    shop = await (await stage.shop(acceptor_max_unagreed=100)).up()
    await expect_no_order(shop, max_charge=500, first_grant=101)
    bought = await shop.ordered("echo", {}, max_charge=500, first_grant=60)
    await expect_no_order(shop, max_charge=500, first_grant=60)
    needed = event(order_seq=bought.seq, at=now_ms(), grant_needed={"amount": 300})
    shop.lie(lk.Frame(events=[needed]))
    await asyncio.sleep(QUIET_S)
    at_stake = shop.logs.account.unagreed(THEM)
    if at_stake > 100:
        fail("at most 100 granted and not agreed", at_stake)
    await settle_echo(shop, bought.seq)
    bought = await shop.ordered("echo", {}, max_charge=500, first_grant=60)
    await settle_echo(shop, bought.seq)


async def settle_echo(shop: Shop, order: int) -> None:
    """Charge an echo finally, and see it agreed."""
    before = owed(shop)
    body = shop.claim(order, {"order": 1})
    shop.charge(body)
    await shop.expect_agreed(before + body.amount)
