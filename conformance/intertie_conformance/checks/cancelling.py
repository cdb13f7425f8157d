"""RFC 0009, sections 3.7, 3.10 and 3.12: task states, replies, stopping."""

from __future__ import annotations

import asyncio
import time

from intertie.v1 import entry_pb2 as pb
from intertie.v1.task_pb2 import (
    TASK_STATE_CANCELED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_INPUT_REQUIRED,
    TASK_STATE_WORKING,
)
from intertie_conformance.checks import check
from intertie_conformance.checks.admitting import acknowledged, stop
from intertie_conformance.checks.events import quiet, results, said
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering
from intertie_conformance.roles.client import client
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail

SOON_S = 2.0


@check("IT-INV-040", role="consumer", consumer=True)
async def states(stage: Stage) -> None:
    """WORKING while it works, INPUT_REQUIRED while it asks, and the end's own state."""
    me = client(stage)
    works, asks = me.wants("delay", {"ms": 60_000}), me.wants("ask")
    me.invoke(works)
    await me.until_state(works.id, "WORKING")
    heard = me.invoke(asks)
    await heard.wait(heard.events, "an input request")
    status = await me.get(asks.id)
    if status.state != TASK_STATE_INPUT_REQUIRED:
        fail("INPUT_REQUIRED", status.state)
    await me.reply(asks.id, {"x": 1})
    await heard.outcome()
    ends = (("echo", "COMPLETED"), ("fail", "FAILED"), ("refuse", "REJECTED"))
    for name, state in ends:
        wanted = me.wants(name)
        me.is_(await me.call(wanted), state)
        await me.until_state(wanted.id, state, 0.1)
    await me.cancel(works.id)
    await me.until_state(works.id, "CANCELED")
    stage.saw("the states of the table")


@check("IT-INV-041", role="consumer", consumer=True)
async def ended_for_good(stage: Stage) -> None:
    """After an end nothing changes the state: not a cancel, not a reply, not the same request again."""
    me = client(stage)
    for name, state in (("echo", TASK_STATE_COMPLETED), ("fail", TASK_STATE_FAILED)):
        wanted = me.wants(name)
        outcome = await me.call(wanted)
        await me.cancel(wanted.id)
        await me.refused(me.reply(wanted.id, {}), "INVALID_ARGUMENT", "NOT_FOUND")
        if await me.call(wanted) != outcome or (await me.get(wanted.id)).state != state:
            fail(f"state {state} and the same outcome", await me.get(wanted.id))
    stage.saw("ended for good")


@check("IT-INV-093", role="consumer", refusal=True, consumer=True)
async def replies_in_order(stage: Stage) -> None:
    """Of two faults of a reply the one of the earlier row names the reason."""
    me = client(stage)
    large = b'"' + b"x" * 16_384 + b'"'
    await me.refused(me.reply(me.wants("ask").id, large), "NOT_FOUND")
    wanted = me.wants("ask")
    heard = me.invoke(wanted)
    await heard.wait(heard.events, "an input request")
    await me.refused(me.reply(wanted.id, large, request=0), "INPUT_TOO_LARGE")
    await me.refused(me.reply(wanted.id, large[1:-1], id="i" * 17_000), "INPUT_TOO_LARGE")
    await me.refused(me.reply(wanted.id, {}, request=0), "INVALID_ARGUMENT")
    await me.refused(me.reply(wanted.id, {}, request=2), "INVALID_ARGUMENT")
    await me.reply(wanted.id, {"x": 1})
    me.is_(await heard.outcome(), "COMPLETED")
    await me.refused(me.reply(wanted.id, {"x": 1}), "INVALID_ARGUMENT", "NOT_FOUND")


@check("IT-INV-110", role="consumer", consumer=True)
async def cancel_says(stage: Stage) -> None:
    """Cancel answers with the status while it runs, when it is asked again, and after the end."""
    me = client(stage)
    await me.refused(me.cancel(me.wants("echo").id), "NOT_FOUND")
    ended = me.wants("echo")
    await me.done(ended)
    if (await me.cancel(ended.id)).state != TASK_STATE_COMPLETED:
        fail("COMPLETED of what has ended", "another state")
    running = me.wants("delay", {"ms": 60_000})
    heard = me.invoke(running)
    await me.until_state(running.id, "WORKING")
    for _ in range(3):
        status = await me.cancel(running.id)
        if status.id != running.id or status.state not in (TASK_STATE_WORKING, TASK_STATE_CANCELED):
            fail("the status, WORKING or CANCELED", status)
    me.is_(await heard.outcome(), "CANCELED", "CANCELED")
    if (await me.cancel(running.id)).state != TASK_STATE_CANCELED:
        fail("CANCELED after the end", "another state")


