"""RFC 0014, sections 3.4 and 3.5: how a target accepts the grids of the suite, and what it takes at least."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED
from intertie_conformance.checks import check
from intertie_conformance.grid.identity import Identity, now_ms
from intertie_conformance.roles import ordering
from intertie_conformance.roles.client import Client, other
from intertie_conformance.roles.customer import outcome_of
from intertie_conformance.roles.peer import Peer
from intertie_conformance.roles.waiting import until
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import envelope
from intertie_conformance.wire.status import Said

MOST = 1_000_000_000_000


async def accepted(stage: Stage, me: Identity | None = None, **terms: Any) -> Peer:
    """A peering with these terms, accepted within ten seconds; its link opens."""
    began = time.monotonic()
    (peer,) = await stage.peerings.make([me or stage.peerings.identity()], **terms)
    took = time.monotonic() - began
    if took > 10.0:
        fail("acceptance within 10 s", f"{took:.1f} s")
    stage.adopt(peer)
    await peer.up()
    return peer


@check("IT-CNF-030", role="stranger", waits_s=1)
async def accepts_proposals(stage: Stage) -> None:
    """Every valid first agreement of the suite's grids is accepted within 10 seconds, at both ends of the terms."""
    low: dict[str, Any] = {
        "claim_window_ms": 1_000,
        "max_skew_ms": 1_000,
        "max_open_holds": 1,
        "max_hold_ms": 1_000,
        **{f"{side}_{name}": 0 for side in ("proposer", "acceptor") for name in ("credit_limit", "max_unagreed")},
    }
    high: dict[str, Any] = {
        "claim_window_ms": 3_600_000,
        "max_skew_ms": 60_000,
        "max_open_holds": 4_096,
        "max_hold_ms": 86_400_000,
        **{f"{side}_{name}": MOST for side in ("proposer", "acceptor") for name in ("credit_limit", "max_unagreed")},
    }
    for terms in (low, high):
        await accepted(stage, **terms)
        stage.saw(f"accepted: a claim window of {terms['claim_window_ms']} ms, and the like")


@check("IT-CNF-031", role="stranger")
async def names_without_web(stage: Stage) -> None:
    """A name that no web knows is taken as that of its fingerprint."""
    me = Identity(f"n{stage.random.randrange(10**12)}-{now_ms()}.invalid")
    me.describe()
    await accepted(stage, me)
    stage.saw(f"{me.grid} was taken by its fingerprint")


@check("IT-CNF-032", role="executor", consumer=True)
async def reached_on_loopback(stage: Stage) -> None:
    """The target reaches a grid at the loopback address and port of its descriptor."""
    market = await (await stage.market()).up()
    offer = market.offer()
    await market.open_market(offer)
    if not market.door.asked:
        fail("a call at the address of the descriptor", "none")
    stage.saw("the target called at a loopback address")


@check("IT-CNF-033", role="stranger")
async def peerings_in_a_row(stage: Stage) -> None:
    """One grid of the suite is taken again and again, each time by another genesis."""
    me = stage.peerings.identity()
    geneses = set()
    for _ in range(3):
        peer = await accepted(stage, me)
        await ordering.still_sells(peer)
        geneses.add(peer.genesis)
        await peer.hang_up()
    if len(geneses) != 3:
        fail("three peerings", len(geneses))
    stage.saw("three peerings with one grid, one after another")


@check("IT-CNF-035", role="consumer", consumer=True)
async def both_accounts(stage: Stage) -> None:
    """The consumer face serves both accounts, each with its own budget."""
    one, two = Client(stage, stage.target.table.token), await other(stage)
    for consumer in (one, two):
        await consumer.done(consumer.wants("echo", {"x": 1}))
    names = {(await consumer.account()).account for consumer in (one, two)}
    if len(names) != 2:
        fail("two accounts", names)
    stage.saw("both accounts were served")


