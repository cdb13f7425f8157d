"""RFC 0009, sections 3.8 to 3.11: what an executor says of its work, and when it goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie.v1.event_pb2 import Event
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED
from intertie_conformance.checks import check
from intertie_conformance.grid.account import ME
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.build import entry, event
from intertie_conformance.wire.digests import salted

K = pb.EntryKind
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
CREDIT = 1 << 20
INLINE = 16_384


def said(peer: Peer, seq: int) -> list[Event]:
    """Durable events of an order, as they came."""
    return [event for event in peer.events if event.order_seq == seq and event.number]


def numbers(peer: Peer, seq: int) -> list[int]:
    """Their numbers."""
    return [event.number for event in said(peer, seq)]


def results(peer: Peer, seq: int) -> list[Event]:
    """The results among an order's events, ephemeral ones too."""
    return [event for event in peer.events if event.order_seq == seq and event.HasField("result")]


async def ended(peer: Peer, name: str, value: object, **changes: Any) -> tuple[int, pb.Charge]:
    """Order, wait for the final charge and the result."""
    seq = await ordering.order(peer, name, value, **changes)
    charge = await ordering.expect_charged(peer, seq)
    await peer.wait(lambda: results(peer, seq), f"the result of order {seq}")
    return seq, charge


def reply(seq: int, request: int, value: object, id: str = "") -> Event:
    """A reply of the payer."""
    payload = {"media_type": "application/json", "data": json.dumps(value).encode()}
    return event(order_seq=seq, input_reply={"request": request, "payload": payload, "id": id})


async def asked(peer: Peer) -> int:
    """An order of conformance/ask that waits for input."""
    seq = await ordering.order(peer, "ask", {})
    await peer.wait(lambda: said(peer, seq), "an input request")
    return seq


def tell(peer: Peer, *events: Event) -> None:
    """Send events at once."""
    peer.say(*events)
    peer.flush()


async def quiet(peer: Peer, seconds: float = 0.1) -> None:
    """Wait for what should not come, and see that the link lives."""
    await asyncio.sleep(seconds)
    await peer.expect_alive()


@check("IT-INV-050", role="honest peer")
async def numbered(stage: Stage) -> None:
    """Durable events have the numbers 1, 2, 3, … without gaps, the result the last one."""
    peer = await (await stage.peer()).up()
    for name, value, count in (("stream", {"chunks": 5, "bytes": 7}, 6), ("echo", {"x": 1}, 1), ("fail", {}, 1)):
        seq, _ = await ended(peer, name, value)
        if sorted(numbers(peer, seq)) != list(range(1, count + 1)):
            fail(f"events 1 to {count}", numbers(peer, seq))
    stage.saw("events numbered without gaps")


@check("IT-INV-052", role="honest peer")
async def ascending(stage: Stage) -> None:
    """Durable events come in the order of their numbers."""
    peer = await (await stage.peer()).up()
    for value in ({"chunks": 8, "bytes": 7}, {"chunks": 4, "bytes": 7, "delay_ms": 5}):
        seq, _ = await ended(peer, "stream", value)
        if numbers(peer, seq) != sorted(numbers(peer, seq)) or len(numbers(peer, seq)) < 4:
            fail("events in the order of their numbers", numbers(peer, seq))
    stage.saw("events in their order")


@check("IT-INV-053", role="honest peer")
async def one_result(stage: Stage) -> None:
    """Started work ends with one result, and nothing comes behind it."""
    peer = await (await stage.peer()).up()
    seqs = [
        (await ended(peer, name, value))[0] for name, value in (("stream", {"chunks": 2, "bytes": 7}), ("fail", {}))
    ]
    seqs.append(await ordering.order(peer, "delay", {"ms": 60_000}))
    await ordering.when(peer, lambda: peer.logs.account.acked[1] >= seqs[-1], "the order is acknowledged")
    peer.write(entry(K.ENTRY_KIND_CANCEL, cancel={"order_seq": seqs[-1]}))
    peer.flush()
    await ordering.end_of(peer, seqs[-1])
    await quiet(peer)
    for seq in seqs:
        if len(results(peer, seq)) != 1 or not said(peer, seq)[-1].HasField("result"):
            fail(f"one result of order {seq}, its last event", [e.WhichOneof("body") for e in said(peer, seq)])
    stage.saw("one result each, the last event")


