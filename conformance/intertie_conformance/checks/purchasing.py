"""RFC 0009, sections 3.5 to 3.12: what the target orders for its consumers, and what it makes of events."""

from __future__ import annotations

import asyncio

from intertie.v1 import entry_pb2 as pb
from intertie.v1.event_pb2 import Event
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_conformance.checks import check
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.registry import LIMITS
from intertie_conformance.roles.client import client
from intertie_conformance.roles.sale import Sale, sell, sold, sold_alone
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import ids
from intertie_conformance.wire.build import event
from intertie_conformance.wire.digests import salted

K = pb.EntryKind
SKEW_MS = 1_000
EVENT_BYTES = 40
"""What an event takes beside its payload, or a little more."""


@check("IT-INV-030", role="executor", consumer=True)
async def order_fields(stage: Stage) -> None:
    """The order has the field values of the table, those of the request and those of the node's own."""
    texts = {"session": "s-1", "group": "g-1"}
    sale = await sold_alone(stage, "echo", b'{"x":1}', max_charge=900, first_grant=300, timeout_ms=7_000, **texts)
    other = await sell(sale.shop, "echo", max_charge=500, input={"data": b"{}"})
    order, shop = sale.order, sale.shop
    media_types = (order.input.media_type, other.order.input.media_type)
    expected: dict[str, tuple[object, object]] = {
        "id": (order.id, sale.wanted.id),
        "offer_digest": (order.offer_digest, shop.offered["conformance/echo"].digest),
        "tariff_seq": (order.tariff_seq, max(shop.logs.account.tariffs[ME])),
        "prices": ([(line.unit, line.num, line.den) for line in order.prices], _prices(sale)),
        "max_charge": (order.max_charge, 900),
        "grant": ((order.grant, other.order.grant), (300, 500)),
        "path": (list(order.path), [stage.target.grid]),
        "actors": (list(order.actors), []),
        "session and group": ((order.session, order.group), ("s-1", "g-1")),
        "media_type": (media_types, ("application/json", "application/json")),
        "size and encoding": ((order.input.size, order.input.encoding), (7, "")),
        "digest": (order.input.digest, salted(order.nonce, b'{"x":1}')),
        "input": (shop.inputs.get(sale.seq), b'{"x":1}'),
    }
    for name, (got, right) in expected.items():
        if got != right:
            fail(f"{name} = {right!r}", got)
    if not (1 <= order.hop_limit <= 16 and 16 <= len(order.nonce) <= 32 and order.nonce != other.order.nonce):
        fail("a hop limit of 1 to 16 and a nonce of its own", order)
    asked, wrote = ids.time_of(sale.wanted.id), shop.logs.entry(THEM, sale.seq).at
    if not asked - SKEW_MS <= order.deadline - 7_000 <= wrote + SKEW_MS:
        fail("a deadline 7,000 ms after the call came", f"{order.deadline - asked} ms after it was sent")
    stage.saw("an order with the right fields")
    other.charge(b"")
    other.result(1)
    await other.ends("COMPLETED")


def _prices(sale: Sale) -> list[tuple[str, int, int]]:
    """The shop's prices of echo: its tariff changes nothing."""
    return sale.shop.offered["conformance/echo"].prices


@check("IT-INV-032", role="executor", consumer=True)
async def account_hidden(stage: Stage) -> None:
    """No order names the consumer's account; orders of one account name the same one."""
    name = (await client(stage).account()).account
    sale = await sold(stage, "echo")
    again = await sell(sale.shop, "echo")
    order = sale.order
    texts = [order.account, order.session, order.group, *order.actors, *order.path, order.input.media_type]
    if name and name in texts:
        fail("no order that names the account", texts)
    if not order.account or order.account != again.order.account:
        fail("one name of the account, that only the target resolves", (order.account, again.order.account))
    stage.saw(f"a name of {len(order.account)} characters")


