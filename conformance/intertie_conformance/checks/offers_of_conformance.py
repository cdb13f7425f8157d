"""RFC 0014, section 3.3: what the conformance offers do."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import entry_pb2 as pb
from intertie.v1.event_pb2 import Event
from intertie.v1.metering_pb2 import ENERGY_METHOD_ESTIMATED, Energy
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_FAILED, TaskState
from intertie_conformance.checks import check
from intertie_conformance.checks.metering import charged, chunks, expect, grant, needed, quantities
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import ids
from intertie_conformance.wire.build import entry, event

STEP = Energy(method=ENERGY_METHOD_ESTIMATED, millijoules=2, lower=1, upper=3, boundary="conformance")
FEATURES: Mapping[str, set[str]] = {
    "echo": {"idempotent"},
    "delay": {"idempotent", "cancelable"},
    "meter": {"idempotent"},
    "stream": {"streaming", "idempotent", "cancelable"},
    "ask": {"input-required"},
    "fail": {"idempotent"},
    "refuse": {"idempotent"},
}
BASE = {"order": (10, 1), "order.failed": (2, 1), "order.canceled": (5, 1)}
BESIDES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "meter": {"llm.output.token": (1, 10), "rag.query": (1000, 1), "mcp.call": (7, 3), "sim.step": (1, 1)},
    "stream": {"text.output.byte": (1, 10)},
    "fail": {"sim.step": (1, 1)},
}
MOST = 2**63 - 1


async def result(peer: Peer, seq: int) -> Event:
    """The result of an order."""

    def found() -> Event | None:
        return next((e for e in peer.events if e.order_seq == seq and e.HasField("result")), None)

    said = await peer.wait(found, f"a result of order {seq}")
    assert said is not None
    return said


async def done(peer: Peer, name: str, value: object, **changes: Any) -> tuple[pb.Charge, Event]:
    """Order; the final charge and the result."""
    charge = await charged(peer, name, value, **changes)
    return charge, await result(peer, charge.order_seq)


async def stopped(peer: Peer, seq: int) -> float:
    """Cancel an order; seconds until it was charged CANCELED."""
    began = time.monotonic()
    peer.write(entry(pb.ENTRY_KIND_CANCEL, cancel={"order_seq": seq}))
    peer.flush()
    charge = await ordering.expect_charged(peer, seq)
    if charge.state != TASK_STATE_CANCELED:
        fail("a final charge CANCELED", TaskState.Name(charge.state))
    return time.monotonic() - began


@check("IT-CNF-010", role="honest peer")
async def seven_offers(stage: Stage) -> None:
    """The seven offers are listed with their features, of the target's own, and take exactly these inputs."""
    peer = await (await stage.peer()).up()
    for name, features in FEATURES.items():
        message = (await ordering.offer(peer, name)).message
        rules = {
            "kind": message.kind == ct.OFFER_KIND_TOOL,
            "charge_on": message.charge_on == ct.CHARGE_ON_USAGE,
            "tags": "conformance" in message.tags,
            "features": set(message.features) == features,
            "origin": message.origin == peer.peer.fingerprint,
        }
        wrong = [field for field, good in rules.items() if not good]
        if wrong:
            fail(f"{wrong[0]} of conformance/{name} as the table says", str(getattr(message, wrong[0])))
    for name, value in TAKEN:
        fact = await ordering.end_of(peer, await ordering.order(peer, name, value))
        reason = fact.entry.reject.problem.reason
        if reason == "INPUT_INVALID":
            fail(f"{name} takes {json.dumps(value)[:60]}", reason)
    for name, value in REFUSED:
        await ordering.expect_rejected(peer, await ordering.order(peer, name, value), "INPUT_INVALID")
    stage.saw(f"seven offers, {len(TAKEN)} inputs taken, {len(REFUSED)} refused")