@check("IT-INV-054", role="honest peer")
async def inline_payloads(stage: Stage) -> None:
    """No event holds more payload than 16,384 bytes, though all the output comes, as large as an input may be."""
    peer = await (await stage.peer()).up()
    longest = min(peer.target_open().limits.inline_bytes, 20_000)
    text = b'"' + b"x" * (longest - 2) + b'"'
    rich = {"max_charge": 100_000, "grant": 100_000}
    for name, value, size in (("echo", text, longest), ("stream", {"chunks": 3, "bytes": INLINE}, 3 * INLINE)):
        seq, _ = await ended(peer, name, value, **rich)
        sizes = [len(part) for part in pieces(said(peer, seq))]
        if max(sizes) > INLINE or sum(sizes) != size:
            fail(f"{size} bytes in pieces of at most {INLINE}", sizes)
    stage.saw("outputs in pieces of at most 16,384 bytes")


def pieces(events: Iterable[Event]) -> list[bytes]:
    """Payloads of chunks and result, in order of number."""
    ordered = sorted(events, key=lambda event: event.number)
    return [e.chunk.payload.data if e.HasField("chunk") else e.result.output.data for e in ordered]


@check("IT-INV-055", role="honest peer")
async def output_is_pieces(stage: Stage) -> None:
    """The output whose digest the record names is the bytes of the chunks followed by those of the result."""
    peer = await (await stage.peer()).up()
    for name, value in (
        ("stream", {"chunks": 3, "bytes": 7}),
        ("echo", {"x": 1}),
        ("meter", {"usage": {"sim.step": 2}}),
    ):
        seq, charge = await ended(peer, name, value)
        output = b"".join(pieces(said(peer, seq)))
        record = ExecutionRecord.FromString(charge.proof.record)
        if record.output_digest != salted(peer.logs.account.holds[ME, seq].order.nonce, output):
            fail(f"the digest of {len(output)} bytes of output in the record of {name}", "another one")
        if name == "stream" and output != LETTERS[:21]:
            fail("the alphabet", output)
    stage.saw("records of the outputs that came")


@check("IT-INV-056", role="honest peer")
async def one_state(stage: Stage) -> None:
    """Result, final charge and record name the same state."""
    peer = await (await stage.peer()).up()
    value: dict[str, int]
    for name, value, state in (("echo", {"x": 1}, TASK_STATE_COMPLETED), ("fail", {}, TASK_STATE_FAILED)):
        seq, charge = await ended(peer, name, value)
        record = ExecutionRecord.FromString(charge.proof.record)
        got = (results(peer, seq)[0].result.state, charge.state, record.state)
        if got != (state, state, state):
            fail(f"state {state} in result, charge and record of {name}", got)
    stage.saw("the same states")


@check("IT-INV-042", role="honest peer")
async def tool_error(stage: Stage) -> None:
    """A tool's own error ends COMPLETED with is_error; a failure ends FAILED without."""
    peer = await (await stage.peer()).up()
    seq, charge = await ended(peer, "fail", {"as": "tool-error"})
    if charge.state != TASK_STATE_COMPLETED or not results(peer, seq)[0].result.is_error:
        fail("COMPLETED with is_error", results(peer, seq)[0].result)
    seq, charge = await ended(peer, "fail", {})
    if charge.state != TASK_STATE_FAILED or results(peer, seq)[0].result.is_error:
        fail("FAILED without is_error", results(peer, seq)[0].result)
    stage.saw("a tool's error is no failure")


