"""RFC 0008, sections 3.9 and 3.10: references, Search, Get and Watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from intertie.v1 import catalog_pb2 as ct
from intertie_conformance.checks import check
from intertie_conformance.checks.routes import opened, ref, stranger
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.roles import ordering
from intertie_conformance.roles.customer import outcome_of, refusal_of
from intertie_conformance.roles.market import PRICES, Market
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import Failed, fail
from intertie_conformance.wire.status import Said

TOOL, MODEL, AGENT = ct.OFFER_KIND_TOOL, ct.OFFER_KIND_MODEL, ct.OFFER_KIND_AGENT


def refs(items: Sequence[ct.ListedOffer]) -> list[str]:
    """References, in the order listed."""
    return [item.ref for item in items]


async def catalog(stage: Stage) -> tuple[Market, dict[str, Offered]]:
    """A market with five different offers, all listed; by label."""
    market = await opened(stage)
    word = f"w{stage.random.randrange(10**9)}"
    made = {
        "name": market.offer(f"{word}/in-name", kind=MODEL, place="DE-BE", description="first"),
        "tags": market.offer("b/one", kind=TOOL, place="FR", tags=[word], description="second"),
        "description": market.offer("c/one", kind=AGENT, description=f"about {word.upper()} things"),
        "both": market.offer(f"{word}/tagged", tags=[word], place="DE", prices=[*PRICES, ("sim.step", 500, 1)]),
        "none": market.offer("z/none", description="nothing of the kind", prices=[("order", 1, 3), ("mcp.call", 1, 3)]),
    }
    made["word"] = made["name"]
    await market.open_market(*(offer for label, offer in made.items() if label != "word"))
    market.stage.saw(f"five offers by the word {word}")
    return market, made


def word_of(made: dict[str, Offered]) -> str:
    """The word that four of them hold."""
    return made["word"].message.name.partition("/")[0]


async def expect_found(market: Market, made: dict[str, Offered], labels: str, **fields: Any) -> None:
    """Search finds exactly these of the market's offers. Raises: Failed."""
    items = await market.stage.customer.found(**{"origin": market.me.grid, **fields})
    wanted = {ref(market, made[label]) for label in labels.split()}
    if set(refs(items)) != wanted or len(items) != len(wanted):
        fail(f"{sorted(wanted)} for {fields}", sorted(refs(items)))
    market.stage.saw(f"{len(wanted)} found by {sorted(fields)}")


@check("IT-CAT-110", role="consumer", consumer=True)
async def filters(stage: Stage) -> None:
    """Search finds exactly what every given field keeps."""
    market, made = await catalog(stage)
    word = word_of(made)
    every = "name tags description both none"
    await expect_found(market, made, every)
    await expect_found(market, made, "name tags description both", text=word)
    await expect_found(market, made, "name", text=f"{word.upper()}  IN-name")
    await expect_found(market, made, "tags", text=f"{word} second")
    await expect_found(market, made, every, text=market.me.grid.partition(".")[0])
    await expect_found(market, made, "", text=f"{word} nowhere-at-all")
    await expect_found(market, made, "name", kind=MODEL)
    await expect_found(market, made, "description", kind=AGENT)
    await expect_found(market, made, "both", unit="sim.step")
    await expect_found(market, made, "none", unit="mcp.call")
    await expect_found(market, made, "name both", policy={"places": ["DE"]})
    await expect_found(market, made, "name tags", policy={"places": ["DE-BE", "FR"]})
    await expect_found(market, made, "none", max_price=2)
    await expect_found(market, made, "", max_price=1)
    await expect_found(market, made, "name tags description none", max_price=17)
    await expect_found(market, made, "name", text=word, kind=MODEL, max_price=17, policy={"places": ["DE"]})
    own = await stage.customer.found(origin=stage.target.grid)
    if not own or any(item.origin != stage.target.grid for item in own):
        fail("the target's own offers by its name", refs(own))


