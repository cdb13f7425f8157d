"""RFC 0007, sections 3.7 and 3.9: what the target claims as provider, and how its holds end."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.checks import check
from intertie_conformance.checks.holds import asked
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.logs import Fact
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail

K = pb.EntryKind
QUIET_S: Final = 0.4
"""How long nothing must come where nothing may come."""


def claims_of(peer: Peer, order: int) -> list[Fact]:
    """Charges of an order that the target has written in this session."""
    return [f for f in peer.facts if f.entry.HasField("charge") and f.entry.charge.order_seq == order]


async def every_end(peer: Peer) -> list[int]:
    """Orders that end in every way: done, failed, refused, unknown, out of grant, late, canceled. Returns seqs."""
    beyond = {"usage": {"sim.step": 500}}
    seqs = [
        await ordering.order(peer, "echo", {}),
        await ordering.order(peer, "fail", {"steps": 3}),
        await ordering.order(peer, "fail", {"as": "tool-error"}),
        await ordering.order(peer, "refuse", {}),
        await ordering.order(peer, "echo", {}, offer_digest=b"\x12\x20" + bytes(32)),
        await ordering.order(peer, "meter", beyond, max_charge=100, grant=100),
        await ordering.order(peer, "delay", {"ms": 60_000}, within_ms=500),
    ]
    canceled = await asked(peer)
    peer.put(K.ENTRY_KIND_CANCEL, cancel={"order_seq": canceled})
    peer.flush()
    return [*seqs, canceled]


@check("IT-LOG-073", role="honest peer")
async def one_end_each(stage: Stage) -> None:
    """Orders done, failed, refused, out of grant, late and canceled end by one final charge or reject each."""
    peer = await (await stage.peer()).up()
    seqs = await every_end(peer)
    for seq in seqs:
        await ordering.end_of(peer, seq)
    await peer.expect_signed()
    await ordering.still_sells(peer)
    ends = Counter(
        (f.entry.charge if f.entry.HasField("charge") else f.entry.reject).order_seq
        for f in peer.facts
        if f.entry.HasField("reject") or (f.entry.HasField("charge") and f.entry.charge.final)
    )
    wrong = {seq: ends[seq] for seq in seqs if ends[seq] != 1}
    if wrong:
        fail("one final charge or reject for each order", f"order → ends: {wrong}")


@check("IT-LOG-014", role="honest peer")
async def writes_nothing_void(stage: Stage) -> None:
    """No entry of the target about orders that end in every way is void by the suite's own books."""
    peer = await (await stage.peer()).up()
    for seq in await every_end(peer):
        await ordering.end_of(peer, seq)
    grown = await ordering.order(peer, "meter", {"usage": {"sim.step": 30}, "steps": 3}, grant=15)
    await peer.expect_entry(K.ENTRY_KIND_CHARGE, lambda f: f.entry.charge.order_seq == grown, "a first claim")
    peer.put(K.ENTRY_KIND_GRANT, grant={"order_seq": grown, "amount": 500})
    peer.flush()
    await ordering.end_of(peer, grown)
    void = {seq: rule for (side, seq), rule in peer.logs.account.void.items() if side == THEM}
    if void:
        fail("entries that are not void", f"seq → rule: {void}")
    stage.saw(f"{peer.logs.seq(THEM)} entries of the target, none void")


@check("IT-LOG-074", role="honest peer", waits_s=1)
async def started_is_charged(stage: Stage) -> None:
    """Orders that fail, run out of grant or out of time after work began end by a final charge, not by a reject."""
    peer = await (await stage.peer()).up()
    metered = {"usage": {"sim.step": 500}, "steps": 50}
    seqs = {
        await ordering.order(peer, "fail", {"steps": 3}): "FAILED with EXECUTION_FAILED",
        await ordering.order(peer, "meter", metered, max_charge=100, grant=100): "FAILED out of grant",
        await ordering.order(peer, "delay", {"ms": 60_000}, within_ms=1_000): "FAILED out of time",
    }
    slow = {"chunks": 1_000, "bytes": 4, "delay_ms": 50}
    streamed = await ordering.order(peer, "stream", slow, within_ms=1_200)
    await peer.wait(lambda: any(e.HasField("chunk") for e in peer.events), "a chunk of the stream")
    seqs[streamed] = "FAILED out of time after a chunk"
    for seq, how in seqs.items():
        end = await ordering.end_of(peer, seq)
        if not end.entry.HasField("charge"):
            fail(f"a final charge of order {seq}, {how}", f"a reject: {end.entry.reject.problem.reason}")
        stage.saw(f"order {seq}: {how}, charged {end.entry.charge.amount}")


