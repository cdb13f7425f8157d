"""RFC 0003, sections 3.1 to 3.5: exact bytes, digests, keys, envelopes."""

from __future__ import annotations

from intertie.v1 import link_pb2 as lk
from intertie.v1.descriptor_pb2 import Descriptor
from intertie.v1.envelope_pb2 import Envelope
from intertie_conformance.checks import check
from intertie_conformance.checks.frames import tariff
from intertie_conformance.checks.groups import bent
from intertie_conformance.checks.opening import controlled, first, open_payload, sealed_frame
from intertie_conformance.grid.account import ME
from intertie_conformance.roles import ordering, proposing
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import agreements, envelope
from intertie_conformance.wire.digests import salted
from intertie_conformance.wire.keys import IDENTITY_POINT, SPKI_PREFIX, Key, P

UNKNOWN_FIELD = b"\xfa\x7f\x03abc"
"""Field 2047 of three bytes, which no message has."""
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Order of the Ed25519 base point."""


def reordered(data: bytes) -> bytes:
    """The same message in another encoding: an unknown field before it."""
    return UNKNOWN_FIELD + data


@check("IT-ENC-002", role="honest peer")
async def exact_bytes(stage: Stage) -> None:
    """Entries and an Open in an unusual encoding are hashed and verified as the bytes that came."""
    peer = await (await stage.peer()).up()
    tariff(peer)
    peer.put_bytes(reordered(peer.take_back_last()))
    peer.flush()
    await peer.expect_signed()
    await peer.up()


@check("IT-ENC-003", role="honest peer")
async def keeps_bytes(stage: Stage) -> None:
    """Entries in an unusual encoding come back byte by byte."""
    peer = await (await stage.peer()).up()
    tariff(peer)
    peer.put_bytes(reordered(peer.take_back_last()))
    peer.flush()
    await peer.expect_signed()
    before = list(peer.logs.entries[ME])
    peer.forget()
    await peer.up()
    if peer.logs.entries[ME] != before:
        fail("the own entries byte by byte", "other bytes")
    stage.saw("the unusual bytes came back as they were")


@check("IT-ENC-004", role="hostile peer", refusal=True)
async def verifies_first(stage: Stage) -> None:
    """An order in a frame that is not rightly signed is not acted upon; a sound one is."""
    peer = await (await stage.peer()).up()
    order, data = await ordering.make_order(peer, "echo", {"never": 1})
    peer.put(3, order=order)
    frame = peer.frame()
    frame.inputs.add(order_seq=peer.logs.seq(ME), data=data)
    frame.signature.signatures[0].value = bent(stage, frame.signature.signatures[0].value)
    await peer.expect_no_trace(frame, "SIGNATURE_INVALID")
    await ordering.still_sells(peer)


@check("IT-ENC-005", role="honest peer")
async def unknown_fields(stage: Stage) -> None:
    """Fields that nobody knows do not matter: in an Open, a frame, an entry, an agreement."""
    peer = await stage.peer()
    await peer.up()
    await peer.hang_up()
    peer.judges = False
    await peer.connect()
    peer.raw(sealed_frame(peer, open_payload(peer) + UNKNOWN_FIELD))
    await peer.wait(lambda: peer.frames and peer.frames[0].open, "an Open in answer to one with an unknown field")
    peer.judges = True
    await peer.up()
    peer.raw(lk.Frame(ping=5).SerializeToString() + UNKNOWN_FIELD)
    await peer.wait(lambda: any(frame.pong == 5 for frame in peer.frames), "a pong")
    tariff(peer)
    peer.put_bytes(peer.take_back_last() + UNKNOWN_FIELD)
    peer.flush()
    await peer.expect_signed()


@check("IT-ENC-006", role="stranger", refusal=True)
async def undecodable(stage: Stage) -> None:
    """Bytes that do not decode are refused: an envelope with INVALID_ARGUMENT, a payload by its own name."""
    me, sealed = proposing.sound(stage)
    await proposing.refused(stage, [b"\xff\xff"], sealed, "INVALID_ARGUMENT")
    await proposing.refused(stage, me.chain, b"\xff\xff", "INVALID_ARGUMENT")
    garbage = envelope.seal(envelope.AGREEMENT, b"\xff\xff", [me.key])
    await proposing.refused(stage, me.chain, garbage, "AGREEMENT_INVALID")
    await proposing.taken(stage, me.chain, sealed)


@check("IT-ENC-009", role="hostile peer", refusal=True)
async def bare_hashes(stage: Stage) -> None:
    """A genesis, a head or a session that has not 32 bytes is refused."""
    peer = await (await stage.peer()).up()
    for session in (b"", bytes(31), bytes(33)):
        tariff(peer)
        frame = peer.frame()
        frame.signature.session = session
        await peer.expect_no_trace(frame, "SIGNATURE_INVALID")
    for head in (b"", peer.logs.heads[ME][-1] + b"\0"):
        tariff(peer)
        frame = peer.frame()
        frame.signature.head = head
        await peer.expect_no_trace(frame, "LOG_FORK")

    async def act(other: Peer) -> None:
        short = open_payload(other, genesis=other.genesis[:31])
        await first(other, sealed_frame(other, short), "UNKNOWN_GENESIS")

    await controlled(stage, act)


@check("IT-ENC-011", role="stranger", refusal=True)
async def digest_form(stage: Stage) -> None:
    """A proposal whose own fingerprint is no multihash of 34 bytes is refused."""
    me, sealed = proposing.sound(stage)
    for digest in (me.fingerprint[2:], me.fingerprint + b"\0", b"\x13" + me.fingerprint[1:], b""):
        bad = proposing.bent_terms(stage, me, lambda m, d=digest: setattr(m.proposer, "fingerprint", d))  # type: ignore[misc]
        await proposing.refused(stage, me.chain, bad, "AGREEMENT_INVALID")
    await proposing.taken(stage, me.chain, sealed)


@check("IT-ENC-014", role="honest peer")
async def salted_output(stage: Stage) -> None:
    """The output digest of a record is that of the order's nonce followed by the output."""
    from intertie.v1.record_pb2 import ExecutionRecord

    peer = await (await stage.peer()).up()
    value = {"salt": stage.random.randrange(10**9)}
    order, data = await ordering.make_order(peer, "echo", value)
    seq = await ordering.send(peer, order, data)
    charge = await ordering.expect_charged(peer, seq)
    record = ExecutionRecord.FromString(charge.proof.record)
    if record.output_digest != salted(order.nonce, data):
        fail("the multihash of nonce and output", record.output_digest.hex())
    stage.saw("the record's output digest is salted with the order's nonce")


