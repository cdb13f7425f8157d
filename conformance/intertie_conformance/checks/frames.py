"""RFC 0005, section 3.6: frames, and the order in which they are checked."""

from __future__ import annotations

import asyncio

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Payload, Problem
from intertie.v1.event_pb2 import Chunk, Event, Resume
from intertie_conformance.checks import check
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.catalog import HOUR_MS
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.registry import LIMITS
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.build import entry, size_of

K = pb.EntryKind


def tariff(peer: Peer, seen: int | None = None, at: int | None = None) -> int:
    """Write an entry that is sound and of no consequence; returns its seq."""
    body = pb.Tariff(origin=peer.me.fingerprint, markup_num=1, markup_den=1, expires_at=now_ms() + HOUR_MS)
    return peer.put(K.ENTRY_KIND_TARIFF, seen=seen, at=at, tariff=body)


@check("IT-LNK-075", role="honest peer")
async def acknowledges(stage: Stage) -> None:
    """A frame with entries is answered by a signature that acknowledges them."""
    peer = await (await stage.peer()).up()
    tariff(peer)
    peer.flush()
    await peer.expect_signed()


@check("IT-LNK-075", role="honest peer")
async def acknowledges_again(stage: Stage) -> None:
    """A frame whose entries the target holds already is answered by a signature too."""
    peer = await (await stage.peer()).up()
    tariff(peer)
    peer.flush()
    await peer.expect_signed()
    await peer.expect_alive()
    before = sum(frame.HasField("signature") for frame in peer.frames)
    frame = lk.Frame(first_seq=peer.logs.seq(ME), entries=[peer.logs.entries[ME][-1]])
    frame.signature.CopyFrom(peer.logs.sign(peer.session, peer.me.key))
    peer.lie(frame)
    await peer.wait(
        lambda: sum(frame.HasField("signature") for frame in peer.frames) > before,
        "a signature for entries that are known already",
    )
    stage.saw("entries that are known already were acknowledged again")


@check("IT-LNK-077", role="hostile peer", refusal=True)
async def signs_before_returning(stage: Stage) -> None:
    """A signature before the return of what an Open says that its sender holds closes the link with CURSOR_AHEAD."""
    peer = await (await stage.peer()).up()
    beyond = lk.Cursor(seq=peer.logs.seq(THEM) + 1_000, head=stage.random.randbytes(32))
    await peer.begin(other=beyond)
    await peer.expect_close("CURSOR_AHEAD")
    await peer.up()


@check("IT-LNK-076", role="honest peer")
async def does_not_answer(stage: Stage) -> None:
    """Signatures alone are not answered: between them and the pong that follows no signature comes."""
    peer = await (await stage.peer()).up()
    await peer.expect_alive()
    before = _signed_alone(peer)
    for _ in range(3):
        peer.lie(lk.Frame(signature=peer.logs.sign(peer.session, peer.me.key)))
    await peer.expect_alive()
    await peer.expect_alive()
    after = _signed_alone(peer)
    if after != before:
        fail("no signature after frames that hold a signature alone", f"{after - before} of them")
    stage.saw("three signatures alone were followed by a pong and by no signature")


def _signed_alone(peer: Peer) -> int:
    """How many signatures have come that no entries of the target's own brought, as new tariffs do at any time."""
    return sum(frame.HasField("signature") and not frame.entries for frame in peer.frames)


@check("IT-LNK-077", role="hostile peer", refusal=True)
async def steps_in_order(stage: Stage) -> None:
    """Of two faults in a frame the one of the earlier step names the reason."""
    peer = await (await stage.peer()).up()
    large = Event(order_seq=1, chunk=Chunk(payload=Payload(data=bytes(100_000))))
    await peer.expect_no_trace(lk.Frame(events=[large], entries=[b"x"], first_seq=1), "PAYLOAD_TOO_LARGE")
    many = lk.Frame(entries=[b""] * (LIMITS["frame_entries"].maximum + 1), first_seq=1)
    await peer.expect_no_trace(many, "FRAME_TOO_LARGE")
    signed = peer.logs.state(peer.session)
    both = lk.Frame(entries=[b"x"], first_seq=1, returned_signature=signed, returned=[b"x"])
    await peer.expect_no_trace(both, "SIGNATURE_INVALID")
    foreign = lk.Frame(signature=peer.frame(session=bytes(32), total=7).signature)
    await peer.expect_no_trace(foreign, "SIGNATURE_INVALID")


