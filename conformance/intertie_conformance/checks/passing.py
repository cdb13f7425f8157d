"""RFC 0011, sections 3.7 to 3.9: charges, records, ends, cancels and problems that a relay passes on."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1.record_pb2 import RecordProof
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_FAILED
from intertie_conformance.checks import check
from intertie_conformance.checks.relaying import same
from intertie_conformance.grid.account import THEM, State
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering, relayed
from intertie_conformance.roles.relayed import Passed
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import amounts, records
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.keys import Key

K = pb.EntryKind
UNKNOWN: Final = "X_REASON_THAT_NOBODY_KNOWS"
ENDS: Final = {
    TASK_STATE_COMPLETED: "order",
    TASK_STATE_FAILED: "order.failed",
    TASK_STATE_CANCELED: "order.canceled",
}


def usage_above(passed: Passed, charge: pb.Charge) -> dict[str, int]:
    """What an upstream charge counts, by unit, zeros left out."""
    units = [unit for unit, _, _ in passed.hold_above.prices]
    return {unit: n for unit, n in zip(units, charge.quantities, strict=True) if n}


async def charged(passed: Passed, usage: dict[str, int], **changes: Any) -> pb.Charge:
    """The executor claims finally; returns what the payer is charged in the end."""
    shop = passed.chain.shop
    shop.charge(shop.claim(passed.seq, usage, **changes))
    return await ordering.expect_charged(passed.chain.payer, passed.above)


async def refused_below(passed: Passed, seq: int) -> None:
    """Wait until the target refuses an entry of the executor."""
    await passed.chain.shop.expect_entry(
        K.ENTRY_KIND_REFUSE, lambda f: f.entry.refuse.entry_seq == seq, f"a refuse of the executor's entry {seq}"
    )


async def free_below(stage: Stage) -> Passed:
    """An order under an old tariff whose usage costs the relay nothing any more: only its fee of 4."""
    chain = await relayed.chain(stage)
    await chain.still_relays()
    old, _ = chain.tariff
    await chain.reprice(markup_num=0, fee=4)
    return await chain.order("meter", {"usage": {}}, tariff_seq=old)


@check("IT-RLY-061", role="executor")
async def same_quantities(stage: Stage) -> None:
    """Upstream the same quantities are charged, by the upstream order's lines."""
    chain = await relayed.chain(stage)
    passed = await chain.order("meter", {"usage": {}}, max_charge=90_000, grant=90_000)
    usage = {"order": 1, "mcp.call": stage.random.randrange(1, 99), "llm.output.token": stage.random.randrange(9_999)}
    charge = await charged(passed, usage)
    same(stage, "the quantities charged upstream", usage, usage_above(passed, charge))
    cost = amounts.charge(passed.hold_above.prices, charge.quantities)
    same(stage, "the amount charged upstream", cost, charge.amount)
    await chain.settled()


@check("IT-RLY-061", role="executor")
async def fee_is_counted(stage: Stage) -> None:
    """For an offer without a price an order the relay's fee is counted as the record says, and the record holds."""
    chain = await relayed.chain(stage)
    passed = await chain.order("suite/plain", "x", max_charge=9_000, grant=9_000)
    proof = chain.shop.proof(passed.seq, {"llm.output.token": 10, "order": 1})
    charge = await charged(passed, {"llm.output.token": 10}, proof=proof)
    used = {unit: n for (unit, _, _), n in zip(passed.hold_above.prices, charge.quantities, strict=True)}
    if used.get("llm.output.token") != 10 or used.get("order", 1) != 1:
        fail("10 tokens, and one order where the relay takes a fee", used)
    stage.saw(f"charged upstream: {used}")
    await chain.settled()


@check("IT-RLY-062", role="executor")
async def same_record(stage: Stage) -> None:
    """Record, signed root and path come byte for byte."""
    chain = await relayed.chain(stage)
    passed = await chain.order("echo", "x")
    shop = chain.shop
    proof = shop.proof(passed.seq, {"order": 1})
    others = [proof.record + b"\x98\x06\x01", proof.record + b"\x98\x06\x02"]
    made = records.prove([others[0], proof.record, others[1]], shop.me.fingerprint, now_ms(), shop.me.key)[1]
    charge = await charged(passed, {"order": 1}, proof=made)
    for name in ("record", "root", "index"):
        same(stage, f"the proof's {name}", getattr(made, name), getattr(charge.proof, name))
    same(stage, "the proof's path", list(made.path), list(charge.proof.path))