@check("IT-LOG-075", role="honest peer")
async def quantities(stage: Stage) -> None:
    """Each charge states cumulative quantities, line by line in the order of the order's prices."""
    peer = await (await stage.peer()).up()
    usage = {"llm.output.token": 110, "rag.query": 3, "mcp.call": 50, "sim.step": 70}
    order = await ordering.order(peer, "meter", {"usage": usage, "steps": 10}, max_charge=10_000, grant=1_000)
    await peer.expect_entry(
        K.ENTRY_KIND_CHARGE, lambda f: f.entry.charge.order_seq == order, "a claim within the grant"
    )
    peer.put(K.ENTRY_KIND_GRANT, grant={"order_seq": order, "amount": 10_000})
    peer.flush()
    final = await ordering.expect_charged(peer, order)
    units = [unit for unit, _, _ in peer.logs.account.holds[ME, order].prices]
    expected = [{**usage, "order": 1}.get(unit, 0) for unit in units]
    if list(final.quantities) != expected:
        fail(f"quantities {expected} of {units}", list(final.quantities))
    before = [0] * len(units)
    for fact in claims_of(peer, order):
        now = list(fact.entry.charge.quantities)
        if len(now) != len(before) or any(a < b for a, b in zip(now, before, strict=False)):
            fail(f"one quantity for each of {len(units)} lines, none below {before}", now)
        before = now


@check("IT-LOG-094", role="honest peer", waits_s=1)
async def waits_for_agreement(stage: Stage) -> None:
    """With a raised grant beyond max_unagreed the target claims no more until the payer has agreed; then it goes on."""
    peer = await stage.peer(proposer_max_unagreed=100)
    await peer.up()
    order = await ordering.order(peer, "meter", {"usage": {"sim.step": 140}, "steps": 14}, grant=100, max_charge=160)
    peer.answers = False
    claim = await peer.expect_entry(
        K.ENTRY_KIND_CHARGE, lambda f: f.entry.charge.order_seq == order, f"a claim of order {order} within its grant"
    )
    before, acked = claim.entry.charge.amount, peer.logs.account.acked[ME]
    seq = peer.put(K.ENTRY_KIND_GRANT, seen=acked, grant={"order_seq": order, "amount": 160})
    total = peer.logs.account.agreed(ME, acked)
    peer.lie(peer.frame(acked=acked, acked_head=peer.logs.heads[THEM][acked], total=total))
    await peer.expect_signed(seq)
    await asyncio.sleep(QUIET_S)
    beyond = [f.entry.charge.amount for f in claims_of(peer, order) if f.entry.charge.amount > 100]
    if beyond:
        fail(f"no claim above 100 while {before} is not agreed", f"claims of {beyond}")
    peer.answers = True
    peer.put(200)
    peer.flush()
    final = await ordering.expect_charged(peer, order)
    if final.amount != 150:
        fail("a final charge of 150", final.amount)


@check("IT-LOG-094", role="honest peer", waits_s=1)
async def starts_when_agreed(stage: Stage) -> None:
    """An order whose grant has no room beside what is not agreed waits, and starts once that is agreed."""
    peer = await stage.peer(proposer_max_unagreed=100)
    await peer.up()
    peer.answers = False
    first = await ordering.order(peer, "meter", {"usage": {"sim.step": 50}}, max_charge=60, grant=60)
    acked = peer.logs.account.acked[ME]
    await ordering.end_of(peer, first)
    made, data = await ordering.make_order(peer, "echo", {}, max_charge=60, grant=60)
    second = peer.put(K.ENTRY_KIND_ORDER, seen=acked, order=made)
    frame = peer.frame(acked=acked, acked_head=peer.logs.heads[THEM][acked], total=peer.logs.account.agreed(ME, acked))
    frame.inputs.add(order_seq=second, data=data)
    peer.lie(frame)
    await peer.expect_signed(second)
    await asyncio.sleep(QUIET_S)
    if claims_of(peer, second):
        fail("no work on an order without room", "a charge")
    peer.answers = True
    peer.put(200)
    peer.flush()
    await ordering.expect_charged(peer, second)