@check("IT-INV-024", role="executor", consumer=True)
async def leaves_schema(stage: Stage) -> None:
    """An input that does not fit is left to its origin, where the offer is not the target's own."""
    me = client(stage)
    await me.refused(me.call(me.wants("delay", {"wrong": 1})), "INPUT_INVALID")
    sale = await sold(stage, "delay", {"wrong": 1})
    sale.reject("INPUT_INVALID")
    await sale.ends("REJECTED", "INPUT_INVALID")


@check("IT-INV-058", role="executor", consumer=True)
async def unknown_events(stage: Stage) -> None:
    """An event of an unknown kind is ignored and not passed on; what follows it is."""
    sale = await sold(stage)
    strange = event(order_seq=sale.seq, at=now_ms()).SerializeToString() + b"\xf2\x01\x03abc"
    sale.shop.say(Event.FromString(strange))
    sale.chunk(1, b"known")
    await sale.hears(1)
    sale.finish(b"known", 2)
    await sale.ends("COMPLETED")
    if [event.WhichOneof("body") for event in sale.heard.events()] != ["chunk"]:
        fail("the chunk alone", sale.heard.events())


@check("IT-INV-059", role="executor", consumer=True)
async def events_of_nothing(stage: Stage) -> None:
    """An event of an order that is not the target's is ignored, and the link stays up."""
    sale = await sold(stage)
    for seq in (10**6, 2**63, 1):
        sale.says(order_seq=seq, number=1, chunk={"payload": {"data": b"x"}})
        sale.says(order_seq=seq, grant_needed={"amount": 5})
        sale.says(order_seq=seq, number=7, result={"state": TASK_STATE_COMPLETED})
    await sale.shop.expect_alive()
    sale.chunk(1, b"mine")
    sale.finish(b"mine", 2)
    await sale.ends("COMPLETED")
    if [event.chunk.payload.data for event in sale.heard.events()] != [b"mine"]:
        fail("the own event alone", sale.heard.events())


@check("IT-INV-061", role="executor", consumer=True)
async def gaps_are_told(stage: Stage) -> None:
    """Events that are gone reach the consumer as a gap; those behind it come too."""
    sale = await sold(stage)
    sale.chunk(1)
    sale.says(gap={"first": 2, "last": 3, "problem": {"reason": "EVENTS_GONE"}})
    sale.chunk(4)
    await sale.hears(4)
    sale.finish(b"xx", 5)
    await sale.ends("COMPLETED")
    got = [(event.number, event.gap.first, event.gap.last) for event in sale.heard.events()]
    if got != [(1, 0, 0), (0, 2, 3), (4, 0, 0)]:
        fail("event 1, a gap from 2 to 3, event 4", got)
    stage.saw("a gap for the consumer")


@check("IT-INV-076", role="executor", consumer=True)
async def resumes(stage: Stage) -> None:
    """When the link is open again, the events behind the last one are asked for."""
    sale = await sold_alone(stage)
    for number in (1, 2):
        sale.chunk(number)
        await sale.hears(number)
    await sale.shop.hang_up()
    await sale.shop.up()
    asked = (await sale.heard_by_target("resume"))[-1].resume
    if asked.after_seq != 2 or asked.credit <= 0:
        fail("a resume after event 2 with credit", asked)
    sale.chunk(3)
    await sale.hears(3)
    sale.finish(b"xxx", 4)
    await sale.ends("COMPLETED")


@check("IT-INV-079", role="executor", consumer=True)
async def returns_credit(stage: Stage) -> None:
    """An output larger than the first window goes on by the credit that the target returns."""
    sale = await sold(stage)
    piece, sent, number = b"x" * 8_000, 0, 0
    while number < 20:
        given = sum(made.byte_credit.bytes for made in sale.said("byte_credit"))
        if sent < LIMITS["event_credit"].maximum + given:
            number, sent = number + 1, sent + len(piece) + EVENT_BYTES
            sale.chunk(number, piece)
        else:
            await sale.heard_by_target("byte_credit", len(sale.said("byte_credit")) + 1)
    await sale.hears(number)
    stage.saw(f"{sent} bytes of events by returned credit")
    sale.finish(piece * number, number + 1)
    await sale.ends("COMPLETED")


