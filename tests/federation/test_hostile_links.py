"""Hostile peers over real sockets and mutual TLS: each gets its named answer, and everybody else is served."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tests.federation.hostile import Hostile
from tests.kit.identities import make_offer
from tests.kit.live import Consumer, LiveNode, peer, refused, until
from tests.kit.misdeeds import FRAMES, OPENS
from tests.kit.misdeeds_of_charges import AFTER_END, UNPROVEN_CHARGES, VOID_CHARGES
from tests.kit.misdeeds_of_orders import ORDERS, VOID_ENTRIES
from tests.kit.rogue import K

from intertie.errors import IntertieError
from intertie.registry import LIMITS
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1 import task_pb2 as ts
from intertie.v1.event_pb2 import ByteCredit, Event
from intertie_node.adapters.grpc import peer as peer_adapter
from intertie_node.adapters.grpc import streams
from intertie_node.adapters.grpc.tls import make_certificate
from intertie_node.core.ledger import ME, THEM

pytestmark = pytest.mark.asyncio(loop_scope="module")
MALFORMED = {"FRAME_MALFORMED", "SIGNATURE_INVALID", "INVALID_ARGUMENT", "LOG_GAP"}


class Stage:
    """A node under attack, with an honest peer and a consumer of its own."""

    def __init__(self, north: LiveNode, south: LiveNode, consumer: Consumer) -> None:
        self.north, self.south, self.consumer = north, south, consumer
        self.number = 0
        self.hostile: list[Hostile] = []

    async def peered(self, **options: Any) -> Hostile:
        """A new hostile grid, peered with the node."""
        self.number += 1
        made = Hostile(f"mal-{self.number}.example")
        self.hostile.append(made)
        await made.join(self.north, **options)
        return made

    async def selling(self) -> Hostile:
        """A hostile grid whose offer is in the node's catalog."""
        made = await self.peered(listen=True)
        await until("the node dials", lambda: self.north.is_open(made.fingerprint))
        await made.sell(make_offer(made.fingerprint, "tool"), f"{made.grid}/tool")
        return made

    async def order(self, hostile: Hostile, **fields: Any) -> tuple[asyncio.Task[Any], int]:
        """A call of the consumer that the node has ordered at the hostile grid."""
        before = len(hostile.rogue.entries(K.ENTRY_KIND_ORDER))
        call = asyncio.create_task(self.consumer.call(Consumer.request(f"{hostile.grid}/tool", **fields)))
        await until("the order arrives", lambda: len(hostile.rogue.entries(K.ENTRY_KIND_ORDER)) > before)
        return call, hostile.rogue.entries(K.ENTRY_KIND_ORDER)[-1].seq

    async def check_calm(self) -> None:
        """The node's own work and its honest link go on, and its books are right."""
        self.north.check()
        for ref in ("north.example/conformance/echo", "south.example/conformance/echo"):
            outcome = await self.consumer.call(Consumer.request(ref, b'{"x":1}'))
            assert outcome.state == ts.TASK_STATE_COMPLETED
        self.north.check_books()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    north, south = LiveNode("north.example", folder / "n", relay=True), LiveNode("south.example", folder / "s")
    await north.start()
    await south.start()
    await peer(north, south)
    await north.knows("south.example/conformance/echo")
    async with north.consumer() as consumer:
        yield Stage(north, south, consumer)
    await south.stop()
    await north.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(module_stage: Stage) -> AsyncIterator[Stage]:
    yield module_stage
    await module_stage.check_calm()
    for hostile in module_stage.hostile:
        await hostile.stop()
    module_stage.hostile.clear()


def same(reason: str, wanted: str) -> bool:
    return reason in MALFORMED if wanted == "*" else reason == wanted


# -- the tables ----------------------------------------------------------------------------------------


async def test_bad_openings(stage: Stage) -> None:
    hostile = await stage.peered()
    for name, misdeed in OPENS.items():
        hostile.forget()
        await hostile.dial()
        if name == "oversize":
            hostile.rogue.send(bytes(5 << 20))  # more than the transport takes: no name, but the stream ends
            await until("the stream ends", lambda: hostile.connection is None)
            await hostile.dial()
        misdeed.act(hostile.rogue)
        assert same(await hostile.closed(), misdeed.reason), name
        link = stage.north.link(hostile.fingerprint)
        assert (link.pair.logs[THEM].seq, link.connection) == (0, None), name
    await hostile.stop()