TAKEN: tuple[tuple[str, object], ...] = (
    ("delay", {"ms": 0}),
    ("delay", {"ms": 1.0}),
    ("meter", {"usage": {}}),
    ("meter", {"usage": {"sim.step": MOST, "mcp.call": 0}, "steps": 1_000}),
    ("stream", {"chunks": 0, "bytes": 16_384, "delay_ms": 10_000}),
    ("stream", {"chunks": 1, "bytes": 1}),
    ("fail", {"message": "m" * 256, "steps": 0, "as": "failure"}),
    ("fail", {"steps": 1_000}),
    ("refuse", {}),
    ("refuse", {"message": ""}),
)
REFUSED: tuple[tuple[str, object], ...] = (
    ("delay", {"ms": 600_001}),
    ("delay", {"ms": 1.5}),
    ("delay", {"ms": True}),
    ("meter", {}),
    ("meter", {"usage": {"sim.step": MOST + 1}}),
    ("meter", {"usage": {"text.output.byte": 1}}),
    ("meter", {"usage": {}, "steps": 0}),
    ("meter", {"usage": {}, "steps": 1_001}),
    ("stream", {"chunks": 1}),
    ("stream", {"chunks": 10_001, "bytes": 1}),
    ("stream", {"chunks": 1, "bytes": 16_385}),
    ("stream", {"chunks": 1, "bytes": 1, "delay_ms": 10_001}),
    ("ask", {"prompt": "p" * 257}),
    ("ask", {"prompt": 7}),
    ("fail", {"as": "nothing"}),
    ("fail", {"steps": -1}),
    ("fail", {"message": "m" * 257}),
    ("refuse", {"message": "m" * 257}),
    ("refuse", {"other": 1}),
)


@check("IT-CNF-011", role="honest peer")
async def echoes(stage: Stage) -> None:
    """Echo returns bytes and media type of its input."""
    peer = await (await stage.peer()).up()
    for media_type, data in (("application/x-suite", stage.random.randbytes(64)), ("application/json", b'{"a": 1}')):
        order, _ = await ordering.make_order(peer, "echo", data)
        order.input.media_type = media_type
        seq = peer.write(entry(pb.ENTRY_KIND_ORDER, order=order), data)
        peer.flush()
        await ordering.expect_charged(peer, seq)
        output = (await result(peer, seq)).result.output
        if (output.media_type, output.data) != (media_type, data):
            fail(f"{media_type} and the bytes of the input", f"{output.media_type}, {len(output.data)} bytes")
        stage.saw(f"{len(data)} bytes of {media_type} came back")


@check("IT-CNF-012", role="honest peer", waits_s=2)
async def delays(stage: Stage) -> None:
    """Delay waits, says how long, and stops at once when it is canceled."""
    peer = await (await stage.peer()).up()
    waits = []
    for _ in range(3):
        began = time.monotonic()
        _, said = await done(peer, "delay", {"ms": 400})
        waits.append(time.monotonic() - began)
        if json.loads(said.result.output.data) != {"ms": 400}:
            fail('{"ms": 400}', said.result.output.data)
    if not 0.39 <= min(waits) <= 2.4:
        fail("an end after 400 ms", [f"{waited * 1_000:.0f} ms" for waited in waits])
    stage.saw("it waited 400 ms")
    seq = await ordering.order(peer, "delay", {"ms": 15_000})
    await ordering.still_sells(peer)
    took = await stopped(peer, seq)
    if took > 1.0:
        fail("an end at once", f"after {took:.1f} s")
    stage.saw("it stopped at once")


@check("IT-CNF-013", role="honest peer")
async def meters_in_steps(stage: Stage) -> None:
    """Meter's steps are those of the rule: unit by unit, floor(n × i / k), no step without an increase."""
    peer = await (await stage.peer()).up()
    wanted = {"usage": {"sim.step": 5, "mcp.call": 7, "llm.output.token": 1}, "steps": 3}
    seq = await ordering.order(peer, "meter", wanted, grant=0)
    named = []
    for _ in range(8):
        named.append(await needed(peer, seq))
        peer.events = [e for e in peer.events if not e.HasField("grant_needed")]
        await grant(peer, seq, named[-1])
    expected = [5, 6, 11, 13, 14, 21, 23, 33]
    if named != expected:
        fail(f"grants asked for: {expected}", named)
    counted = {"order": 1, "sim.step": 5, "mcp.call": 7, "llm.output.token": 1}
    expect(peer, await ordering.expect_charged(peer, seq), TASK_STATE_COMPLETED, counted, 33)


@check("IT-CNF-014", role="honest peer")
async def returns_usage(stage: Stage) -> None:
    """Meter returns the usage of its input."""
    peer = await (await stage.peer()).up()
    for usage in ({}, {"mcp.call": 0}, {"sim.step": stage.random.randrange(1, 99), "llm.output.token": 4}):
        _, said = await done(peer, "meter", {"usage": usage})
        if json.loads(said.result.output.data) != {"usage": usage}:
            fail(f"{usage}", said.result.output.data)
        stage.saw(f"{usage} came back")


