"""RFC 0009, sections 3.8 to 3.10: events that a relay passes on, both ways."""

from __future__ import annotations

from typing import Any

from intertie.v1.event_pb2 import Event
from intertie_conformance.checks import check
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import relayed
from intertie_conformance.roles.relayed import Passed
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.build import event


async def passed_down(passed: Passed, **body: Any) -> Event:
    """The payer says something of its order; returns what the executor hears of its own."""
    payer, shop = passed.chain.payer, passed.chain.shop
    kind, before = next(iter(body)), len(shop.events)
    payer.say(event(order_seq=passed.above, at=now_ms(), **body))
    payer.flush()
    found = await shop.wait(lambda: [e for e in shop.events[before:] if e.WhichOneof("body") == kind], f"the {kind}")
    if found[0].order_seq != passed.seq:
        fail(f"order_seq {passed.seq}", found[0].order_seq)
    return found[0]


@check("IT-INV-057", role="executor")
async def events_unchanged(stage: Stage) -> None:
    """Events come in their order with number, time and body unchanged, under the payer's own order."""
    chain = await relayed.chain(stage)
    passed = await chain.order("ask", {})
    at = now_ms() - stage.random.randrange(1_000, 100_000)
    bodies: list[dict[str, Any]] = [
        {"number": 1, "chunk": {"payload": {"media_type": "text/x", "data": b"one"}}},
        {"progress": {"done": 1, "total": 2, "comment": "half"}},
        {"number": 2, "input_request": {"request": 1, "prompt": "?", "schema": b"{}"}},
        {"number": 3, "chunk": {"payload": {"data": b"three"}}},
    ]
    said = [event(order_seq=passed.seq, at=at + step, **body) for step, body in enumerate(bodies)]
    chain.shop.say(*said)
    chain.shop.flush()
    found = await chain.payer.wait(lambda: _four(passed), "four events")
    for made in said:
        made.order_seq = passed.above
    if found != said:
        fail("the same four events, but for order_seq", found)
    stage.saw("four events, unchanged")
    await chain.end(passed)


def _four(passed: Passed) -> list[Event]:
    heard = [e for e in passed.chain.payer.events if e.order_seq == passed.above]
    return heard if len(heard) >= 4 else []


@check("IT-INV-077", role="executor")
async def cursors_unchanged(stage: Stage) -> None:
    """resume and byte_credit come with their numbers unchanged, for the target's own order."""
    chain = await relayed.chain(stage)
    passed = await chain.order("ask", {})
    after, credit = stage.random.randrange(1, 9), stage.random.randrange(70_000, 200_000)
    got = (await passed_down(passed, resume={"after_seq": after, "credit": credit})).resume
    if (got.after_seq, got.credit) != (after, credit):
        fail(f"resume after {after} with {credit}", got)
    more = (await passed_down(passed, byte_credit={"bytes": credit})).byte_credit.bytes
    if more != credit:
        fail(f"a credit of {credit}", more)
    stage.saw("resume and byte_credit, unchanged")
    await chain.end(passed)


@check("IT-INV-097", role="executor")
async def replies_unchanged(stage: Stage) -> None:
    """An input reply comes with request, payload and id unchanged."""
    chain = await relayed.chain(stage)
    passed = await chain.order("ask", {})
    chain.shop.say(event(order_seq=passed.seq, number=1, input_request={"request": 1, "prompt": "?"}))
    chain.shop.flush()
    await chain.payer.wait(lambda: [e for e in chain.payer.events if e.HasField("input_request")], "the request")
    reply = {"request": 1, "payload": {"media_type": "text/x", "data": b"the reply"}, "id": "r-7"}
    got = (await passed_down(passed, input_reply=reply)).input_reply
    if got != event(input_reply=reply).input_reply:
        fail("the same reply", got)
    stage.saw("the reply, unchanged")
    await chain.end(passed)
