"""RFC 0006: proposals of the suite's grids, and what the target makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import grpc

from intertie.v1 import agreement_pb2 as ag
from intertie.v1 import directory_pb2 as dr
from intertie.v1 import entry_pb2 as pb
from intertie_conformance.checks import check
from intertie_conformance.checks.holds import expect_void
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.identity import DAY_MS, Identity, now_ms
from intertie_conformance.grid.terms import terms
from intertie_conformance.roles import ordering
from intertie_conformance.roles.operator import Proposal
from intertie_conformance.roles.peerings import Peerings
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import agreements, certificates, digests, envelope
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.status import Said, said

K = pb.EntryKind
_SOUND: WeakKeyDictionary[Peerings, Proposal] = WeakKeyDictionary()


async def sound(stage: Stage) -> Proposal:
    """The positive control: a sound proposal, the same one in every check, is taken."""
    known = _SOUND.get(stage.peerings)
    if known is None:
        known = _SOUND[stage.peerings] = stage.peerings.proposal(stage.peerings.identity())
    answer = await stage.peerings.propose(known)
    if answer.state not in (dr.PROPOSAL_STATE_PENDING, dr.PROPOSAL_STATE_ACCEPTED):
        fail("a sound proposal is pending or accepted", f"state {answer.state}")
    stage.saw("a sound proposal was taken")
    return known


async def propose(stage: Stage, chain: Sequence[bytes], sealed: bytes) -> dr.ProposeResponse | Said:
    """Propose: the answer, or what the call was refused with."""
    request = dr.ProposeRequest(descriptors=chain, agreement=sealed)
    try:
        answer: dr.ProposeResponse = await stage.target.directory().Propose(request, timeout=stage.patience)
    except grpc.aio.AioRpcError as error:
        stage.trace.note("suite", f"← {said(error)}")
        return said(error)
    stage.trace.note("suite", f"← state {answer.state}")
    return answer


async def expect_refusal(stage: Stage, chain: Sequence[bytes], sealed: bytes, *reasons: str, what: str = "") -> Said:
    """A proposal that must be refused by name."""
    answer, wanted = await propose(stage, chain, sealed), " or ".join(reasons)
    if not isinstance(answer, Said):
        fail(f"{wanted} for {what or 'the proposal'}", f"state {answer.state}")
    if answer.reason not in reasons:
        fail(f"{wanted} for {what or 'the proposal'}", answer)
    stage.saw(f"refused with {answer.reason}: {what}")
    return answer


def sealed_terms(stage: Stage, me: Identity, *keys: Key, **changes: Any) -> bytes:
    """An agreement of a grid with the target, but for the changes, signed by the grid or by other keys."""
    message = terms(me, stage.target.described)
    for path, value in changes.items():
        holder, _, name = path.rpartition("__")
        part: Any = getattr(message, holder) if holder else message
        if isinstance(value, list):
            getattr(part, name).extend(value)
        else:
            setattr(part, name, value)
    return signed(message, *(keys or (me.key,)))


def signed(message: ag.Agreement, *keys: Key) -> bytes:
    """An agreement in its envelope."""
    return envelope.seal(envelope.AGREEMENT, message.SerializeToString(deterministic=True), keys)


BAD_TERMS: dict[str, Sequence[Any]] = {
    "version": (0,),
    "proposer__nonce": (bytes(15), bytes(33)),
    "acceptor__nonce": (b"", bytes(33)),
    "proposer__credit_limit": (-1,),
    "acceptor__max_unagreed": (-1,),
    "asset": ("", "usd", "X-CREDIT"),
    "scale": (10,),
    "suite": ("", "sha512-ed25519"),
    "claim_window_ms": (999, 604_800_001),
    "max_skew_ms": (999, 300_001),
    "rails": (["r"] * 17,),
    "max_open_holds": (0, 1_000_001),
    "max_hold_ms": (999, 604_800_001),
    "previous": (digests.multihash(b""),),
}


@check("IT-PEE-006", role="stranger", refusal=True)
async def fields_of_agreement(stage: Stage) -> None:
    """Each term out of its range is refused with AGREEMENT_INVALID, and the metadata name a field."""
    await sound(stage)
    me = stage.peerings.identity()
    for path, values in BAD_TERMS.items():
        for value in values:
            sealed = sealed_terms(stage, me, **{path: value})
            answer = await expect_refusal(stage, me.chain, sealed, "AGREEMENT_INVALID", what=f"{path} = {value!r:.40}")
            if path.rpartition("__")[2] not in answer.metadata.get("field", ""):
                fail(f"metadata field naming {path}", dict(answer.metadata))


@check("IT-PEE-007", role="stranger", refusal=True)
async def signature_of_proposer(stage: Stage) -> None:
    """A stranger's signature, the root key's, or one of a key not valid at proposed_at is SIGNATURE_INVALID."""
    await sound(stage)
    me = stage.peerings.identity()
    for key, what in ((Key(), "a stranger's key"), (me.root, "the root key")):
        sealed = sealed_terms(stage, me, key)
        await expect_refusal(stage, me.chain, sealed, "SIGNATURE_INVALID", what=what)
    for late in (-30 * DAY_MS, 30 * DAY_MS):
        sealed = sealed_terms(stage, me, proposed_at=now_ms() + late)
        await expect_refusal(stage, me.chain, sealed, "SIGNATURE_INVALID", what=f"proposed_at {late} ms from now")


@check("IT-PEE-005", role="stranger", refusal=True)
async def steps_of_agreement(stage: Stage) -> None:
    """Of two faults in an agreement the one of the earlier step names the reason."""
    await sound(stage)
    me = stage.peerings.identity()
    large = sealed_terms(stage, me, rails=["r" * agreements.MAX_BYTES])
    await expect_refusal(
        stage, me.chain, large, "INVALID_ARGUMENT", what=f"{len(large)} bytes, a rail that is no token"
    )
    wrong_type = envelope.seal(envelope.DESCRIPTOR, terms(me, stage.target.described).SerializeToString(), [Key()])
    await expect_refusal(stage, me.chain, wrong_type, "INVALID_ARGUMENT", what="another type, a stranger's key")
    undecodable = envelope.seal(envelope.AGREEMENT, b"\xff\xff", [me.key])
    await expect_refusal(stage, me.chain, undecodable, "AGREEMENT_INVALID", what="a payload that does not decode")
    unsigned = sealed_terms(stage, me, Key(), scale=10)
    await expect_refusal(stage, me.chain, unsigned, "SIGNATURE_INVALID", what="a stranger's key, scale 10")
    late = sealed_terms(stage, me, scale=10, proposed_at=now_ms() + 30 * DAY_MS)
    await expect_refusal(stage, me.chain, late, "SIGNATURE_INVALID", what="a key not valid yet, scale 10")
    other = sealed_terms(stage, me, proposer__grid="other.example")
    await expect_refusal(stage, me.chain, other, "AGREEMENT_INVALID", what="another name of the proposer")


@check("IT-PEE-020", role="stranger", refusal=True)
async def steps_of_proposal(stage: Stage) -> None:
    """Of two faults in a proposal the one of the earlier step names the reason."""
    await sound(stage)
    me = stage.peerings.identity()
    bad = Identity(me.grid, [certificates.make_certificate(me.grid, ca=True)[1]])
    bad.describe()
    await expect_refusal(stage, [], sealed_terms(stage, me, scale=10), "DESCRIPTOR_INVALID", what="no chain, bad terms")
    elsewhere = sealed_terms(stage, bad, acceptor__fingerprint=me.fingerprint)
    await expect_refusal(stage, bad.chain, elsewhere, "AGREEMENT_INVALID", what="another acceptor, a CA")
    misnamed = sealed_terms(stage, bad, acceptor__grid="other.example")
    await expect_refusal(stage, bad.chain, misnamed, "AGREEMENT_INVALID", what="another name of the acceptor, a CA")
    ranged = sealed_terms(stage, bad, max_skew_ms=0)
    await expect_refusal(stage, bad.chain, ranged, "AGREEMENT_INVALID", what="bad terms, a CA")
    bad.grid = stage.target.grid
    bad.describe()
    named = sealed_terms(stage, bad)
    await expect_refusal(stage, bad.chain, named, "CERTIFICATE_MISMATCH", what="a CA, the target's own name")


@check("IT-PEE-021", role="stranger")
async def repeated(stage: Stage) -> None:
    """A proposal that is repeated has the same answer, byte for byte, and leaves the link as it was."""
    peer = await (await stage.peer()).up()
    await ordering.still_sells(peer)
    before = (peer.logs.seq(ME), peer.logs.seq(THEM))
    proposed = agreements.propose(peer.agreement.message, peer.me.key)
    answers = [await propose(stage, peer.me.chain, proposed) for _ in range(2)]
    for answer in answers:
        if isinstance(answer, Said) or answer.state != dr.PROPOSAL_STATE_ACCEPTED:
            fail("ACCEPTED again", answer)
        if answer.agreement != peer.agreement.sealed:
            fail("the same countersigned agreement again", "other bytes")
    await peer.expect_alive()
    await peer.up()
    opened = peer.target_open()
    if opened.own.seq < before[1] or opened.other.seq < before[0]:
        fail(f"cursors at least at {before}", (opened.other.seq, opened.own.seq))
    stage.saw("repeated twice, answered alike, logs kept")


@check("IT-PEE-011", role="hostile peer")
async def genesis_once(stage: Stage) -> None:
    """The same agreement in another envelope begins no second peering: the logs go on."""
    peer = await (await stage.peer()).up()
    await ordering.still_sells(peer)
    before = (peer.logs.seq(ME), peer.logs.seq(THEM))
    other = envelope.add_signature(agreements.propose(peer.agreement.message, peer.me.key), Key())
    answer = await propose(stage, peer.me.chain, other)
    stage.trace.note("suite", f"the same payload in another envelope: {str(answer)[:80]}")
    await peer.up()
    opened = peer.target_open()
    if opened.own.seq < before[1] or opened.other.seq < before[0]:
        fail(f"cursors at least at {before}", (opened.other.seq, opened.own.seq))
    stage.saw(f"the logs go on from {before}")
    await ordering.still_sells(peer)


@check("IT-PEE-004", role="stranger")
async def countersigned(stage: Stage) -> None:
    """The target has countersigned with a signing key that was not past at proposed_at."""
    peer = await stage.peer()
    proposed_at, sealed = peer.agreement.message.proposed_at, envelope.peek(peer.agreement.sealed)
    listed = [key for key in stage.target.described.message.signing_keys if key.not_after >= proposed_at]
    ids = {digests.multihash(key.public_key) for key in listed}
    made = set(envelope.signers(sealed, stage.target.described.keys()))
    if not made & ids:
        fail("a signature by a signing key of the target", [key.hex() for key in made])
    stage.saw("countersigned by a signing key")


@check("IT-PEE-023", role="stranger")
async def both_signed(stage: Stage) -> None:
    """An accepted proposal is answered with the proposer's payload bytes under both signatures."""
    peer = await stage.peer(proposer_credit_limit=77_000_000)
    proposed = agreements.propose(peer.agreement.message, peer.me.key)
    answer = await propose(stage, peer.me.chain, proposed)
    if isinstance(answer, Said) or answer.state != dr.PROPOSAL_STATE_ACCEPTED:
        fail("ACCEPTED", answer)
    if envelope.peek(answer.agreement).payload != envelope.peek(proposed).payload:
        fail("the proposer's payload bytes", "other bytes")
    agreements.read(answer.agreement, peer.me.described, stage.target.described)
    stage.saw("both have signed the proposed bytes")


