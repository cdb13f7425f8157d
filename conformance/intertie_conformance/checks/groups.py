"""RFC 0005, section 3.7: taking a group of entries and the signature that ends it."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_conformance.checks import check
from intertie_conformance.checks.frames import tariff
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.registry import LIMITS
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.keys import Key

K = pb.EntryKind


def bent(stage: Stage, data: bytes) -> bytes:
    """The bytes with one bit flipped."""
    made = bytearray(data)
    made[stage.random.randrange(len(made))] ^= 1 << stage.random.randrange(8)
    return bytes(made)


async def bought(stage: Stage) -> Peer:
    """A peer that is up and owes the target something, so that totals are not 0."""
    peer = await (await stage.peer()).up()
    await ordering.still_sells(peer)
    return peer


@check("IT-LNK-090", role="hostile peer", refusal=True)
async def steps_in_order(stage: Stage) -> None:
    """Of two faults in a group the one of the earlier step names the reason."""
    peer = await bought(stage)
    tariff(peer)
    gap = peer.frame(seq=999)
    gap.first_seq += 1
    await peer.expect_no_trace(gap, "LOG_GAP")
    tariff(peer)
    await peer.expect_no_trace(peer.frame(seq=999, head=bytes(32)), "SIGNATURE_INVALID")
    tariff(peer)
    await peer.expect_no_trace(peer.frame(head=bytes(32), agreed_total=bytes(15)), "LOG_FORK")
    tariff(peer)
    await peer.expect_no_trace(peer.frame(total=1, key=Key()), "SIGNATURE_INVALID")
    peer.put(200, seen=peer.logs.seq(THEM) + 5, at=1)
    await peer.expect_no_trace(peer.frame(total=1), "SEEN_INVALID")
    peer.put(200, at=1)
    await peer.expect_no_trace(peer.frame(total=1), "AT_DECREASED")


@check("IT-LNK-091", role="honest peer")
async def skips_held(stage: Stage) -> None:
    """Entries that are held already, sent again before a new one, are skipped."""
    peer = await (await stage.peer()).up()
    for _ in range(2):
        tariff(peer)
        peer.flush()
        await peer.expect_signed()
    tariff(peer)
    frame = peer.frame()
    again = peer.logs.entries[ME][frame.first_seq - 3 : frame.first_seq - 1]
    entries = [*again, *frame.entries]
    del frame.entries[:]
    frame.entries.extend(entries)
    frame.first_seq -= 2
    peer.lie(frame)
    await peer.expect_signed()
    await peer.up()


@check("IT-LNK-092", role="hostile peer", refusal=True)
async def gap(stage: Stage) -> None:
    """Entries that begin one too high, or at seq 0, close the link with LOG_GAP."""
    peer = await (await stage.peer()).up()
    tariff(peer)
    frame = peer.frame()
    frame.first_seq += 1
    await peer.expect_no_trace(frame, "LOG_GAP")
    tariff(peer)
    frame = peer.frame()
    frame.first_seq = 0
    await peer.expect_no_trace(frame, "LOG_GAP")


@check("IT-LNK-093", role="hostile peer", refusal=True)
async def forked_heads(stage: Stage) -> None:
    """A signed head that is not that of the entries, or not that of the target's log, is refused with LOG_FORK."""
    peer = await bought(stage)
    tariff(peer)
    await peer.expect_no_trace(peer.frame(head=bent(stage, peer.logs.heads[ME][-1])), "LOG_FORK")
    tariff(peer)
    await peer.expect_no_trace(peer.frame(acked_head=bent(stage, peer.logs.heads[THEM][-1])), "LOG_FORK")
    tariff(peer)
    changed = peer.frame()
    changed.entries[0] += entry(0, at=0).SerializeToString() or b"\x98\x06\x01"
    await peer.expect_no_trace(changed, "LOG_FORK")


@check("IT-LNK-094", role="hostile peer", refusal=True)
async def signed_seqs(stage: Stage) -> None:
    """A signature of another seq, of the future, or that takes an acknowledgement back is refused."""
    peer = await bought(stage)
    tariff(peer)
    await peer.expect_no_trace(peer.frame(seq=peer.logs.seq(ME) + 1), "SIGNATURE_INVALID")

    def of_the_future(beyond: int) -> lk.Frame:
        tariff(peer)
        return peer.frame(acked=beyond)

    await peer.expect_no_trace_beyond(of_the_future, "SIGNATURE_INVALID")
    tariff(peer)
    less = peer.logs.seq(THEM) - 1
    back = peer.frame(acked=less, acked_head=peer.logs.heads[THEM][less])
    await peer.expect_no_trace(back, "SIGNATURE_INVALID")


@check("IT-LNK-095", role="hostile peer", refusal=True)
async def signed_by_peer(stage: Stage) -> None:
    """A head signature by a stranger, by the root key, a bent one, or none is refused."""
    peer = await (await stage.peer()).up()
    for key in (Key(), peer.me.root):
        tariff(peer)
        await peer.expect_no_trace(peer.frame(key=key), "SIGNATURE_INVALID")
    tariff(peer)
    frame = peer.frame()
    frame.signature.signatures[0].value = bent(stage, frame.signature.signatures[0].value)
    await peer.expect_no_trace(frame, "SIGNATURE_INVALID")
    tariff(peer)
    frame = peer.frame()
    del frame.signature.signatures[:]
    await peer.expect_no_trace(frame, "SIGNATURE_INVALID")


