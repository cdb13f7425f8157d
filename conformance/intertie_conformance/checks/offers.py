"""RFC 0008, sections 3.1 to 3.6: what the target offers, its roots and advertisements, SyncCatalog."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import grpc

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import CatalogRoot
from intertie_conformance.checks import check
from intertie_conformance.grid.account import THEM
from intertie_conformance.grid.fetching import sync_catalog
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.registry import table
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import Failed, fail
from intertie_conformance.wire import envelope
from intertie_conformance.wire.amounts import INT64_MAX
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import said

NAME = re.compile(r"[a-z0-9._/-]{1,128}")
TAG = re.compile(r"[a-z0-9._-]{1,64}")
PLACE = re.compile(r"([A-Z]{2}(-[A-Z0-9]{1,3})?)?")
PRIVATE = re.compile(r"x-[\x21-\x7e]{1,62}")
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
DAY_MS = 86_400_000


async def own(stage: Stage) -> tuple[Peer, list[ct.Offer]]:
    """A peer of the target, and the target's offers."""
    peer = await (await stage.peer()).up()
    found = [offer.message for offer in (await ordering.offers(peer)).values()]
    if not found:
        fail("offers of the target", "none")
    return peer, found


def own_route(peer: Peer) -> ct.OriginRoute:
    """The route by which the target advertises itself. Raises: Failed."""
    route = peer.routes.get(peer.peer.fingerprint)
    if route is None:
        fail("the target advertises itself", "no such route")
    return route


def root_of(peer: Peer) -> tuple[bytes, CatalogRoot]:
    """The target's advertised root: digest and contents."""
    payload = envelope.peek(own_route(peer).root).payload
    return multihash(payload), CatalogRoot.FromString(payload)


async def sync(peer: Peer, **changes: Any) -> list[lk.SyncCatalogResponse]:
    """What SyncCatalog answers to an honest request, but for the changes."""
    digest, _ = root_of(peer)
    request = lk.SyncCatalogRequest(**{"genesis": peer.genesis, "root": digest, **changes})
    target = peer.stage.target
    return await sync_catalog(target.peer_address, peer.me, peer.peer, request, max(peer.stage.patience, 1.0))


@check("IT-CAT-001", role="honest peer")
async def offers_name_origin(stage: Stage) -> None:
    """Every offer carries the target's fingerprint."""
    peer, offers = await own(stage)
    wrong = [offer.name for offer in offers if offer.origin != peer.peer.fingerprint]
    if wrong:
        fail("the target's fingerprint in each offer", f"another one in {wrong}")
    stage.saw(f"{len(offers)} offers name the target as origin")


@check("IT-CAT-002", role="honest peer")
async def different_names(stage: Stage) -> None:
    """No two offers of one root have the same name."""
    peer, _ = await own(stage)
    names = [ct.Offer.FromString(item.offer).name for item in await sync(peer) if item.WhichOneof("item") == "offer"]
    if len(set(names)) != len(names):
        fail("different names", sorted(names))
    stage.saw(f"{len(names)} different names")


@check("IT-CAT-003", role="honest peer")
async def fields_in_range(stage: Stage) -> None:
    """Every field of every offer is within the rules of the table."""
    _, offers = await own(stage)
    for offer in offers:
        for name, good in rules_of(offer).items():
            if not good:
                fail(f"{name} of {offer.name} as the table says", f"{offer}"[:300])
    stage.saw(f"{len(offers)} offers keep the table")


def rules_of(offer: ct.Offer) -> dict[str, bool]:
    """The table of section 3.1, field by field."""
    units, features = table("units"), table("features")
    schemas = (offer.input_schema, offer.output_schema)
    return {
        "kind": 1 <= offer.kind <= 4,
        "name": NAME.fullmatch(offer.name) is not None,
        "description": len(offer.description) <= 4_096,
        "tags": len(offer.tags) <= 32 and all(TAG.fullmatch(tag) for tag in offer.tags),
        "version": len(offer.version) <= 64,
        "schemas": all(len(schema) <= 65_536 for schema in schemas) and all(map(_is_schema, schemas)),
        "features": all(features.get(name, {}).get("where") == "offer" for name in offer.features),
        "prices": len(offer.prices) <= 16 and all(p.num >= 0 and 1 <= p.den <= INT64_MAX for p in offer.prices),
        "units": all(p.unit in units or PRIVATE.fullmatch(p.unit) for p in offer.prices),
        "charge_on": offer.charge_on in (ct.CHARGE_ON_USAGE, ct.CHARGE_ON_COMPLETION),
        "place": PLACE.fullmatch(offer.place) is not None,
        "data_policy": len(offer.data_policy) <= 64,
        "energy": len({item.unit for item in offer.energy}) == len(offer.energy),
    }