@check("IT-RLY-063", role="executor")
async def same_state(stage: Stage) -> None:
    """COMPLETED, FAILED and CANCELED stay what they are."""
    chain = await relayed.chain(stage)
    for state, unit in ENDS.items():
        passed = await chain.order("delay", {"ms": 1})
        proof = chain.shop.proof(passed.seq, {unit: 1}, state=state)
        charge = await charged(passed, {unit: 1}, state=state, proof=proof)
        same(stage, "the terminal state", state, charge.state)
        same(stage, "the quantities charged upstream", {unit: 1}, usage_above(passed, charge))


@check("IT-RLY-064", role="executor", refusal=True)
async def unproven(stage: Stage) -> None:
    """A final charge whose record is forged, another order's or says other quantities costs the payer nothing."""
    chain = await relayed.chain(stage)
    await chain.still_relays()
    shop = chain.shop
    for lie in ("key", "nonce", "usage", "none"):
        passed = await chain.order("echo", "x")
        proofs: dict[str, RecordProof | None] = {
            "key": shop.proof(passed.seq, {"order": 1}, key=Key()),
            "nonce": shop.proof(passed.seq, {"order": 1}, nonce=bytes(16)),
            "usage": shop.proof(passed.seq, {"order.failed": 1}),
            "none": None,
        }
        seq = shop.charge(shop.claim(passed.seq, {"order": 1}, proof=proofs[lie]))
        await refused_below(passed, seq)
        charge = await ordering.expect_charged(chain.payer, passed.above)
        said = (charge.amount, charge.state)
        same(stage, f"what the payer is charged after a lie about {lie}", (0, TASK_STATE_FAILED), said)
    await chain.still_relays()


@check("IT-RLY-065", role="executor", refusal=True)
async def keeps_what_stood(stage: Stage) -> None:
    """After a refused final charge the payer is charged FAILED with what it was charged before."""
    chain = await relayed.chain(stage)
    shop = chain.shop
    passed = await chain.order("meter", {"usage": {}}, max_charge=9_000, grant=9_000)
    shop.charge(shop.claim(passed.seq, {"mcp.call": 30}, final=False))
    final = {"mcp.call": 60, "order": 1}
    seq = shop.charge(shop.claim(passed.seq, final, proof=shop.proof(passed.seq, final, key=Key())))
    await refused_below(passed, seq)
    charge = await ordering.expect_charged(chain.payer, passed.above)
    same(stage, "the terminal state", TASK_STATE_FAILED, charge.state)
    partial = [c.quantities for c in passed.hold_above.claims][:-1]
    before = list(partial[-1]) if partial else [0] * len(charge.quantities)
    same(stage, "the quantities charged upstream", before, list(charge.quantities))
    await chain.still_relays()


@check("IT-RLY-066", role="executor")
async def rejects(stage: Stage) -> None:
    """A downstream reject becomes one upstream with its problem."""
    chain = await relayed.chain(stage)
    passed = await chain.order("refuse", {})
    chain.reject(passed, "PERMISSION_DENIED", "refused as asked", why="asked")
    fact = await ordering.end_of(chain.payer, passed.above)
    if fact.entry.kind != K.ENTRY_KIND_REJECT:
        fail("a reject upstream", f"a charge of {fact.entry.charge.amount}")
    problem = fact.entry.reject.problem
    said = (problem.reason, problem.message, dict(problem.metadata))
    same(stage, "the problem", ("PERMISSION_DENIED", "refused as asked", {"why": "asked"}), said)
    await chain.still_relays()