@check("IT-LNK-078", role="hostile peer", refusal=True)
async def atomic(stage: Stage) -> None:
    """Of a frame whose last entry is malformed no entry is taken: the seqs are free for others."""
    peer = await (await stage.peer()).up()
    kept = peer.logs.seq(ME)
    tariff(peer)
    tariff(peer)
    peer.put_bytes(b"\xff\xff")
    await peer.expect_no_trace(peer.frame(), "ENTRY_MALFORMED")
    peer.write(entry(200))
    peer.flush()
    await peer.expect_signed(kept + 1)


@check("IT-LNK-079", role="hostile peer", refusal=True)
async def frame_bytes(stage: Stage) -> None:
    """One byte more than 256 KiB closes the link with FRAME_TOO_LARGE; 256 KiB do not."""
    peer = await (await stage.peer()).up()
    limit = LIMITS["frame_bytes"].maximum

    def sized(size: int) -> bytes:
        frame = lk.Frame(ping=9, advertisements=[])
        spare = size - frame.ByteSize() - 8
        frame.inputs.add(data=bytes(spare))
        frame.inputs[0].data = bytes(spare + size - frame.ByteSize())
        return frame.SerializeToString()

    peer.raw(sized(limit))
    await peer.wait(lambda: any(frame.pong == 9 for frame in peer.frames), f"a frame of {limit} bytes is taken")
    stage.saw(f"a frame of {limit} bytes is taken")
    await peer.expect_no_trace(sized(limit + 1), "FRAME_TOO_LARGE")


@check("IT-LNK-080", role="hostile peer", refusal=True)
async def frame_entries(stage: Stage) -> None:
    """4,097 entries close the link with FRAME_TOO_LARGE, also where some of them are returned ones."""
    peer = await (await stage.peer()).up()
    most = LIMITS["frame_entries"].maximum
    signed = peer.logs.state(peer.session)
    await peer.expect_no_trace(lk.Frame(first_seq=1, entries=[b""] * (most + 1), signature=signed), "FRAME_TOO_LARGE")
    mixed = lk.Frame(first_seq=1, entries=[b""] * most, signature=signed, first_returned=1, returned=[b""])
    await peer.expect_no_trace(mixed, "FRAME_TOO_LARGE")


@check("IT-LNK-081", role="hostile peer", refusal=True)
async def malformed(stage: Stage) -> None:
    """A frame that does not decode, or that speaks of both logs, closes the link with FRAME_MALFORMED."""
    peer = await (await stage.peer()).up()
    await peer.expect_no_trace(b"\xff\xfe\xfd", "FRAME_MALFORMED")
    tariff(peer)
    frame = peer.frame()
    frame.returned_signature.CopyFrom(peer.logs.groups[THEM][-1].signature)
    await peer.expect_no_trace(frame, "FRAME_MALFORMED")


@check("IT-LNK-082", role="hostile peer", refusal=True)
async def unsigned_entries(stage: Stage) -> None:
    """Entries without a signature close the link with SIGNATURE_INVALID."""
    peer = await (await stage.peer()).up()
    tariff(peer)
    frame = peer.frame()
    frame.ClearField("signature")
    await peer.expect_no_trace(frame, "SIGNATURE_INVALID")


@check("IT-LNK-083", role="hostile peer", refusal=True)
async def frame_before_open(stage: Stage) -> None:
    """A signed frame on a stream whose Opens are not known is refused with UNEXPECTED_FRAME."""
    peer = await (await stage.peer()).up()
    kept = peer.logs.seq(ME)
    tariff(peer)
    frame = peer.frame()
    await peer.hang_up()
    peer.judges = False
    await peer.connect()
    peer.lie(frame)
    await peer.expect_close("UNEXPECTED_FRAME")
    peer.judges = True
    peer.take_back(kept)
    await peer.up()


