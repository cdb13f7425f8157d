"""A consumer of the target: searches its catalog and calls offers, with the token that the vendor has given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import grpc

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import catalog_pb2_grpc, invocation_pb2_grpc
from intertie.v1 import invocation_pb2 as iv
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.stage import USUAL_S
from intertie_conformance.verdicts import Failed, fail
from intertie_conformance.wire import ids
from intertie_conformance.wire.amounts import Price
from intertie_conformance.wire.status import Said, said

if TYPE_CHECKING:
    from intertie_conformance.stage import Stage

OUT = ("OFFER_UNKNOWN", "PEER_UNAVAILABLE", "NO_ROUTE", "AMOUNT_OVERFLOW")
LIST_S = 5.0
"""How long an offer may take to be listed after its origin was advertised."""


def invocation(offer: str, value: object = None, **changes: Any) -> iv.Invocation:
    """A sound request for an offer by reference, but for the changes; `value` is JSON, or bytes."""
    data = value if isinstance(value, bytes) else json.dumps({} if value is None else value).encode()
    fields: dict[str, Any] = {
        "id": ids.make_id(now_ms()),
        "offer": offer,
        "input": {"media_type": "application/json", "data": data},
        "max_charge": 1_000,
        "timeout_ms": 10_000,
    }
    return iv.Invocation(**{**fields, **changes})


class Customer:
    """One consumer, as a check uses it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._bound = max(stage.patience, 1.0)
        target = stage.target
        channel = target.consumer()
        self._auth = (("authorization", f"Bearer {target.table.token}"),)
        self.catalog: Any = catalog_pb2_grpc.CatalogServiceStub(channel)
        self.invocations: Any = invocation_pb2_grpc.InvocationServiceStub(channel)

    # -- the catalog ------------------------------------------------------------------------------

    async def get(self, ref: str) -> ct.ListedOffer | Said:
        """One listed offer, or what the target said instead."""
        try:
            answer = await self.catalog.Get(
                ct.CatalogServiceGetRequest(ref=ref), metadata=self._auth, timeout=self._bound
            )
        except grpc.aio.AioRpcError as error:
            return said(error)
        listed: ct.ListedOffer = answer.offer
        return listed

    async def search(self, **fields: Any) -> ct.SearchResponse | Said:
        """A page of offers, or what the target said instead."""
        try:
            answer: ct.SearchResponse = await self.catalog.Search(
                ct.SearchRequest(**fields), metadata=self._auth, timeout=self._bound
            )
        except grpc.aio.AioRpcError as error:
            return said(error)
        return answer

    async def found(self, **fields: Any) -> list[ct.ListedOffer]:
        """What Search finds, all pages. Raises: Failed if it is refused."""
        offers: list[ct.ListedOffer] = []
        while True:
            page = await self.search(**{"page_size": 100, **fields})
            if isinstance(page, Said):
                fail("a page of offers", page)
            offers += page.offers
            if not page.next_page_token:
                return offers
            fields["page_token"] = page.next_page_token

    def watch(self) -> Any:
        """A Watch call: read changes from it."""
        return self.catalog.Watch(ct.WatchRequest(), metadata=self._auth)

    async def expect_listed(self, ref: str, digest: bytes = b"", seconds: float = LIST_S) -> ct.ListedOffer:
        """Wait until an offer is listed, of a digest if one is given, with prices."""
        found = await self._listed(lambda seen: bool(seen.prices) and digest in (b"", seen.digest), ref, seconds)
        self._stage.saw(f"{ref} is listed")
        return found

    async def expect_priced(self, ref: str, prices: Sequence[Price]) -> None:
        """Wait until an offer is listed with these prices."""

        def priced(seen: ct.ListedOffer) -> bool:
            return [(line.unit, line.num, line.den) for line in seen.prices] == list(prices)

        await self._listed(priced, ref, LIST_S)

    async def expect_unlisted(self, ref: str) -> None:
        """Wait until an offer cannot be ordered any more: unknown, out of reach, or without a price."""
        end = asyncio.get_running_loop().time() + max(self._bound, 1.0)
        while True:
            seen = await self.get(ref)
            if (isinstance(seen, Said) and seen.reason in OUT) or (
                isinstance(seen, ct.ListedOffer) and not seen.prices
            ):
                self._stage.saw(f"{ref} cannot be ordered")
                return
            if asyncio.get_running_loop().time() > end:
                fail(f"{ref} is withdrawn", seen if isinstance(seen, Said) else "it is listed with prices")
            await asyncio.sleep(0.02)

    async def _listed(self, look: Any, ref: str, seconds: float) -> ct.ListedOffer:
        patient = self._stage.patience >= USUAL_S
        end = asyncio.get_running_loop().time() + (seconds if patient else max(self._bound, seconds / 4))
        while True:
            seen = await self.get(ref)
            if isinstance(seen, ct.ListedOffer) and look(seen):
                return seen
            if asyncio.get_running_loop().time() > end:
                fail(f"{ref} is listed with prices", seen if isinstance(seen, Said) else "no such listing")
            await asyncio.sleep(0.01)

    # -- calling ----------------------------------------------------------------------------------

    def call(self, offer: str, value: object = None, **fields: Any) -> asyncio.Task[iv.Outcome | Said]:
        """Begin a call; the task ends with its outcome, or with what the target said instead."""
        return asyncio.create_task(self.run(invocation(offer, value, **{"max_charge": 100_000, **fields})))

    async def run(self, wanted: iv.Invocation, seconds: float = 25.0) -> iv.Outcome | Said:
        """Run an invocation to its end: the outcome, or what the target said instead."""
        trace = self._stage.trace
        trace.note("consumer", f"→ Call {wanted.offer}, max_charge {wanted.max_charge}")
        request, bound = iv.CallRequest(invocation=wanted), self._stage.within(seconds)
        try:
            answer = await self.invocations.Call(request, metadata=self._auth, timeout=bound)
        except grpc.aio.AioRpcError as error:
            trace.note("consumer", f"← {said(error)}")
            return said(error)
        outcome: iv.Outcome = answer.outcome
        trace.note("consumer", f"← outcome {outcome.state} {outcome.problem.reason}")
        return outcome


async def outcome_of(call: asyncio.Task[iv.Outcome | Said], seconds: float = 10.0) -> iv.Outcome:
    """The outcome of a call. Raises: Failed if it was refused or does not end."""
    try:
        ended = await asyncio.wait_for(call, seconds)
    except TimeoutError:
        raise Failed("an outcome of the call", f"nothing within {seconds:g} s") from None
    if isinstance(ended, Said):
        fail("an outcome of the call", ended)
    return ended


async def refusal_of(call: asyncio.Task[iv.Outcome | Said], *reasons: str, seconds: float = 5.0) -> str:
    """The reason by which a call was refused or its outcome REJECTED or FAILED. Raises: Failed if it is another."""
    try:
        ended = await asyncio.wait_for(call, seconds)
    except TimeoutError:
        raise Failed(f"a refusal with {' or '.join(reasons)}", f"nothing within {seconds:g} s") from None
    reason = ended.reason if isinstance(ended, Said) else ended.problem.reason
    if reason not in reasons:
        fail(f"a refusal with {' or '.join(reasons)}", ended if isinstance(ended, Said) else reason or "an outcome")
    return reason