@check("IT-INV-094", role="executor", consumer=True)
async def earlier_reply(stage: Stage) -> None:
    """A reply to an earlier request than the latest succeeds and has no effect."""
    sale = await sold(stage)
    for number in (1, 2):
        await sale.asks(number)
    await sale.me.reply(sale.wanted.id, {"late": 1}, request=1)
    await sale.me.reply(sale.wanted.id, {"right": 2}, request=2)
    await sale.heard_by_target("input_reply")
    await asyncio.sleep(0.05)
    await sale.shop.expect_alive()
    if [event.input_reply.request for event in sale.said("input_reply")] != [2]:
        fail("the reply to request 2 alone", sale.said("input_reply"))
    stage.saw("the earlier reply had no effect")
    sale.finish(b"", 3)
    await sale.ends("COMPLETED")


@check("IT-INV-095", role="executor", consumer=True)
async def repeated_reply(stage: Stage) -> None:
    """A repeated reply to the latest request is passed on again."""
    sale = await sold(stage)
    await sale.asks(1)
    for count in (1, 2, 3):
        await sale.me.reply(sale.wanted.id, b"{}", request=1, id="r-1")
        await sale.heard_by_target("input_reply", count)
    replies = sale.said("input_reply")
    if any(event.input_reply.payload.data != b"{}" or event.input_reply.id != "r-1" for event in replies):
        fail("the reply's bytes and id", replies)
    stage.saw("three times the same reply")
    sale.finish(b"", 2)
    await sale.ends("COMPLETED")


@check("IT-INV-095", role="executor", consumer=True)
async def kept_reply(stage: Stage) -> None:
    """A reply to a link that is down is said once it is open, and again at every opening, the first one each time."""
    sale = await sold_alone(stage)
    await sale.asks(1)
    await sale.shop.hang_up()
    await sale.me.reply(sale.wanted.id, b'{"first":1}', request=1, id="r-1")
    for _ in range(2):
        await sale.shop.up()
        said = (await sale.heard_by_target("input_reply"))[-1].input_reply
        if (said.request, said.payload.data, said.id) != (1, b'{"first":1}', "r-1"):
            fail("the first reply to request 1", said)
        await sale.shop.hang_up()
    stage.saw("the reply came with two openings")
    await sale.shop.up()
    sale.finish(b"", 2)
    await sale.ends("COMPLETED")


@check("IT-INV-103", role="executor", consumer=True)
async def raises_grants(stage: Stage) -> None:
    """A grant is raised to the greater of what is asked and twice what is granted, at most to the maximum charge."""
    sale = await sold(stage, "meter", {"usage": {}}, max_charge=200, first_grant=30)
    for needed, raised in ((40, 60), (150, 150), (160, 200)):
        sale.says(grant_needed={"amount": needed})
        got = await sale.granted(needed)
        if got != raised:
            fail(f"a grant of {raised}", got)
    stage.saw("grants of 60, 150 and 200")


@check("IT-INV-111", role="executor", consumer=True)
async def one_cancel(stage: Stage) -> None:
    """However often a consumer cancels, one cancel is written, also if the link was down meanwhile."""
    sale = await sold_alone(stage)
    shop = sale.shop
    for _ in range(3):
        await sale.me.cancel(sale.wanted.id)
    await shop.wait(lambda: shop.hold(sale.seq).canceled, "a cancel")
    other = await sell(shop)
    await shop.hang_up()
    for _ in range(2):
        await sale.me.cancel(other.wanted.id)
    await shop.up()
    await shop.wait(lambda: shop.hold(other.seq).canceled, "a cancel once the link is open again")
    written = map(pb.Entry.FromString, shop.logs.entries[THEM])
    found = [entry.cancel.order_seq for entry in written if entry.kind == K.ENTRY_KIND_CANCEL]
    if found != [sale.seq, other.seq]:
        fail("one cancel of each order", found)
    stage.saw("one cancel of each order")
