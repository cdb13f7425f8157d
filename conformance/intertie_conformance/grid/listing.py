"""CatalogService of the suite's own grid (RFC 0008, section 3.10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import catalog_pb2_grpc
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.consumers import account_of
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import abort

if TYPE_CHECKING:
    from intertie_conformance.grid.node import Grid

LOOK_S = 0.02


class Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    """What can be ordered from a grid."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._routes = grid.buyer.routes
        self._rules = grid.rules

    def _listed(self, ref: str, offer: Offered) -> ct.ListedOffer:
        me, own = self._grid.me, offer.message.origin == self._grid.me.fingerprint
        ways = [] if own else self._routes.ways(offer, now_ms())
        origin = me.grid if own else self._routes.origins[offer.message.origin].grid
        full = f"{origin}/{offer.message.name}"
        return self._rules.listing(full, origin, offer, me.grid, ways[0] if ways else None, own)

    def _all(self) -> dict[str, ct.ListedOffer]:
        return {ref: self._listed(ref, offer) for ref, offer in self._routes.in_reach().items()}

    async def Get(self, request: ct.CatalogServiceGetRequest, context: Any) -> ct.CatalogServiceGetResponse:
        """One offer."""
        try:
            account_of(self._grid, context)
            offer = self._rules.resolve(request.ref, self._routes.known(), self._routes.own)
            self._rules.within_reach(offer, self._routes, request.ref)
        except Refusal as refusal:
            await abort(context, self._rules.unknown_offer(refusal))
            raise
        return ct.CatalogServiceGetResponse(offer=self._listed(request.ref, offer))

    async def Search(self, request: ct.SearchRequest, context: Any) -> ct.SearchResponse:
        """A page, best first."""
        rules = self._rules
        try:
            account_of(self._grid, context)
            size, start = rules.search_size(request), rules.search_start(request)
            rules.search_text(request)
        except Refusal as refusal:
            await abort(context, refusal)
            raise
        items = [i for i in self._all().values() if all(getattr(rules, n)(request, i) for n in rules.SEARCH_RULES)]
        items.sort(key=lambda item: rules.rank(request, item))
        page = items[start : start + size]
        return ct.SearchResponse(offers=page, next_page_token=rules.search_token(start, len(page), len(items)))

    async def Watch(self, request: ct.WatchRequest, context: Any) -> AsyncIterator[ct.WatchResponse]:
        """All of it, then every change."""
        try:
            account_of(self._grid, context)
        except Refusal as refusal:
            await abort(context, refusal)
        known: dict[str, bytes] = {}
        first = True
        while True:
            now = self._all()
            for change in self._rules.watched(known, now):
                yield change
            known = {ref: item.SerializeToString(deterministic=True) for ref, item in now.items()}
            if first and self._rules.synced():
                yield ct.WatchResponse(synced=True)
            first = False
            await asyncio.sleep(LOOK_S)
