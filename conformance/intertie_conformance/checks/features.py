"""RFC 0013: features, and what a target does with what it does not know."""

from __future__ import annotations

from typing import Any

import grpc

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_conformance.checks import check
from intertie_conformance.checks.offers_of_conformance import FEATURES
from intertie_conformance.checks.opening import first, open_payload, sealed_frame
from intertie_conformance.checks.routes import opened, ref
from intertie_conformance.grid.account import ME
from intertie_conformance.roles import ordering, proposing
from intertie_conformance.roles.customer import outcome_of
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import envelope
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.status import Said, said

K = pb.EntryKind
UNKNOWN_FIELD = b"\xfa\xff\x03\x03abc"
"""A field of a number that no message of version 1 has."""


@check("IT-VER-002", role="hostile peer", consumer=True)
async def unknown_values(stage: Stage) -> None:
    """Enumeration values that nobody knows are not taken for others: no kind is found, no end is agreed to."""
    market = await opened(stage)
    plain = market.offer()
    await market.open_market(plain)
    for kind in (77, 78):
        found = await stage.customer.found(kind=kind)
        if any(item.offer.kind != kind for item in found):
            fail(f"no offer of another kind for kind {kind}", [item.ref for item in found][:4])
    stage.saw("no offer was found by an unknown kind")
    stage.customer.call(ref(market, plain))
    fact = await market.expect_order()
    record = market.record(fact.entry.order, {"order": 1}, state=99)
    seq = market.deliver(fact, state=99, proof=market.prove(record))
    await market.expect_refused(seq, "CHARGE_UNPROVEN")
    call = stage.customer.call(ref(market, plain))
    market.deliver(await market.expect_order())
    outcome = await outcome_of(call)
    if outcome.state != TASK_STATE_COMPLETED:
        fail("COMPLETED for a state that is known", outcome.state)


@check("IT-VER-013", role="honest peer")
async def features_had(stage: Stage) -> None:
    """The conformance offers state features that they have, and no others."""
    peer = await (await stage.peer()).up()
    for name, features in FEATURES.items():
        message = (await ordering.offer(peer, name)).message
        extra = set(message.features) - features
        if extra:
            fail(f"no feature of {name} but {sorted(features)}", sorted(extra))
    charge = await ordering.expect_charged(peer, await ordering.order(peer, "stream", {"chunks": 2, "bytes": 4}))
    if sum(e.HasField("chunk") for e in peer.events if e.order_seq == charge.order_seq) != 2:
        fail("chunks of what states streaming", "none")
    stage.saw("seven offers state what they have")


@check("IT-VER-016", role="honest peer")
async def transfer_unbuilt(stage: Stage) -> None:
    """Transfer is answered with UNSUPPORTED_FEATURE; SyncCatalog on the same connection is answered."""
    peer = await (await stage.peer()).up()
    answer = await _transferred(peer)
    if answer.reason != "UNSUPPORTED_FEATURE":
        fail("UNSUPPORTED_FEATURE", answer)
    stage.saw("Transfer was answered with UNSUPPORTED_FEATURE")
    if not await ordering.offers(peer):
        fail("offers on the same connection", "none")


async def _transferred(peer: Peer) -> Said:
    """What a call of Transfer is answered with. Raises: Failed if that is no status.

    One request and the end of requests are one write on the wire, so an answer that waits for neither loses nothing.
    """
    method: Any = peer.channel.unary_stream(
        "/intertie.v1.LinkService/Transfer",
        request_serializer=lk.TransferRequest.SerializeToString,
        response_deserializer=lk.TransferResponse.FromString,
    )
    try:
        async for _ in method(lk.TransferRequest(digest=bytes(34)), timeout=max(peer.stage.patience, 1.0)):
            fail("UNSUPPORTED_FEATURE", "an answer")
    except grpc.aio.AioRpcError as error:
        return said(error)
    fail("UNSUPPORTED_FEATURE", "an end without a word")


