"""RFC 0007, section 3.7: what may still be said of an order that has ended, and expires, judged by the provider."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.checks import check
from intertie_conformance.checks.holds import Written, asked, end, expect_standing, expect_void
from intertie_conformance.grid.account import ME, THEM, State
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail

K = pb.EntryKind
SOON_MS: Final = 800
"""Deadline of orders that are to expire."""


def about(name: str, order: int, **fields: Any) -> Written:
    """A grant, cancel or expire of an order."""
    return pb.EntryKind.Value(f"ENTRY_KIND_{name.upper()}"), {name: {"order_seq": order, **fields}}


async def unseen_end(peer: Peer, name: str, value: object, **changes: Any) -> tuple[int, int]:
    """An order that the target has ended, while the suite does not answer: (order, seen before the end)."""
    peer.answers = False
    order = await ordering.order(peer, name, value, **changes)
    seen = max(peer.logs.seen[ME], peer.logs.entry(ME, order).seen)
    await ordering.end_of(peer, order)
    return order, seen


async def claimable(peer: Peer, order: int) -> int:
    """Wait until claim_until of an order, in which nothing is written; returns it."""
    claim_until = peer.logs.account.holds[ME, order].claim_until
    await asyncio.sleep(max(0, claim_until + 1 - now_ms()) / 1_000)
    return claim_until


@check("IT-LOG-061", role="hostile peer", refusal=True)
async def after_seen_end(stage: Stage) -> None:
    """A grant or cancel of an order whose final charge or reject its author has seen is void as ORDER_ENDED."""
    peer = await (await stage.peer()).up()
    for name in ("echo", "refuse"):
        order = await ordering.order(peer, name, {}, grant=500)
        await ordering.end_of(peer, order)
        await peer.expect_signed()
        await expect_void(peer, "ORDER_ENDED", about("cancel", order), about("grant", order, amount=600))
    await ordering.still_sells(peer)


@check("IT-LOG-061", role="honest peer")
async def crosses_end(stage: Stage) -> None:
    """A grant or cancel that crosses a final charge or reject stands; a grant that falls is void as GRANT_INVALID."""
    peer = await (await stage.peer()).up()
    for name in ("echo", "refuse"):
        order, seen = await unseen_end(peer, name, {}, grant=500)
        seqs = [
            peer.put(kind, seen=seen, **body)
            for kind, body in (about("cancel", order), about("grant", order, amount=600))
        ]
        lower = [
            peer.put(kind, seen=seen, **body)
            for kind, body in (about("grant", order, amount=600), about("grant", order, amount=1_001))
        ]
        peer.answers = True
        peer.flush()
        for seq in lower:
            await peer.expect_refused(seq, "GRANT_INVALID")
        await expect_standing(peer, seqs)
    await ordering.still_sells(peer)


@check("IT-LOG-061", role="hostile peer", refusal=True, waits_s=2)
async def after_expire(stage: Stage) -> None:
    """A grant, cancel or second expire of an order that has expired is void as ORDER_ENDED."""
    peer = await (await stage.peer()).up()
    order, seen = await unseen_end(peer, "echo", {}, grant=500, within_ms=SOON_MS)
    at = await claimable(peer, order)
    kind, body = about("expire", order)
    expire = peer.put(kind, seen=seen, at=at, **body)
    late = [
        peer.put(kind, seen=seen, at=at, **body)
        for kind, body in (about("grant", order, amount=600), about("cancel", order), about("expire", order))
    ]
    peer.answers = True
    peer.flush()
    for seq in late:
        await peer.expect_refused(seq, "ORDER_ENDED")
    await expect_standing(peer, [expire])


@check("IT-LOG-061", role="hostile peer", refusal=True, waits_s=2)
async def expire_after_end(stage: Stage) -> None:
    """An expire of an order whose final charge its author has seen is void as ORDER_ENDED, and what is owed stays."""
    peer = await (await stage.peer()).up()
    order = await ordering.order(peer, "echo", {}, within_ms=SOON_MS)
    charge = await ordering.expect_charged(peer, order)
    await peer.expect_signed()
    at = await claimable(peer, order)
    kind, body = about("expire", order)
    early = peer.put(kind, at=at - 1, **body)
    late = peer.put(kind, at=at, **body)
    peer.flush()
    await peer.expect_refused(early, "EXPIRE_EARLY")
    await peer.expect_refused(late, "ORDER_ENDED")
    hold = peer.logs.account.holds[ME, order]
    if peer.script.agreed(hold, peer.logs.seq(THEM)) != charge.amount:
        fail(f"{charge.amount} is owed for order {order}", "another amount")
    await ordering.still_sells(peer)


@check("IT-LOG-070", role="hostile peer", refusal=True, waits_s=2)
async def early_expire(stage: Stage) -> None:
    """An expire one millisecond before claim_until is void as EXPIRE_EARLY; one at claim_until stands."""
    peer = await (await stage.peer()).up()
    open_order = await asked(peer)
    await expect_void(peer, "EXPIRE_EARLY", about("expire", open_order))
    await end(peer, open_order)
    order, seen = await unseen_end(peer, "echo", {}, within_ms=SOON_MS)
    at = await claimable(peer, order)
    kind, body = about("expire", order)
    early = peer.put(kind, seen=seen, at=at - 1, **body)
    in_time = peer.put(kind, seen=seen, at=at, **body)
    peer.answers = True
    peer.flush()
    await peer.expect_refused(early, "EXPIRE_EARLY")
    await expect_standing(peer, [in_time])


@check("IT-LOG-071", role="honest peer", waits_s=2)
async def drops_unseen(stage: Stage) -> None:
    """A final charge that crosses a valid expire is dropped: the payer signs that it owes nothing for it."""
    peer = await (await stage.peer()).up()
    await ordering.still_sells(peer)
    before = peer.logs.account.agreed(ME, peer.logs.seq(THEM))
    order, seen = await unseen_end(peer, "echo", {}, within_ms=SOON_MS)
    at = await claimable(peer, order)
    kind, body = about("expire", order)
    peer.put(kind, seen=seen, at=at, **body)
    hold = peer.logs.account.holds[ME, order]
    owed = peer.logs.account.agreed(ME, peer.logs.seq(THEM))
    if hold.state is not State.EXPIRED or owed != before:
        fail(f"an expired hold and {before} owed, by the suite's own account", f"{hold.state}, {owed}")
    peer.answers = True
    peer.flush()
    await peer.expect_signed()
    await ordering.still_sells(peer)


@check("IT-LOG-071", role="honest peer", waits_s=2)
async def keeps_seen(stage: Stage) -> None:
    """A claim at or below the `seen` of a valid expire stays owed; the final one above it is dropped."""
    peer = await (await stage.peer()).up()
    deadline, peer.answers = now_ms() + SOON_MS, False
    order = await ordering.order(
        peer, "meter", {"usage": {"sim.step": 40}, "steps": 4}, grant=25, max_charge=500, deadline=deadline
    )
    claim = await peer.expect_entry(
        K.ENTRY_KIND_CHARGE, lambda f: f.entry.charge.order_seq == order, f"a claim of order {order} within its grant"
    )
    await ordering.end_of(peer, order)
    at = await claimable(peer, order)
    kind, body = about("expire", order)
    peer.put(kind, seen=claim.seq, at=at, **body)
    hold = peer.logs.account.holds[ME, order]
    if peer.script.agreed(hold, peer.logs.seq(THEM)) != claim.entry.charge.amount:
        fail(f"{claim.entry.charge.amount} stays owed, by the suite's own account", hold.claims)
    peer.answers = True
    peer.flush()
    await peer.expect_signed()
    await ordering.still_sells(peer)