def _is_schema(data: bytes) -> bool:
    try:
        return not data or isinstance(json.loads(data), dict | bool)
    except ValueError:
        return False


@check("IT-CAT-004", role="honest peer")
async def one_line_a_unit(stage: Stage) -> None:
    """No offer prices a unit twice."""
    _, offers = await own(stage)
    for offer in offers:
        units = [line.unit for line in offer.prices]
        if len(set(units)) != len(units):
            fail(f"one line a unit in {offer.name}", units)
    stage.saw(f"{len(offers)} offers price no unit twice")


@check("IT-CAT-018", role="honest peer")
async def references_within(stage: Stage) -> None:
    """No schema refers to anything beyond itself."""
    _, offers = await own(stage)
    for offer in offers:
        for schema in (offer.input_schema, offer.output_schema):
            outward = [ref for ref in _references(json.loads(schema or b"{}")) if not str(ref).startswith("#")]
            if outward:
                fail(f"references that begin with # in {offer.name}", outward)
    stage.saw(f"the schemas of {len(offers)} offers stand alone")


def _references(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in REFERENCES:
                yield item
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


# -- inputs -------------------------------------------------------------------------------------------


async def refused_input(peer: Peer, name: str, value: object) -> dict[str, str]:
    """The metadata by which an input is refused."""
    seq = await ordering.order(peer, name, value)
    await ordering.expect_rejected(peer, seq, "INPUT_INVALID")
    return dict((await ordering.end_of(peer, seq)).entry.reject.problem.metadata)


@check("IT-CAT-015", role="hostile peer", refusal=True)
async def unfit_inputs(stage: Stage) -> None:
    """Inputs that do not fit the schema are rejected with INPUT_INVALID, before any work."""
    peer = await (await stage.peer()).up()
    for name, value in (
        ("delay", {}),
        ("delay", {"ms": "1"}),
        ("delay", {"ms": -1}),
        ("delay", {"ms": 1, "more": 1}),
        ("delay", [1]),
        ("delay", b"{"),
        ("meter", {"usage": {"x-other": 1}}),
        ("stream", {"chunks": 1, "bytes": 0}),
        ("fail", {"as": "nothing"}),
    ):
        await refused_input(peer, name, value)
    await ordering.still_sells(peer)


@check("IT-CAT-016", role="hostile peer", refusal=True)
async def faults_located(stage: Stage) -> None:
    """The refusal of an input names where and by which keyword it does not fit."""
    peer = await (await stage.peer()).up()
    rows: tuple[tuple[str, object, str, str], ...] = (
        ("delay", {"ms": "1"}, "$.ms", "type"),
        ("delay", {"ms": -1}, "$.ms", "minimum"),
        ("delay", {}, "$", "required"),
        ("delay", [1], "$", "type"),
        ("delay", b"{", "$", "json"),
        ("fail", {"as": "nothing"}, "$.as", "enum"),
    )
    for name, value, path, rule in rows:
        metadata = await refused_input(peer, name, value)
        if (metadata.get("path"), metadata.get("rule")) != (path, rule):
            fail(f"path {path} and rule {rule} for {value!r}", metadata)
        stage.saw(f"path {path}, rule {rule}")
    await ordering.still_sells(peer)


@check("IT-CAT-017", role="honest peer")
async def any_input(stage: Stage) -> None:
    """An offer without a schema takes every input."""
    peer = await (await stage.peer()).up()
    offer = await ordering.offer(peer, "echo")
    if offer.message.input_schema not in (b"", b"{}", b"true"):
        fail("no schema of echo", offer.message.input_schema.decode(errors="replace"))
    for data in (b"\xff\x00", b"{", b"7", b'"x"', b"[" * 70, b""):
        await ordering.expect_charged(peer, await ordering.order(peer, "echo", data))


# -- roots and advertisements -------------------------------------------------------------------------


@check("IT-CAT-030", role="honest peer")
async def root_signed(stage: Stage) -> None:
    """The root is signed by a signing key that the descriptor lists as valid now."""
    peer = await (await stage.peer()).up()
    sealed = own_route(peer).root
    try:
        envelope.unseal(sealed, envelope.CATALOG_ROOT, peer.peer.keys(now_ms()))
    except Refusal as refusal:
        fail("a root signed by a valid signing key", refusal)
    if root_of(peer)[1].origin != peer.peer.fingerprint:
        fail("a root that names the target", root_of(peer)[1].origin.hex())
    stage.saw("the root is signed by a valid signing key")


@check("IT-CAT-031", role="honest peer")
async def root_lists_offers(stage: Stage) -> None:
    """The root lists the digests of all offers, of nothing else, strictly ascending."""
    peer = await (await stage.peer()).up()
    _, root = root_of(peer)
    listed = list(root.offers)
    held = {multihash(item.offer) for item in await sync(peer) if item.WhichOneof("item") == "offer"}
    if listed != sorted(set(listed)) or not 1 <= len(listed) <= 4_096:
        fail("digests in strictly ascending order", [digest.hex()[:12] for digest in listed])
    if set(listed) != held:
        fail("the digests of all offers and of nothing else", f"{len(set(listed) ^ held)} that differ")
    stage.saw(f"the root lists {len(listed)} offers in order")


@check("IT-CAT-034", role="honest peer")
async def root_life(stage: Stage) -> None:
    """A root expires about 24 hours after it was made."""
    peer = await (await stage.peer()).up()
    left = root_of(peer)[1].expires_at - now_ms()
    if not 0 < left <= DAY_MS + 60_000 or left < DAY_MS // 4:
        fail("a root that stands for what is left of 24 hours", f"{left} ms")
    stage.saw(f"the root stands for {left} ms more")


@check("IT-CAT-040", role="honest peer")
async def round_at_opening(stage: Stage) -> None:
    """A full round comes whenever the link becomes open."""
    peer = await stage.peer()
    for _ in range(3):
        await peer.up()
        if peer.peer.fingerprint not in peer.routes:
            fail("a round that holds the target itself", "another one")
    stage.saw("a full round came with each of three openings")


@check("IT-CAT-042", role="honest peer")
async def own_path(stage: Stage) -> None:
    """The target advertises itself by the path of its own fingerprint alone, others behind it."""
    peer = await (await stage.peer()).up()
    for origin, route in peer.routes.items():
        path = list(route.path)
        if path[0] != peer.peer.fingerprint or (len(path) == 1) != (origin == peer.peer.fingerprint):
            fail("a path that begins with the target, and is it alone for itself", [p.hex()[:12] for p in path])
    if peer.peer.fingerprint not in peer.routes:
        fail("a route to the target itself", "none")
    stage.saw(f"{len(peer.routes)} paths begin with the target")


@check("IT-CAT-087", role="honest peer")
async def tariff_life(stage: Stage) -> None:
    """A tariff stands for about an hour."""
    peer = await (await stage.peer()).up()
    seq, tariff = ordering.tariff(peer)
    life = tariff.expires_at - peer.logs.entry(THEM, seq).at
    if not 3_000_000 <= life <= 4_200_000:
        fail("a tariff for an hour", f"{life} ms")
    stage.saw(f"a tariff of {life} ms")


# -- SyncCatalog --------------------------------------------------------------------------------------


@check("IT-CAT-070", role="hostile peer", refusal=True)
async def unknown_genesis(stage: Stage) -> None:
    """A genesis of no peering, or of another grid's, is refused; the own one is answered."""
    peer = await (await stage.peer()).up()
    other = await stage.peer()
    for genesis in (stage.random.randbytes(32), other.genesis, b""):
        try:
            await sync(peer, genesis=genesis)
        except grpc.aio.AioRpcError as error:
            if said(error).reason != "UNKNOWN_GENESIS":
                fail("UNKNOWN_GENESIS", said(error))
            stage.saw("refused with UNKNOWN_GENESIS")
            continue
        fail("UNKNOWN_GENESIS", "offers")
    if not await sync(peer):
        fail("offers for the own genesis", "none")


def expect_whole(items: list[lk.SyncCatalogResponse], wanted: set[bytes]) -> None:
    """These offers and an end with their number. Raises: Failed."""
    held = [multihash(item.offer) for item in items if item.WhichOneof("item") == "offer"]
    ends = [item.end for item in items if item.WhichOneof("item") == "end"]
    last = items[-1].WhichOneof("item") if items else ""
    if set(held) != wanted or len(held) != len(wanted) or ends != [len(held)] or last != "end":
        raise Failed(f"{len(wanted)} offers and an end with their number", f"{len(held)} offers, ends {ends}")


@check("IT-CAT-071", role="honest peer")
async def sends_what_is_missing(stage: Stage) -> None:
    """Every offer that `have` does not list is sent, then `end` with their number."""
    peer = await (await stage.peer()).up()
    digests = list(root_of(peer)[1].offers)
    half = digests[: len(digests) // 2]
    expect_whole(await sync(peer), set(digests))
    expect_whole(await sync(peer, have=half), set(digests) - set(half))
    expect_whole(await sync(peer, have=digests), set())
    stage.saw(f"all, half and none of {len(digests)} offers came, each with its end")


@check("IT-CAT-072", role="honest peer")
async def unknown_root(stage: Stage) -> None:
    """For a root that nobody knows the present offers are sent."""
    peer = await (await stage.peer()).up()
    expect_whole(await sync(peer, root=multihash(stage.random.randbytes(9))), set(root_of(peer)[1].offers))
    stage.saw("the present offers came for an unknown root")


# -- prices of orders ---------------------------------------------------------------------------------


@check("IT-CAT-081", role="hostile peer", refusal=True)
async def other_prices(stage: Stage) -> None:
    """Orders with other lines than the tariff gives, or of no tariff of this origin, are rejected PRICE_CHANGED."""
    peer = await (await stage.peer()).up()
    sound, _ = await ordering.make_order(peer, "meter", {"usage": {}})
    lines = list(sound.prices)
    seq, _ = ordering.tariff(peer)
    tariff = pb.Tariff(origin=peer.me.fingerprint, markup_num=1, markup_den=1, expires_at=now_ms() + 60_000)
    foreign = peer.put(pb.ENTRY_KIND_TARIFF, tariff=tariff)

    def changed(index: int, **fields: object) -> list[Any]:
        made = [type(line).FromString(line.SerializeToString()) for line in lines]
        for name, value in fields.items():
            setattr(made[index], name, value)
        return made

    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("a lower price", {"prices": changed(0, num=lines[0].num - 1)}),
        ("a higher price", {"prices": changed(0, num=lines[0].num + 1)}),
        ("a line less", {"prices": lines[:-1]}),
        ("another order of lines", {"prices": lines[::-1]}),
        ("not in lowest terms", {"prices": changed(0, num=2 * lines[0].num, den=2 * lines[0].den)}),
        ("another unit", {"prices": changed(0, unit="x-other")}),
        ("no lines", {"prices": []}),
        ("an unknown tariff", {"tariff_seq": seq + 1_000}),
        ("no tariff", {"tariff_seq": 0}),
        ("a tariff of the other log", {"tariff_seq": foreign + 500}),
    )
    for what, changes in cases:
        made = {"prices": lines, **changes}
        await ordering.expect_rejected(
            peer, await ordering.order(peer, "meter", {"usage": {}}, **made), "PRICE_CHANGED"
        )
        stage.saw(what)
    await ordering.still_sells(peer)


@check("IT-CAT-083", role="hostile peer", refusal=True)
async def newest_named(stage: Stage) -> None:
    """A PRICE_CHANGED names the newest tariff of the origin."""
    peer = await (await stage.peer()).up()
    seq = await ordering.order(peer, "echo", {}, tariff_seq=10_000, prices=[])
    await ordering.expect_rejected(peer, seq, "PRICE_CHANGED")
    metadata = dict((await ordering.end_of(peer, seq)).entry.reject.problem.metadata)
    tariffs = peer.logs.account.tariffs[THEM].items()
    newest = max(number for number, tariff in tariffs if tariff.origin == peer.peer.fingerprint)
    if metadata.get("tariff_seq") != str(newest):
        fail(f"tariff_seq {newest}", metadata)
    stage.saw(f"tariff_seq {newest} was named")
    await ordering.still_sells(peer)
