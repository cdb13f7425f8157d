"""RFC 0008, section 3.5: what a target that relays tells one peer of the origins of another."""

from __future__ import annotations

import asyncio

from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import OriginRoute
from intertie_conformance.checks import check
from intertie_conformance.checks.routes import opened, ref, stranger
from intertie_conformance.grid.account import THEM
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.identity import Identity
from intertie_conformance.roles import ordering, relayed
from intertie_conformance.roles.market import Market
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import amounts
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.digests import multihash

UNKNOWN_FIELD = b"\xfa\xff\x03\x03abc"


async def sold_on(peer: Peer, origin: Identity) -> OriginRoute:
    """The route to an origin by which the target sells on. Raises: Failed, Absent if it does not relay."""

    def found() -> OriginRoute | None:
        return peer.routes.get(origin.fingerprint)

    end = asyncio.get_running_loop().time() + max(peer.stage.patience, 1.0)
    while (route := found()) is None:
        if asyncio.get_running_loop().time() > end:
            await relayed.chain(peer.stage, payer=peer)
            fail(f"a route to {origin.grid}", "none")
        await asyncio.sleep(0.02)
    return route


async def selling(stage: Stage) -> tuple[Market, Offered]:
    """A market with an offer that the target lists."""
    market = await opened(stage)
    offer = market.offer()
    await market.open_market(offer)
    return market, offer


@check("IT-CAT-037", role="executor", consumer=True)
async def roots_byte_for_byte(stage: Stage) -> None:
    """A root goes on byte for byte, with what the target does not know in it."""
    market = await opened(stage)
    offer, seq = market.offer(), market.tariff()
    root = market.root(offer) + UNKNOWN_FIELD
    market.announce(market.route(root, seq))
    await stage.customer.expect_listed(ref(market, offer), offer.digest)
    peer = await (await stage.peer()).up()
    route = await sold_on(peer, market.me)
    if route.root != root or list(route.descriptors) != market.me.chain:
        fail("the root's envelope byte for byte", f"{len(route.root)} bytes of {len(root)}")
    if list(route.path) != [peer.peer.fingerprint, market.me.fingerprint]:
        fail("the target's fingerprint before the path", [part.hex()[:12] for part in route.path])
    stage.saw("the root went on byte for byte")


@check("IT-CAT-043", role="executor", consumer=True)
async def no_loops(stage: Stage) -> None:
    """An origin is not advertised to a grid in the path to it, nor by a path of 17 grids; by one of 16 it is."""
    market, _ = await selling(stage)
    peer = await (await stage.peer()).up()
    await sold_on(peer, market.me)
    through, long, fits = stranger(market), stranger(market), stranger(market)
    fill = [multihash(bytes([n])) for n in range(14)]
    paths = {
        through.fingerprint: [market.me.fingerprint, peer.me.fingerprint, through.fingerprint],
        long.fingerprint: [market.me.fingerprint, *fill, long.fingerprint],
        fits.fingerprint: [market.me.fingerprint, *fill[1:], fits.fingerprint],
    }
    routes = []
    for origin in (through, long, fits):
        root = market.root(market.offer(origin=origin), origin=origin)
        route = market.route(root, market.tariff(origin), origin, path=paths[origin.fingerprint], path_names=[])
        routes.append(route)
    market.announce(*routes)
    await sold_on(peer, fits)
    await asyncio.sleep(0.3)
    wrong = [name for name, origin in (("its own path", through), ("17", long)) if origin.fingerprint in peer.routes]
    if wrong:
        fail("no route that loops or is too long", wrong)
    stage.saw("a path of 16 was advertised, a loop and a path of 17 were not")


@check("IT-CAT-044", role="executor", consumer=True)
async def not_back(stage: Stage) -> None:
    """An origin is not advertised over the link on which it was learnt; over another it is."""
    market = await opened(stage)
    origin = stranger(market)
    offer = market.offer(origin=origin)
    await market.open_market(offer, origin=origin)
    peer = await (await stage.peer()).up()
    await sold_on(peer, origin)
    second, _ = await selling(stage)
    await sold_on(market, second.me)
    if origin.fingerprint in market.routes:
        fail("no route back", f"a route to {origin.grid}")
    stage.saw("the origin was advertised over the other link alone")


