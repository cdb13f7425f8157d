"""RFC 0009, sections 3.1 and 3.2: who may ask, and what an id means."""

from __future__ import annotations

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_conformance.checks import check
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.registry import LIMITS
from intertie_conformance.roles.client import Client, client, other
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import ids

DAY_MS = 86_400_000


async def charge_of(me: Client, wanted: iv.Invocation) -> int:
    """Call, expect COMPLETED, and say what it cost."""
    return (await me.done(wanted)).receipt.charge


@check("IT-INV-001", role="consumer", consumer=True)
async def three_services(stage: Stage) -> None:
    """The public port serves the three services over TLS."""
    me = client(stage).over(stage.target.public())
    found = await me.ask(me.catalog.Get, ct.CatalogServiceGetRequest(ref=me.ref("echo")))
    if found.offer.offer.name != "conformance/echo":
        fail("CatalogService gives conformance/echo over TLS", found.offer.offer.name)
    wanted = me.wants("echo", {"x": 1})
    await me.done(wanted)
    if (await me.get(wanted.id)).state != TASK_STATE_COMPLETED:
        fail("Get over TLS says COMPLETED", "another state")
    account = await me.account()
    if account.spent < 1:
        fail("GetAccount over TLS says what was spent", account.spent)
    stage.saw("all three services answer over TLS")


@check("IT-INV-004", role="stranger", refusal=True, consumer=True)
async def without_token(stage: Stage) -> None:
    """Without a known token each service refuses, whatever was asked; with one it does not."""
    me = client(stage)
    for token in ("", f"unknown-{stage.random.randrange(10**9)}", stage.target.table.token[:-1]):
        stranger = Client(stage, token)
        await stranger.refused(stranger.call(stranger.wants("echo")), "UNAUTHENTICATED")
        await stranger.refused(stranger.call(iv.Invocation(id="no id")), "UNAUTHENTICATED")
        await stranger.refused(stranger.get("no id"), "UNAUTHENTICATED")
        await stranger.refused(stranger.cancel("no id"), "UNAUTHENTICATED")
        await stranger.refused(stranger.listed(page_size=1_000), "UNAUTHENTICATED")
        await stranger.refused(stranger.account(), "UNAUTHENTICATED")
        await stranger.refused(stranger.ask(stranger.catalog.Search, ct.SearchRequest()), "UNAUTHENTICATED")
        for heard in (stranger.invoke(stranger.wants("echo")), stranger.subscribe("no id"), stranger.stream()):
            await stranger.refused(heard.finish(), "UNAUTHENTICATED")
    await me.works()


@check("IT-INV-005", role="consumer", refusal=True, consumer=True)
async def of_another_account(stage: Stage) -> None:
    """An invocation of another account does not exist, and its id is free."""
    me, they = client(stage), await other(stage)
    wanted = me.wants("ask")
    mine = me.invoke(wanted)
    await mine.wait(mine.events, "an input request")
    await they.refused(they.get(wanted.id), "NOT_FOUND")
    await they.refused(they.subscribe(wanted.id).finish(), "NOT_FOUND")
    await they.refused(they.reply(wanted.id, {"y": 2}), "NOT_FOUND")
    await they.refused(they.cancel(wanted.id), "NOT_FOUND")
    theirs = they.wants("echo", {"own": 1}, id=wanted.id)
    if (await they.done(theirs)).output.data != theirs.input.data:
        fail("another account's invocation under that id is its own", "another output")
    await me.reply(wanted.id, {"x": 1})
    me.is_(await mine.outcome(), "COMPLETED")


@check("IT-INV-006", role="consumer", consumer=True)
async def where_refusals_stand(stage: Stage) -> None:
    """A refusal is the status of a call, and the refused item of its invocation on Stream."""
    me = client(stage)
    await me.refused(me.call(me.wants("nothing")), "OFFER_UNKNOWN")
    await me.refused(me.invoke(me.wants("nothing")).finish(), "OFFER_UNKNOWN")
    heard, bad, good = me.stream(), me.wants("nothing"), me.wants("echo")
    await heard.say(invocations=[bad, good])
    await heard.wait(lambda: "OFFER_UNKNOWN" in heard.refusals(bad.id), "a refused item with OFFER_UNKNOWN")
    me.is_(await heard.outcome(good.id), "COMPLETED")


@check("IT-INV-007", role="consumer", consumer=True)
async def call_answers_ok(stage: Stage) -> None:
    """Call of what ends FAILED, REJECTED or CANCELED is answered with an outcome."""
    me = client(stage)
    me.is_(await me.call(me.wants("fail", {"message": "as asked"})), "FAILED", "EXECUTION_FAILED")
    me.is_(await me.call(me.wants("refuse")), "REJECTED", "PERMISSION_DENIED")
    wanted = me.wants("delay", {"ms": 60_000})
    call = me.calling(wanted)
    await me.until_state(wanted.id, "WORKING")
    await me.cancel(wanted.id)
    me.is_(await call, "CANCELED", "CANCELED")


