"""RFC 0009, sections 3.3 and 3.4: what is checked before an invocation is taken, and in which order."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import invocation_pb2 as iv
from intertie_conformance.checks import check
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.registry import LIMITS
from intertie_conformance.roles.client import Client, client, other
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import Failed, fail
from intertie_conformance.wire import ids

DAY_MS = 86_400_000
TOO_MUCH: dict[str, Any] = {"max_charge": 2**62}
LARGE: dict[str, Any] = {"input": {"data": b'"' + b"x" * 16_383 + b'"'}}
ELSEWHERE: dict[str, Any] = {"policy": {"places": ["QZ"]}}


@check("IT-INV-020", role="consumer", refusal=True, consumer=True)
async def checks_in_order(stage: Stage) -> None:
    """Of two faults in a request the one of the earlier row names the reason; each bound itself is taken."""
    me = client(stage)
    now = now_ms()
    upper = ids.make_id(now).upper()
    old = ids.make_id(now - 2 * LIMITS["retention_ms"].maximum)
    ahead = ids.make_id(now + 900_000)
    rows: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("ID_INVALID", "nothing", {"id": upper}),
        ("ID_INVALID", "nothing", {"id": ids.make_id(now).replace("-", "")}),
        ("ID_INVALID", "nothing", {"id": ""}),
        ("ID_EXPIRED", "nothing", {"id": old}),
        ("ID_INVALID", "nothing", {"id": ahead}),
        ("OFFER_UNKNOWN", "nothing", {**LARGE, "timeout_ms": -1}),
        ("INPUT_TOO_LARGE", "echo", {**LARGE, "timeout_ms": -1}),
        ("DEADLINE_TOO_LONG", "echo", {"timeout_ms": -1, "max_charge": -1}),
        ("AMOUNT_INVALID", "delay", {"max_charge": -1}),
        ("AMOUNT_INVALID", "delay", {"max_charge": 100, "first_grant": 101}),
        ("AMOUNT_INVALID", "delay", {"max_charge": 100, "first_grant": -1}),
        ("INPUT_INVALID", "delay", ELSEWHERE),
        ("POLICY_VIOLATION", "echo", {**ELSEWHERE, "max_charge": 9}),
        ("BUDGET_EXCEEDED", "echo", {"max_charge": 9}),
        ("PAYLOAD_TOO_LARGE", "echo", {"session": "s" * 9_000, **TOO_MUCH}),
        ("BUDGET_EXCEEDED", "echo", TOO_MUCH),
    )
    for reason, name, changes in rows:
        await me.refused(me.call(me.wants(name, **changes)), reason)
    fits = b'"' + b"x" * 16_382 + b'"'
    await me.done(me.wants("echo", fits))
    await me.done(me.wants("echo", timeout_ms=3_600_000))
    await me.done(me.wants("echo", timeout_ms=0))
    await me.done(me.wants("echo", max_charge=10, first_grant=10))


@check("IT-INV-022", role="consumer", refusal=True, consumer=True)
async def budget_at_once(stage: Stage) -> None:
    """Of requests that come at once no more are taken than the budget has room for."""
    me = await other(stage)
    account = await me.account()
    share = (account.budget - account.reserved - account.spent) // 3
    wanted = [me.wants("delay", {"ms": 60_000}, max_charge=share) for _ in range(12)]
    heard = me.stream()
    stage.ends.append(lambda: _stop(me, wanted))
    await heard.say(invocations=wanted)

    def refused() -> int:
        return sum(heard.refusals(item.id)[:1] == ["BUDGET_EXCEEDED"] for item in wanted)

    await heard.wait(lambda: refused() == 9, "nine of twelve refused with BUDGET_EXCEEDED")
    held = await me.account()
    if held.reserved + held.spent > held.budget or held.reserved < 3 * share:
        fail("three shares reserved, and reserved + spent within the budget", held)
    await me.refused(me.call(me.wants("echo", max_charge=share)), "BUDGET_EXCEEDED")
    await heard.say(cancels=[{"id": item.id} for item in wanted if not heard.refusals(item.id)])
    await heard.wait(lambda: len(heard.outcomes()) == 3, "three outcomes")
    if refused() != 9:
        fail("nine refused", refused())
    await me.done(me.wants("echo", max_charge=share))


async def _stop(me: Client, wanted: list[iv.Invocation]) -> None:
    """Leave nothing reserved."""
    for item in wanted:
        with contextlib.suppress(Failed):
            await me.cancel(item.id)


@check("IT-INV-025", role="consumer", refusal=True, consumer=True)
async def places(stage: Stage) -> None:
    """A policy whose places do not allow that of the offer is refused; one that does is not."""
    me = client(stage)
    place = await place_of(me)
    bad = [["QZ"], ["QZ", "QX-AA"], [f"{place}-ZZ"] if place else ["DE"]]
    if place:
        bad += [[place[:1]], [place.lower()]]
    for codes in bad:
        await me.refused(me.call(me.wants("echo", policy={"places": codes})), "POLICY_VIOLATION")
    good = [[], [place], ["QZ", place], [place.partition("-")[0]]] if place else [[]]
    for codes in good:
        await me.done(me.wants("echo", policy={"places": codes}))


async def place_of(me: Client) -> str:
    """Where the target's echo works, "" if that is not stated."""
    answer = await me.ask(me.catalog.Get, ct.CatalogServiceGetRequest(ref=me.ref("echo")))
    return answer.offer.offer.place or me.stage.target.described.message.place


@check("IT-INV-146", role="consumer", consumer=True)
async def account_of_one_moment(stage: Stage) -> None:
    """While invocations end one after another, reserved and spent always fit each other."""
    me = await other(stage)
    before = await me.account()
    count, share, cost = 8, 1_000, 10
    wanted = [me.wants("delay", {"ms": 40 * step}, max_charge=share) for step in range(1, count + 1)]
    heard = me.stream()
    await heard.say(invocations=wanted)
    states = set()
    for _ in range(400):
        now = await me.account()
        reserved, spent = now.reserved - before.reserved, now.spent - before.spent
        if reserved % share or (spent != cost * (count - reserved // share) and reserved):
            fail(f"{cost} spent for each {share} that is reserved no more", f"reserved {reserved}, spent {spent}")
        states.add(reserved // share)
        if spent == cost * count:
            break
        await asyncio.sleep(0.01)
    if len(states) < 3:
        fail("several moments seen", sorted(states))
    stage.saw(f"{len(states)} moments in which reserved and spent fitted")