@check("IT-CAT-111", role="consumer", consumer=True)
async def ranks(stage: Stage) -> None:
    """The best rank first, then by reference; without words all by reference."""
    market, made = await catalog(stage)
    wanted = [ref(market, made[label]) for label in ("both", "name", "tags", "description")]
    got = refs(await stage.customer.found(origin=market.me.grid, text=word_of(made)))
    if got != wanted:
        fail(wanted.__repr__(), got)
    everything = refs(await stage.customer.found(origin=market.me.grid))
    if everything != sorted(everything, key=str.encode):
        fail("references in byte order", everything)
    stage.saw("ranked by name, tags, description, then by reference")


@check("IT-CAT-112", role="consumer", refusal=True, consumer=True)
async def bad_searches(stage: Stage) -> None:
    """Too large pages, too long texts and foreign tokens are refused with INVALID_ARGUMENT; what just fits is not."""
    await catalog(stage)
    for fields in ({"page_size": 101}, {"page_size": 2**32 - 1}, {"text": "x" * 257}, {"page_token": "not a token"}):
        answer = await stage.customer.search(**fields)
        if not isinstance(answer, Said) or answer.reason != "INVALID_ARGUMENT":
            fail(f"INVALID_ARGUMENT for {list(fields)}", answer if isinstance(answer, Said) else "a page")
        stage.saw(f"refused: {list(fields)}")
    for fields in ({"page_size": 100}, {"text": "x" * 256}):
        answer = await stage.customer.search(**fields)
        if isinstance(answer, Said):
            fail(f"a page for {list(fields)}", answer)


@check("IT-CAT-113", role="consumer", consumer=True)
async def pages(stage: Stage) -> None:
    """A page of size 0 has 20 offers; the token is empty on the last page only; the pages make up the whole."""
    market = await opened(stage)
    made = [market.offer(f"page/{n:02d}") for n in range(43)]
    await market.open_market(*made)
    whole: list[str] = []
    token, sizes = "", []
    while True:
        page = await stage.customer.search(origin=market.me.grid, page_token=token)
        if isinstance(page, Said):
            fail("a page", page)
        whole += refs(page.offers)
        sizes.append(len(page.offers))
        token = page.next_page_token
        if not token or len(sizes) > 5:
            break
    if sizes != [20, 20, 3] or whole != [ref(market, offer) for offer in made]:
        fail("pages of 20, 20 and 3 offers", sizes)
    exact = await stage.customer.search(origin=market.me.grid, page_size=43)
    if isinstance(exact, Said) or exact.next_page_token or len(exact.offers) != 43:
        fail("one page of 43 without a token", exact if isinstance(exact, Said) else len(exact.offers))
    stage.saw("43 offers in pages of 20, 20 and 3")


@check("IT-CAT-114", role="consumer", consumer=True)
async def listings(stage: Stage) -> None:
    """Digest, fingerprint, path and prices of a listing are those of the way that would be taken now."""
    market = await opened(stage)
    origin = stranger(market)
    offer = market.offer(origin=origin, prices=[("order", 10, 1), ("mcp.call", 7, 3)])
    await market.open_market(offer, origin=origin, markup_num=3, markup_den=2, fee=4)
    got = await stage.customer.expect_listed(ref(market, offer, origin), offer.digest)
    path = [stage.target.grid, market.me.grid, origin.grid]
    expect_listing(got, offer, origin.grid, path, [("order", 19, 1), ("mcp.call", 7, 2)])
    peer = await (await stage.peer()).up()
    own = await ordering.offer(peer, "meter")
    name = f"{stage.target.grid}/conformance/meter"
    listed = await stage.customer.expect_listed(name, own.digest)
    expect_listing(listed, own, stage.target.grid, [stage.target.grid], own.prices)
    again = next(item for item in await stage.customer.found(origin=origin.grid) if item.digest == offer.digest)
    expect_listing(again, offer, origin.grid, path, [("order", 19, 1), ("mcp.call", 7, 2)])
    stage.saw("two listings state what a way costs now")


