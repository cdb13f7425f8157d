"""RFC 0011, section 3.10, RFC 0002, section 3.4, and RFC 0015: what happens on one link touches no other."""

from __future__ import annotations

import asyncio

import grpc

from intertie.v1 import directory_pb2 as dr
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_conformance.checks import check
from intertie_conformance.checks.relaying import refused, same
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.roles import ordering, relayed
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.status import Said, said

K = pb.EntryKind
FLOOD = 400


async def serves(stage: Stage) -> None:
    """The target answers strangers and sells to another peer. Raises: Failed."""
    try:
        answer = await stage.target.directory().GetDescriptor(dr.GetDescriptorRequest(), timeout=stage.patience)
    except grpc.aio.AioRpcError as error:
        fail("an answer of the public port", said(error))
    same(stage, "the descriptor chain", stage.target.chain, list(answer.descriptors))
    other = await stage.peer()
    await other.up()
    await ordering.still_sells(other)


@check("IT-RLY-100", role="executor", waits_s=1)
async def others_go_on(stage: Stage) -> None:
    """While the executor of one order is away, other orders of the same payer go on; then that one does."""
    chain, other = await relayed.chain(stage), await relayed.executor(stage)
    beside = await relayed.chain(stage, payer=chain.payer, shop=other)
    waiting = await chain.order("echo", "x")
    await chain.shop.go_down()
    await ordering.expect_rejected(chain.payer, chain.send("echo", "y"), "PEER_UNAVAILABLE", "NO_ROUTE")
    await beside.still_relays()
    await ordering.still_sells(chain.payer)
    same(stage, "whether the waiting order is open", True, waiting.is_open)
    await chain.shop.come_back()
    await chain.end(waiting)


@check("IT-RLY-101", role="executor")
async def signs_for_the_payer(stage: Stage) -> None:
    """The payer's order is acknowledged though the executor acknowledges nothing."""
    chain = await relayed.chain(stage)
    await chain.still_relays()
    chain.shop.answers = False
    above = chain.send("echo", "x")
    await chain.payer.expect_signed()
    seq = await chain.passed_on(above)
    chain.shop.answers = True
    chain.shop.flush()
    await chain.end(relayed.Passed(chain, above, seq))


@check("IT-RLY-101", role="executor")
async def signs_for_the_executor(stage: Stage) -> None:
    """The executor's charge is acknowledged though the payer acknowledges nothing."""
    chain = await relayed.chain(stage)
    passed = await chain.order("echo", "x")
    chain.payer.answers = False
    chain.shop.charge(chain.shop.claim(passed.seq, {"order": 1}))
    await chain.settled()
    chain.payer.answers = True
    chain.payer.flush()
    await ordering.expect_charged(chain.payer, passed.above)


@check("IT-RLY-102", role="hostile peer", refusal=True, waits_s=1)
async def shares(stage: Stage) -> None:
    """With several upstreams, one that asks for more than half of a limit is refused SHARE_EXCEEDED."""
    shop = await relayed.executor(stage, acceptor_credit_limit=100_000)
    modest = await relayed.chain(stage, shop=shop)
    greedy = await relayed.chain(stage, shop=shop)
    await refused(greedy, "SHARE_EXCEEDED", max_charge=70_000, grant=1_000)
    first = await greedy.order("echo", "x", max_charge=50_000, grant=1_000)
    second = await modest.order("echo", "x", max_charge=50_000, grant=1_000)
    await greedy.end(first)
    await modest.end(second)