@check("IT-RLY-067", role="executor", waits_s=2)
async def outcome_unknown(stage: Stage) -> None:
    """An order about which the executor says nothing ends FAILED with OUTCOME_UNKNOWN once it has expired."""
    chain = await relayed.chain(stage)
    left = relayed.margin_ms(chain) + 1_200
    passed = await chain.order("echo", "x", deadline=now_ms() + left)
    charge = await ordering.expect_charged(chain.payer, passed.above, 6.0)
    said = (charge.state, charge.problem.reason, charge.amount)
    same(stage, "the end of the order", (TASK_STATE_FAILED, "OUTCOME_UNKNOWN", 0), said)
    await chain.shop.wait(lambda: passed.hold.state is not State.OPEN, "the end of the hold downstream")
    same(stage, "the state of the hold downstream", State.EXPIRED, passed.hold.state)
    await chain.still_relays()


@check("IT-RLY-068", role="executor")
async def beyond_the_grant(stage: Stage) -> None:
    """What the payer has not granted is the relay's loss: FAILED with GRANT_EXHAUSTED."""
    passed = await free_below(stage)
    charge = await charged(passed, {"order": 1, "llm.output.token": 10**6})
    said = (charge.state, charge.problem.reason, charge.amount)
    same(stage, "the end of the order", (TASK_STATE_FAILED, "GRANT_EXHAUSTED", 0), said)
    await passed.chain.sell_again()
    await passed.chain.still_relays()


@check("IT-RLY-069", role="executor")
async def agrees_below(stage: Stage) -> None:
    """A valid downstream charge is agreed, though nothing can be charged upstream for it, or the payer is away."""
    passed = await free_below(stage)
    chain = passed.chain
    before = chain.shop.logs.account.agreed(THEM, chain.shop.logs.seq(0))
    await charged(passed, {"order": 1, "llm.output.token": 10**6})
    await chain.shop.expect_agreed(before + 4)
    await chain.sell_again()
    other = await chain.order("echo", "x")
    await chain.payer.hang_up()
    chain.shop.charge(chain.shop.claim(other.seq, {"order": 1}))
    await chain.shop.expect_agreed(before + 14)


@check("IT-RLY-070", role="executor")
async def ends_later(stage: Stage) -> None:
    """An end that came while the payer was away is written when it is back."""
    chain = await relayed.chain(stage)
    first, second = await chain.order("echo", "1"), await chain.order("refuse", {})
    await chain.payer.hang_up()
    chain.shop.charge(chain.shop.claim(first.seq, {"order": 1}))
    chain.reject(second, "PERMISSION_DENIED")
    await chain.settled()
    await chain.payer.up()
    await ordering.when(chain.payer, lambda: first.hold_above.state is State.CHARGED, "the first order was charged")
    await ordering.when(chain.payer, lambda: second.hold_above.state is State.REJECTED, "the second was rejected")
    await chain.known()
    await chain.still_relays()


@check("IT-RLY-071", role="executor")
async def partial(stage: Stage) -> None:
    """A partial charge is claimed upstream too."""
    chain = await relayed.chain(stage)
    passed = await chain.order("meter", {"usage": {}}, max_charge=9_000, grant=9_000)
    for calls in (3, 60):
        usage = {"mcp.call": calls}
        chain.shop.charge(chain.shop.claim(passed.seq, usage, final=False))
        fact = await chain.payer.expect_entry(
            K.ENTRY_KIND_CHARGE,
            lambda f, n=calls: n in f.entry.charge.quantities,  # type: ignore[misc]
            f"a charge upstream of {calls} calls",
        )
        same(stage, "whether it is final", False, fact.entry.charge.final)
    await charged(passed, {"mcp.call": 61, "order": 1})


def cancel(passed: Passed) -> None:
    """The payer wants to stop."""
    passed.chain.payer.write(entry(K.ENTRY_KIND_CANCEL, cancel={"order_seq": passed.above}))
    passed.chain.payer.flush()


def cancels(passed: Passed) -> int:
    """How often the executor was asked to stop."""
    found = passed.chain.shop.logs.of_kind(THEM, K.ENTRY_KIND_CANCEL)
    return sum(said.cancel.order_seq == passed.seq for _, said in found)