@check("IT-ENC-020", role="stranger", refusal=True)
async def key_form(stage: Stage) -> None:
    """A root key that is no Ed25519 key in its only encoding is refused with DESCRIPTOR_INVALID."""
    me, sealed = proposing.sound(stage)
    raw = me.root.spki[len(SPKI_PREFIX) :]
    for spki in (raw, SPKI_PREFIX + raw + b"\0", b"\x30\x2b" + SPKI_PREFIX[2:] + raw, b""):
        await proposing.refused(stage, _with_root(me.root, me.statement(), spki), sealed, "DESCRIPTOR_INVALID")
    await proposing.taken(stage, me.chain, sealed)


def _with_root(key: Key, statement: object, spki: bytes) -> list[bytes]:
    """A first descriptor that names `spki` as its root key, signed by `key`."""

    assert isinstance(statement, Descriptor)
    statement.version, statement.root_key = 1, spki
    return [envelope.seal(envelope.DESCRIPTOR, statement.SerializeToString(), [key])]


@check("IT-ENC-021", role="stranger", refusal=True)
async def small_order(stage: Stage) -> None:
    """A signing key of small order, and one that is no canonical encoding, are refused with DESCRIPTOR_INVALID."""
    me, sealed = proposing.sound(stage)
    for point in (IDENTITY_POINT, SPKI_PREFIX + (P + 3).to_bytes(32, "little")):

        def bend(message: Descriptor, point: bytes = point) -> None:
            message.signing_keys[0].public_key = point

        await proposing.refused(stage, proposing.bent_chain(me, bend), sealed, "DESCRIPTOR_INVALID")
    await proposing.taken(stage, me.chain, sealed)


