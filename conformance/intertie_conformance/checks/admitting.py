"""RFC 0009, section 3.6: how a provider admits orders, lets them wait, or rejects them."""

from __future__ import annotations

from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie.v1.task_pb2 import TASK_STATE_FAILED, TASK_STATE_REJECTED
from intertie_conformance.checks import check
from intertie_conformance.checks.events import quiet, results, said
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.registry import LIMITS
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.build import entry

K = pb.EntryKind
SMALL = {"proposer_max_unagreed": 100}
"""Room for one order with a grant of 80, or for two of 40, but not for all three."""
MUCH: dict[str, Any] = {"max_charge": 80, "grant": 80}
LESS: dict[str, Any] = {"max_charge": 40, "grant": 40}


async def waiting(peer: Peer, **second: Any) -> tuple[int, int]:
    """An order that works until it is told to stop, and one behind it that has no room."""
    first = await ordering.order(peer, "ask", {}, **MUCH)
    await peer.wait(lambda: said(peer, first), "the first order's input request")
    return first, await ordering.order(peer, "echo", {"x": 1}, **{**LESS, **second})


async def acknowledged(peer: Peer, seq: int) -> None:
    """Wait until the target has acknowledged an order."""
    await peer.wait(lambda: peer.logs.account.acked[THEM] >= seq, "the order is acknowledged")


def stop(peer: Peer, seq: int) -> None:
    """Cancel an order."""
    peer.write(entry(K.ENTRY_KIND_CANCEL, cancel={"order_seq": seq}))
    peer.flush()


def ends(peer: Peer, seq: int) -> bool:
    """Whether an entry has ended an order."""
    return any(
        (fact.entry.charge.final and fact.entry.charge.order_seq == seq) or fact.entry.reject.order_seq == seq
        for fact in peer.facts
    )


@check("IT-INV-160", role="honest peer", refusal=True)
async def first_that_fails(stage: Stage) -> None:
    """Of two faults in an order the one of the earlier row is the reason of the reject."""
    peer = await (await stage.peer()).up()
    target = peer.peer.grid
    large = {"input": {"size": LIMITS["inline_bytes"].maximum + 1}}
    rows: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("ID_INVALID", "echo", {"id": "x" * 36, "max_charge": 2**40}),
        ("CREDIT_LIMIT", "echo", {"max_charge": 2**40, "grant": 2**40}),
        ("UNAGREED_LIMIT", "echo", {"max_charge": 50_000_000, "grant": 10_000_001, "path": [target]}),
        ("LOOP", "echo", {"path": [peer.me.grid, target], "hop_limit": 17}),
        ("HOP_LIMIT", "echo", {"hop_limit": 17, **large}),
        ("HOP_LIMIT", "echo", {"path": [f"g{number}.example" for number in range(17)], **large}),
        ("INPUT_TOO_LARGE", "echo", large),
        ("INPUT_INVALID", "echo", {"offer_digest": bytes(34), "input": {"size": 3}}),
        ("INPUT_INVALID", "echo", {"nonce": bytes(16), "offer_digest": bytes(34)}),
        ("OFFER_UNKNOWN", "echo", {"offer_digest": b"\x12\x20" + bytes(32), "tariff_seq": 0}),
        ("PRICE_CHANGED", "echo", {"tariff_seq": 10**6, "max_charge": 9, "grant": 9}),
        ("PRICE_CHANGED", "echo", {"prices": [], "max_charge": 9, "grant": 9}),
        ("BUDGET_EXCEEDED", "delay", {"max_charge": 9, "grant": 9}),
        ("INPUT_INVALID", "delay", {"policy": {"places": ["QZ"]}}),
        ("POLICY_VIOLATION", "echo", {"policy": {"places": ["QZ"]}}),
    )
    for reason, name, changes in rows:
        await ordering.expect_rejected(peer, await _order(peer, name, **changes), reason)
    encoded = await _order(peer, "echo", input={"encoding": "gzip"}, offer_digest=bytes(34))
    await ordering.expect_rejected(peer, encoded, "INPUT_INVALID")
    made, data = await ordering.make_order(peer, "echo", {}, id="x" * 36)
    before = max(peer.logs.at[ME], now_ms() - 900)
    made.deadline = before + 1
    late = peer.put(K.ENTRY_KIND_ORDER, at=before, order=made)
    peer.inputs_sent[late] = data
    peer.flush()
    await ordering.expect_rejected(peer, late, "DEADLINE_EXCEEDED")
    await ordering.still_sells(peer)


async def _order(peer: Peer, name: str, **changes: Any) -> int:
    """An order with changes; those of its input are merged into the honest one."""
    described = changes.pop("input", {})
    made, data = await ordering.make_order(peer, name, {}, **changes)
    for key, value in described.items():
        setattr(made.input, key, value)
    seq = peer.write(entry(K.ENTRY_KIND_ORDER, order=made), data)
    peer.flush()
    return seq


@check("IT-INV-160", role="honest peer", refusal=True)
async def open_orders(stage: Stage) -> None:
    """One open order more than agreed is rejected with TOO_MANY_ORDERS, whatever its path."""
    peer = await (await stage.peer(max_open_holds=1)).up()
    first = await ordering.order(peer, "ask", {})
    await peer.wait(lambda: said(peer, first), "an input request")
    second = await ordering.order(peer, "echo", {}, path=[peer.peer.grid])
    await ordering.expect_rejected(peer, second, "TOO_MANY_ORDERS")
    stop(peer, first)
    await ordering.expect_charged(peer, first)
    await ordering.still_sells(peer)


