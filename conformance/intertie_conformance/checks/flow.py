"""RFC 0005, sections 3.8 and 3.9: byte credit, silence, declared limits."""

from __future__ import annotations

import asyncio

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import ByteCredit, Event, Resume
from intertie_conformance.checks import check
from intertie_conformance.registry import LIMITS
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.build import entry, size_of

K = pb.EntryKind
SILENCE_S = 10.0
LATE_S = 6.0
MANY_S = 15.0
"""How long many small events may take."""


def numbered(peer: Peer, seq: int) -> list[Event]:
    """Numbered events of an order, in the order in which they came."""
    return [event for event in peer.events if event.order_seq == seq and event.number]


async def throttled(peer: Peer, chunks: int) -> int:
    """Order a stream with credit for one event; returns the order's seq once the first event is here."""
    changes = {"max_charge": 100_000, "grant": 100_000}
    order, data = await ordering.make_order(peer, "stream", {"chunks": chunks, "bytes": 200}, **changes)
    seq = peer.write(entry(K.ENTRY_KIND_ORDER, order=order), data)
    peer.say(Event(order_seq=seq, resume=Resume(after_seq=0, credit=1)))
    peer.flush()
    await peer.wait(lambda: numbered(peer, seq), "the first event of a stream")
    return seq


def give(peer: Peer, seq: int, size: int) -> None:
    """Give byte credit."""
    peer.lie(lk.Frame(events=[Event(order_seq=seq, byte_credit=ByteCredit(bytes=size))]))


@check("IT-LNK-112", role="honest peer")
async def no_credit_no_event(stage: Stage) -> None:
    """At a credit of exactly 0 no numbered event comes; at 1 one comes."""
    peer = await (await stage.peer()).up()
    seq = await throttled(peer, 4)
    give(peer, seq, size_of(numbered(peer, seq)[0]) - 1)
    for _ in range(3):
        await peer.expect_alive()
        await asyncio.sleep(0.05)
    if len(numbered(peer, seq)) != 1:
        fail("no event at a credit of 0", f"{len(numbered(peer, seq)) - 1} events")
    stage.saw("no event came at a credit of 0")
    give(peer, seq, 1)
    await peer.wait(lambda: len(numbered(peer, seq)) > 1, "an event at a credit of 1")


@check("IT-LNK-113", role="honest peer")
async def credit_frees(stage: Stage) -> None:
    """What waits is sent, all of it and in order, when credit comes."""
    peer = await (await stage.peer()).up()
    seq = await throttled(peer, 5)
    give(peer, seq, 1 << 20)
    await peer.wait(lambda: len(numbered(peer, seq)) == 6, "five chunks and the result")
    numbers = [event.number for event in numbered(peer, seq)]
    if numbers != list(range(1, 7)):
        fail("numbers 1 to 6 in order", numbers)
    stage.saw("all events came in order")


@check("IT-LNK-114", role="honest peer")
async def credit_is_each_ones_own(stage: Stage) -> None:
    """An invocation without credit holds back neither entries nor events of another."""
    peer = await (await stage.peer()).up()
    held = await throttled(peer, 3)
    other = await ordering.order(peer, "stream", {"chunks": 2, "bytes": 10})
    await peer.wait(lambda: len(numbered(peer, other)) == 3, "two chunks and the result of another order")
    await ordering.expect_charged(peer, other)
    if len(numbered(peer, held)) != 1:
        fail("the first order still without credit", "more of its events")


@check("IT-LNK-120", role="honest peer")
async def declared_limits(stage: Stage) -> None:
    """A peer that declares small frames is sent small frames, and events for the first credit alone."""
    peer = await stage.peer()
    limits = peer.script.own_limits()
    limits.frame_bytes, credit = LIMITS["frame_bytes"].minimum, LIMITS["event_credit"].maximum
    await peer.begin(limits=limits)
    await peer.wait(lambda: peer.epoch_ended, "an open link")
    seq = await ordering.order(peer, "stream", {"chunks": 20, "bytes": 8_000}, max_charge=20_000, grant=20_000)
    await ordering.expect_charged(peer, seq)
    await peer.expect_alive()
    waiting = await throttled(peer, 600)
    await ordering.expect_charged(peer, waiting, stage.within(MANY_S))
    give(peer, waiting, 1 << 20)
    await peer.wait(lambda: len(numbered(peer, waiting)) > 599, "all events of a stream")
    sent = sum(size_of(event) for event in numbered(peer, seq))
    largest = max(frame.ByteSize() for frame in peer.frames)
    if largest > limits.frame_bytes:
        fail(f"frames of at most {limits.frame_bytes} bytes", f"one of {largest}")
    if not credit <= sent < credit + 16_384:
        fail(f"events for a credit of {credit} bytes", f"{sent} bytes of events")
    stage.saw(f"frames of at most {largest} bytes, {sent} bytes of events for {credit}")


@check("IT-LNK-003", role="hostile peer", waits_s=10, refusal=True)
async def silent_stream(stage: Stage) -> None:
    """A stream on which nothing is said is closed with SILENT_PEER after 10 seconds, not before."""
    peer = await (await stage.peer()).up()
    await peer.hang_up()
    peer.judges = False
    await peer.connect()
    await asyncio.sleep(SILENCE_S - 1.5)
    if peer.closed or peer.present().done.is_set():
        fail("patience for 10 s", f"close {peer.closed} before")
    await peer.expect_close("SILENT_PEER", seconds=1.5 + LATE_S)
    peer.judges = True
    await peer.up()


@check("IT-LNK-115", role="honest peer", waits_s=10)
async def pings_silence(stage: Stage) -> None:
    """A target that has heard nothing for 10 seconds pings."""
    peer = await (await stage.peer()).up()
    peer.answers = False
    await peer.wait(lambda: any(frame.ping for frame in peer.frames), "a ping", SILENCE_S + LATE_S)
    stage.saw("the target pinged a silent peer")
    await peer.expect_alive()