@check("IT-PEE-010", role="honest peer")
async def genesis(stage: Stage) -> None:
    """The link opens under the hash of the payload with its tag, and under no other."""
    peer = await (await stage.peer()).up()
    opened = peer.target_open()
    if opened.genesis != digests.genesis(envelope.peek(peer.agreement.sealed).payload):
        fail("an Open for the genesis of the RFC", opened.genesis.hex())
    stage.saw("the target's Open names the genesis")


@check("IT-PEE-025", role="honest peer")
async def ready_at_once(stage: Stage) -> None:
    """As soon as a proposal is ACCEPTED its link opens, at the first attempt."""
    peer = await stage.peer(max_open_holds=33)
    await peer.up()
    await ordering.still_sells(peer)


@check("IT-PEE-040", role="honest peer")
async def own_terms(stage: Stage) -> None:
    """Orders are judged by the terms of their own agreement: the longest hold, and the claim window."""
    peer = await stage.peer(max_hold_ms=5_000, claim_window_ms=604_800_000)
    await peer.up()
    at = max(now_ms(), peer.logs.at[ME])
    made, _ = await ordering.make_order(peer, "echo", {}, deadline=at + 5_001)
    seq = peer.put(K.ENTRY_KIND_ORDER, at=at, order=made)
    peer.flush()
    await peer.expect_refused(seq, "ORDER_INVALID")
    order = await ordering.order(peer, "echo", {}, within_ms=4_500)
    await ordering.expect_charged(peer, order)
    await expect_void(peer, "EXPIRE_EARLY", (K.ENTRY_KIND_EXPIRE, {"expire": {"order_seq": order}}))


@check("IT-PEE-041", role="honest peer", consumer=True)
async def asset_and_scale(stage: Stage) -> None:
    """Offers, and receipts of what was bought over the link, count in the agreement's asset and scale."""
    shop = await stage.seller()
    agreed = shop.agreement.message
    bought = await shop.ordered("echo", {"x": 1})
    shop.charge(shop.claim(bought.seq, {"order": 1}))
    receipt = (await bought.outcome()).receipt
    if (receipt.asset, receipt.scale, receipt.charge) != (agreed.asset, agreed.scale, 10):
        fail(f"10 in {agreed.asset} of scale {agreed.scale}", f"{receipt.charge} {receipt.asset} {receipt.scale}")
    peer = await (await stage.peer()).up()
    for offer in (await ordering.offers(peer)).values():
        if (offer.message.asset, offer.message.scale) != (agreed.asset, agreed.scale):
            fail(f"offers in {agreed.asset} of scale {agreed.scale}", offer.message.asset)
    stage.saw(f"all amounts are in {agreed.asset} of scale {agreed.scale}")
