"""A consumer of the target: the suite's application on its consumer face."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import catalog_pb2_grpc, invocation_pb2_grpc
from intertie.v1 import invocation_pb2 as iv
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.verdicts import Failed
from intertie_conformance.wire import ids
from intertie_conformance.wire.status import Said, said

if TYPE_CHECKING:
    from intertie_conformance.stage import Stage


def invocation(ref: str, value: object, **changes: Any) -> iv.Invocation:
    """A sound request for an offer, but for the changes."""
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    fields: dict[str, Any] = {
        "id": ids.make_id(now_ms()),
        "offer": ref,
        "input": {"media_type": "application/json", "data": data},
        "max_charge": 1_000,
        "timeout_ms": 10_000,
    }
    return iv.Invocation(**{**fields, **changes})


class Consumer:
    """One consumer with the configured token."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        channel = stage.target.consumer()
        self.catalog: Any = catalog_pb2_grpc.CatalogServiceStub(channel)
        self.invocations: Any = invocation_pb2_grpc.InvocationServiceStub(channel)
        self.metadata = (("authorization", f"Bearer {stage.target.table.token}"),)

    async def offer(self, ref: str, seconds: float = 10.0) -> ct.ListedOffer:
        """Wait until the target lists an offer with prices: there is a way to it. Raises: Failed."""
        end = asyncio.get_running_loop().time() + self._stage.within(seconds)
        request = ct.CatalogServiceGetRequest(ref=ref)
        got = "no prices: there is no way to it"
        while True:
            try:
                answer = await self.catalog.Get(request, metadata=self.metadata, timeout=self._stage.patience)
                listed: ct.ListedOffer = answer.offer
                if listed.prices:
                    return listed
            except grpc.aio.AioRpcError as error:
                got = str(said(error))
            if asyncio.get_running_loop().time() > end:
                raise Failed(f"the target lists {ref} within {seconds:g} s", got)
            await asyncio.sleep(0.03)

    async def call(self, wanted: iv.Invocation, seconds: float = 20.0) -> iv.Outcome | Said:
        """Run an invocation to its end: the outcome, or what the call was refused with."""
        self._stage.trace.note("consumer", f"→ Call {wanted.offer}, max_charge {wanted.max_charge}")
        try:
            answer = await self.invocations.Call(
                iv.CallRequest(invocation=wanted), metadata=self.metadata, timeout=self._stage.within(seconds)
            )
        except grpc.aio.AioRpcError as error:
            self._stage.trace.note("consumer", f"← {said(error)}")
            return said(error)
        outcome: iv.Outcome = answer.outcome
        self._stage.trace.note("consumer", f"← outcome {outcome.state} {outcome.problem.reason}")
        return outcome
