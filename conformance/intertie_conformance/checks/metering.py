"""RFC 0010, sections 3.1 to 3.3: what is counted, what it costs, and how the grant bounds it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie.v1.task_pb2 import (
    TASK_STATE_CANCELED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_REJECTED,
    TaskState,
)
from intertie_conformance.checks import check
from intertie_conformance.grid.account import ME
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import amounts
from intertie_conformance.wire.build import entry

K = pb.EntryKind
MOST = 2**63 - 1


def quantities(peer: Peer, charge: pb.Charge) -> dict[str, int]:
    """What a charge counts, by unit; units of quantity 0 left out."""
    order = peer.logs.account.holds[ME, charge.order_seq].order
    found = zip((line.unit for line in order.prices), charge.quantities, strict=True)
    return {unit: quantity for unit, quantity in found if quantity}


async def charged(peer: Peer, name: str, value: object, **changes: Any) -> pb.Charge:
    """Order and wait for the final charge."""
    return await ordering.expect_charged(peer, await ordering.order(peer, name, value, **changes))


def expect(peer: Peer, charge: pb.Charge, state: TaskState.ValueType, counted: Mapping[str, int], amount: int) -> None:
    """The final charge is this one. Raises: Failed."""
    got = (TaskState.Name(charge.state), quantities(peer, charge), charge.amount)
    wanted = (TaskState.Name(state), dict(counted), amount)
    if got != wanted:
        fail(f"a final charge {wanted}", str(got))
    peer.stage.saw(f"a final charge {wanted}")


def charges(peer: Peer, seq: int) -> list[pb.Charge]:
    """All charges of an order so far."""
    found = (fact.entry for fact in peer.facts if fact.entry.kind == K.ENTRY_KIND_CHARGE)
    return [entry.charge for entry in found if entry.charge.order_seq == seq]


async def grant(peer: Peer, seq: int, amount: int) -> None:
    """Raise a grant."""
    peer.write(entry(K.ENTRY_KIND_GRANT, grant={"order_seq": seq, "amount": amount}))
    peer.flush()


async def needed(peer: Peer, seq: int) -> int:
    """Wait until the target asks for a higher grant; returns what it names."""

    def asked() -> int:
        own = [e for e in peer.events if e.order_seq == seq and e.HasField("grant_needed")]
        return own[-1].grant_needed.amount if own else 0

    return await peer.wait(asked, f"a grant_needed for order {seq}")


def chunks(peer: Peer, seq: int) -> list[bytes]:
    """Streamed output of an order so far."""
    return [e.chunk.payload.data for e in peer.events if e.order_seq == seq and e.HasField("chunk")]


async def streamed(peer: Peer, seq: int, count: int) -> None:
    """Wait for a number of chunks."""
    await ordering.when(peer, lambda: len(chunks(peer, seq)) >= count, f"{count} chunks of order {seq}")


@check("IT-MTR-001", role="honest peer")
async def counting_rules(stage: Stage) -> None:
    """Streamed bytes are counted once each; a unit that nothing was used of is not counted."""
    peer = await (await stage.peer()).up()
    size, count = stage.random.randrange(1, 60), stage.random.randrange(2, 6)
    charge = await charged(peer, "stream", {"chunks": count, "bytes": size})
    text = b"".join(chunks(peer, charge.order_seq))
    if len(text) != size * count:
        fail(f"{size * count} streamed bytes", len(text))
    expect(peer, charge, TASK_STATE_COMPLETED, {"order": 1, "text.output.byte": len(text)}, 10 - -len(text) // 10)
    charge = await charged(peer, "echo", {"x": "y" * 50})
    expect(peer, charge, TASK_STATE_COMPLETED, {"order": 1}, 10)


@check("IT-MTR-002", role="honest peer")
async def cumulative(stage: Stage) -> None:
    """Charges of one order state cumulative quantities: none falls, the last are those of the input."""
    peer = await (await stage.peer()).up()
    used = {"mcp.call": 9, "sim.step": 8}
    seq = await ordering.order(peer, "meter", {"usage": used, "steps": 4}, grant=9)
    await grant(peer, seq, await needed(peer, seq))
    await needed(peer, seq)
    await grant(peer, seq, 1_000)
    final = await ordering.expect_charged(peer, seq)
    stated = [list(charge.quantities) for charge in charges(peer, seq)]
    rising = all(all(a <= b for a, b in zip(x, y, strict=True)) for x, y in itertools.pairwise(stated))
    if not rising or len(stated) < 2 or any(not 0 <= q <= MOST for line in stated for q in line):
        fail("two charges or more, cumulative quantities", stated)
    expect(peer, final, TASK_STATE_COMPLETED, {"order": 1, **used}, 10 + 21 + 8)


@check("IT-MTR-004", role="honest peer")
async def order_counted_once(stage: Stage) -> None:
    """The unit order is 1 when the invocation completes and 0 when it fails or is canceled."""
    peer = await (await stage.peer()).up()
    for name, value in (("echo", {}), ("fail", {"as": "tool-error"})):
        counted = quantities(peer, await charged(peer, name, value))
        if counted.get("order") != 1:
            fail(f"order 1 of {name}", counted)
    counted = quantities(peer, await charged(peer, "fail", {}))
    if "order" in counted:
        fail("no order of what failed", counted)
    stage.saw("order was counted once for what completed, not for what failed")


@check("IT-MTR-005", role="honest peer")
async def failed_counted_once(stage: Stage) -> None:
    """The unit order.failed is 1 when the invocation fails and 0 else."""
    peer = await (await stage.peer()).up()
    counted = quantities(peer, await charged(peer, "fail", {}))
    if counted != {"order.failed": 1}:
        fail("order.failed 1 alone of what failed", counted)
    for name, value in (("echo", {}), ("fail", {"as": "tool-error"})):
        counted = quantities(peer, await charged(peer, name, value))
        if counted.get("order.failed"):
            fail(f"no order.failed of {name}", counted)
    stage.saw("order.failed was counted once for what failed, not for what completed")


@check("IT-MTR-006", role="honest peer")
async def canceled_counted_once(stage: Stage) -> None:
    """The unit order.canceled is 1 when the invocation is canceled and 0 else."""
    peer = await (await stage.peer()).up()
    charge = await canceled(peer)
    if quantities(peer, charge) != {"order.canceled": 1}:
        fail("order.canceled 1 alone of what was canceled", quantities(peer, charge))
    for name in ("echo", "fail"):
        counted = quantities(peer, await charged(peer, name, {}))
        if counted.get("order.canceled"):
            fail(f"no order.canceled of {name}", counted)
    stage.saw("order.canceled was counted once for what was canceled, not for what ended otherwise")


async def canceled(peer: Peer, **changes: Any) -> pb.Charge:
    """The final charge of a delay that is canceled once it works."""
    seq = await ordering.order(peer, "delay", {"ms": 15_000}, **changes)
    await peer.expect_signed()
    await ordering.still_sells(peer)
    peer.write(entry(K.ENTRY_KIND_CANCEL, cancel={"order_seq": seq}))
    peer.flush()
    charge = await ordering.expect_charged(peer, seq)
    if charge.state != TASK_STATE_CANCELED:
        fail("a final charge CANCELED", TaskState.Name(charge.state))
    return charge


@check("IT-MTR-011", role="honest peer")
async def exact_sum(stage: Stage) -> None:
    """The amount of each charge is the sum of the rounded lines, also for quantities beyond 2^53."""
    peer = await (await stage.peer()).up()
    offer = await ordering.offer(peer, "meter")
    rows: Sequence[Mapping[str, int]] = (
        {"mcp.call": 2, "llm.output.token": 11},
        {"llm.output.token": 1},
        {"llm.output.token": 10, "mcp.call": 3},
        {"llm.output.token": 9_007_199_254_740_993},
        {"sim.step": 0, "rag.query": stage.random.randrange(1, 1_000), "mcp.call": stage.random.randrange(1, 1_000)},
    )
    big = await (await stage.peer(acceptor_credit_limit=2**60, acceptor_max_unagreed=2**60, **_rich())).up()
    for used in rows:
        wanted = amounts.charge(offer.prices, [{**used, "order": 1}.get(unit, 0) for unit, _, _ in offer.prices])
        limit = {"max_charge": wanted, "grant": wanted}
        charge = await charged(big, "meter", {"usage": used}, **limit)
        counted = {unit: quantity for unit, quantity in {**used, "order": 1}.items() if quantity}
        expect(big, charge, TASK_STATE_COMPLETED, counted, wanted)
    await peer.expect_alive()


def _rich() -> dict[str, int]:
    """Terms under which the suite's side may spend much."""
    return {"proposer_credit_limit": 2**60, "proposer_max_unagreed": 2**60}


