"""RFC 0008, sections 3.4 to 3.7: the roots, advertisements and tariffs of the target, and SyncCatalog."""

from __future__ import annotations

from typing import Any

import grpc

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import CatalogRoot
from intertie_conformance.checks import check
from intertie_conformance.grid.account import THEM
from intertie_conformance.grid.fetching import sync_catalog
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import Failed, fail
from intertie_conformance.wire import envelope
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import said

DAY_MS = 86_400_000


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