@check("IT-ENC-023", role="hostile peer", refusal=True)
async def strict_signatures(stage: Stage) -> None:
    """A signature whose S is not below the group order is refused, though its equation holds."""

    async def act(peer: Peer) -> None:
        sealed = envelope.peek(envelope.seal(envelope.OPEN, open_payload(peer), [peer.me.key]))
        value = sealed.signatures[0].value
        scalar = int.from_bytes(value[32:], "little") + ORDER
        sealed.signatures[0].value = value[:32] + scalar.to_bytes(32, "little")
        await first(peer, lk.Frame(open=sealed.SerializeToString()).SerializeToString(), "SIGNATURE_INVALID")

    await controlled(stage, act)


@check("IT-ENC-032", role="hostile peer", refusal=True)
async def envelope_steps(stage: Stage) -> None:
    """Of two faults of an envelope the one of the earlier step names the reason."""

    async def act(peer: Peer) -> None:
        payload = open_payload(peer)
        made = Envelope(payload_type=envelope.AGREEMENT, payload=payload)
        signature = peer.me.key.sign(envelope.pae(envelope.AGREEMENT, payload))
        made.signatures.extend([signature] * 9)
        await first(peer, lk.Frame(open=made.SerializeToString()).SerializeToString(), "INVALID_ARGUMENT")
        del made.signatures[2:]
        await first(peer, lk.Frame(open=made.SerializeToString()).SerializeToString(), "INVALID_ARGUMENT")
        made = envelope.peek(envelope.seal(envelope.OPEN, payload, [peer.me.key, Key()]))
        made.signatures[1].CopyFrom(made.signatures[0])
        await first(peer, lk.Frame(open=made.SerializeToString()).SerializeToString(), "SIGNATURE_INVALID")

    await controlled(stage, act)


@check("IT-ENC-033", role="honest peer")
async def unknown_signers(stage: Stage) -> None:
    """Signatures of keys that nobody knows, even wrong ones, do not matter beside a right one."""
    peer = await stage.peer()
    made = envelope.peek(envelope.seal(envelope.OPEN, open_payload(peer), [Key(), peer.me.key]))
    made.signatures[0].value = bytes(64)
    peer.judges = False
    await peer.connect()
    peer.lie(lk.Frame(open=made.SerializeToString()))
    await peer.wait(lambda: peer.frames and peer.frames[0].open, "an Open in answer")
    stage.saw("the Open was answered")
    await peer.hang_up()
    peer.judges = True


@check("IT-ENC-034", role="hostile peer", refusal=True)
async def one_wrong_signature(stage: Stage) -> None:
    """A wrong signature of a known key spoils an envelope, though another known key has signed rightly."""
    peer = await stage.peer_with_keys(2)
    await peer.up()
    await peer.hang_up()
    made = envelope.peek(envelope.seal(envelope.OPEN, open_payload(peer), peer.me.signing))
    made.signatures[1].value = bent(stage, made.signatures[1].value)
    await first(peer, lk.Frame(open=made.SerializeToString()).SerializeToString(), "SIGNATURE_INVALID")
    await peer.up()


@check("IT-ENC-035", role="hostile peer", refusal=True)
async def payload_type(stage: Stage) -> None:
    """An envelope of another payload type, rightly signed, is refused with INVALID_ARGUMENT."""

    async def act(peer: Peer) -> None:
        for kind in (envelope.AGREEMENT, envelope.OPEN + " ", envelope.OPEN.upper(), ""):
            await first(peer, sealed_frame(peer, open_payload(peer), kind=kind), "INVALID_ARGUMENT")

    await controlled(stage, act)


@check("IT-ENC-036", role="stranger")
async def countersigned_bytes(stage: Stage) -> None:
    """The countersigned agreement holds the proposed payload byte by byte, unknown fields and all."""
    from intertie_conformance.grid.terms import terms

    me = stage.peerings.identity()
    payload = terms(me, stage.target.described).SerializeToString() + UNKNOWN_FIELD
    sealed = envelope.seal(envelope.AGREEMENT, payload, [me.key])
    answer = await stage.peerings.accepted(me, sealed)
    back = envelope.peek(answer)
    if (back.payload, back.payload_type) != (payload, envelope.AGREEMENT):
        fail("the proposed payload byte by byte", "other bytes")
    agreements.read(answer, me.described, stage.target.described)
    stage.saw("the target signed the payload as it was")