def expect_listing(
    got: ct.ListedOffer, offer: Offered, grid: str, path: list[str], prices: Sequence[tuple[str, int, int]]
) -> None:
    """A listing of this. Raises: Failed."""
    rules = {
        "digest": got.digest == offer.digest,
        "origin_fingerprint": got.origin_fingerprint == offer.message.origin,
        "ref": got.ref == f"{grid}/{offer.message.name}" and got.origin == grid,
        "offer": got.offer == offer.message,
        "path": list(got.path) == path,
        "prices": [(line.unit, line.num, line.den) for line in got.prices] == list(prices),
    }
    wrong = [name for name, good in rules.items() if not good]
    if wrong:
        raise Failed(f"a listing of {grid}/{offer.message.name} with its {wrong[0]}", f"{getattr(got, wrong[0])}")


@check("IT-CAT-115", role="consumer", waits_s=1, consumer=True)
async def no_way_no_price(stage: Stage) -> None:
    """An offer in reach to which no way leads now has no prices; with a new tariff it has."""
    market = await opened(stage)
    offer = market.offer()
    await market.open_market(offer)
    await market.expire(offer)
    listed = await stage.customer.found(origin=market.me.grid)
    if refs(listed) != [ref(market, offer)] or listed[0].prices:
        fail(
            "the offer listed without prices", f"{len(listed)} offers, {len(listed[0].prices) if listed else 0} prices"
        )
    stage.saw("the offer is listed without prices under an expired tariff")
    await market.open_market(offer)


@check("IT-CAT-116", role="consumer", refusal=True, consumer=True)
async def unknown_references(stage: Stage) -> None:
    """Get of what cannot be resolved is OFFER_UNKNOWN; of what is known and out of reach as a call is refused."""
    market = await opened(stage)
    offer = market.offer()
    await market.open_market(offer)
    for name in ("", "/", "nobody.example/x", f"{market.me.grid}/", f"{ref(market, offer)}/x", "x" * 300):
        answer = await stage.customer.get(name)
        if not isinstance(answer, Said) or answer.reason != "OFFER_UNKNOWN":
            fail(f"OFFER_UNKNOWN for {name[:40]!r}", answer if isinstance(answer, Said) else "a listing")
        stage.saw(f"{name[:40]!r}: OFFER_UNKNOWN")
    market.announce()
    await _get_says(stage, ref(market, offer), "NO_ROUTE")
    await market.open_market(offer)
    await market.hang_up()
    await _get_says(stage, ref(market, offer), "PEER_UNAVAILABLE")


async def _get_says(stage: Stage, name: str, reason: str) -> None:
    await stage.customer.expect_unlisted(name)
    answer = await stage.customer.get(name)
    if not isinstance(answer, Said) or answer.reason != reason:
        fail(f"{reason} of Get", answer if isinstance(answer, Said) else "a listing")
    stage.saw(f"Get of what is out of reach: {reason}")


