"""RFC 0005, sections 3.4 and 3.5: sessions, re-establishing, two streams."""

from __future__ import annotations

import asyncio

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_conformance.checks import check
from intertie_conformance.checks.frames import tariff
from intertie_conformance.checks.opening import open_payload, sealed_frame
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.link import Phase
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.digests import next_head

K = pb.EntryKind
QUIET_S = 0.3
"""How long the suite listens for what must not come."""


async def busy(stage: Stage) -> Peer:
    """A peer that is up, with some entries and groups in both logs."""
    peer = await (await stage.peer()).up()
    for _ in range(2):
        await ordering.still_sells(peer)
    await peer.expect_signed()
    await peer.expect_alive()
    return peer


def logs_of(peer: Peer) -> tuple[list[bytes], list[bytes]]:
    """The exact entries of both logs."""
    return list(peer.logs.entries[ME]), list(peer.logs.entries[THEM])


@check("IT-LNK-042", role="honest peer")
async def returns_last_signature(stage: Stage) -> None:
    """The first frame after the Opens is the suite's own last signature, alone."""
    peer = await busy(stage)
    last = peer.logs.groups[ME][-1].signature
    await peer.up()
    frame = peer.frames[1]
    names = [field.name for field, _ in frame.ListFields()]
    if names != ["returned_signature"]:
        fail("returned_signature alone after the Open", names)
    if frame.returned_signature != last:
        fail(
            f"the own last signature (seq {last.seq}, acked {last.acked})",
            f"that of seq {frame.returned_signature.seq}",
        )
    stage.saw("the own last signature came first")


@check("IT-LNK-043", role="honest peer")
async def resends_own(stage: Stage) -> None:
    """A peer that has lost both logs is sent every entry of the target's log again."""
    peer = await busy(stage)
    before = logs_of(peer)
    peer.forget()
    await peer.up()
    if peer.logs.entries[THEM][: len(before[1])] != before[1]:
        fail(f"the same {len(before[1])} entries again", f"{len(peer.logs.entries[THEM])} entries, or other ones")
    stage.saw(f"{len(before[1])} entries came again")


@check("IT-LNK-044", role="honest peer")
async def returns_other(stage: Stage) -> None:
    """A peer that has lost both logs is given back every entry of its own."""
    peer = await busy(stage)
    before = logs_of(peer)
    peer.forget()
    await peer.up()
    if peer.logs.entries[ME] != before[0]:
        fail(f"the own {len(before[0])} entries back", f"{len(peer.logs.entries[ME])} entries, or other ones")
    stage.saw(f"{len(before[0])} own entries came back")


@check("IT-LNK-045", role="honest peer")
async def resends_groups(stage: Stage) -> None:
    """Groups that come again end with signatures that were made over them before."""
    peer = await busy(stage)
    made = {g.signature.SerializeToString() for side in (ME, THEM) for g in peer.logs.groups[side]}
    known = peer.logs.seq(THEM)  # what the target wrote to the last stream as it ended has not been heard
    peer.forget()
    await peer.up()
    for frame in peer.frames:
        for again, signature in (
            (bool(frame.entries) and frame.signature.seq <= known, frame.signature),
            (bool(frame.returned), frame.returned_signature),
        ):
            if again and signature.SerializeToString() not in made:
                fail("only signatures that were made before", f"a new one at seq {signature.seq}")
    stage.saw("all groups ended with signatures of their time")


@check("IT-LNK-046", role="honest peer")
async def interleaved(stage: Stage) -> None:
    """No group comes before all that its signature acknowledges is held."""
    peer = await busy(stage)
    peer.forget()
    await peer.up()
    own = other = 0
    for frame in peer.frames[1:]:
        if frame.returned:
            own = frame.first_returned + len(frame.returned) - 1
            bad = frame.returned_signature.acked > other
        elif frame.entries:
            other = frame.first_seq + len(frame.entries) - 1
            bad = frame.signature.acked > own
        else:
            continue
        if bad:
            fail("each group after what it acknowledges", f"a group at own {own}, other {other}")
    stage.saw("the groups were interleaved as the logs grew")


@check("IT-LNK-047", role="honest peer")
async def nothing_between(stage: Stage) -> None:
    """Between its Open and the end of its resending the target sends groups only."""
    peer = await busy(stage)
    peer.forget()
    await peer.up()
    groups = [n for n, f in enumerate(peer.frames) if f.returned or (f.entries and f.signature.session != peer.session)]
    if not groups:
        fail("groups of both logs", "none")
    for frame in peer.frames[1 : max(groups) + 1]:
        names = {field.name for field, _ in frame.ListFields()}
        if names & {"ping", "pong", "events", "advertisements", "close"}:
            fail("nothing but groups while re-establishing", sorted(names))
    stage.saw("nothing stood between the groups")


@check("IT-LNK-050", role="honest peer")
async def open_when_whole(stage: Stage) -> None:
    """While an entry that the Open names is still missing the target is not open; once it comes, it is."""
    peer = await (await stage.peer()).up()
    tariff(peer)
    peer.flush()
    await peer.expect_signed()
    await peer.hang_up()
    await _withheld(stage, peer)


