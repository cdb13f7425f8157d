"""RFC 0009, section 3.14: Get and List."""

from __future__ import annotations

from intertie.v1 import invocation_pb2 as iv
from intertie.v1.task_pb2 import (
    HOLD_STATE_UNSPECIFIED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_REJECTED,
    TASK_STATE_WORKING,
)
from intertie_conformance.checks import check
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles.client import Client, client, other
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail

SKEW_MS = 1_000


async def pages(me: Client, size: int, **fields: object) -> list[iv.ListResponse]:
    """All pages, thirty at most."""
    found = [await me.listed(page_size=size, **fields)]
    while found[-1].next_page_token and len(found) < 30:
        found.append(await me.listed(page_size=size, page_token=found[-1].next_page_token, **fields))
    return found


async def ran(me: Client, count: int, name: str = "echo") -> list[str]:
    """Run some invocations; returns their ids, newest first."""
    wanted = [me.wants(name) for _ in range(count)]
    heard = me.stream()
    await heard.say(invocations=wanted)
    await heard.wait(lambda: len(heard.outcomes()) == count, f"{count} outcomes")
    return sorted((item.id for item in wanted), reverse=True)


@check("IT-INV-141", role="consumer", consumer=True)
async def as_it_stands(stage: Stage) -> None:
    """Get says state, times, reserved amount and receipt while it runs and afterwards; NOT_FOUND otherwise."""
    me = client(stage)
    await me.refused(me.get(me.wants("echo").id), "NOT_FOUND")
    wanted, began = me.wants("ask", max_charge=777), now_ms()
    heard = me.invoke(wanted)
    await heard.wait(heard.events, "an input request")
    status = await me.get(wanted.id)
    if (status.id, status.offer, status.reserved) != (wanted.id, wanted.offer, 777) or status.ended_at:
        fail("id, offer, 777 reserved and no end", status)
    if abs(status.created_at - began) > SKEW_MS:
        fail(f"created_at near {began}", status.created_at)
    await me.reply(wanted.id, {})
    outcome, ended = await heard.outcome(), now_ms()
    status = await me.get(wanted.id)
    if (status.state, status.reserved) != (TASK_STATE_COMPLETED, 0) or status.receipt != outcome.receipt:
        fail("COMPLETED, nothing reserved, and the outcome's receipt", status)
    if not status.created_at <= status.ended_at or abs(status.ended_at - ended) > SKEW_MS:
        fail(f"ended_at near {ended}", status.ended_at)
    failing = me.wants("fail", {"message": "as asked"})
    await me.call(failing)
    status = await me.get(failing.id)
    if (status.state, status.problem.reason) != (TASK_STATE_FAILED, "EXECUTION_FAILED"):
        fail("FAILED with its problem", status)
    stage.saw("Get says what was")


@check("IT-INV-142", role="consumer", consumer=True)
async def own_newest_first(stage: Stage) -> None:
    """List has the account's own invocations alone, newest first, each once, on pages of the size asked for."""
    me, they = client(stage), await other(stage)
    foreign = await ran(they, 3)
    mine = await ran(me, 7)
    found = await pages(me, 3)
    if any(len(page.invocations) > 3 for page in found):
        fail("at most three items a page", [len(page.invocations) for page in found])
    ids = [item.id for page in found for item in page.invocations]
    if ids != sorted(set(ids), reverse=True):
        fail("newest first, each once", ids)
    if set(foreign) & set(ids):
        fail("nothing of another account", "some")
    if len(found) < 30 and not set(mine) <= set(ids):
        fail("all seven that were run", [id for id in mine if id in ids])
    first = [id for id in ids if id >= mine[-1]]
    if not set(mine) <= set(first):
        fail("all seven among the newest", first)
    stage.saw(f"{len(ids)} invocations on {len(found)} pages")


@check("IT-INV-143", role="consumer", refusal=True, consumer=True)
async def page_sizes(stage: Stage) -> None:
    """A page size of 0 stands for 20; one above 100, or a token of nobody's, is refused; 100 is not."""
    me = client(stage)
    await ran(me, 22)
    if len((await me.listed()).invocations) != 20:
        fail("20 items", len((await me.listed()).invocations))
    for fields in ({"page_size": 101}, {"page_size": 2**32 - 1}, {"page_token": "not a token"}):
        await me.refused(me.listed(**fields), "INVALID_ARGUMENT")
    if len((await me.listed(page_size=100)).invocations) < 22:
        fail("22 items or more on a page of 100", "fewer")
    stage.saw("20 items by default")