@check("IT-INV-072", role="honest peer")
async def resumed(stage: Stage) -> None:
    """After the end a resume brings the stored events above its number, as the window allows."""
    peer = await (await stage.peer()).up()
    seq, _ = await ended(peer, "stream", {"chunks": 5, "bytes": 100})
    first = {event.number: event.SerializeToString() for event in said(peer, seq)}
    for after in (0, 3, 5):
        peer.events.clear()
        tell(peer, event(order_seq=seq, resume={"after_seq": after, "credit": CREDIT}))
        await peer.wait(lambda: results(peer, seq), "the result again")
        if numbers(peer, seq) != list(range(after + 1, 7)):
            fail(f"events {after + 1} to 6 again", numbers(peer, seq))
        if any(first[event.number] != event.SerializeToString() for event in said(peer, seq)):
            fail("the same events again", "others")
    peer.events.clear()
    tell(peer, event(order_seq=seq, resume={"after_seq": 0, "credit": 1}))
    await peer.wait(lambda: said(peer, seq), "an event for a credit of 1")
    await quiet(peer)
    if numbers(peer, seq) != [1]:
        fail("event 1 alone for a credit of 1", numbers(peer, seq))
    tell(peer, event(order_seq=seq, byte_credit={"bytes": CREDIT}))
    await peer.wait(lambda: results(peer, seq), "the rest with more credit")
    stage.saw("stored events, as the window allowed")


@check("IT-INV-075", role="honest peer")
async def resume_of_nothing(stage: Stage) -> None:
    """A resume of an order that nobody knows is answered by a gap with EVENTS_GONE."""
    peer = await (await stage.peer()).up()
    for unknown in (10**9 + stage.random.randrange(10**6), 1, 2**63):
        after = stage.random.randrange(100)
        peer.events.clear()
        tell(peer, event(order_seq=unknown, resume={"after_seq": after, "credit": CREDIT}))
        gaps = await peer.wait(lambda: [e for e in peer.events if e.HasField("gap")], "a gap")
        gap = gaps[0].gap
        if (gaps[0].order_seq, gap.first, gap.last, gap.problem.reason) != (unknown, after + 1, 0, "EVENTS_GONE"):
            fail(f"a gap of order {unknown} from {after + 1}, last 0, EVENTS_GONE", gaps[0])
        stage.saw("a gap with EVENTS_GONE")
    await ordering.still_sells(peer)


@check("IT-INV-090", role="honest peer")
async def requests_numbered(stage: Stage) -> None:
    """The first input request has the number 1."""
    peer = await (await stage.peer()).up()
    seq = await asked(peer)
    got = said(peer, seq)[0].input_request.request
    if got != 1:
        fail("input request 1", got)
    tell(peer, reply(seq, got, {"x": 1}))
    await ordering.expect_charged(peer, seq)


@check("IT-INV-091", role="honest peer")
async def first_reply(stage: Stage) -> None:
    """The first reply to the latest request counts; others do not."""
    peer = await (await stage.peer()).up()
    seq = await asked(peer)
    tell(peer, reply(seq, 2, {"wrong": 2}, "a"), reply(seq, 0, {"wrong": 0}, "b"), reply(seq, 2**40, {"wrong": 3}, "c"))
    await quiet(peer)
    if results(peer, seq):
        fail("nothing taken of replies to other requests", results(peer, seq)[0].result)
    tell(peer, reply(seq, 1, {"right": 1}, "d"), reply(seq, 1, {"wrong": 4}, "e"))
    await ordering.expect_charged(peer, seq)
    await peer.wait(lambda: results(peer, seq), "a result")
    tell(peer, reply(seq, 1, {"wrong": 5}, "f"))
    await quiet(peer)
    if [json.loads(e.result.output.data or b"null") for e in results(peer, seq)] != [{"right": 1}]:
        fail('one result, with the output {"right": 1}', results(peer, seq))


