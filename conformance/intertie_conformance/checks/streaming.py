"""RFC 0009, section 3.14: Call, Invoke, Subscribe and Stream."""

from __future__ import annotations

import asyncio

from intertie_conformance.checks import check
from intertie_conformance.roles.client import Client, Frames, Items, client
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail

LARGEST = 16_384
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
RICH = 1_000_000
NO_ID = "01890000-0000-7000-8000-000000000000"


def alphabet(size: int) -> bytes:
    """What conformance/stream streams."""
    return (LETTERS * (size // 26 + 1))[:size]


async def streamed(me: Client, chunks: int, size: int = 7) -> str:
    """An ended invocation of conformance/stream; returns its id."""
    wanted = me.wants("stream", {"chunks": chunks, "bytes": size}, max_charge=RICH)
    await me.done(wanted)
    return wanted.id


@check("IT-INV-060", role="consumer", consumer=True)
async def events_in_order(stage: Stage) -> None:
    """Subscribed from any number on, while it runs and afterwards, events come in order, each once."""
    me = client(stage)
    wanted = me.wants("stream", {"chunks": 6, "bytes": 7, "delay_ms": 20})
    heard = [me.invoke(wanted)]
    await heard[0].wait(heard[0].events, "a first event")
    heard += [me.subscribe(wanted.id, after) for after in (0, 2, 4)]
    for items in heard:
        await items.outcome()
    late = [me.subscribe(wanted.id, after) for after in (0, 3)]
    for items in late:
        await items.outcome()
    for items, first in zip(heard + late, (1, 1, 3, 5, 1, 4), strict=True):
        got = [event.number for event in items.events() if event.number]
        if got != list(range(first, 7)):
            fail(f"events {first} to 6 in order, each once", got)
    data = b"".join(event.chunk.payload.data for event in late[0].events())
    if data != alphabet(42):
        fail("the alphabet in pieces", data)
    stage.saw("six subscriptions, each with its events in order")


@check("IT-INV-062", role="consumer", consumer=True)
async def no_result_as_event(stage: Stage) -> None:
    """The result is no event for consumers, nor is grant_needed; order_seq is 0."""
    me = client(stage)
    for name, value in (("stream", {"chunks": 2, "bytes": 7}), ("fail", {}), ("refuse", {})):
        wanted = me.wants(name, value)
        heard = me.invoke(wanted)
        await heard.outcome()
        kinds = [event.WhichOneof("body") for event in heard.events()]
        if {"result", "grant_needed"} & set(kinds) or any(event.order_seq for event in heard.events()):
            fail("no result, no grant_needed, no order_seq among a consumer's events", kinds)
        if name == "stream" and kinds.count("chunk") != 2:
            fail("two chunks", kinds)
    stage.saw("outcomes instead of results")


@check("IT-INV-081", role="consumer", consumer=True)
async def foolish_credit(stage: Stage) -> None:
    """Credit of 0, below 0, or for what does not run changes nothing."""
    me = client(stage)
    wanted = me.wants("stream", {"chunks": 4, "bytes": 1_000, "delay_ms": 20})
    heard = me.stream()
    credits = [{"id": wanted.id, "bytes": -(10**9)}, {"id": wanted.id, "bytes": 0}, {"id": NO_ID, "bytes": 5}]
    await heard.say(invocations=[wanted], credits=credits)
    await heard.say(credits=credits)
    me.is_(await heard.outcome(wanted.id), "COMPLETED")
    if len(heard.events(wanted.id)) < 4 or heard.refusals(NO_ID):
        fail("four events in the first window, and nothing said of the unknown id", heard.items)


@check("IT-INV-120", role="consumer", consumer=True)
async def one_outcome(stage: Stage) -> None:
    """Each subscription brings one outcome, as the last item."""
    me = client(stage)
    failing = me.invoke(me.wants("fail"))
    await failing.outcome()
    wanted = me.wants("stream", {"chunks": 3, "bytes": 7})
    first = me.invoke(wanted)
    await first.outcome()
    for heard in (failing, first, me.subscribe(wanted.id), me.subscribe(wanted.id, 3), me.invoke(wanted)):
        await heard.finish()
        if len(heard.outcomes()) != 1 or not heard.items[-1].HasField("outcome"):
            fail("one outcome, the last item", [item.WhichOneof("item") for item in heard.items])
    frames = me.stream()
    other = me.wants("echo")
    await frames.say(subscriptions=[{"id": wanted.id}], invocations=[other])
    await frames.done()
    await frames.finish()
    for id in (wanted.id, other.id):
        if len(frames.outcomes(id)) != 1 or not frames.of(id)[-1].HasField("outcome"):
            fail("one outcome on Stream, the last item", [item.WhichOneof("item") for item in frames.of(id)])
    stage.saw("one outcome a subscription")


@check("IT-INV-130", role="consumer", refusal=True, consumer=True)
async def gathered(stage: Stage) -> None:
    """Call gathers a MiB of chunks; beyond, PAYLOAD_TOO_LARGE, and the invocation goes on."""
    me = client(stage)
    outcome = await me.done(me.wants("stream", {"chunks": 64, "bytes": LARGEST}, max_charge=RICH))
    if outcome.output.data != alphabet(64 * LARGEST) or outcome.output.media_type != "text/plain":
        fail("a MiB of alphabet as text/plain", f"{len(outcome.output.data)} bytes of {outcome.output.media_type}")
    wanted = me.wants("stream", {"chunks": 70, "bytes": LARGEST}, max_charge=RICH)
    await me.refused(me.call(wanted), "PAYLOAD_TOO_LARGE")
    heard = me.subscribe(wanted.id)
    me.is_(await heard.outcome(), "COMPLETED")
    if sum(len(event.chunk.payload.data) for event in heard.events()) != 70 * LARGEST:
        fail("all 70 chunks by Subscribe", len(heard.events()))


@check("IT-INV-131", role="consumer", consumer=True)
async def ends_ok(stage: Stage) -> None:
    """Invoke and Subscribe end with OK after the outcome, however the work ended."""
    me = client(stage)
    for name, value in (("stream", {"chunks": 3, "bytes": 7}), ("fail", {}), ("refuse", {})):
        wanted = me.wants(name, value)
        await _ends_ok(me.invoke(wanted))
        await _ends_ok(me.subscribe(wanted.id))
    stage.saw("status OK after each outcome")


async def _ends_ok(heard: Items) -> None:
    await heard.finish()
    numbers = [event.number for event in heard.events() if event.number]
    if not heard.outcomes() or numbers != sorted(numbers):
        fail("items in order, an outcome, and status OK", heard.items)


@check("IT-INV-132", role="consumer", refusal=True, consumer=True)
async def subscribe_unknown(stage: Stage) -> None:
    """Subscribe of an unknown id is refused with NOT_FOUND; of a known one it is not."""
    me = client(stage)
    for id in (me.wants("echo").id, "no id", ""):
        await me.refused(me.subscribe(id).finish(), "NOT_FOUND")
    await me.subscribe(await streamed(me, 1)).outcome()


@check("IT-INV-133", role="consumer", consumer=True)
async def subscribe_after_end(stage: Stage) -> None:
    """After the end, from the last event on, the outcome comes alone."""
    me = client(stage)
    id = await streamed(me, 3)
    for after in (3, 4, 100):
        heard = me.subscribe(id, after)
        await heard.finish()
        if len(heard.items) != 1 or not heard.outcomes():
            fail(f"the outcome alone after event {after}", heard.items)
        me.is_(heard.outcomes()[0], "COMPLETED")


@check("IT-INV-135", role="consumer", refusal=True, consumer=True)
async def too_long_frame(stage: Stage) -> None:
    """A frame of more than 262,144 bytes ends the Stream with FRAME_TOO_LARGE; one below is taken."""
    me = client(stage)
    text = b'"' + b"x" * 16_000 + b'"'
    heard, wanted = me.stream(), [me.wants("echo", text) for _ in range(16)]
    await heard.say(invocations=wanted)
    await heard.wait(lambda: len(heard.outcomes()) == 16, "16 outcomes")
    await heard.say(invocations=[me.wants("echo", text) for _ in range(17)])
    await me.refused(heard.finish(), "FRAME_TOO_LARGE")
    await me.works()


@check("IT-INV-136", role="consumer", consumer=True)
async def commands_in_order(stage: Stage) -> None:
    """In one frame: invocations, then subscriptions, credits, inputs, cancels."""
    me = client(stage)
    heard, asked, stopped = me.stream(), me.wants("ask"), me.wants("delay", {"ms": 60_000})
    reply = {"id": asked.id, "reply": {"request": 1, "payload": {"data": b"{}"}}}
    await heard.say(cancels=[{"id": stopped.id}], inputs=[reply], invocations=[asked, stopped])
    me.is_(await heard.outcome(stopped.id), "CANCELED")
    await heard.wait(lambda: heard.events(asked.id), "an input request")
    if heard.refusals(asked.id) or heard.refusals(stopped.id):
        fail("an input and a cancel after the invocations of their frame", "a refused item")
    await heard.say(inputs=[reply])
    await heard.outcome(asked.id)
    id = await streamed(me, 12, LARGEST)
    await heard.say(credits=[{"id": id, "bytes": 1 << 20}], subscriptions=[{"id": id}])
    me.is_(await heard.outcome(id), "COMPLETED")
    if len(heard.events(id)) != 12:
        fail("12 events with the credit of their frame", len(heard.events(id)))


@check("IT-INV-137", role="consumer", refusal=True, consumer=True)
async def one_refused_item(stage: Stage) -> None:
    """What Stream refuses gets one refused item and nothing else; what it takes gets events and outcome."""
    me = client(stage)
    known = me.wants("echo", {"x": 1})
    await me.done(known)
    conflict = me.wants("echo", {"x": 2}, id=known.id)
    bad = me.wants("echo", max_charge=-1)
    good = me.wants("stream", {"chunks": 2, "bytes": 7})
    heard = me.stream()
    await heard.say(invocations=[bad, conflict, good])
    await heard.done()
    await heard.finish()
    for wanted, reason in ((bad, "AMOUNT_INVALID"), (conflict, "ID_CONFLICT")):
        if heard.refusals(wanted.id) != [reason] or len(heard.of(wanted.id)) != 1:
            fail(f"one refused item with {reason}", heard.of(wanted.id))
    plain = me.invoke(good)
    await plain.outcome()
    if heard.of(good.id) != plain.of(good.id):
        fail("the same items as on Invoke", heard.of(good.id))
    stage.saw("one refused item each, and what Invoke says")


@check("IT-INV-138", role="consumer", consumer=True)
async def frames_fit(stage: Stage) -> None:
    """Frames stay within 262,144 bytes, items of one invocation in order."""
    me = client(stage)
    found = [await streamed(me, 40, LARGEST) for _ in range(2)]
    heard = me.stream()
    await heard.say(subscriptions=[{"id": id} for id in found])
    await heard.say(credits=[{"id": id, "bytes": 1 << 24} for id in found])
    for id in found:
        await heard.outcome(id)
        numbers = [event.number for event in heard.events(id)]
        if numbers != list(range(1, 41)) or not heard.of(id)[-1].HasField("outcome"):
            fail("events 1 to 40 in order, then the outcome", numbers)
    if max(heard.sizes) > 262_144:
        fail("no frame above 262,144 bytes", max(heard.sizes))
    stage.saw(f"{len(heard.sizes)} frames of at most {max(heard.sizes)} bytes")


@check("IT-INV-139", role="consumer", consumer=True)
async def closes_when_told(stage: Stage) -> None:
    """After the consumer's end a Stream ends with OK once everything on it has been told."""
    me = client(stage)
    heard = me.stream()
    slow, quick, bad = me.wants("delay", {"ms": 150}), me.wants("echo"), me.wants("nothing")
    await heard.say(invocations=[slow, quick, bad])
    await heard.done()
    await heard.finish()
    if not (heard.outcomes(slow.id) and heard.outcomes(quick.id) and heard.refusals(bad.id)):
        fail("two outcomes and a refusal before the end", heard.items)
    empty = me.stream()
    await empty.done()
    await empty.finish()
    stage.saw("streams that ended with OK")


@check("IT-INV-140", role="consumer", consumer=True)
async def beside_each_other(stage: Stage) -> None:
    """What is refused, fails, or has used up its window delays nothing else on its Stream."""
    me = client(stage)
    heard, good = me.stream(), me.wants("stream", {"chunks": 3, "bytes": 7})
    stuck = me.wants("stream", {"chunks": 12, "bytes": LARGEST}, max_charge=RICH)
    await heard.say(invocations=[me.wants("nothing"), me.wants("fail"), stuck])
    await _stuck(heard, stuck.id)
    await heard.say(invocations=[good])
    me.is_(await heard.outcome(good.id), "COMPLETED")
    if heard.outcomes(stuck.id):
        fail("the one whose window is used up waits", "its outcome")
    await heard.say(credits=[{"id": stuck.id, "bytes": 1 << 20}])
    me.is_(await heard.outcome(stuck.id), "COMPLETED")


async def _stuck(heard: Frames, id: str) -> None:
    """Wait until an invocation has used up its first window: at least 65,536 bytes."""
    await heard.wait(lambda: sum(event.ByteSize() for event in heard.events(id)) >= 65_536, "a window full of events")
    await asyncio.sleep(0.05)
