"""Watching the catalog through broken connections (design §8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from grpc.aio import AioRpcError
from msgspec import Struct

from intertie.client.retries import Backoff
from intertie.errors import IntertieError
from intertie.grpc_status import from_rpc_error
from intertie.v1.catalog_pb2 import ListedOffer, WatchRequest, WatchResponse

if TYPE_CHECKING:
    from intertie.v1.catalog_pb2_grpc import CatalogServiceAsyncStub


class OfferListed(Struct, frozen=True):
    """An offer came or was replaced."""

    offer: ListedOffer


class OfferRemoved(Struct, frozen=True):
    """An offer went."""

    ref: str


class Synced(Struct, frozen=True):
    """Everything known when the connection was made has been told; comes again after each reconnection."""


CatalogChange = OfferListed | OfferRemoved | Synced


class CatalogWatcher:
    """Tells the whole catalog and then every change, also of the time during which the connection was broken."""

    def __init__(self, service: CatalogServiceAsyncStub, metadata: tuple[tuple[str, str], ...]) -> None:
        self._service = service
        self._metadata = metadata
        self._known: set[str] = set()
        self._stale: set[str] = set()
        """Offers told before the connection broke and not again since."""

    async def changes(self) -> AsyncGenerator[CatalogChange]:
        """Yield changes for ever; raise IntertieError after several failures without any progress."""
        backoff = Backoff()
        while True:
            self._stale = set(self._known)
            responses = self._service.Watch(WatchRequest(), metadata=self._metadata)
            try:
                async for response in responses:
                    for change in self._take(response):
                        backoff.reset()
                        yield change
                error = IntertieError("NODE_UNAVAILABLE", "The node ended the watch.")
            except AioRpcError as failure:
                error = from_rpc_error(failure)
            finally:
                responses.cancel()
            await asyncio.sleep(backoff.next(error))

    def _take(self, response: WatchResponse | None) -> list[CatalogChange]:
        if response is None:
            raise IntertieError("FRAME_MALFORMED", "The node sent what is no change of the catalog.")
        kind = response.WhichOneof("change")
        if kind == "upsert":
            self._known.add(response.upsert.ref)
            self._stale.discard(response.upsert.ref)
            return [OfferListed(response.upsert)]
        if kind == "removed":
            self._stale.discard(response.removed)
            return self._removed({response.removed} & self._known)
        if kind == "synced":
            stale, self._stale = self._stale, set()
            return [*self._removed(stale), Synced()]
        return []

    def _removed(self, refs: set[str]) -> list[CatalogChange]:
        self._known -= refs
        return [OfferRemoved(ref) for ref in sorted(refs)]
