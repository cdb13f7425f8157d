"""RFC 0010, sections 3.5 to 3.7: what an executor proves by its records."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie.v1.record_pb2 import ExecutionRecord, RecordRoot
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_conformance.checks import check
from intertie_conformance.checks.metering import canceled, charged, quantities
from intertie_conformance.grid.account import ME
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.rules import Rules
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import envelope, merkle
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.digests import salted
from intertie_conformance.wire.refusal import Refusal

FIELDS = set(ExecutionRecord.DESCRIPTOR.fields_by_name)


def record_of(charge: pb.Charge) -> ExecutionRecord:
    """The record in a final charge. Raises: Failed without one."""
    if not charge.HasField("proof"):
        fail("a final charge with its record", "no proof")
    return ExecutionRecord.FromString(charge.proof.record)


def root_of(charge: pb.Charge) -> RecordRoot:
    """The signed root of a final charge."""
    record_of(charge)
    return RecordRoot.FromString(envelope.peek(charge.proof.root).payload)


def expect_proven(peer: Peer, charge: pb.Charge) -> None:
    """A payer's table finds nothing wrong with a final charge, except that records may be about other work."""
    hold = peer.logs.account.holds[ME, charge.order_seq]
    before = hold.claims[-2].amount if len(hold.claims) > 1 else 0
    try:
        Rules().check_claim(hold, charge, before, peer.peer)
    except Refusal as refusal:
        fail("a final charge that its record proves", refusal)


async def every_end(peer: Peer) -> list[pb.Charge]:
    """Final charges of work that completed, failed and was canceled."""
    used = {"usage": {"mcp.call": 5, "sim.step": 2}, "steps": 3}
    return [
        await charged(peer, "echo", {"x": 1}),
        await charged(peer, "meter", used),
        await charged(peer, "stream", {"chunks": 2, "bytes": 30}),
        await charged(peer, "fail", {"steps": 3}),
        await canceled(peer),
    ]


@check("IT-MTR-025", role="honest peer")
async def same_quantities(stage: Stage) -> None:
    """Record and charge state the same quantities."""
    peer = await (await stage.peer()).up()
    for charge in await every_end(peer):
        counted = {line.unit: line.quantity for line in record_of(charge).usage if line.quantity}
        if counted != quantities(peer, charge):
            fail(f"a record of {quantities(peer, charge)}", counted)
    stage.saw("five records state what was charged")


@check("IT-MTR-040", role="honest peer")
async def record_values(stage: Stage) -> None:
    """Each record has the values that section 3.5 demands, and every invocation one of its own."""
    peer = await (await stage.peer()).up()
    began = now_ms() - 500
    ends = await every_end(peer)
    for charge in ends:
        record, order = record_of(charge), peer.logs.account.holds[ME, charge.order_seq].order
        output = _output(peer, charge.order_seq)
        units = [line.unit for line in record.usage]
        rules = {
            "executor": record.executor == peer.peer.fingerprint,
            "nonce": record.nonce == order.nonce,
            "offer_digest": record.offer_digest == order.offer_digest,
            "input_digest": record.input_digest == order.input.digest,
            "output_digest": record.output_digest == (salted(order.nonce, output) if output else b""),
            "state": record.state == charge.state,
            "usage": units == sorted(set(units), key=str.encode) and all(line.quantity > 0 for line in record.usage),
            "started_at": began <= record.started_at <= record.ended_at <= now_ms() + 500,
        }
        for name, good in rules.items():
            if not good:
                fail(f"{name} as section 3.5 says, in the record of order {charge.order_seq}", f"{record}"[:400])
    if len({charge.proof.record for charge in ends}) != len(ends):
        fail("a record of its own for each invocation", "the same one twice")
    stage.saw("five records have the values of section 3.5")


def _output(peer: Peer, seq: int) -> bytes:
    """Streamed output and that of the result."""
    own = sorted((e for e in peer.events if e.order_seq == seq and e.number), key=lambda event: event.number)
    pieces = [e.chunk.payload.data for e in own if e.HasField("chunk")]
    return b"".join([*pieces, *(e.result.output.data for e in own if e.HasField("result"))])