@pytest.mark.parametrize("name", FRAMES)
async def test_bad_frame(stage: Stage, name: str) -> None:
    hostile = await stage.peered()
    rogue = await hostile.open()
    rogue.relax = True
    offer = await hostile.offer("conformance/echo")
    link = stage.north.link(hostile.fingerprint)
    before = link.pair.logs[THEM].seq
    FRAMES[name].act(rogue, offer)
    reason = await hostile.closed()
    assert same(reason, FRAMES[name].reason), reason
    await until("the link is down", lambda: not stage.north.is_open(hostile.fingerprint))
    assert link.pair.logs[THEM].seq == before + (name == "equivocating entry")
    assert link.ledger.lanes[THEM].posted == 0
    assert stage.north.node.links.closed[link.name].startswith(reason)


async def test_orders_that_cannot_be_served(stage: Stage) -> None:
    hostile = await stage.peered()
    rogue = await hostile.open()
    offer = await hostile.offer("conformance/echo")
    for name, misdeed in ORDERS.items():
        seq = misdeed.act(rogue, offer)
        await until(f"{name} is rejected", lambda seq=seq: seq in rogue.rejected())
        assert rogue.rejected()[seq] == misdeed.reason, name
    schema = rogue.buy(await hostile.offer("conformance/delay"), b'{"ms": "soon"}')
    await until("the bad input is rejected", lambda: schema in rogue.rejected())
    assert rogue.rejected()[schema] == "INPUT_INVALID"
    refuse = rogue.buy(await hostile.offer("conformance/refuse"), b'{"message": "not you"}')
    await until("the refusal arrives", lambda: refuse in rogue.rejected())
    assert rogue.rejected()[refuse] == "PERMISSION_DENIED"
    lane = stage.north.link(hostile.fingerprint).ledger.lanes[THEM]
    assert (lane.posted, lane.pending, lane.open) == (0, 0, 0)


async def test_void_entries(stage: Stage) -> None:
    hostile = await stage.peered()
    rogue = await hostile.open()
    rogue.write(200)  # unknown and uncritical: appended without effect
    rogue.say()
    for name, (entry, rule) in VOID_ENTRIES.items():
        body = entry.WhichOneof("body")
        seq = rogue.write(entry.kind, **({body: getattr(entry, body)} if body else {}))
        rogue.say()
        await until(f"{name} is refused", lambda seq=seq: seq in rogue.refused())
        assert rogue.refused()[seq] == rule, name
    assert stage.north.is_open(hostile.fingerprint)
    assert 1 not in rogue.refused()


@pytest.mark.parametrize("name", UNPROVEN_CHARGES)
async def test_unproven_charge(stage: Stage, name: str) -> None:
    hostile = await stage.selling()
    call, order = await stage.order(hostile)
    seq = UNPROVEN_CHARGES[name].act(hostile.rogue, order)
    outcome = await call
    assert outcome.state == ts.TASK_STATE_FAILED
    assert outcome.problem.reason == UNPROVEN_CHARGES[name].reason
    assert outcome.receipt.charge == 0
    await until("the claim is refused", lambda: seq in hostile.rogue.refused())
    assert hostile.rogue.refused() == {seq: UNPROVEN_CHARGES[name].reason}
    lane = stage.north.link(hostile.fingerprint).ledger.lanes[ME]
    assert lane.agreed == 0
    assert lane.posted > 0
    signatures = [frame.signature for frame in hostile.rogue.heard if frame.HasField("signature")]
    assert int.from_bytes(signatures[-1].agreed_total, "big", signed=True) == 0


async def test_void_and_late_claims(stage: Stage) -> None:
    hostile = await stage.selling()
    for name, misdeed in {**VOID_CHARGES, **AFTER_END}.items():
        call, order = await stage.order(hostile)
        seq = misdeed.act(hostile.rogue, order)
        await until(f"{name} is refused", lambda seq=seq: seq in hostile.rogue.refused())
        assert hostile.rogue.refused()[seq] == misdeed.reason, name
        charged = 10
        if name in VOID_CHARGES:
            assert not call.done()
            charged = 30
            usage = {"order": 1, "llm.output.token": 200}
            hostile.rogue.write(K.ENTRY_KIND_CHARGE, charge=hostile.rogue.claim(order, usage))
        hostile.rogue.say(events=[hostile.rogue.result(order)])
        outcome = await call
        assert (outcome.state, outcome.receipt.charge) == (ts.TASK_STATE_COMPLETED, charged), name