@check("IT-LNK-084", role="hostile peer", refusal=True)
async def event_size(stage: Stage) -> None:
    """An event of more than 32,768 bytes closes the link with PAYLOAD_TOO_LARGE; one of that size does not."""
    peer = await (await stage.peer()).up()
    limit = LIMITS["event_bytes"].maximum

    def sized(size: int) -> Event:
        event = Event(order_seq=9, number=1, chunk=Chunk(payload=Payload(data=bytes(size - 40))))
        event.chunk.payload.data = bytes(size - 40 + size - size_of(event))
        return event

    peer.lie(lk.Frame(events=[sized(limit)]))
    await peer.expect_alive()
    await peer.expect_no_trace(lk.Frame(events=[sized(limit + 1)]), "PAYLOAD_TOO_LARGE")


@check("IT-LNK-085", role="honest peer")
async def entries_first(stage: Stage) -> None:
    """An event in the frame of its order is about that order: with credit for one event, one event comes."""
    peer = await (await stage.peer()).up()
    order, data = await ordering.make_order(peer, "stream", {"chunks": 3, "bytes": 100})
    seq = peer.write(entry(K.ENTRY_KIND_ORDER, order=order), data)
    peer.say(Event(order_seq=seq, resume=Resume(after_seq=0, credit=1)))
    peer.flush()
    await ordering.expect_charged(peer, seq)
    await peer.expect_alive()
    numbers = [event.number for event in peer.events if event.order_seq == seq and event.number]
    if numbers != [1]:
        fail("one numbered event for a credit of one byte", numbers)
    stage.saw("the credit that came beside the order held for it")


@check("IT-LNK-086", role="honest peer")
async def stray_input(stage: Stage) -> None:
    """An input for no order of its frame does not matter: the link lives, and the late input changes nothing."""
    peer = await (await stage.peer()).up()
    order, data = await ordering.make_order(peer, "echo", {"late": stage.random.randrange(10**6)})
    seq = peer.write(entry(K.ENTRY_KIND_ORDER, order=order))
    peer.flush()
    await ordering.expect_rejected(peer, seq, "INPUT_INVALID")
    peer.lie(lk.Frame(inputs=[lk.OrderInput(order_seq=seq, data=data), lk.OrderInput(order_seq=seq + 50, data=data)]))
    await ordering.still_sells(peer)


@check("IT-LNK-116", role="honest peer")
async def pong(stage: Stage) -> None:
    """A ping is answered by its own number."""
    peer = await (await stage.peer()).up()
    for number in (1, stage.random.randrange(2, 2**63), 2**64 - 1):
        peer.lie(lk.Frame(ping=number))
        await peer.wait(lambda n=number: any(f.pong == n for f in peer.frames), f"pong {number}")  # type: ignore[misc]
    stage.saw("three pings were answered by their numbers")


@check("IT-LNK-122", role="hostile peer", refusal=True)
async def large_messages(stage: Stage) -> None:
    """A frame of almost 4 MiB is refused by name, not by the transport."""
    peer = await (await stage.peer()).up()
    await peer.expect_no_trace(lk.Frame(inputs=[lk.OrderInput(data=bytes((4 << 20) - 64))]), "FRAME_TOO_LARGE")


@check("IT-LNK-130", role="hostile peer", refusal=True)
async def close_is_last(stage: Stage) -> None:
    """A stream that is refused ends with a named close, and nothing after it."""
    peer = await (await stage.peer()).up()
    peer.raw(b"\xff\xfe\xfd")
    await peer.expect_close("FRAME_MALFORMED")
    if not peer.frames[-1].HasField("close"):
        fail("the close as last frame", "frames after it")
    await peer.up()


@check("IT-LNK-131", role="honest peer")
async def takes_close(stage: Stage) -> None:
    """After a close of the peer the stream is over: the target says no more on it, and opens the next one."""
    peer = await (await stage.peer()).up()
    peer.lie(lk.Frame(close=Problem(reason="NODE_DRAINING", message="Good bye.")))
    peer.lie(lk.Frame(ping=77))
    stream = peer.present()
    await peer.until_over("the end of the stream after an own close")
    if any(frame.pong == 77 for frame in peer.frames):
        fail("no answer on a closed stream", "a pong")
    stage.saw("the stream ended")
    await stream.stop()
    await peer.up()