class Watching:
    """A Watch call as it is read."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.changes: list[ct.WatchResponse] = []
        self._call = stage.customer.watch()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for change in self._call:
            self.changes.append(change)

    async def until(self, look: Callable[[], bool], what: str) -> None:
        """Wait for something. Raises: Failed."""
        from intertie_conformance.roles.waiting import until

        await until(look, what, max(self.stage.patience, 1.5))
        self.stage.saw(what)

    def upserts(self) -> list[str]:
        """References that came, in order."""
        return [c.upsert.ref for c in self.changes if c.HasField("upsert")]

    def upserts_before_synced(self) -> list[str]:
        """References that came before everything was said to be sent; what other checks change comes after."""
        end = next(place for place, change in enumerate(self.changes) if change.synced)
        return [c.upsert.ref for c in self.changes[:end] if c.HasField("upsert")]

    def removed(self) -> list[str]:
        """References that went, in order."""
        return [c.removed for c in self.changes if c.WhichOneof("change") == "removed"]

    def synced(self) -> int:
        """How often everything was said to be sent."""
        return sum(c.synced for c in self.changes)

    def close(self) -> None:
        """End the call."""
        self._call.cancel()
        self._task.cancel()


@check("IT-CAT-117", role="consumer", consumer=True)
async def watching(stage: Stage) -> None:
    """Watch sends all that is in reach, then `synced` once, then what came, changed and went."""
    market = await opened(stage)
    first, second = market.offer(), market.offer()
    await market.open_market(first)
    watch = Watching(stage)
    try:
        await watch.until(lambda: watch.synced() > 0, "synced")
        before = watch.upserts_before_synced()
        if ref(market, first) not in before or len(set(before)) != len(before):
            fail("every offer in reach once, then synced", f"before it: {sorted(before)}")
        await market.open_market(first, second)
        await watch.until(lambda: ref(market, second) in watch.upserts(), "an upsert of an offer that came")
        count = len(watch.upserts())
        await market.open_market(first, second, markup_num=5)
        await watch.until(
            lambda: {ref(market, first), ref(market, second)} <= set(watch.upserts()[count:]), "upserts at a new price"
        )
        await market.open_market(second)
        await watch.until(lambda: ref(market, first) in watch.removed(), "a removed of an offer that went")
        if watch.synced() != 1 or ref(market, second) in watch.removed():
            fail("synced once, and one offer removed", f"synced {watch.synced()} times; {watch.removed()}")
    finally:
        watch.close()


# -- references ---------------------------------------------------------------------------------------


@check("IT-CAT-100", role="consumer", consumer=True)
async def full_references(stage: Stage) -> None:
    """grid/name leads to the offer of that name and that grid, also where others bear the name."""
    market = await opened(stage)
    origins = [stranger(market), stranger(market)]
    made = [market.offer("same/name", origin=origin, description=origin.grid) for origin in origins]
    routes = [
        market.route(market.root(offer, origin=origin), market.tariff(origin), origin)
        for origin, offer in zip(origins, made, strict=True)
    ]
    market.announce(*routes)
    for origin, offer in zip(origins, made, strict=True):
        await stage.customer.expect_listed(ref(market, offer, origin), offer.digest)
        call = stage.customer.call(ref(market, offer, origin))
        fact = await market.expect_order()
        order = fact.entry.order
        record = market.record(order, {"order": 1}, executor=origin.fingerprint)
        market.deliver(fact, b"", proof=market.prove(record, origin))
        await outcome_of(call)
        if order.offer_digest != offer.digest:
            fail(f"an order of {ref(market, offer, origin)}", "another offer")


@check("IT-CAT-101", role="consumer", consumer=True)
async def bare_names(stage: Stage) -> None:
    """A bare name leads to the target's own offer; another grid's needs its grid."""
    market = await opened(stage)
    theirs = market.offer("bare/name")
    await market.open_market(theirs)
    peer = await (await stage.peer()).up()
    own = await ordering.offer(peer, "echo")
    got = await stage.customer.expect_listed("conformance/echo", own.digest)
    if got.ref != f"{stage.target.grid}/conformance/echo":
        fail("the full reference of the target's echo", got.ref)
    await refusal_of(stage.customer.call("bare/name"), "OFFER_UNKNOWN")
    outcome = await outcome_of(stage.customer.call("conformance/echo", {"x": 1}))
    if outcome.output.data != b'{"x": 1}':
        fail("what echo returns", outcome.output.data)
    stage.saw("a bare name leads to an own offer only")


@check("IT-CAT-102", role="consumer", consumer=True)
async def unresolved(stage: Stage) -> None:
    """A call of a reference that leads nowhere is refused with OFFER_UNKNOWN."""
    for name in ("nobody.example/x", f"{stage.target.grid}/nothing", "nothing", ""):
        await refusal_of(stage.customer.call(name), "OFFER_UNKNOWN")
        stage.saw(f"{name!r}: OFFER_UNKNOWN")
    await outcome_of(stage.customer.call(f"{stage.target.grid}/conformance/echo"))


@check("IT-CAT-104", role="consumer", consumer=True)
async def preferred_reference(stage: Stage) -> None:
    """Of two offers by one reference the one in reach is meant before the one that is not."""
    market = await opened(stage)
    old, new = market.offer("twice/named", version="1"), market.offer("twice/named", version="2")
    await market.open_market(old)
    far = await opened(stage)
    far.spoiled = True  # a later check would find what it has led to beside what market then offers
    far.announce(far.route(far.root(new, origin=market.me), far.tariff(market.me), market.me))
    await far.expect_signed()
    await market.hang_up()
    await stage.customer.expect_listed(ref(market, new), new.digest)
    stage.saw("the offer in reach is meant")