@check("IT-CNF-015", role="honest peer")
async def streams_letters(stage: Stage) -> None:
    """Stream sends the alphabet in chunks of the size asked for."""
    peer = await (await stage.peer()).up()
    for count, size in ((3, 7), (2, 40), (1, 1), (0, 5)):
        charge, said = await done(peer, "stream", {"chunks": count, "bytes": size})
        own = [e.chunk.payload for e in peer.events if e.order_seq == charge.order_seq and e.HasField("chunk")]
        text = b"".join(payload.data for payload in own)
        wanted = bytes(97 + j % 26 for j in range(count * size))
        if (
            text != wanted
            or [len(p.data) for p in own] != [size] * count
            or {p.media_type for p in own} - {"text/plain"}
        ):
            fail(f"{count} chunks of {size} letters, text/plain", [payload.data for payload in own][:4])
        stage.saw(f"{count} chunks of {size} bytes")
        del said


@check("IT-CNF-016", role="honest peer", waits_s=1)
async def streams_slowly(stage: Stage) -> None:
    """Stream waits between chunks, meters each with it, adds nothing, and stops at once when it is canceled."""
    peer = await (await stage.peer()).up()
    began = time.monotonic()
    charge, said = await done(peer, "stream", {"chunks": 3, "bytes": 10, "delay_ms": 200})
    waited = time.monotonic() - began
    if not 0.38 <= waited <= 2.4 or said.result.output.data:
        fail("400 ms for three chunks, and no output", f"{waited * 1_000:.0f} ms, {said.result.output.data!r}")
    expect(peer, charge, TASK_STATE_COMPLETED, {"order": 1, "text.output.byte": 30}, 13)
    seq = await ordering.order(peer, "stream", {"chunks": 100, "bytes": 10, "delay_ms": 500})
    await ordering.when(peer, lambda: bool(chunks(peer, seq)), "the first chunk, without a delay", 0.45)
    took = await stopped(peer, seq)
    counted = quantities(peer, (await ordering.end_of(peer, seq)).entry.charge)
    sent = sum(map(len, chunks(peer, seq)))
    if took > 1.0 or counted != {"order.canceled": 1, "text.output.byte": sent}:
        fail("an end at once, charged for what was sent", f"{counted} after {took:.1f} s, {sent} bytes sent")


async def asked(peer: Peer, value: object, reply: bytes) -> tuple[pb.Charge, Event, Event]:
    """Order an ask and answer it; charge, result, request."""
    seq = await ordering.order(peer, "ask", value)

    def found() -> Event | None:
        return next((e for e in peer.events if e.order_seq == seq and e.HasField("input_request")), None)

    request = await peer.wait(found, "an input request")
    assert request is not None
    payload = {"media_type": "application/json", "data": reply}
    answer = {"request": request.input_request.request, "payload": payload, "id": ids.make_id(now_ms())}
    peer.say(event(order_seq=seq, at=now_ms(), input_reply=answer))
    peer.flush()
    return await ordering.expect_charged(peer, seq), await result(peer, seq), request


@check("IT-CNF-017", role="honest peer")
async def asks_once(stage: Stage) -> None:
    """Ask asks once, by its prompt, for an object, and returns the bytes of the reply."""
    peer = await (await stage.peer()).up()
    for value, prompt in (({}, "input, please"), ({"prompt": "Which one?"}, "Which one?")):
        reply = b'{ "answer" : ' + str(stage.random.randrange(10**6)).encode() + b" }"
        charge, said, request = await asked(peer, value, reply)
        output = said.result.output
        count = sum(e.HasField("input_request") for e in peer.events if e.order_seq == charge.order_seq)
        schema = json.loads(request.input_request.schema)
        if (request.input_request.prompt, schema, count) != (prompt, {"type": "object"}, 1):
            fail(f"one request {prompt!r} for an object", f"{request.input_request}")
        if (output.data, output.media_type) != (reply, "application/json"):
            fail("the bytes of the reply", output.data)
        stage.saw(f"asked {prompt!r} and returned the reply")