# -- certificates --------------------------------------------------------------------------------------


async def _handshake(hostile: Hostile, **credentials: bytes) -> Exception | None:
    """Try a stream with other credentials; how it failed."""
    call = hostile.call(hostile.channel(**credentials))
    try:
        await asyncio.wait_for(call.write(lk.Frame(ping=1).SerializeToString()), 5)
        await asyncio.wait_for(call.read(), 5)
    except (grpc.aio.AioRpcError, TimeoutError, asyncio.CancelledError) as error:
        return error
    finally:
        call.cancel()
    return None


async def test_an_unknown_certificate_is_not_admitted(stage: Stage) -> None:
    hostile = await stage.peered()
    key, certificate = make_certificate("stranger.example", datetime.datetime.now(datetime.UTC))
    error = await _handshake(hostile, key=key, certificate=certificate)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_with_a_peers_name_and_another_key_is_not_admitted(stage: Stage) -> None:
    hostile = await stage.peered()
    key, certificate = make_certificate("south.example", datetime.datetime.now(datetime.UTC))
    error = await _handshake(hostile, key=key, certificate=certificate)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_copied_certificate_cannot_finish_a_handshake(stage: Stage) -> None:
    """A peer's certificate is public; without its key it is worth nothing."""
    hostile = await stage.peered()
    error: Exception | None
    try:
        error = await _handshake(hostile, certificate=stage.south.certificate)
    except Exception as other:  # the library may refuse a key that does not fit before it dials
        error = other
    assert error is not None


async def test_a_copied_certificate_in_a_descriptor_is_not_peered_with(stage: Stage) -> None:
    """Listing another grid's certificate as one's own must not shut that grid out."""
    thief = Hostile("thief.example", certificates=[stage.south.certificate])
    error = await refused(thief.propose(stage.north, thief.proposal(stage.north)))
    assert error.reason == "CERTIFICATE_MISMATCH"
    for certificate in (b"garbage", b""):
        if certificate:
            broken = Hostile("broken.example", certificates=[certificate])
            error = await refused(broken.propose(stage.north, broken.proposal(stage.north)))
            assert error.reason == "CERTIFICATE_MISMATCH"
    assert stage.north.node.peerings.pins.who(stage.south.certificate) == stage.south.node.world.fingerprint


async def test_another_peers_genesis_is_unknown(stage: Stage) -> None:
    hostile = await stage.peered()
    rogue = await hostile.dial()
    rogue.open(genesis=stage.north.link(stage.south.node.world.fingerprint).genesis)
    assert await hostile.closed() == "UNKNOWN_GENESIS"
    assert stage.north.is_open(stage.south.node.world.fingerprint)
    with pytest.raises(grpc.aio.AioRpcError, match="genesis"):
        await hostile.fetch(genesis=bytes(32))


async def test_bad_proposals(stage: Stage) -> None:
    north = stage.north
    stranger = Hostile("stranger.example")
    sealed = stranger.proposal(north)
    flipped = bytearray(sealed)
    flipped[-1] ^= 1
    assert (await refused(stranger.propose(north, bytes(flipped)))).reason == "SIGNATURE_INVALID"
    assert (await refused(stranger.propose(north, b"\xff" * 30))).reason == "INVALID_ARGUMENT"
    elsewhere = stranger.proposal(stage.south)
    assert (await refused(stranger.propose(north, elsewhere))).reason == "AGREEMENT_INVALID"
    double = Hostile("south.example")
    assert (await refused(double.propose(north, double.proposal(north)))).reason == "DESCRIPTOR_INVALID"
    with pytest.raises(IntertieError, match="out of range"):
        stranger.proposal(north, max_skew_ms=5)


# -- silence and floods --------------------------------------------------------------------------------


async def test_a_stream_that_says_nothing_is_closed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_adapter, "OPEN_TIMEOUT_S", 0.3)
    hostile = await stage.peered()
    call = hostile.call(hostile.channel())
    await call.wait_for_connection()
    frame = lk.Frame.FromString(await asyncio.wait_for(call.read(), 5))
    assert frame.close.reason == "SILENT_PEER"
    call.cancel()


