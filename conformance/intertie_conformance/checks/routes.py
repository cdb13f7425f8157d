"""RFC 0008, sections 3.1, 3.4 to 3.6: what the target takes of the offers, roots and routes of others."""

from __future__ import annotations

import asyncio
from typing import Any

from intertie.v1.catalog_pb2 import Advertisement, CatalogRoot, OriginRoute
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_conformance.checks import check
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.identity import DAY_MS, Identity, now_ms
from intertie_conformance.roles.customer import outcome_of
from intertie_conformance.roles.market import Market
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import descriptors, envelope
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.keys import Key


async def opened(stage: Stage) -> Market:
    """A market whose link is open."""
    return await (await stage.market()).up()


def ref(market: Market, offer: Offered, origin: Identity | None = None) -> str:
    """The reference of an offer."""
    return f"{(origin or market.me).grid}/{offer.message.name}"


def stranger(market: Market, label: str = "") -> Identity:
    """An origin behind the market, with a name of its own."""
    name = label or f"o{market.stage.random.randrange(10**9)}-{market.me.grid}"
    made = Identity(name, certificates=[])
    made.describe()
    return made


async def refused_route(market: Market, bad: OriginRoute, what: str, offer: Offered) -> None:
    """A route that fails a check takes the one before with it; the link goes on and takes a good one again."""
    stage = market.stage
    older = CatalogRoot.FromString(envelope.peek(bad.root).payload).version - 1
    good = market.route(market.root(offer, version=older), market.tariff())
    market.announce(good)
    await stage.customer.expect_listed(ref(market, offer), offer.digest)
    market.announce(bad, end=False)
    await stage.customer.expect_unlisted(ref(market, offer))
    stage.saw(f"withdrawn with a bad route: {what}")
    await market.expect_alive()
    market.announce(good)
    await stage.customer.expect_listed(ref(market, offer), offer.digest)


def resigned(market: Market, offer: Offered, *keys: Key, **changes: Any) -> bytes:
    """A root of one offer with these fields and signatures."""
    payload = envelope.peek(market.root(offer)).payload
    made = CatalogRoot.FromString(payload)
    for name, value in changes.items():
        if name == "offers":
            del made.offers[:]
            made.offers.extend(value)
        else:
            setattr(made, name, value)
    sealed = envelope.seal(envelope.CATALOG_ROOT, made.SerializeToString(), keys or (market.me.key,))
    market.serve(sealed, offer)
    return sealed


@check("IT-CAT-035", role="hostile peer", refusal=True, consumer=True)
async def unsigned_roots(stage: Stage) -> None:
    """Roots signed by the root key, a stranger, an old key, or wrongly, are refused."""
    market = await opened(stage)
    offer, seq = market.offer(), market.tariff()
    bent = envelope.peek(resigned(market, offer))
    bent.signatures[0].value = bytes(64)
    for what, root in (
        ("a wrong signature", bent.SerializeToString()),
        ("the root key", resigned(market, offer, market.me.root)),
        ("a stranger", resigned(market, offer, Key())),
    ):
        await refused_route(market, market.route(root, seq), what, offer)
    old = stranger(market)
    expired = old.statement()
    expired.signing_keys[0].not_after = now_ms() - DAY_MS // 2
    old.chain = [descriptors.issue([], expired, old.root)]
    theirs = market.offer(origin=old)
    tariff = market.tariff(old)
    market.announce(market.route(market.root(theirs, origin=old), tariff, old), market.route(market.root(offer), seq))
    await stage.customer.expect_listed(ref(market, offer), offer.digest)
    await stage.customer.expect_unlisted(ref(market, theirs, old))
    await _old_key(market)


async def _old_key(market: Market) -> None:
    """A key that the newest descriptor does not list signs no root, whatever chain is shown beside it."""
    stage, origin = market.stage, stranger(market)
    offer, old_chain, old_key = market.offer(origin=origin), list(origin.chain), origin.key
    await market.open_market(offer, origin=origin)
    origin.rotate()
    seq = await market.open_market(offer, origin=origin)
    origin.key = old_key
    market.announce(market.route(market.root(offer, origin=origin), seq, origin, descriptors=old_chain))
    await stage.customer.expect_unlisted(ref(market, offer, origin))
    stage.saw("a root by a key of an older descriptor was refused")