@check("IT-INV-115", role="consumer", consumer=True)
async def goes_on_alone(stage: Stage) -> None:
    """What runs goes on when its consumer hangs up: Call, Invoke and Stream."""
    me = client(stage)
    wanted = [me.wants("delay", {"ms": 250}) for _ in range(3)]
    call = me.calling(wanted[0])
    invoked, streamed = me.invoke(wanted[1]), me.stream()
    await streamed.say(invocations=[wanted[2]])
    for item in wanted:
        await me.until_state(item.id, "WORKING")
    call.cancel()
    await asyncio.gather(call, invoked.stop(), streamed.stop(), return_exceptions=True)
    for item in wanted:
        status = await me.until_state(item.id, "COMPLETED", SOON_S)
        if status.receipt.charge != 10:
            fail("10 charged", status.receipt.charge)
    stage.saw("three invocations that went on alone")


@check("IT-INV-112", role="honest peer")
async def stops_on_cancel(stage: Stage) -> None:
    """Canceled work ends CANCELED with the problem CANCELED at once; a cancel behind the end changes nothing."""
    peer = await (await stage.peer()).up()
    for name, value in (("delay", {"ms": 60_000}), ("stream", {"chunks": 9_000, "bytes": 1, "delay_ms": 1_000})):
        seq = await ordering.order(peer, name, value)
        await acknowledged(peer, seq)
        await asyncio.sleep(0.05)
        began = time.monotonic()
        stop(peer, seq)
        charge = await ordering.expect_charged(peer, seq)
        if (charge.state, charge.problem.reason) != (TASK_STATE_CANCELED, "CANCELED"):
            fail("CANCELED with CANCELED", f"{charge.state} {charge.problem.reason}")
        await quiet(peer, 0.02)
        found = results(peer, seq)[0]
        if (found.result.state, found.result.problem.reason) != (TASK_STATE_CANCELED, "CANCELED"):
            fail("a result CANCELED with CANCELED", found.result)
        if time.monotonic() - began > SOON_S:
            fail(f"an end within {SOON_S:g} s", "a later one")
    done = await ordering.order(peer, "echo", {"x": 1})
    stop(peer, done)
    charge = await ordering.expect_charged(peer, done)
    if charge.state not in (TASK_STATE_COMPLETED, TASK_STATE_CANCELED):
        fail("COMPLETED or CANCELED", charge.state)


@check("IT-INV-114", role="honest peer", waits_s=1)
async def stops_at_deadline(stage: Stage) -> None:
    """At its deadline work ends FAILED with DEADLINE_EXCEEDED."""
    peer = await (await stage.peer()).up()
    deadline = now_ms() + 600
    seq = await ordering.order(peer, "delay", {"ms": 60_000}, deadline=deadline)
    charge = await ordering.expect_charged(peer, seq)
    if (charge.state, charge.problem.reason) != (TASK_STATE_FAILED, "DEADLINE_EXCEEDED"):
        fail("FAILED with DEADLINE_EXCEEDED", f"{charge.state} {charge.problem.reason}")
    if not deadline - 500 <= now_ms() <= deadline + 2_000:
        fail("an end near the deadline", f"{now_ms() - deadline} ms after it")
    await ordering.still_sells(peer)


@check("IT-INV-116", role="honest peer")
async def stops_when_expired(stage: Stage) -> None:
    """Work stops when its order has expired: with a large skew that may be before the target's deadline."""
    peer = await (await stage.peer(max_skew_ms=10_000)).up()
    deadline = now_ms() + 5_000
    seq = await ordering.order(peer, "stream", {"chunks": 1_000, "bytes": 1, "delay_ms": 20}, deadline=deadline)
    await peer.wait(lambda: len(said(peer, seq)) > 2, "three chunks")
    at = deadline + peer.terms.claim_window_ms
    peer.put(pb.ENTRY_KIND_EXPIRE, at=at, expire={"order_seq": seq})
    peer.flush()
    await peer.expect_signed()
    await quiet(peer, 0.1)
    count = len(said(peer, seq))
    await quiet(peer, 0.2)
    if len(said(peer, seq)) != count:
        fail("no chunk of an expired order", f"{len(said(peer, seq)) - count} more in 200 ms")
    stage.saw("the work stopped")