@check("IT-CNF-040", role="honest peer", waits_s=1)
async def orders_at_a_time(stage: Stage) -> None:
    """64 orders are open on one link at a time, and all are done."""
    peer = await accepted(stage, max_open_holds=64)
    made = [await ordering.make_order(peer, "delay", {"ms": 300}, max_charge=10, grant=10) for _ in range(64)]
    seqs = [peer.write(pb.Entry(kind=pb.ENTRY_KIND_ORDER, order=order), data) for order, data in made]
    peer.flush()
    for seq in seqs:
        charge = await ordering.expect_charged(peer, seq, 8.0)
        if charge.state != TASK_STATE_COMPLETED:
            fail("64 orders COMPLETED", charge.problem.reason)
    stage.saw("64 orders were open at a time")


@check("IT-CNF-040", role="consumer", waits_s=1, consumer=True)
async def invocations_at_a_time(stage: Stage) -> None:
    """256 invocations go on at a time; timeouts from 1 to 3,600,000 and inputs of 16,384 bytes are taken."""
    ref = f"{stage.target.grid}/conformance/"
    calls = [stage.customer.call(f"{ref}delay", {"ms": 300}, max_charge=10) for _ in range(256)]
    for call in calls:
        outcome = await outcome_of(call, 15.0)
        if outcome.state != TASK_STATE_COMPLETED:
            fail("256 calls COMPLETED", outcome.problem.reason)
    stage.saw("256 invocations went on at a time")
    for timeout in (1, 3_600_000):
        ended = await asyncio.wait_for(stage.customer.call(f"{ref}echo", b"{}", timeout_ms=timeout), 10.0)
        if isinstance(ended, Said):
            fail(f"a timeout of {timeout} ms is taken", ended)
        stage.saw(f"a timeout of {timeout} ms was taken")
    large = await outcome_of(stage.customer.call(f"{ref}echo", b"x" * 16_384))
    if len(large.output.data) != 16_384:
        fail("an input of 16,384 bytes comes back", len(large.output.data))


@check("IT-CNF-041", role="honest peer")
async def clocks_agree(stage: Stage) -> None:
    """The target's clock differs from the suite's by less than 500 ms."""
    peer = await stage.peer()
    began = now_ms()
    await peer.up()
    opened = lk.Open.FromString(envelope.peek(peer.frames[0].open).payload)
    ended = now_ms()
    expect_clock("its Open", opened.clock, began, ended)
    charge = await ordering.end_of(peer, await ordering.order(peer, "echo", {}))
    expect_clock("an entry", charge.entry.at, ended, now_ms())
    stage.saw("the clocks in Open and entries agree")


def expect_clock(what: str, clock: int, began: int, ended: int) -> None:
    """A clock of the time between two moments, 500 ms more or less. Raises: Failed."""
    if not began - 500 < clock < ended + 500:
        fail(f"a clock in {what} within 500 ms", f"{clock - began} ms after the beginning of {ended - began} ms")


@check("IT-CNF-042", role="honest peer", waits_s=1)
async def deadlines_kept(stage: Stage) -> None:
    """A deadline is acted upon within 500 ms."""
    peer = await (await stage.peer()).up()
    deadline = now_ms() + 1_000
    seq = await ordering.order(peer, "delay", {"ms": 30_000}, deadline=deadline)
    charge = await ordering.expect_charged(peer, seq, 4.0)
    late = now_ms() - deadline
    if charge.state != TASK_STATE_FAILED or late > 500:
        fail("FAILED within 500 ms of the deadline", f"{late} ms late")
    stage.saw(f"the deadline was acted upon {late} ms late")


@check("IT-CNF-043", role="honest peer", waits_s=1, consumer=True)
async def dials_within_seconds(stage: Stage) -> None:
    """A grid of the suite is dialled again within 5 seconds after its link has gone down."""
    shop = await (await stage.shop()).up()
    frames = shop.frames
    await shop.hang_up()
    await until(lambda: shop.frames is not frames and shop.frames, "the target dials again within 5 s", 5.0)
    stage.saw("the target dialled again")
    await shop.up()
