"""RFC 0009, section 3.13: what a consumer is told of an order's end, and what becomes of its budget."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie.v1.task_pb2 import (
    HOLD_STATE_CHARGED,
    HOLD_STATE_IN_DOUBT,
    TASK_STATE_FAILED,
)
from intertie_conformance.checks import check
from intertie_conformance.checks.events import quiet
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles.sale import Sale, sell, sold, sold_alone
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail

K = pb.EntryKind
LATEST_S = 6.0
LONG_WINDOW = 10_000


@check("IT-INV-121", role="executor", consumer=True)
async def charge_and_result(stage: Stage) -> None:
    """COMPLETED waits for both the final charge and the result, whichever comes last."""
    sale = await sold(stage)
    sale.charge(b"")
    await quiet(sale.shop)
    if sale.heard.outcomes():
        fail("no outcome before the result", sale.heard.outcomes())
    sale.result(1)
    await sale.ends("COMPLETED")
    other = await sell(sale.shop)
    other.result(1)
    await quiet(sale.shop)
    if other.heard.outcomes():
        fail("no outcome before the charge", other.heard.outcomes())
    other.charge(b"")
    await other.ends("COMPLETED")


@check("IT-INV-167", role="executor", consumer=True)
async def rejected(stage: Stage) -> None:
    """A rejected order ends REJECTED with its problem, FAILED where input was asked for, and costs nothing."""
    sale = await sold(stage)
    sale.reject("POLICY_VIOLATION", "not here", place="QZ")
    outcome = await sale.ends("REJECTED", "POLICY_VIOLATION")
    if (outcome.problem.message, dict(outcome.problem.metadata)) != ("not here", {"place": "QZ"}):
        fail("the reject's message and metadata", outcome.problem)
    other = await sell(sale.shop)
    await other.asks(1)
    other.reject("POLICY_VIOLATION", "not here")
    failed = await other.ends("FAILED", "POLICY_VIOLATION")
    if outcome.receipt.charge or failed.receipt.charge:
        fail("no charge", (outcome.receipt.charge, failed.receipt.charge))
    if (await sale.me.get(other.wanted.id)).reserved:
        fail("nothing reserved any more", "some")


async def doubtful(stage: Stage) -> Sale:
    """An order of whose end nothing is known two seconds after its deadline."""
    shop = await (await stage.shop(claim_window_ms=LONG_WINDOW)).up()
    sale = await sell(shop, timeout_ms=600, max_charge=700)
    outcome = await sale.ends("FAILED", "OUTCOME_UNKNOWN", LATEST_S)
    if outcome.receipt.hold != HOLD_STATE_IN_DOUBT:
        fail("a hold IN_DOUBT", outcome.receipt.hold)
    return sale


@check("IT-INV-122", role="executor", consumer=True, waits_s=3)
async def in_doubt(stage: Stage) -> None:
    """Two seconds after the deadline the outcome is FAILED, OUTCOME_UNKNOWN, with the hold IN_DOUBT."""
    sale = await doubtful(stage)
    _two_seconds_later(sale)


def _two_seconds_later(sale: Sale) -> None:
    """The outcome has just come: 2,000 ms after the deadline, within what clocks and polling allow."""
    late = now_ms() - sale.order.deadline
    if not 1_500 <= late <= 5_000:
        fail("an outcome 2,000 ms after the deadline", f"{late} ms after it")


@check("IT-INV-123", role="executor", consumer=True, waits_s=3)
async def corrected(stage: Stage) -> None:
    """When the hold ends later, the state stays as reported and the receipt is corrected."""
    sale = await doubtful(stage)
    sale.charge(b"")
    sale.result(1)
    await sale.shop.expect_agreed(10)
    await quiet(sale.shop)
    status = await sale.me.get(sale.wanted.id)
    if (status.state, status.problem.reason) != (TASK_STATE_FAILED, "OUTCOME_UNKNOWN"):
        fail("FAILED with OUTCOME_UNKNOWN still", f"{status.state} {status.problem.reason}")
    if (status.receipt.charge, status.receipt.hold) != (10, HOLD_STATE_CHARGED):
        fail("a receipt of 10, hold CHARGED", status.receipt)
    stage.saw("the state as reported, the receipt corrected")


@check("IT-INV-124", role="executor", consumer=True, waits_s=3)
async def reserved_in_doubt(stage: Stage) -> None:
    """The budget stays reserved until the hold has ended, also after OUTCOME_UNKNOWN."""
    sale = await doubtful(stage)
    status = await sale.me.get(sale.wanted.id)
    if status.reserved != 700 or (await sale.me.account()).reserved < 700:
        fail("700 reserved still", status.reserved)
    sale.charge(b"")
    await sale.shop.expect_agreed(10)
    await quiet(sale.shop)
    status = await sale.me.get(sale.wanted.id)
    if status.reserved:
        fail("nothing reserved after the end of the hold", status.reserved)
    stage.saw("reserved until the hold had ended")


@check("IT-INV-125", role="executor", consumer=True)
async def told_again(stage: Stage) -> None:
    """A repeated request is answered from what is stored when the grid that worked is gone."""
    sale = await sold_alone(stage, "echo", {"x": 1})
    sale.finish(b"", 1)
    outcome = await sale.ends("COMPLETED")
    await sale.shop.leave()
    for _ in range(2):
        if await sale.me.call(sale.wanted) != outcome:
            fail("the same outcome again", "another one")
    again = sale.me.subscribe(sale.wanted.id, 1)
    if await again.outcome() != outcome:
        fail("the same outcome by Subscribe", "another one")
    stage.saw("the stored outcome")


@check("IT-INV-127", role="executor", consumer=True, waits_s=4)
async def asks_for_result(stage: Stage) -> None:
    """While the result is missing it is asked for every three seconds."""
    sale = await sold(stage)
    sale.chunk(1)
    await sale.hears(1)
    sale.charge(b"x")
    await sale.shop.wait(lambda: any(e.resume.after_seq == 1 for e in sale.said("resume")), "a resume after 1", 4.5)
    sale.result(2)
    await sale.ends("COMPLETED")


@check("IT-INV-128", role="executor", consumer=True, waits_s=3)
async def result_gone(stage: Stage) -> None:
    """If the result never comes, the outcome is COMPLETED with EVENTS_GONE two seconds after the deadline."""
    sale = await sold(stage, timeout_ms=600)
    sale.charge(b"")
    outcome = await sale.ends("COMPLETED", "EVENTS_GONE", LATEST_S)
    if outcome.output.data or outcome.receipt.charge != 10:
        fail("no output, and 10 charged", outcome)
    _two_seconds_later(sale)
