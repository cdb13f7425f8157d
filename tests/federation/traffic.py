"""Calls of a consumer at north who does not give up: the same id again until it has an outcome."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import AsyncExitStack
from typing import Any, Final, Self

from msgspec import Struct, field

from intertie.client import CallResult, CallStream, Client, new_id
from intertie.errors import IntertieError

ATTEMPT_S: Final = 20.0
MAX_CHARGE: Final = 5_000
NOT_NOW: Final = frozenset(
    {
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "NODE_UNAVAILABLE",
        "NODE_DRAINING",
        "NO_ROUTE",
        "PEER_UNAVAILABLE",
        "PRICE_CHANGED",
        "UNAGREED_LIMIT",
    }
)
"""Reasons for which the same call may well go through a little later."""


class Caller:
    """A consumer who calls through `Call` and through one `Stream` by turns: the same id by both, if it must."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self._client)
        stream = await self._open.enter_async_context(self._client.stream())
        self._ways: itertools.cycle[Client | CallStream] = itertools.cycle((stream, self._client))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def call(self, ref: str, given: dict[str, Any], **options: Any) -> CallResult:
        """Call, as the client does."""
        return await next(self._ways).call(ref, given, **options)

    async def cancel(self, invocation: str) -> Any:
        """Ask to stop an invocation."""
        return await self._client.cancel(invocation)


class Made(Struct):
    """What came of the calls of one run."""

    results: dict[str, CallResult] = field(default_factory=dict)
    """By id: outcomes that the consumer saw."""
    refused: dict[str, str] = field(default_factory=dict)
    """By id: why nothing was started, or why the outcome was never seen."""
    refs: dict[str, str] = field(default_factory=dict)
    """By id: the offer that was called."""
    wanted: int = 0
    """Calls that were meant to complete."""
    completed: int = 0
    """Of those, how many did."""

    def add(self, other: Made) -> None:
        """Count the calls of another run too."""
        self.results |= other.results
        self.refused |= other.refused
        self.refs |= other.refs
        self.wanted += other.wanted
        self.completed += other.completed


async def call(
    client: Caller,
    made: Made,
    ref: str,
    given: dict[str, Any] | None = None,
    *,
    seconds: float = ATTEMPT_S,
    **more: Any,
) -> CallResult | None:
    """Call, and repeat the call with the same id until it has an outcome or time is up.

    A rejected call is over; it is made once more under a new id if the reason may pass.
    """
    end = time.monotonic() + seconds
    id = new_id()
    while True:
        made.refs[id] = ref
        try:
            named = {} if "/conformance/" in ref else {"call": id}
            result = await client.call(
                ref, {**named, **(given or {})}, max_charge=MAX_CHARGE, timeout=seconds, id=id, check=False, **more
            )
        except IntertieError as error:
            made.refused[id] = str(error)
            if error.reason not in NOT_NOW or time.monotonic() > end:
                return None
            await asyncio.sleep(0.05)
            continue
        made.refused.pop(id, None)
        made.results[id] = result
        problem = result.problem
        if result.state != "REJECTED" or problem is None or problem.reason not in NOT_NOW or time.monotonic() > end:
            return result
        await asyncio.sleep(0.05)
        id = new_id()


async def work(client: Caller, made: Made, ref: str, given: dict[str, Any] | None = None, **more: Any) -> None:
    """A call that is meant to complete."""
    made.wanted += 1
    result = await call(client, made, ref, given, **more)
    if result is not None and result.state == "COMPLETED":
        made.completed += 1