@check("IT-MTR-014", role="honest peer")
async def independent_of_steps(stage: Stage) -> None:
    """One usage costs the same in one step and in many, under a full grant and under one that is raised."""
    peer = await (await stage.peer()).up()
    used = {"llm.output.token": stage.random.randrange(20, 90), "mcp.call": stage.random.randrange(20, 90)}
    whole = await charged(peer, "meter", {"usage": used})
    for steps in (2, 7, 101):
        split = await charged(peer, "meter", {"usage": used, "steps": steps})
        if split.amount != whole.amount:
            fail(f"{whole.amount} in {steps} steps as in one", split.amount)
    seq = await ordering.order(peer, "meter", {"usage": used, "steps": 7}, grant=3)
    await needed(peer, seq)
    await grant(peer, seq, 1_000)
    raised = await ordering.expect_charged(peer, seq)
    if raised.amount != whole.amount:
        fail(f"{whole.amount} under a raised grant", raised.amount)
    stage.saw(f"{whole.amount} was charged however usage was split")


@check("IT-MTR-020", role="honest peer")
async def chunks_within_grant(stage: Stage) -> None:
    """What is streamed costs at most the grant; the rest comes once the grant is raised."""
    peer = await (await stage.peer()).up()
    seq = await ordering.order(peer, "stream", {"chunks": 6, "bytes": 100}, grant=25)
    named = await needed(peer, seq)
    await peer.expect_alive()
    sent = sum(map(len, chunks(peer, seq)))
    if sent != 200 or named != 30:
        fail("two chunks of 100 bytes for a grant of 25, and 30 asked for", f"{sent} bytes, {named} asked for")
    stage.saw("a grant of 25 brought 200 bytes")
    await grant(peer, seq, 1_000)
    expect(
        peer, await ordering.expect_charged(peer, seq), TASK_STATE_COMPLETED, {"order": 1, "text.output.byte": 600}, 70
    )


