"""RFC 0008, sections 3.1 and 3.6: what the target takes of the offers of others, and how it fetches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import OriginRoute
from intertie_conformance.checks import check
from intertie_conformance.checks.routes import opened, ref, stranger
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.roles.customer import outcome_of
from intertie_conformance.roles.market import PRICES
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.digests import multihash


@check("IT-CAT-010", role="hostile peer", refusal=True, consumer=True)
async def bad_offers(stage: Stage) -> None:
    """Offers that fail a check are not listed; a sound one beside them is."""
    market = await opened(stage)
    many = [("order", 10, 1), *((f"x-{n:02d}", 1, 1) for n in range(16))]
    bad: dict[str, Any] = {
        "another origin": market.offer(),
        "more than 262,144 bytes": {"description": "d" * 262_144},
        "no name": {"name": " "},
        "a name of 129 characters": {"name": "n" * 129},
        "17 price lines": {"prices": many},
        "a unit twice": {"prices": [("order", 1, 1), ("order", 2, 1)]},
        "a negative price": {"prices": [("order", -1, 1)]},
        "a price over nothing": {"prices": [("order", 1, 0)]},
    }
    bad["no offer"] = b"\xff\xff\xff"
    sound = market.offer(), market.offer(prices=many[:16])
    routes: list[OriginRoute] = []
    digests: list[bytes] = []
    for what, offer in bad.items():
        origin = stranger(market, f"b{len(routes)}-{market.me.grid}")
        made = market.offer(origin=origin, **offer) if isinstance(offer, dict) else offer
        data = made if isinstance(made, bytes) else made.data
        if what == "no name":
            data = data.replace(b"\x12\x01 ", b"\x12\x00", 1)
        digests.append(multihash(data))
        root = market.root(Offered(data, sound[0].message, digests[-1]), origin=origin)
        routes.append(market.route(root, market.tariff(origin), origin))
    before = len(market.door.asked)
    market.announce(*routes, market.route(market.root(*sound), market.tariff()))
    for one in sound:
        await stage.customer.expect_listed(ref(market, one), one.digest)
    await market.wait(lambda: len(market.door.asked) - before > len(bad), "the offers of every origin are asked for")
    await asyncio.sleep(0.2)
    listed = {item.digest for item in await stage.customer.found()}
    wrong = [what for what, digest in zip(bad, digests, strict=True) if digest in listed]
    if wrong:
        fail("no offer that fails a check", f"listed: {wrong}")
    stage.saw(f"{len(bad)} bad offers are not listed")


@check("IT-CAT-011", role="hostile peer", refusal=True, consumer=True)
async def long_units(stage: Stage) -> None:
    """An offer that prices a unit of 65 characters is not listed; one of 64 is."""
    market = await opened(stage)
    origin = stranger(market)
    long = market.offer(origin=origin, prices=[*PRICES, ("x-" + "u" * 63, 1, 1)])
    fits = market.offer(prices=[*PRICES, ("x-" + "u" * 62, 1, 1)])
    first = market.route(market.root(long, origin=origin), market.tariff(origin), origin)
    before = len(market.door.asked)
    market.announce(first, market.route(market.root(fits), market.tariff()))
    await stage.customer.expect_listed(ref(market, fits), fits.digest)
    await market.wait(lambda: len(market.door.asked) - before > 1, "the offers of both origins are asked for")
    await asyncio.sleep(0.2)
    if any(item.digest == long.digest for item in await stage.customer.found(origin=origin.grid)):
        fail("no offer with a unit of 65 characters", "it is listed")
    stage.saw("the offer with the long unit is not listed")


@check("IT-CAT-019", role="hostile peer", consumer=True)
async def schemas_not_fetched(stage: Stage) -> None:
    """Nothing is fetched that a schema refers to, neither when it is listed nor when it is called."""
    market = await opened(stage)
    visits = 0

    async def visited(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        writer.close()

    server = await asyncio.start_server(visited, stage.peerings.host, 0)
    try:
        port = server.sockets[0].getsockname()[1]
        address = f"http://{stage.peerings.host}:{port}/schema.json"
        schema = f'{{"$schema": "{address}", "$ref": "{address}"}}'.encode()
        offer = market.offer(input_schema=schema, output_schema=schema)
        await market.open_market(offer)
        call = stage.customer.call(ref(market, offer))
        market.deliver(await market.expect_order())
        await outcome_of(call)
        if visits:
            fail("nothing is fetched", f"{visits} connections")
        stage.saw("the offer was listed and bought, and its schema not fetched")
    finally:
        server.close()
        await server.wait_closed()


@check("IT-CAT-073", role="hostile peer", refusal=True, consumer=True)
async def answer_without_end(stage: Stage) -> None:
    """Nothing of an answer without `end` is used; a whole one is."""
    market = await opened(stage)
    half = market.offer()

    async def cut(request: lk.SyncCatalogRequest) -> AsyncIterator[lk.SyncCatalogResponse]:
        yield lk.SyncCatalogResponse(offer=half.data)

    seq, market.sync = market.tariff(), cut
    root = market.root(half)
    market.announce(market.route(root, seq))
    asked = len(market.door.asked)
    await market.wait(lambda: len(market.door.asked) > asked or market.door.asked, "a call of SyncCatalog")
    await asyncio.sleep(0.3)
    if any(item.digest == half.digest for item in await stage.customer.found(origin=market.me.grid)):
        fail("nothing of an answer without an end", "its offer is listed")
    stage.saw("the answer without an end was not used")
    market.sync = market.serve_offers
    whole = market.offer()
    market.announce(market.route(market.root(half, whole), seq))
    await stage.customer.expect_listed(ref(market, whole), whole.digest)


@check("IT-CAT-074", role="hostile peer", refusal=True, consumer=True)
async def unlisted_offers(stage: Stage) -> None:
    """Offers that come and that the root does not list are dropped."""
    market = await opened(stage)
    listed, extra = market.offer(), market.offer()

    async def more(request: lk.SyncCatalogRequest) -> AsyncIterator[lk.SyncCatalogResponse]:
        for offer in (extra, listed):
            yield lk.SyncCatalogResponse(offer=offer.data)
        yield lk.SyncCatalogResponse(end=2)

    seq, root, market.sync = market.tariff(), market.root(listed), more
    market.announce(market.route(root, seq))
    await stage.customer.expect_listed(ref(market, listed), listed.digest)
    if any(item.digest == extra.digest for item in await stage.customer.found(origin=market.me.grid)):
        fail("the listed offer alone", "another one is listed too")
    await stage.customer.expect_unlisted(ref(market, extra))


@check("IT-CAT-076", role="hostile peer", waits_s=1, consumer=True)
async def fetching_beside(stage: Stage) -> None:
    """While an answer of SyncCatalog is awaited the link goes on."""
    market = await opened(stage)
    first, slow = market.offer(), market.offer()
    seq = await market.open_market(first)
    free = asyncio.Event()

    async def late(request: lk.SyncCatalogRequest) -> AsyncIterator[lk.SyncCatalogResponse]:
        await free.wait()
        async for item in market.serve_offers(request):
            yield item

    market.sync = late
    asked = len(market.door.asked)
    market.announce(market.route(market.root(first, slow), seq))
    await market.wait(lambda: len(market.door.asked) > asked, "a call of SyncCatalog")
    await market.expect_alive()
    call = stage.customer.call(ref(market, first))
    market.deliver(await market.expect_order())
    await outcome_of(call)
    stage.saw("the link served while offers were awaited")
    free.set()
    await stage.customer.expect_listed(ref(market, slow), slow.digest)