@check("IT-LNK-096", role="hostile peer", refusal=True)
async def entry_malformed(stage: Stage) -> None:
    """An entry that does not decode, or has 65,537 bytes, closes the link; one of 65,536 bytes is taken."""
    peer = await (await stage.peer()).up()
    peer.put_bytes(b"\xff\xff\xff")
    await peer.expect_no_trace(peer.frame(), "ENTRY_MALFORMED")
    limit = LIMITS["entry_bytes"].maximum
    for size, taken in ((limit, True), (limit + 1, False)):
        peer.put_bytes(sized(peer, size))
        if taken:
            peer.flush()
            await peer.expect_signed()
        else:
            await peer.expect_no_trace(peer.frame(), "ENTRY_MALFORMED")


def sized(peer: Peer, size: int) -> bytes:
    """A cancel of no order, void, of exactly so many bytes."""
    made = entry(K.ENTRY_KIND_CANCEL, seen=peer.logs.seq(THEM), at=max(now_ms(), peer.logs.at[ME]))
    made.cancel.comment = "x" * (size - made.ByteSize() - 16)
    made.cancel.comment += "x" * (size - made.ByteSize())
    assert made.ByteSize() == size
    return made.SerializeToString()


@check("IT-LNK-097", role="hostile peer", refusal=True)
async def seen_in_range(stage: Stage) -> None:
    """A `seen` beyond the target's log, or below what was seen before, closes the link with SEEN_INVALID."""
    peer = await bought(stage)

    def sees_beyond(beyond: int) -> lk.Frame:
        peer.put(200, seen=beyond)
        return peer.frame()

    await peer.expect_no_trace_beyond(sees_beyond, "SEEN_INVALID")
    peer.put(200, seen=0)
    await peer.expect_no_trace(peer.frame(), "SEEN_INVALID")
    peer.put(200, seen=peer.logs.account.acked[ME] - 1)
    await peer.expect_no_trace(peer.frame(), "SEEN_INVALID")


@check("IT-LNK-098", role="hostile peer", refusal=True)
async def at_rises(stage: Stage) -> None:
    """An `at` below that of the entry before, of the same frame or an earlier one, closes with AT_DECREASED."""
    peer = await (await stage.peer()).up()
    tariff(peer)
    peer.put(200, at=now_ms() - stage.random.randrange(2, 5_000))
    await peer.expect_no_trace(peer.frame(), "AT_DECREASED")
    tariff(peer)
    peer.flush()
    await peer.expect_signed()
    peer.put(200, at=peer.logs.at[ME] - 1)
    await peer.expect_no_trace(peer.frame(), "AT_DECREASED")
    peer.put(200, at=-5)
    await peer.expect_no_trace(peer.frame(), "AT_DECREASED")


@check("IT-LNK-099", role="hostile peer", refusal=True)
async def at_leads(stage: Stage) -> None:
    """An `at` that leads by more than max_skew closes with CLOCK; one that leads by less is taken."""
    peer = await stage.peer(max_skew_ms=2_000)
    await peer.up()
    peer.put(200, at=now_ms() + 2_000 + stage.random.randrange(2_000, 60_000))
    await peer.expect_no_trace(peer.frame(), "CLOCK")
    peer.put(200, at=now_ms() + 1_000)
    peer.flush()
    await peer.expect_signed()


@check("IT-LNK-100", role="hostile peer", refusal=True)
async def acked_covers_seen(stage: Stage) -> None:
    """A signature that acknowledges less than its entry has seen is refused with SIGNATURE_INVALID."""
    peer = await (await stage.peer()).up()
    peer.answers = False
    seq = await ordering.order(peer, "echo", {"x": 1})
    await ordering.end_of(peer, seq)
    acked = peer.logs.account.acked[ME]
    peer.put(200, seen=peer.logs.seq(THEM))
    total = peer.logs.account.agreed(ME, acked)
    frame = peer.frame(acked=acked, acked_head=peer.logs.heads[THEM][acked], total=total)
    peer.answers = True
    await peer.expect_no_trace(frame, "SIGNATURE_INVALID")


@check("IT-LNK-101", role="hostile peer", refusal=True)
async def signed_total(stage: Stage) -> None:
    """A signed total that is one too low, one too high, or below zero is refused with TOTAL_MISMATCH."""
    peer = await bought(stage)
    total = peer.logs.account.agreed(ME, peer.logs.seq(THEM))
    if not total:
        fail("something owed after a charged order", "a total of 0")
    for wrong in (total - 1, total + 1, -1, 0):
        tariff(peer)
        await peer.expect_no_trace(peer.frame(total=wrong), "TOTAL_MISMATCH")


@check("IT-LNK-054", role="hostile peer", refusal=True)
async def other_session(stage: Stage) -> None:
    """After a signature of this session one of another session is refused with SIGNATURE_INVALID."""
    peer = await (await stage.peer()).up()
    before = peer.session
    await peer.up()
    for session in (before, stage.random.randbytes(32)):
        tariff(peer)
        await peer.expect_no_trace(peer.frame(session=session), "SIGNATURE_INVALID")


@check("IT-LNK-049", role="hostile peer", refusal=True)
async def forged_return(stage: Stage) -> None:
    """A returned signature that the target has not made is refused with SIGNATURE_INVALID."""
    peer = await (await stage.peer()).up()
    theirs = peer.logs.groups[THEM][-1].signature
    forged = lk.HeadSignature()
    forged.CopyFrom(theirs)
    forged.signatures[0].value = bent(stage, forged.signatures[0].value)
    await peer.expect_no_trace(lk.Frame(returned_signature=forged), "SIGNATURE_INVALID")
    own = peer.frame(total=0).signature
    await peer.expect_no_trace(lk.Frame(returned_signature=own), "SIGNATURE_INVALID")