@check("IT-INV-013", role="consumer", refusal=True, consumer=True)
async def id_of_the_future(stage: Stage) -> None:
    """An id more than 300,000 ms ahead is refused; one 200,000 ms ahead is not."""
    me = client(stage)
    for ahead in (stage.random.randrange(310_000, 400_000), 365 * DAY_MS):
        await me.refused(me.call(me.wants("echo", id=ids.make_id(now_ms() + ahead))), "ID_INVALID")
    await me.done(me.wants("echo", id=ids.make_id(now_ms() + 200_000)))


@check("IT-INV-014", role="consumer", refusal=True, consumer=True)
async def id_of_the_past(stage: Stage) -> None:
    """An unknown id older than the longest retention is refused; one of six days is not."""
    me = client(stage)
    for age in (LIMITS["retention_ms"].maximum + DAY_MS, LIMITS["retention_ms"].maximum * 2):
        await me.refused(me.call(me.wants("echo", id=ids.make_id(now_ms() - age))), "ID_EXPIRED")
    await me.done(me.wants("echo", id=ids.make_id(now_ms() - 6 * DAY_MS)))


@check("IT-INV-015", role="consumer", consumer=True)
async def same_again(stage: Stage) -> None:
    """The same request is answered with the events from 1 on and the outcome of the first one."""
    me = client(stage)
    wanted = me.wants("stream", {"chunks": 3, "bytes": 7})
    first = me.invoke(wanted)
    outcome = await first.outcome()
    again = iv.Invocation.FromString(wanted.SerializeToString())
    again.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    second = me.invoke(again)
    if await second.outcome() != outcome:
        fail("the same outcome again", second.outcomes())
    if [event.number for event in second.events()] != [1, 2, 3]:
        fail("events 1, 2, 3 again", [event.number for event in second.events()])
    if second.events() != first.events():
        fail("the same events again", "others")
    if (await me.call(again)).receipt != outcome.receipt:
        fail("the same receipt on Call", "another one")
    stage.saw("the repeated request brought the same events and outcome")


@check("IT-INV-016", role="consumer", consumer=True)
async def once_only(stage: Stage) -> None:
    """A repeated request, while it runs and afterwards, reserves nothing and costs nothing."""
    me = await other(stage)
    before = await me.account()
    wanted = me.wants("ask")
    first, second = me.invoke(wanted), me.invoke(wanted)
    await first.wait(first.events, "an input request")
    await second.wait(second.events, "an input request")
    reserved = (await me.account()).reserved - before.reserved
    if reserved != wanted.max_charge:
        fail(f"{wanted.max_charge} reserved for one invocation", reserved)
    await me.reply(wanted.id, {"x": 1})
    charge = (await first.outcome()).receipt.charge
    await second.outcome()
    await me.call(wanted)
    after = await me.account()
    if (after.spent - before.spent, after.reserved - before.reserved) != (charge, 0):
        fail(f"{charge} spent once and nothing reserved", f"{after.spent - before.spent} spent")
    if not charge:
        fail("an invocation that costs something", charge)
    stage.saw("four requests with one id cost what one does")


@check("IT-INV-017", role="consumer", refusal=True, consumer=True)
async def conflicts(stage: Stage) -> None:
    """A known id with any other field is refused with ID_CONFLICT; the invocation stays as it is."""
    me = client(stage)
    wanted = me.wants("echo", {"x": 1}, session="s", first_grant=500)
    outcome = await me.done(wanted)
    changes: dict[str, object] = {
        "offer": me.ref("fail"),
        "max_charge": wanted.max_charge + 1,
        "timeout_ms": wanted.timeout_ms + 1,
        "first_grant": 501,
        "session": "t",
        "group": "g",
    }
    for name, value in changes.items():
        changed = iv.Invocation.FromString(wanted.SerializeToString())
        setattr(changed, name, value)
        await me.refused(me.call(changed), "ID_CONFLICT")
    for part in (
        {"input": {"media_type": "text/plain"}},
        {"input": {"data": b'{"x":2}'}},
        {"policy": {"places": ["DE"]}},
    ):
        changed = iv.Invocation.FromString(wanted.SerializeToString())
        changed.MergeFrom(iv.Invocation(**part))
        await me.refused(me.call(changed), "ID_CONFLICT")
    if await me.call(wanted) != outcome:
        fail("the known invocation is left as it was", "another outcome")


@check("IT-INV-018", role="consumer", refusal=True, consumer=True)
async def refused_ids_are_free(stage: Stage) -> None:
    """The id of a refused request is new when it comes again, with other fields too."""
    me = client(stage)
    for name, reason, changes in (
        ("nothing", "OFFER_UNKNOWN", {}),
        ("echo", "AMOUNT_INVALID", {"max_charge": -1}),
        ("echo", "BUDGET_EXCEEDED", {"max_charge": 9}),
        ("delay", "INPUT_INVALID", {}),
    ):
        bad = me.wants(name, {"wrong": "input"}, **changes)
        await me.refused(me.call(bad), reason)
        await me.refused(me.get(bad.id), "NOT_FOUND")
        await me.done(me.wants("echo", {"again": 1}, id=bad.id))