@check("IT-INV-092", role="honest peer")
async def reply_too_soon(stage: Stage) -> None:
    """A reply to an order that still waits for room is ignored; the one that comes after the request is taken."""
    peer = await (await stage.peer(proposer_max_unagreed=100)).up()
    much: dict[str, Any] = {"max_charge": 80, "grant": 80}
    before = await ordering.order(peer, "ask", {}, **much)
    await peer.wait(lambda: said(peer, before), "the first order's input request")
    seq = await ordering.order(peer, "ask", {}, **much)
    tell(peer, reply(seq, 1, {"early": 1}, "a"))
    await quiet(peer)
    tell(peer, reply(before, 1, {}, "c"))
    await ordering.expect_charged(peer, before)
    await peer.wait(lambda: said(peer, seq), "an input request")
    await quiet(peer)
    if results(peer, seq):
        fail("the early reply is ignored", results(peer, seq)[0].result)
    tell(peer, reply(seq, 1, {"right": 1}, "b"))
    await ordering.expect_charged(peer, seq)
    await peer.wait(lambda: results(peer, seq), "a result")
    if json.loads(results(peer, seq)[0].result.output.data) != {"right": 1}:
        fail('the output {"right": 1}', results(peer, seq)[0].result)


@check("IT-INV-101", role="honest peer")
async def asks_for_grant(stage: Stage) -> None:
    """Work that waits for a higher grant says so, and again when the link is open again; then it goes on."""
    peer = await (await stage.peer()).up()
    seq = await ordering.order(peer, "meter", {"usage": {"sim.step": 100}, "steps": 10}, grant=30)
    await _needed(peer, seq)
    await peer.up()
    await _needed(peer, seq)
    peer.write(entry(K.ENTRY_KIND_GRANT, grant={"order_seq": seq, "amount": 1_000}))
    peer.flush()
    charge = await ordering.expect_charged(peer, seq)
    if (charge.state, charge.amount) != (TASK_STATE_COMPLETED, 110):
        fail("COMPLETED for 110", charge)


async def _needed(peer: Peer, seq: int) -> None:
    """Wait for grant_needed, above the grant of 30 and within the maximum charge."""
    found = await peer.wait(
        lambda: [e for e in peer.events if e.order_seq == seq and e.HasField("grant_needed")], "grant_needed"
    )
    needed = found[0]
    if needed.number or not 30 < needed.grant_needed.amount <= 1_000:
        fail("an ephemeral grant_needed with an amount from 31 to 1,000", needed)
    peer.stage.saw(f"grant_needed with {needed.grant_needed.amount}")


@check("IT-INV-100", role="honest peer")
async def waits_for_grant(stage: Stage) -> None:
    """Work beyond the grant waits: nothing is charged or said of it until the grant has risen."""
    peer = await (await stage.peer()).up()
    seq = await ordering.order(peer, "stream", {"chunks": 10, "bytes": 100}, grant=30)
    await _needed(peer, seq)
    await quiet(peer, 0.15)
    streamed = sum(len(e.chunk.payload.data) for e in said(peer, seq))
    hold = peer.logs.account.holds[ME, seq]
    if streamed > 300 or results(peer, seq) or hold.charged > 30:
        fail("at most the 300 bytes that a grant of 30 pays for", f"{streamed} bytes, {hold.charged} charged")
    peer.write(entry(K.ENTRY_KIND_GRANT, grant={"order_seq": seq, "amount": 1_000}))
    peer.flush()
    charge = await ordering.expect_charged(peer, seq)
    if charge.amount != 110:
        fail("110 charged in the end", charge.amount)


@check("IT-INV-102", role="honest peer")
async def grant_exhausted(stage: Stage) -> None:
    """Work that would cost more than the maximum charge ends FAILED with GRANT_EXHAUSTED."""
    peer = await (await stage.peer()).up()
    seq, charge = await ended(peer, "meter", {"usage": {"sim.step": 100}, "steps": 10}, max_charge=35, grant=35)
    if (charge.state, charge.problem.reason) != (TASK_STATE_FAILED, "GRANT_EXHAUSTED"):
        fail("FAILED with GRANT_EXHAUSTED", f"{charge.state} {charge.problem.reason}")
    if charge.amount > 35 or results(peer, seq)[0].result.problem.reason != "GRANT_EXHAUSTED":
        fail("at most 35 charged, and GRANT_EXHAUSTED in the result", charge.amount)
    await ordering.still_sells(peer)