@check("IT-LNK-132", role="hostile peer", refusal=True)
async def other_links_live(stage: Stage) -> None:
    """A link that is closed for a fault leaves another peer's link alone."""
    good, bad = await (await stage.peer()).up(), await (await stage.peer()).up()
    await bad.expect_no_trace(b"\xff\xfe\xfd", "FRAME_MALFORMED")
    await good.expect_alive()
    await ordering.still_sells(good)


@check("IT-LNK-133", role="hostile peer", refusal=True)
async def opens_again(stage: Stage) -> None:
    """Whatever closed a link, the next sound stream opens it."""
    peer = await (await stage.peer()).up()
    for name in stage.random.sample(["LOG_FORK", "TOTAL_MISMATCH", "LOG_GAP", "SIGNATURE_INVALID"], 4):
        tariff(peer)
        changes = {
            "LOG_FORK": {"head": bytes(32)},
            "TOTAL_MISMATCH": {"total": 5},
            "LOG_GAP": {},
            "SIGNATURE_INVALID": {"seq": 999},
        }[name]
        frame = peer.frame(**changes)  # type: ignore[arg-type]
        frame.first_seq += name == "LOG_GAP"
        await peer.expect_no_trace(frame, name)
    await ordering.still_sells(peer)


@check("IT-LNK-134", role="hostile peer", refusal=True)
async def deaf_after_close(stage: Stage) -> None:
    """What follows a bad frame on its stream is ignored: an order behind it is not taken."""
    peer = await (await stage.peer()).up()
    kept = peer.logs.seq(ME)
    order, data = await ordering.make_order(peer, "echo", {"never": 1})
    peer.raw(b"\xff\xfe\xfd")
    await ordering.send(peer, order, data)
    await peer.expect_close("FRAME_MALFORMED")
    peer.take_back(kept)
    await peer.up()
    if peer.logs.seq(ME) != kept:
        fail("the order behind a bad frame is not taken", "it was")
    await ordering.still_sells(peer)


@check("IT-LNK-110", role="honest peer", waits_s=2)
async def reads_while_writing(stage: Stage) -> None:
    """A peer that takes nothing for a while is heard meanwhile: its order is charged before it reads on."""
    peer = await (await stage.peer()).up()
    first = await ordering.end_of(peer, await ordering.order(peer, "echo", {"x": 1}))
    began = now_ms()
    peer.present().pause()
    limits = {"max_charge": 10_000_000, "grant": 1_000_000}
    order, data = await ordering.make_order(peer, "stream", {"chunks": 500, "bytes": 16_000}, **limits)
    seq = peer.write(entry(K.ENTRY_KIND_ORDER, order=order), data)
    peer.say(Event(order_seq=seq, resume=Resume(after_seq=0, credit=1 << 30)))
    peer.flush()
    await asyncio.sleep(0.7)
    second = await ordering.order(peer, "echo", {"x": 2})
    await asyncio.sleep(1.3)
    peer.present().go_on()
    fact = await ordering.end_of(peer, second, 10.0)
    waited = fact.entry.at - first.entry.at
    if waited > now_ms() - began or waited > 1_700:
        fail("a charge while the stream was not read (about 700 ms after the first)", f"one {waited} ms after it")
    stage.saw(f"an order was charged {waited} ms after the first, while nothing was read")


@check("IT-LNK-117", role="honest peer", waits_s=40, long=True)
async def dead_peer(stage: Stage) -> None:
    """A link on which nothing is heard for 30 seconds is closed with SILENT_PEER, not before."""
    peer = await (await stage.peer()).up()
    await peer.expect_alive()
    peer.judges = False
    await asyncio.sleep(25.0)
    if peer.closed:
        fail("patience for 30 s", f"close {peer.closed} before")
    await peer.expect_close("SILENT_PEER", seconds=12.0)