async def _withheld(stage: Stage, peer: Peer) -> None:
    """Open with a cursor one above what is sent; send the rest later."""
    peer.judges = False
    await peer.connect()
    tariff(peer)
    frame = peer.frame()
    seq, head = peer.logs.seq(ME), peer.logs.heads[ME][-1]
    payload = open_payload(peer, own=lk.Cursor(seq=seq, head=head))
    peer.raw(sealed_frame(peer, payload))
    await peer.wait(lambda: peer.frames, "an Open of the target")
    await asyncio.sleep(QUIET_S)
    early = [f for f in peer.frames[1:] if f.advertisements or f.entries]
    if early:
        fail("nothing of an open link before both logs are whole", [f.ListFields()[0][0].name for f in early])
    stage.saw("nothing of an open link came while an entry was missing")
    peer.lie(frame)
    await peer.wait(lambda: any(f.advertisements for f in peer.frames), "the link opens when the entry has come")
    await peer.hang_up()
    peer.judges = True
    await peer.up()


@check("IT-LNK-051", role="honest peer")
async def nothing_before_first_opening(stage: Stage) -> None:
    """On a new peering the target signs and appends nothing until both logs are whole."""
    peer = await stage.peer(max_open_holds=32)
    peer.judges = False
    await peer.connect()
    tariff(peer)
    frame = peer.frame()
    own = lk.Cursor(seq=1, head=next_head(peer.genesis, peer.logs.entries[ME][0]))
    peer.raw(sealed_frame(peer, open_payload(peer, own=own)))
    await peer.wait(lambda: peer.frames, "an Open of the target")
    await asyncio.sleep(QUIET_S)
    if any(f.HasField("signature") for f in peer.frames):
        fail("no signature before the first opening is complete", "a signature")
    stage.saw("no signature came before the first opening was complete")
    await peer.hang_up()
    peer.judges = True
    peer.take_back(0)
    del frame
    await peer.up()


@check("IT-LNK-052", role="honest peer")
async def signs_with_nothing_to_say(stage: Stage) -> None:
    """After re-establishing the target signs in the new session though it has nothing to append."""
    peer = await (await stage.peer()).up()
    await peer.up()
    await peer.wait(lambda: peer.confirmed, "a signature of this session")
    stage.saw("the target signed in the new session")


@check("IT-LNK-053", role="honest peer")
async def takes_old_groups(stage: Stage) -> None:
    """A group that was signed in an earlier session and never arrived is taken when it is resent."""
    peer = await (await stage.peer()).up()
    tariff(peer)
    peer.frame()
    await peer.up()
    await peer.expect_signed()


@check("IT-LNK-061", role="honest peer")
async def superseded(stage: Stage) -> None:
    """A second sound stream takes an open link over: the first one is closed with SUPERSEDED."""
    peer = await (await stage.peer()).up()
    old, frames = peer.present(), peer.frames
    await second_stream(peer)
    reason = await peer.wait(lambda: [f.close.reason for f in frames if f.HasField("close")], "close SUPERSEDED")
    if reason != ["SUPERSEDED"]:
        fail("close SUPERSEDED on the first stream", reason)
    stage.saw("the first stream was closed with SUPERSEDED")
    await peer.wait(lambda: peer.phase is Phase.OPEN and peer.confirmed, "the second stream opens")
    await peer.expect_alive()
    await old.stop()


async def second_stream(peer: Peer) -> None:
    """Open a second stream while the first one stands; from now on it is the peer's present one."""
    first, frames = peer.present(), peer.frames
    peer.lost(peer.stream) if peer.stream is not None else None
    peer.unhand()
    peer.watch(first, frames)
    await peer.begin()


@check("IT-LNK-060", role="honest peer")
async def newer_wins_when_open(stage: Stage) -> None:
    """Of two streams of a link that is open the newer one stays."""
    peer = await (await stage.peer()).up()
    await second_stream(peer)
    await peer.wait(lambda: peer.phase is Phase.OPEN and peer.confirmed, "the newer stream opens")
    await ordering.still_sells(peer)


@check("IT-LNK-062", role="hostile peer", refusal=True)
async def bad_open_disturbs_nobody(stage: Stage) -> None:
    """A bad Open on a second stream is refused, and the first stream lives on."""
    peer = await (await stage.peer()).up()
    frames = peer.frames
    stream = await peer.aside(sealed_frame(peer, open_payload(peer, nonce=b"")))
    reasons = await peer.wait(lambda: [f.close.reason for f in stream.frames if f.HasField("close")], "a close")
    if reasons != ["FRAME_MALFORMED"]:
        fail("close FRAME_MALFORMED on the second stream", reasons)
    await peer.expect_alive()
    await ordering.still_sells(peer)
    if peer.frames is not frames:
        fail("the first stream lives", "another stream")


@check("IT-LNK-005", role="honest peer")
async def link_per_peering(stage: Stage) -> None:
    """Two peerings of the same two grids have two links that are open at the same time."""
    first, second = await stage.twins()
    await first.up()
    await second.up()
    await first.expect_alive()
    await second.expect_alive()
    await ordering.still_sells(first)
    await ordering.still_sells(second)
    if first.genesis == second.genesis:
        fail("two peerings", "one")