@check("IT-CAT-045", role="executor", consumer=True)
async def open_ways_alone(stage: Stage) -> None:
    """An origin whose link is down is not in a round; while it is open it is."""
    market, offer = await selling(stage)
    peer = await (await stage.peer()).up()
    await sold_on(peer, market.me)
    await market.hang_up()
    await stage.customer.expect_unlisted(ref(market, offer))
    await peer.up()
    if market.me.fingerprint in peer.routes:
        fail("no route over a link that is down", "one in the first round")
    stage.saw("the first round did not hold an origin whose link is down")
    await ordering.still_sells(peer)


@check("IT-CAT-068", role="executor", consumer=True)
async def advertised_since(stage: Stage) -> None:
    """After a link has opened again, its origins are sold on only once they were advertised again."""
    market, offer = await selling(stage)
    peer = await (await stage.peer()).up()
    await sold_on(peer, market.me)
    await market.hang_up()
    await stage.customer.expect_unlisted(ref(market, offer))
    await market.up()
    await peer.up()
    if market.me.fingerprint in peer.routes:
        fail("no route that was not advertised since", "one in the first round")
    stage.saw("the first round did not hold what was not advertised since")
    await market.open_market(offer)
    await sold_on(peer, market.me)


@check("IT-CAT-047", role="executor", consumer=True)
async def large_routes_left_out(stage: Stage) -> None:
    """A route that no frame of the receiver holds is left out of the round; a small one is not."""
    market, _ = await selling(stage)
    big = stranger(market)
    some = market.offer(origin=big)
    digests = sorted([some.digest, *(multihash(n.to_bytes(3, "big")) for n in range(2_500))])
    root = market.root(some, origin=big, offers=digests)
    small = stranger(market)
    market.announce(
        market.route(root, market.tariff(big), big),
        market.route(market.root(market.offer(origin=small), origin=small), market.tariff(small), small),
    )
    await stage.customer.expect_listed(ref(market, some, big), some.digest)
    peer = await stage.peer()
    limits = peer.script.own_limits()
    limits.frame_bytes = 65_536
    await peer.begin(limits=limits)
    await peer.wait(lambda: peer.confirmed and peer.epoch_ended, "a round")
    await sold_on(peer, small)
    if big.fingerprint in peer.routes or any(len(data.SerializeToString()) > 65_536 for data in peer.frames):
        fail("no route of 85,000 bytes in frames of 65,536", "one")
    stage.saw("the large route was left out, the small one was not")


@check("IT-CAT-093", role="executor", refusal=True, consumer=True)
async def not_passed_back(stage: Stage) -> None:
    """An order is not passed on over the link on which it came, though that is the only way left."""
    first, second = await opened(stage), await opened(stage)
    origin = stranger(first)
    offer = first.offer(origin=origin)
    await first.open_market(offer, origin=origin)
    second.announce(second.route(second.root(offer, origin=origin), second.tariff(origin), origin))
    route = await sold_on(first, origin)
    second.announce()
    await second.expect_signed()
    await asyncio.sleep(0.3)
    made, data = await ordering.make_order(first, "echo", {"back": 1})
    tariff = first.logs.account.tariffs[THEM][route.tariff_seq]
    del made.prices[:]
    for unit, num, den in amounts.under_tariff(offer.prices, tariff.markup_num, tariff.markup_den, tariff.fee):
        made.prices.add(unit=unit, num=num, den=den)
    made.offer_digest, made.tariff_seq = offer.digest, route.tariff_seq
    seq = first.write(entry(pb.ENTRY_KIND_ORDER, order=made), data)
    first.flush()
    await ordering.expect_rejected(first, seq, "NO_ROUTE", "PEER_UNAVAILABLE")
    if first.orders():
        fail("no order back over the link", "one")
    await ordering.still_sells(first)