@check("IT-INV-144", role="consumer", consumer=True)
async def last_page(stage: Stage) -> None:
    """The last page, and only that one, has no token, also if it is full."""
    me = await other(stage)
    await ran(me, 4, "refuse")
    states = [TASK_STATE_REJECTED]
    count = sum(len(page.invocations) for page in await pages(me, 100, states=states))
    for size in sorted({1, 2, min(count, 100)}):
        found = await pages(me, size, states=states)
        if len(found) == 30:
            continue
        if [bool(page.next_page_token) for page in found] != [True] * (len(found) - 1) + [False]:
            fail("a token on all pages but the last", "others")
        if len(found) != -(-count // size):
            fail(f"{-(-count // size)} pages of {size}", len(found))
        stage.saw(f"{len(found)} pages of {size}")


@check("IT-INV-145", role="consumer", consumer=True)
async def in_states(stage: Stage) -> None:
    """List returns what is in one of the states, all if none is given."""
    me = client(stage)
    running = me.wants("delay", {"ms": 60_000})
    me.invoke(running)
    await me.until_state(running.id, "WORKING")
    failed, done, refused = [(await ran(me, 1, name))[0] for name in ("fail", "echo", "refuse")]
    rows: tuple[tuple[list[int], set[str]], ...] = (
        ([TASK_STATE_WORKING], {running.id}),
        ([TASK_STATE_FAILED], {failed}),
        ([TASK_STATE_COMPLETED, TASK_STATE_REJECTED], {done, refused}),
        ([], {running.id, failed, done, refused}),
    )
    four = {running.id, failed, done, refused}
    for states, wanted in rows:
        page = await me.listed(page_size=100, states=states)
        if any(states and item.state not in states for item in page.invocations):
            fail(f"items in states {states}", [item.state for item in page.invocations])
        if {item.id for item in page.invocations} & four != wanted:
            fail(f"{len(wanted)} of four in states {states}", len({item.id for item in page.invocations} & four))
    await me.cancel(running.id)
    stage.saw("the items of each state")


@check("IT-INV-126", role="consumer", consumer=True)
async def receipts(stage: Stage) -> None:
    """Outcome and receipt of own work say what Table 2 says."""
    me, target = client(stage), stage.target
    usage = {"mcp.call": 2, "llm.output.token": 11, "rag.query": 0}
    outcome = await me.done(me.wants("meter", {"usage": usage}))
    receipt, account = outcome.receipt, await me.account()
    lines = [(line.unit, line.quantity) for line in receipt.usage]
    if lines != [("llm.output.token", 11), ("mcp.call", 2), ("order", 1)]:
        fail("usage above 0, sorted by unit", lines)
    if (receipt.charge, receipt.asset, receipt.scale) != (17, account.asset, account.scale):
        fail(f"17 {account.asset} at scale {account.scale}", receipt)
    if (receipt.executed_by, list(receipt.path)) != (target.grid, [target.grid]):
        fail(f"executed by {target.grid}, path {target.grid} alone", receipt)
    if receipt.hold != HOLD_STATE_UNSPECIFIED:
        fail("no hold for own work", receipt.hold)
    streamed = await me.done(me.wants("stream", {"chunks": 2, "bytes": 5}))
    if (streamed.output.data, streamed.output.media_type) != (b"abcdefghij", "text/plain"):
        fail("all output on Call", streamed.output)
    erring = await me.done(me.wants("fail", {"as": "tool-error", "message": "m"}))
    if not erring.is_error or erring.problem.reason or outcome.is_error:
        fail("is_error of the result, without a problem", erring)
    failed = me.is_(await me.call(me.wants("fail", {"steps": 4})), "FAILED", "EXECUTION_FAILED")
    refused = me.is_(await me.call(me.wants("refuse")), "REJECTED", "PERMISSION_DENIED")
    if (failed.receipt.charge, refused.receipt.charge) != (6, 0):
        fail("6 for what has failed, 0 for what was refused", (failed.receipt.charge, refused.receipt.charge))
