"""Asking a peer for offers: SyncCatalog from the caller's side (RFC 0008, section 3.6)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.identity import Identity
from intertie_conformance.grid.ports import peer_channel
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.digests import multihash

SYNC = "/intertie.v1.LinkService/SyncCatalog"


async def sync_catalog(
    address: str, me: Identity, peer: Described, request: lk.SyncCatalogRequest, seconds: float = 10.0
) -> list[lk.SyncCatalogResponse]:
    """Everything that a peer answers. Raises: grpc.aio.AioRpcError."""
    channel = peer_channel(address, me, peer.grid, list(peer.message.certificates))
    sync: Any = channel.unary_stream(
        SYNC,
        request_serializer=lk.SyncCatalogRequest.SerializeToString,
        response_deserializer=lk.SyncCatalogResponse.FromString,
    )
    try:
        return [item async for item in sync(request, timeout=seconds)]
    finally:
        await channel.close()


async def fetch_offers(
    address: str, me: Identity, peer: Described, genesis: bytes, root: bytes, **changes: Any
) -> list[Offered]:
    """All offers of a catalog root (its payload bytes) by SyncCatalog. Raises: grpc.aio.AioRpcError."""
    request = lk.SyncCatalogRequest(**{"genesis": genesis, "root": multihash(root), **changes})
    items = await sync_catalog(address, me, peer, request)
    return [Offered.of(item.offer) for item in items if item.WhichOneof("item") == "offer"]


async def fetch_url(url: str) -> None:
    """Connect to where an address points: what no honest grid does for a schema."""
    parts = urlsplit(url)
    with contextlib.suppress(OSError, TimeoutError):
        _, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, parts.port), 1.0)
        writer.close()