@check("IT-ARC-012", role="executor")
async def signs_by_the_link(stage: Stage) -> None:
    """The agreed total downstream follows from that link: whether the payer agrees to its charge changes nothing."""
    chain = await relayed.chain(stage)
    before = chain.shop.logs.account.agreed(THEM, chain.shop.logs.seq(ME))
    passed = await chain.order("echo", "x")
    chain.payer.answers = False
    chain.shop.charge(chain.shop.claim(passed.seq, {"order": 1}))
    await chain.shop.expect_agreed(before + 10)
    fact = await ordering.end_of(chain.payer, passed.above)
    chain.payer.put(K.ENTRY_KIND_REFUSE, refuse={"entry_seq": fact.seq, "rule": "CHARGE_UNPROVEN"})
    chain.payer.answers = True
    chain.payer.flush()
    await chain.payer.expect_signed()
    chain.shop.judges = True
    await chain.shop.expect_alive()
    total = chain.shop.logs.account.agreed(THEM, chain.shop.logs.seq(ME))
    same(stage, "the agreed total downstream", before + 10, total)
    chain.payer.spoiled = True


@check("IT-ARC-013", role="hostile peer")
async def links_apart(stage: Stage) -> None:
    """A peer that breaks a rule, one that is silent and one that hangs leave another's orders alone."""
    good, bad, silent = [await stage.peer() for _ in range(3)]
    for peer in (good, bad, silent):
        await peer.up()
    seq = await ordering.order(good, "delay", {"ms": 150})
    silent.answers = False
    await ordering.order(silent, "echo", "x")
    bad.raw(b"\xff\xff")
    await bad.expect_close("FRAME_MALFORMED")
    hanging = await stage.peer()
    await hanging.connect()
    await ordering.expect_charged(good, seq)
    await ordering.still_sells(good)
    silent.spoiled = hanging.spoiled = True


def flood(peer: Peer) -> None:
    """Much that is right in form: pings, void entries, signatures."""
    for number in range(1, FLOOD):
        peer.lie(lk.Frame(ping=number))
        if number % 8 == 0:
            peer.put(K.ENTRY_KIND_GRANT, grant={"order_seq": 10**6, "amount": 1})
            peer.flush()


@check("IT-SEC-010", role="hostile peer", consumer=True)
async def goes_on_serving(stage: Stage) -> None:
    """Consumers and other links are served while one peer floods and then sends what is wrong."""
    good, bad = await stage.peer(), await stage.peer()
    await good.up()
    await bad.up()
    bad.spoiled = True
    flood(bad)
    await ordering.still_sells(good)
    bad.raw(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff")
    await bad.until_over("the end of a stream with rubbish on it")
    await ordering.still_sells(good)
    found = await stage.customer.search(page_size=1)
    if isinstance(found, Said):
        fail("an answer to a consumer's Search", found)
    stage.saw("a consumer was answered")


RUBBISH = (b"", b"\x00", b"\xff" * 64, b"\x0a\x80\x80\x80\x80\x10", b"\x12\x03\x08\x96", bytes(70_000))


async def strange(stage: Stage, address: str) -> None:
    """Bytes that are no TLS, and a connection that says nothing."""
    host, _, port = address.rpartition(":")
    for data in (b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\xff\xff\x01", b""):
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), stage.patience)
        writer.write(data)
        await writer.drain()
        writer.close()


@check("IT-SEC-011", role="hostile peer")
async def lives_on(stage: Stage) -> None:
    """Rubbish on every port, in proposals, frames, entries and events ends no process."""
    peer = await stage.peer()
    await peer.up()
    for address in (stage.target.table.public, stage.target.peer_address):
        await strange(stage, address)
    for data in RUBBISH:
        request = dr.ProposeRequest(descriptors=[data], agreement=data)
        try:
            await stage.target.directory().Propose(request, timeout=stage.patience)
        except grpc.aio.AioRpcError as error:
            stage.trace.note("stranger", f"← {said(error)}")
    event = {"order_seq": 2**63, "number": 2**63, "resume": {"after_seq": 2**64 - 1, "credit": -(2**63)}}
    peer.lie(lk.Frame(events=[event]))  # type: ignore[list-item]
    for data in RUBBISH[1:]:
        await peer.up()
        peer.raw(data)
        await peer.until_over("the end of a stream with rubbish on it")
    await peer.up()
    await ordering.still_sells(peer)
    await serves(stage)