@check("IT-CAT-036", role="hostile peer", refusal=True, consumer=True)
async def bad_roots(stage: Stage) -> None:
    """Roots of another origin, expired, too long or out of order are refused."""
    market = await opened(stage)
    offer, seq = market.offer(), market.tariff()
    digests = sorted([offer.digest, *(multihash(bytes([n])) for n in range(3))])
    many = sorted([offer.digest, *(multihash(n.to_bytes(2, "big")) for n in range(4_096))])
    for what, changes in (
        ("another origin", {"origin": multihash(b"another")}),
        ("expired", {"expires_at": now_ms() - 1_000}),
        ("4,097 digests", {"offers": many}),
        ("out of order", {"offers": digests[::-1]}),
        ("a digest twice", {"offers": [digests[0], *digests]}),
    ):
        await refused_route(market, market.route(resigned(market, offer, **changes), seq), what, offer)


@check("IT-CAT-038", role="hostile peer", refusal=True, consumer=True)
async def older_roots(stage: Stage) -> None:
    """A root older than one that was taken is refused, over this link and another one; the same one is taken again."""
    market, other = await opened(stage), await opened(stage)
    offer, seq = market.offer(), market.tariff()
    first, second = (market.route(market.root(offer), seq) for _ in range(2))
    for route, listed in ((first, True), (second, True), (first, False), (second, True), (second, True)):
        market.announce(route)
        expect = stage.customer.expect_listed if listed else stage.customer.expect_unlisted
        await expect(ref(market, offer))
    origin = stranger(market)
    older, newer = market.offer(origin=origin), market.offer(origin=origin)
    old = other.root(older, origin=origin, version=1)
    await market.open_market(newer, origin=origin)
    theirs = other.tariff(origin)
    other.announce(other.route(old, theirs, origin))
    await other.expect_signed()
    await other.expect_alive()
    other.announce(other.route(other.root(older, origin=origin), theirs, origin))
    await stage.customer.expect_listed(ref(other, older, origin), older.digest)
    if [request for request in other.door.asked if request.root == multihash(envelope.peek(old).payload)]:
        fail("nothing is fetched for the older root", "a call of SyncCatalog")
    stage.saw("the older root was refused over another link, a newer one taken")


@check("IT-CAT-060", role="hostile peer", refusal=True, consumer=True)
async def bad_routes(stage: Stage) -> None:
    """A route that fails a check of the table is dropped with the one that the link had advertised before."""
    market = await opened(stage)
    me, target = market.me.fingerprint, market.peer.fingerprint
    offer, seq = market.offer(), market.tariff()
    other, nobody = stranger(market), stranger(market)
    theirs, root = market.tariff(other), market.root(offer)
    long = [me, *(multihash(bytes([n])) for n in range(16)), me]
    twice = [descriptors.issue([], market.me.statement(), market.me.root)]
    namesake = stranger(market, market.peer.grid)
    await refused_route(market, market.route(root, seq, path=[other.fingerprint, me]), "another sender", offer)
    await refused_route(market, market.route(root, seq, path=[me, target, me]), "a path through the target", offer)
    await refused_route(market, market.route(root, seq, path=long), "a path of 18 grids", offer)
    await refused_route(market, market.route(root, seq, descriptors=[]), "no descriptors", offer)
    await refused_route(market, market.route(root, seq + 10_000), "an unknown tariff", offer)
    await refused_route(market, market.route(root, theirs), "a tariff of another origin", offer)
    await refused_route(market, market.route(root, seq, descriptors=twice), "another descriptor of version 1", offer)
    await _never_listed(market, namesake, "a grid by the target's name")
    await _never_listed(market, nobody, "a grid that its path does not end with", path=[me, other.fingerprint])


async def _never_listed(market: Market, origin: Identity, what: str, **changes: Any) -> None:
    """An origin whose route is bad in one respect is not listed; a good one of the same round is."""
    stage, theirs, mine = market.stage, market.offer(origin=origin), market.offer()
    bad = market.route(market.root(theirs, origin=origin), market.tariff(origin), origin, **changes)
    before = len(market.door.asked)
    market.announce(bad, market.route(market.root(mine), market.tariff()))
    await stage.customer.expect_listed(ref(market, mine), mine.digest)
    await market.wait(lambda: len(market.door.asked) > before, "a call of SyncCatalog")
    await asyncio.sleep(0.2)
    if any(item.digest == theirs.digest for item in await stage.customer.found()):
        fail(f"no offer of {what}", "it is listed")
    stage.saw(f"{what} is not listed")


@check("IT-CAT-061", role="hostile peer", consumer=True)
async def bad_route_keeps_link(stage: Stage) -> None:
    """A route that is dropped does not close the link."""
    market = await opened(stage)
    offer = market.offer()
    await market.open_market(offer)
    broken = market.route(b"\xff", 0, path=[b""], descriptors=[b"\xff"])
    market.announce(broken)
    await market.expect_alive()
    await market.open_market(offer)
    stage.saw("the link takes a good route after a bad one")