@check("IT-MTR-041", role="honest peer")
async def no_price(stage: Stage) -> None:
    """A record holds the defined fields and nothing else: no price, no amount."""
    peer = await (await stage.peer()).up()
    for charge in await every_end(peer):
        record = record_of(charge)
        known = ExecutionRecord(**{name: getattr(record, name) for name in FIELDS if name not in ("usage", "energy")})
        known.usage.extend(record.usage)
        if record.HasField("energy"):
            known.energy.CopyFrom(record.energy)
        record.DiscardUnknownFields()
        if len(charge.proof.record) != record.ByteSize() or known != record:
            fail("the fields of an ExecutionRecord alone", f"{len(charge.proof.record)} bytes")
    stage.saw("five records hold no field but those defined")


@check("IT-MTR-042", role="honest peer")
async def place_of_offer(stage: Stage) -> None:
    """The place in a record is the one that the offer states."""
    peer = await (await stage.peer()).up()
    offer = await ordering.offer(peer, "echo")
    place = record_of(await charged(peer, "echo", {})).place
    if place != offer.message.place:
        fail(f"place {offer.message.place!r}", repr(place))
    stage.saw(f"the record's place is {place!r}, as the offer says")


@check("IT-MTR-050", role="honest peer")
async def roots_signed(stage: Stage) -> None:
    """Every root is signed by a signing key of the descriptor, valid at signed_at."""
    peer = await (await stage.peer()).up()
    for charge in await every_end(peer):
        root = root_of(charge)
        try:
            envelope.unseal(charge.proof.root, envelope.RECORD_ROOT, peer.peer.keys(root.signed_at))
        except Refusal as refusal:
            fail("a root signed by a key that is valid at signed_at", refusal)
        if root.executor != peer.peer.fingerprint or abs(root.signed_at - now_ms()) > 10_000:
            fail("a root of the target, signed now", f"signed_at {root.signed_at}")
    stage.saw("five roots are signed by the target's signing key")


@check("IT-MTR-051", role="honest peer")
async def proof_sizes(stage: Stage) -> None:
    """Roots have at most 4,096 bytes, proofs at most 16,384."""
    peer = await (await stage.peer()).up()
    for charge in await every_end(peer):
        record_of(charge)
        if len(charge.proof.root) > 4_096 or charge.proof.ByteSize() > 16_384:
            fail("4,096 and 16,384 bytes at most", f"{len(charge.proof.root)} and {charge.proof.ByteSize()}")
    stage.saw("five proofs are small enough")


@check("IT-MTR-052", role="honest peer")
async def paths(stage: Stage) -> None:
    """The path leads from the record to the root, also of orders that end together."""
    peer = await (await stage.peer()).up()
    made = [await ordering.make_order(peer, "echo", {"n": n}) for n in range(9)]
    seqs = [peer.write(entry(pb.ENTRY_KIND_ORDER, order=order), data) for order, data in made]
    peer.flush()
    sizes = []
    for seq in seqs:
        charge = await ordering.expect_charged(peer, seq)
        root = root_of(charge)
        try:
            led = merkle.root_by(charge.proof.record, charge.proof.index, root.size, list(charge.proof.path))
        except ValueError as error:
            fail(f"a path for index {charge.proof.index} of {root.size}", error)
        if led != root.root:
            fail("a path that leads to the root", f"index {charge.proof.index} of {root.size}")
        sizes.append(root.size)
    stage.saw(f"nine paths lead to their roots, of {sorted(set(sizes))} records")


@check("IT-MTR-060", role="honest peer")
async def final_charges_proven(stage: Stage) -> None:
    """Final charges that are COMPLETED, or claim more than before, carry a proof that holds."""
    peer = await (await stage.peer()).up()
    for charge in await every_end(peer):
        if charge.state == TASK_STATE_COMPLETED or charge.amount:
            record_of(charge)
        expect_proven(peer, charge)
    free = await charged(peer, "fail", {}, grant=1, max_charge=10)
    expect_proven(peer, free)
    stage.saw("every final charge is proven, or owes no proof")