def entry_with(peer: Peer, kind: int, more: bytes = b"", **body: Any) -> bytes:
    """Exact bytes of an entry with an unknown field."""
    made = pb.Entry(kind=kind, seen=peer.logs.seq(1 - ME), at=max(peer.now(), peer.logs.at[ME]), **body)  # type: ignore[arg-type]
    return made.SerializeToString() + more


@check("IT-VER-020", role="hostile peer", refusal=True)
async def unknown_things(stage: Stage) -> None:
    """Unknown fields, bodies, kinds, units, features and keys are treated by the table."""
    peer = await (await stage.peer()).up()
    peer.raw(lk.Frame(ping=71).SerializeToString() + UNKNOWN_FIELD)
    await peer.wait(lambda: any(frame.pong == 71 for frame in peer.frames), "a pong beside an unknown field")
    order, data = await ordering.make_order(peer, "echo", {"a": 1})
    odd = entry_with(peer, K.ENTRY_KIND_ORDER, UNKNOWN_FIELD, order=order)
    seq = peer.put_bytes(odd, data)
    peer.flush()
    await ordering.expect_charged(peer, seq)
    stage.saw("an order with an unknown field was done")
    critical, uncritical = peer.put(90), peer.put(200)
    peer.flush()
    await peer.expect_refused(critical, "UNSUPPORTED_ENTRY")
    await peer.expect_signed(uncritical)
    if any(f.entry.kind == K.ENTRY_KIND_REFUSE and f.entry.refuse.entry_seq == uncritical for f in peer.facts):
        fail("an entry of kind 200 without effect", "a refuse")
    frame = lk.Frame(events=[Event(order_seq=seq, number=0)])
    frame.events[0].MergeFromString(b"\xfa\x07\x00")
    peer.raw(frame.SerializeToString())
    await ordering.still_sells(peer)
    stage.saw("an event of an unknown body was ignored")
    me, bad = proposing.sound(stage, suite="sha512-ed448")
    await proposing.refused(stage, me.chain, bad, "AGREEMENT_INVALID")
    await peer.hang_up()
    await two_signatures(peer)
    await first(peer, sealed_frame(peer, open_payload(peer), kind=envelope.CATALOG_ROOT), "INVALID_ARGUMENT")
    await peer.begin(features=["x-nobody-knows"])
    await peer.wait(lambda: peer.confirmed, "an Open with an unknown feature is answered and signed")


async def two_signatures(peer: Peer) -> None:
    """An Open that a known and an unknown key have signed opens."""
    peer.script.keys = (peer.me.key, Key())
    try:
        await peer.up()
    finally:
        peer.script.keys = ()
    peer.stage.saw("an Open with the signature of an unknown key beside the known one was taken")


@check("IT-VER-021", role="hostile peer")
async def unknown_keeps_link(stage: Stage) -> None:
    """Nothing unknown closes the link where the table does not say so."""
    peer = await (await stage.peer()).up()
    peer.raw(lk.Frame(ping=72).SerializeToString() + UNKNOWN_FIELD)
    frame = lk.Frame(events=[Event(order_seq=1)])
    frame.events[0].MergeFromString(b"\xfa\x07\x00")
    peer.raw(frame.SerializeToString())
    peer.put(90)
    peer.put(250)
    peer.flush()
    await peer.expect_signed()
    await peer.expect_alive()
    await ordering.still_sells(peer)


@check("IT-VER-030", role="honest peer")
async def other_feature_sets(stage: Stage) -> None:
    """A link opens with a peer of no features, of all, and of unknown ones."""
    peer = await stage.peer()
    for features in ([], ["record-batches"], ["record-batches", "transfer", "settlement", "x-other"]):
        await peer.begin(features=features)
        await peer.wait(lambda: peer.confirmed, f"an open link with the features {features}")
        stage.saw(f"the link opened with {features}")
    await peer.up()
    await ordering.still_sells(peer)