async def test_an_order_flood_stops_at_the_limit(stage: Stage) -> None:
    hostile = await stage.peered(max_open_holds=20)
    rogue = await hostile.open()
    offer = await hostile.offer("conformance/delay")
    inputs = []
    for _ in range(300):
        seq = rogue.write(K.ENTRY_KIND_ORDER, order=rogue.order(offer, b'{"ms":60000}'))
        inputs.append(lk.OrderInput(order_seq=seq, data=b'{"ms":60000}'))
    rogue.say(inputs=inputs)
    await until("the flood is rejected", lambda: len(rogue.rejected()) == 280)
    assert set(rogue.rejected().values()) == {"TOO_MANY_ORDERS"}
    lane = stage.north.link(hostile.fingerprint).ledger.lanes[THEM]
    assert lane.open == 20
    await stage.check_calm()
    for order in [f.order_seq for f in inputs if f.order_seq not in rogue.rejected()]:
        rogue.write(K.ENTRY_KIND_CANCEL, cancel=pb.Cancel(order_seq=order))
    rogue.say()
    await until("all is stopped", lambda: lane.open == 0)
    assert lane.posted == 20 * 5


async def test_a_peer_that_stops_reading_is_cut(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives endless credit for streams and takes nothing: the node cuts it, and no other link waits."""
    monkeypatch.setattr(streams, "MAX_QUEUED_BYTES", 4 << 20)
    hostile = await stage.peered()
    rogue = await hostile.dial_lazily()
    rogue.open()
    await until("the node advertises", lambda: stage.north.node.world.fingerprint in rogue.routes)
    link = stage.north.link(hostile.fingerprint)
    connection = link.connection
    data = b'{"chunks":1000,"bytes":16000}'
    offer = await hostile.offer("conformance/stream")
    orders = [rogue.buy(offer, data, max_charge=4_000_000, grant=4_000_000) for _ in range(2)]
    await until("the first piece arrives", lambda: rogue.events)
    hostile.reads = False
    credit = [Event(order_seq=seq, byte_credit=ByteCredit(bytes=1 << 40)) for seq in orders]
    rogue.send(lk.Frame(events=credit).SerializeToString())
    largest = 0
    while link.connection is connection:
        largest = max(largest, connection._queued)
        await stage.check_calm()
    assert 1 << 20 < largest <= 4 << 20
    assert connection.fault.startswith("SLOW_PEER")
    assert stage.north.node.links.closed[link.name].startswith("SLOW_PEER")


async def test_a_flood_of_pings_delays_nobody(stage: Stage) -> None:
    hostile = await stage.peered()
    rogue = await hostile.open()
    for number in range(5_000):
        rogue.send(lk.Frame(ping=number + 1).SerializeToString())
    started = asyncio.get_running_loop().time()
    await stage.check_calm()
    assert asyncio.get_running_loop().time() - started < 3
    await until("the pings are answered", lambda: any(frame.pong for frame in rogue.heard))


async def test_a_flood_of_void_entries_delays_nobody_much(stage: Stage) -> None:
    """The costliest frames there are: thousands of entries, each to be refused, as fast as the node takes them."""
    hostile = await stage.peered()
    rogue = await hostile.open()
    rogue.answers = False
    entry = pb.Entry(kind=99, seen=rogue.pair.logs[THEM].seq, at=rogue.now()).SerializeToString()
    log, limit = rogue.pair.logs[ME], LIMITS["frame_entries"].maximum
    for _ in range(12):
        for _ in range(limit):
            rogue.append(entry)
        rogue.say(rogue.signature(seq=log.seq, head=log.head))
    await asyncio.sleep(0)
    link, slowest = stage.north.link(hostile.fingerprint), 0.0
    while link.pair.logs[THEM].seq < 12 * limit:
        started = asyncio.get_running_loop().time()
        await stage.check_calm()
        slowest = max(slowest, asyncio.get_running_loop().time() - started)
    assert slowest < 8
    await until("all is refused", lambda: len(rogue.refused()) == 12 * limit)
    assert stage.north.is_open(hostile.fingerprint)


async def test_the_reserved_transfer_says_so(stage: Stage) -> None:
    hostile = await stage.peered()
    transfer = hostile.channel().stream_stream(
        "/intertie.v1.LinkService/Transfer",
        request_serializer=lk.TransferRequest.SerializeToString,
        response_deserializer=lk.TransferResponse.FromString,
    )()
    assert (await refused(transfer.read())).reason == "UNSUPPORTED_FEATURE"