@check("IT-CAT-062", role="honest peer", consumer=True)
async def not_refreshed(stage: Stage) -> None:
    """What an ended epoch has not refreshed is withdrawn; what it has, stays; before the end nothing goes."""
    market = await opened(stage)
    stays, goes = stranger(market), stranger(market)
    kept, gone = market.offer(origin=stays), market.offer(origin=goes)
    routes = [market.route(market.root(o, origin=by), market.tariff(by), by) for o, by in ((kept, stays), (gone, goes))]
    market.announce(*routes)
    await stage.customer.expect_listed(ref(market, kept, stays))
    await stage.customer.expect_listed(ref(market, gone, goes))
    market.announce(routes[0], end=False)
    await market.expect_alive()
    await stage.customer.expect_listed(ref(market, gone, goes))
    market.advertise(Advertisement(epoch=market.epoch, end=True))
    market.flush()
    await stage.customer.expect_unlisted(ref(market, gone, goes))
    await stage.customer.expect_listed(ref(market, kept, stays))


@check("IT-CAT-063", role="honest peer", consumer=True)
async def link_down(stage: Stage) -> None:
    """All routes of a link that is no longer open are withdrawn; a new round brings them back."""
    market = await opened(stage)
    offer = market.offer()
    seq = await market.open_market(offer)
    root = market.root(offer)
    await market.hang_up()
    await stage.customer.expect_unlisted(ref(market, offer))
    end = asyncio.get_running_loop().time() + max(stage.patience, 1.0)
    while await stage.customer.found(origin=market.me.grid):
        if asyncio.get_running_loop().time() > end:
            fail("nothing in reach over a link that is down", "the offer is listed")
        await asyncio.sleep(0.02)
    stage.saw("what was reached over the link is not listed")
    await market.up()
    market.announce(market.route(root, seq))
    await stage.customer.expect_listed(ref(market, offer))


@check("IT-CAT-064", role="honest peer", waits_s=1, consumer=True, alone=True)
async def thousand_origins(stage: Stage) -> None:
    """1,024 origins of one link are taken, the first and the last with their offers."""
    market = await opened(stage)
    origins = [stranger(market, f"o{n}-{market.me.grid}") for n in (0, 1_023)]
    fillers = [_bare(market, n) for n in range(1, 1_023)]
    ends = [(origin, market.offer(origin=origin)) for origin in origins]
    shown = {origin.fingerprint: [offer] for origin, offer in ends}
    everyone = [origins[0], *fillers, origins[1]]
    market.epoch += 1
    for origin in everyone:
        root = market.root(*shown.get(origin.fingerprint, []), origin=origin)
        route = market.route(root, market.tariff(origin), origin)
        market.advertise(Advertisement(epoch=market.epoch, route=route))
    market.advertise(Advertisement(epoch=market.epoch, end=True))
    market.flush()
    for origin, offer in ends:
        await stage.customer.expect_listed(ref(market, offer, origin), offer.digest, 20.0)


def _bare(market: Market, number: int) -> Identity:
    """An origin without a certificate of its own: keys and a descriptor."""
    made = Identity.__new__(Identity)
    made.grid, made.root, made.key = f"o{number}-{market.me.grid}", Key(), Key()
    made.signing, made.certificates, made.fingerprint = [made.key], [], made.root.id
    made.describe()
    return made


@check("IT-CAT-066", role="hostile peer", refusal=True, consumer=True)
async def newest_descriptor(stage: Stage) -> None:
    """Records are judged by the newest descriptor of an origin, also after an older chain was shown again."""
    market = await opened(stage)
    origin = stranger(market)
    offer, old_chain, old_key = market.offer(origin=origin), list(origin.chain), origin.key
    await market.open_market(offer, origin=origin)
    origin.rotate()
    new_key = origin.key
    await market.open_market(offer, origin=origin)
    seq = market.tariff(origin)
    again = market.route(market.root(offer, origin=origin), seq, origin, descriptors=old_chain)
    market.announce(again)
    await stage.customer.expect_listed(ref(market, offer, origin), offer.digest)
    for key, right in ((old_key, False), (new_key, True)):
        origin.key = key
        call = stage.customer.call(ref(market, offer, origin))
        fact = await market.expect_order()
        order = fact.entry.order
        record = market.record(order, {"order": 1}, executor=origin.fingerprint)
        charge = market.deliver(fact, b"", proof=market.prove(record, origin))
        if right:
            outcome = await outcome_of(call)
            if outcome.state != TASK_STATE_COMPLETED:
                fail("a record by the newest key is proven", outcome.problem.reason)
            stage.saw("a record by the newest key is proven")
        else:
            await market.expect_refused(charge, "CHARGE_UNPROVEN")