@check("IT-MTR-022", role="honest peer")
async def waiting_step_goes_on(stage: Stage) -> None:
    """A step that waits takes effect as soon as the grant covers it, and not before."""
    peer = await (await stage.peer()).up()
    seq = await ordering.order(peer, "stream", {"chunks": 3, "bytes": 100}, grant=0)
    for count in (1, 2, 3):
        named = await needed(peer, seq)
        if named != 10 * count or len(chunks(peer, seq)) != count - 1:
            fail(f"{10 * count} asked for after {count - 1} chunks", f"{named} after {len(chunks(peer, seq))}")
        peer.events = [event for event in peer.events if not event.HasField("grant_needed")]
        await grant(peer, seq, named)
        await streamed(peer, seq, count)
    await grant(peer, seq, await needed(peer, seq))
    expect(
        peer, await ordering.expect_charged(peer, seq), TASK_STATE_COMPLETED, {"order": 1, "text.output.byte": 300}, 40
    )


@check("IT-MTR-024", role="honest peer")
async def charged_at_the_end(stage: Stage) -> None:
    """What is charged at the end, by terminal state and by what still fits the grant."""
    peer = await (await stage.peer()).up()
    expect(peer, await charged(peer, "fail", {"steps": 4}), TASK_STATE_FAILED, {"order.failed": 1, "sim.step": 4}, 6)
    expect(peer, await charged(peer, "fail", {"as": "tool-error"}), TASK_STATE_COMPLETED, {"order": 1}, 10)
    expect(peer, await canceled(peer), TASK_STATE_CANCELED, {"order.canceled": 1}, 5)
    tight = await charged(peer, "fail", {"steps": 19}, max_charge=20, grant=20)
    expect(peer, tight, TASK_STATE_FAILED, {"sim.step": 19}, 19)
    expect(peer, await canceled(peer, grant=4), TASK_STATE_CANCELED, {}, 0)
    beyond = await charged(peer, "meter", {"usage": {"rag.query": 3}, "steps": 3}, max_charge=2_500, grant=2_500)
    expect(peer, beyond, TASK_STATE_FAILED, {"order.failed": 1, "rag.query": 2}, 2_002)
    if beyond.problem.reason != "GRANT_EXHAUSTED":
        fail("GRANT_EXHAUSTED", beyond.problem.reason)
    seq = await ordering.order(peer, "refuse", {})
    await ordering.expect_rejected(peer, seq, "PERMISSION_DENIED")
    if charges(peer, seq):
        fail("no charge of what was rejected", "a charge")
    results = [e.result.state for e in peer.events if e.order_seq == seq and e.HasField("result")]
    if results and results[-1] != TASK_STATE_REJECTED:
        fail("a result REJECTED", TaskState.Name(results[-1]))