@check("IT-INV-161", role="honest peer")
async def waits_for_room(stage: Stage) -> None:
    """Orders beyond max_unagreed wait, and are admitted in their order as soon as there is room."""
    peer = await (await stage.peer(**SMALL)).up()
    first, second = await waiting(peer)
    third = await ordering.order(peer, "echo", {"x": 2}, **LESS)
    await quiet(peer, 0.15)
    if ends(peer, second) or ends(peer, third) or said(peer, second):
        fail("two orders that wait", [fact.entry for fact in peer.facts][-2:])
    stop(peer, first)
    for seq in (first, second, third):
        await ordering.expect_charged(peer, seq)
    order = [f.entry.charge.order_seq for f in peer.facts if f.entry.charge.final]
    if order != [first, second, third]:
        fail("admitted in their order", order)


@check("IT-INV-161", role="hostile peer")
async def one_at_a_time(stage: Stage) -> None:
    """Orders of which each has room alone, but not two, are admitted one after another, however many wait."""
    peer = await (await stage.peer(**SMALL)).up()
    first, second = await waiting(peer, **MUCH)
    third = await ordering.order(peer, "echo", {"x": 2}, **MUCH)
    await acknowledged(peer, third)
    stop(peer, first)
    for seq in (first, second, third):
        await ordering.expect_charged(peer, seq)


@check("IT-INV-162", role="honest peer", waits_s=2)
async def waits_too_long(stage: Stage) -> None:
    """An order that still waits at its deadline is rejected with DEADLINE_EXCEEDED."""
    peer = await (await stage.peer(**SMALL)).up()
    first, second = await waiting(peer, within_ms=1_500)
    await ordering.expect_rejected(peer, second, "DEADLINE_EXCEEDED")
    if now_ms() < peer.logs.account.holds[ME, second].order.deadline - 500:
        fail("a reject at the deadline", "an earlier one")
    stop(peer, first)
    await ordering.expect_charged(peer, first)


@check("IT-INV-113", role="honest peer")
async def canceled_while_waiting(stage: Stage) -> None:
    """An order that is canceled while it waits is rejected with CANCELED; the one before it goes on."""
    peer = await (await stage.peer(**SMALL)).up()
    first, second = await waiting(peer)
    stop(peer, second)
    await ordering.expect_rejected(peer, second, "CANCELED")
    if ends(peer, first):
        fail("the first order goes on", "it has ended")
    stop(peer, first)
    await ordering.expect_charged(peer, first)
    await ordering.expect_charged(peer, await ordering.order(peer, "echo", {"x": 2}, **LESS))


@check("IT-INV-164", role="honest peer", refusal=True)
async def no_work_for_rejected(stage: Stage) -> None:
    """Of a rejected order nothing is charged, and no durable event comes."""
    peer = await (await stage.peer()).up()
    seqs = [await ordering.order(peer, "refuse", {}), await ordering.order(peer, "delay", {"wrong": 1})]
    seqs.append(await ordering.order(peer, "stream", {"chunks": 3, "bytes": 7}, policy={"places": ["QZ"]}))
    for seq in seqs:
        await ordering.expect_rejected(peer, seq, "PERMISSION_DENIED", "INPUT_INVALID", "POLICY_VIOLATION")
    await quiet(peer)
    for seq in seqs:
        if said(peer, seq) or peer.logs.account.holds[ME, seq].claims:
            fail(f"no durable event and no charge of order {seq}", said(peer, seq))
    await ordering.still_sells(peer)


@check("IT-INV-165", role="honest peer")
async def says_rejected(stage: Stage) -> None:
    """Beside a reject comes an ephemeral result REJECTED with the problem."""
    peer = await (await stage.peer()).up()
    seq = await ordering.order(peer, "refuse", {"message": "as asked"})
    await ordering.expect_rejected(peer, seq, "PERMISSION_DENIED")
    found = (await peer.wait(lambda: results(peer, seq), "a result"))[0]
    if (found.number, found.result.state, found.result.problem.reason) != (0, TASK_STATE_REJECTED, "PERMISSION_DENIED"):
        fail("result 0 REJECTED with PERMISSION_DENIED", found)
    stage.saw("an ephemeral result REJECTED")


@check("IT-INV-166", role="honest peer", waits_s=2)
async def charged_then_failed(stage: Stage) -> None:
    """An order that was charged is not rejected at its deadline: it ends FAILED with the reason."""
    peer = await (await stage.peer()).up()
    value = {"usage": {"sim.step": 100}, "steps": 10}
    seq = await ordering.order(peer, "meter", value, grant=30, within_ms=1_500)
    await peer.wait(lambda: peer.logs.account.holds[ME, seq].claims, "a charge that is not final")
    charge = await ordering.expect_charged(peer, seq)
    if (charge.state, charge.problem.reason) != (TASK_STATE_FAILED, "DEADLINE_EXCEEDED"):
        fail("FAILED with DEADLINE_EXCEEDED", f"{charge.state} {charge.problem.reason}")
    await ordering.still_sells(peer)
