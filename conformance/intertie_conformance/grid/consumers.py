"""The consumer face of the suite's own grid: enough to order at peers for a consumer (RFC 0009)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final, cast

import grpc

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import catalog_pb2_grpc, invocation_pb2_grpc
from intertie.v1 import invocation_pb2 as iv
from intertie_conformance.grid.buying import Purchase
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.wire import ids
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import abort

if TYPE_CHECKING:
    from intertie_conformance.grid.node import Grid

TOKEN: Final = "conformance"  # noqa: S105 - a name that both ends of one process know
LONGEST_S: Final = 60.0


class Invocations(invocation_pb2_grpc.InvocationServiceServicer):
    """InvocationService."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._known: dict[str, Purchase] = {}

    async def Call(self, request: iv.CallRequest, context: Any) -> iv.CallResponse:
        """Runs to the end."""
        made = await self._start(request.invocation, context)
        return iv.CallResponse(outcome=await made.end(LONGEST_S))

    async def Invoke(self, request: iv.InvokeRequest, context: Any) -> AsyncIterator[iv.InvokeResponse]:
        """Sends events, the outcome last."""
        made = await self._start(request.invocation, context)
        sent = 0
        while True:
            changed = made.changed
            for event in made.events[sent:]:
                sent += 1
                yield iv.InvokeResponse(event=iv.InvocationEvent(id=made.request.id, event=event))
            if made.outcome is not None:
                yield iv.InvokeResponse(event=iv.InvocationEvent(id=made.request.id, outcome=made.outcome))
                return
            await changed.wait()

    async def _start(self, wanted: iv.Invocation, context: Any) -> Purchase:
        try:
            self._check(wanted, context)
            known = self._known.get(wanted.id)
            if known is None:
                known = self._known[wanted.id] = self._grid.buyer.place(wanted, now_ms())
            elif known.request != wanted:
                raise Refusal("ID_CONFLICT", "This id was used for another request.", id=wanted.id)
            return known
        except Refusal as refusal:
            await abort(context, refusal)
            raise

    @staticmethod
    def _check(wanted: iv.Invocation, context: Any) -> None:
        if ("authorization", f"Bearer {TOKEN}") not in (context.invocation_metadata() or ()):
            raise Refusal("UNAUTHENTICATED", "Send the token as authorization: Bearer ….")
        if not ids.is_id(wanted.id):
            raise Refusal("ID_INVALID", "An id must be a UUIDv7 in lower-case text form.", id=wanted.id[:64])

    async def Get(self, request: iv.InvocationServiceGetRequest, context: Any) -> iv.InvocationServiceGetResponse:
        """One invocation as it stands."""
        made = self._known.get(request.id)
        if made is None:
            await abort(context, Refusal("NOT_FOUND", "No invocation has this id."))
            raise AssertionError
        status = iv.InvocationStatus(id=request.id, offer=made.request.offer)
        if made.outcome is not None:
            status.state = made.outcome.state
            status.receipt.CopyFrom(made.outcome.receipt)
            status.problem.CopyFrom(made.outcome.problem)
        return iv.InvocationServiceGetResponse(status=status)


class Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    """CatalogService: what peers offer."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def _listed(self, ref: str) -> ct.ListedOffer:
        route, offer = self._grid.buyer.find(ref)
        made = ct.ListedOffer(ref=ref, origin=route.origin.grid, digest=offer.digest, offer=offer.message)
        made.origin_fingerprint = route.origin.fingerprint
        made.path.extend([self._grid.me.grid, *route.stated.path_names])
        made.prices.extend(offer.message.prices)
        return made

    async def Get(self, request: ct.CatalogServiceGetRequest, context: Any) -> ct.CatalogServiceGetResponse:
        """One offer."""
        try:
            return ct.CatalogServiceGetResponse(offer=self._listed(request.ref))
        except Refusal as refusal:
            await abort(context, refusal)
            raise

    async def Search(self, request: ct.SearchRequest, context: Any) -> ct.SearchResponse:
        """All offers whose reference holds the text."""
        refs = [ref for route in self._grid.buyer.routes.values() for ref in route.offers if request.text in ref]
        return ct.SearchResponse(offers=[self._listed(ref) for ref in refs])


def add_consumer_face(server: grpc.aio.Server, grid: Grid) -> None:
    """Serve the consumer face."""
    invocation_pb2_grpc.add_InvocationServiceServicer_to_server(cast(Any, Invocations)(grid), server)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(cast(Any, Catalog)(grid), server)