@check("IT-CNF-018", role="honest peer", refusal=True)
async def asks_for_objects(stage: Stage) -> None:
    """A reply that is no JSON object ends ask FAILED with INPUT_INVALID."""
    peer = await (await stage.peer()).up()
    for reply in (b"[1]", b"7", b"{", b"\xff"):
        charge, _, _ = await asked(peer, {}, reply)
        if (charge.state, charge.problem.reason) != (TASK_STATE_FAILED, "INPUT_INVALID"):
            fail("FAILED with INPUT_INVALID", f"{TaskState.Name(charge.state)} {charge.problem.reason}")
        stage.saw(f"{reply!r}: FAILED with INPUT_INVALID")
    charge, _, _ = await asked(peer, {}, b"{}")
    if charge.state != TASK_STATE_COMPLETED:
        fail("COMPLETED for an object", TaskState.Name(charge.state))


@check("IT-CNF-019", role="honest peer")
async def fails_after_steps(stage: Stage) -> None:
    """Fail meters its steps before it ends, and none where none are asked for."""
    peer = await (await stage.peer()).up()
    for steps in (4, 1, 0):
        for kind, unit in (("failure", "order.failed"), ("tool-error", "order")):
            counted = quantities(peer, await charged(peer, "fail", {"steps": steps, "as": kind}))
            wanted = {unit: 1, **({"sim.step": steps} if steps else {})}
            if counted != wanted:
                fail(str(wanted), counted)
    stage.saw("4, 1 and 0 steps were metered")


@check("IT-CNF-020", role="honest peer")
async def fails_as_asked(stage: Stage) -> None:
    """Fail ends FAILED with EXECUTION_FAILED and the message, or COMPLETED with is_error and it."""
    peer = await (await stage.peer()).up()
    for value, message in (({}, "failed as asked"), ({"message": "so be it"}, "so be it")):
        charge, _ = await done(peer, "fail", value)
        said = charge.problem
        if (charge.state, said.reason, said.message) != (TASK_STATE_FAILED, "EXECUTION_FAILED", message):
            fail(f"FAILED, EXECUTION_FAILED, {message!r}", f"{said}")
        charge, end = await done(peer, "fail", {**value, "as": "tool-error"})
        body = end.result
        good = charge.state == TASK_STATE_COMPLETED and body.is_error
        if not good or json.loads(body.output.data or b"null") != {"message": message}:
            fail(f"COMPLETED with is_error and {message!r}", f"{body}"[:200])
        stage.saw(f"failed both ways with {message!r}")


@check("IT-CNF-021", role="honest peer")
async def refuses(stage: Stage) -> None:
    """Refuse rejects every well-formed order with PERMISSION_DENIED and the message."""
    peer = await (await stage.peer()).up()
    for value, message in (({}, "refused as asked"), ({"message": "not today"}, "not today")):
        seq = await ordering.order(peer, "refuse", value)
        await ordering.expect_rejected(peer, seq, "PERMISSION_DENIED")
        said = (await ordering.end_of(peer, seq)).entry.reject.problem.message
        if said != message:
            fail(repr(message), repr(said))
    await ordering.still_sells(peer)


@check("IT-CNF-022", role="honest peer")
async def prices(stage: Stage) -> None:
    """The seven offers have the prices of the table, in XTS at scale 6."""
    peer = await (await stage.peer()).up()
    for name in FEATURES:
        message = (await ordering.offer(peer, name)).message
        stated = {line.unit: (line.num, line.den) for line in message.prices}
        wanted = {**BASE, **BESIDES.get(name, {})}
        if stated != wanted or (message.asset, message.scale) != ("XTS", 6):
            fail(f"{wanted} in XTS at scale 6", f"{stated} in {message.asset} at scale {message.scale}")
    stage.saw("seven offers at the prices of the table")


@check("IT-CNF-023", role="honest peer")
async def intensity(stage: Stage) -> None:
    """The meter offer states one intensity, that of sim.step; the others state none."""
    peer = await (await stage.peer()).up()
    for name in FEATURES:
        stated = {item.unit: item.per_atom for item in (await ordering.offer(peer, name)).message.energy}
        if stated != ({"sim.step": STEP} if name == "meter" else {}):
            fail("2 mJ (1 to 3) a sim.step of conformance/meter, estimated, and nothing else", f"{name}: {stated}")
    stage.saw("one intensity, as the RFC states it")