@check("IT-RLY-080", role="executor")
async def cancels_once(stage: Stage) -> None:
    """A cancel is passed on, a second one is not."""
    chain = await relayed.chain(stage)
    passed = await chain.order("delay", {"ms": 60_000})
    cancel(passed)
    await chain.shop.wait(lambda: cancels(passed), "a cancel downstream")
    cancel(passed)
    await chain.payer.expect_signed()
    await chain.payer.expect_alive()
    await chain.shop.expect_alive()
    same(stage, "the number of cancels downstream", 1, cancels(passed))
    proof = chain.shop.proof(passed.seq, {"order.canceled": 1}, state=TASK_STATE_CANCELED)
    charge = await charged(passed, {"order.canceled": 1}, state=TASK_STATE_CANCELED, proof=proof)
    same(stage, "the terminal state", TASK_STATE_CANCELED, charge.state)


@check("IT-RLY-080", role="executor", waits_s=1)
async def cancels_later(stage: Stage) -> None:
    """A cancel that came while the executor was away is written when it is back."""
    chain = await relayed.chain(stage)
    passed = await chain.order("delay", {"ms": 60_000})
    await chain.shop.go_down()
    cancel(passed)
    await chain.payer.expect_signed()
    await chain.shop.come_back()
    await chain.shop.wait(lambda: cancels(passed), "a cancel downstream")
    same(stage, "the number of cancels downstream", 1, cancels(passed))
    proof = chain.shop.proof(passed.seq, {"order.canceled": 1}, state=TASK_STATE_CANCELED)
    await charged(passed, {"order.canceled": 1}, state=TASK_STATE_CANCELED, proof=proof)


@check("IT-RLY-082", role="executor")
async def cancel_ends_nothing(stage: Stage) -> None:
    """After a cancel the upstream order stays open until the downstream one has ended, and ends as that does."""
    chain = await relayed.chain(stage)
    passed = await chain.order("delay", {"ms": 60_000})
    cancel(passed)
    await chain.payer.expect_signed()
    await chain.shop.wait(lambda: cancels(passed), "a cancel downstream")
    await asyncio.sleep(0.05)
    await chain.payer.expect_alive()
    same(stage, "whether the upstream order is open", True, passed.is_open)
    charge = await charged(passed, {"order": 1})
    same(stage, "the terminal state of work that was done before", TASK_STATE_COMPLETED, charge.state)


async def ended_by(passed: Passed, rejected: bool, reason: str, message: str, metadata: dict[str, str]) -> Any:
    """The executor ends an order with a problem; returns the problem that the payer is told."""
    chain = passed.chain
    if rejected:
        chain.reject(passed, reason, message, **metadata)
        fact = await ordering.end_of(chain.payer, passed.above)
        return fact.entry.reject.problem
    proof = chain.shop.proof(passed.seq, {"order.failed": 1}, state=TASK_STATE_FAILED)
    problem = {"reason": reason, "message": message, "metadata": metadata}
    charge = await charged(passed, {"order.failed": 1}, state=TASK_STATE_FAILED, proof=proof, problem=problem)
    return charge.problem


@check("IT-RLY-090", role="executor")
async def unknown_reason(stage: Stage) -> None:
    """A reason that nobody knows is passed on, of a reject and of work that failed."""
    chain = await relayed.chain(stage)
    for rejected in (True, False):
        passed = await chain.order("fail", {})
        problem = await ended_by(passed, rejected, UNKNOWN, "so it is", {})
        same(stage, "the reason", UNKNOWN, problem.reason)
        same(stage, "the message", "so it is", problem.message)


@check("IT-RLY-091", role="executor")
async def cut_problem(stage: Stage) -> None:
    """A problem beyond all sizes is cut to them."""
    chain = await relayed.chain(stage)
    metadata = {f"{number:02}" + "k" * 90: "v" * 400 for number in range(20)}
    wanted = {key[:64]: "v" * 256 for key in sorted(metadata)[:16]}
    for rejected in (True, False):
        passed = await chain.order("fail", {})
        problem = await ended_by(passed, rejected, "R" * 90, "m" * 3_000, metadata)
        same(stage, "the reason", "R" * 64, problem.reason)
        same(stage, "the message", "m" * 1_024, problem.message)
        same(stage, "the metadata", wanted, dict(problem.metadata))
