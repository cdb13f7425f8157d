"""Trying again after transport failures: bounded, jittered, within a time (design §5 rule 4 makes it safe)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from grpc.aio import AioRpcError

from intertie.errors import IntertieError
from intertie.grpc_status import from_rpc_error

T = TypeVar("T")

GRACE_S: Final = 5.0
"""Seconds beyond an invocation's time in which its node may still say how it ended."""
RETRIES: Final = 8
"""Most retries without progress between them."""
_BASE_S: Final = 0.05
_CAP_S: Final = 2.0
_RETRYABLE: Final = frozenset({"NODE_UNAVAILABLE", "NODE_DRAINING"})


class Backoff:
    """Pauses between retries: they double from 50 ms to 2 s, each shortened at random by up to half."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made = 0

    def reset(self) -> None:
        """There was progress: begin anew."""
        self._made = 0

    def next(self, error: IntertieError) -> float:
        """Return the seconds to wait before the next attempt; raise `error` if there must be none."""
        if error.reason not in _RETRYABLE or self._made >= RETRIES:
            raise error
        self._made += 1
        pause: float = min(_CAP_S, _BASE_S * (1 << self._made))
        return pause * random.uniform(0.5, 1)  # noqa: S311 (no secret)


async def with_retries(attempt: Callable[[float], Awaitable[T]], seconds: float) -> T:
    """Return what `attempt(gRPC timeout in seconds)` returns, trying again for `seconds`.

    Only for requests that may be repeated. Each attempt may end GRACE_S after that time. Raises the
    IntertieError of the last attempt.
    """
    loop, backoff = asyncio.get_running_loop(), Backoff()
    end = loop.time() + seconds
    while True:
        try:
            answer = await attempt(end - loop.time() + GRACE_S)
        except AioRpcError as failure:
            error = from_rpc_error(failure)
        else:
            return _parsed(answer)
        pause = backoff.next(error)
        if loop.time() + pause >= end:
            raise error
        await asyncio.sleep(pause)


def _parsed(answer: T | None) -> T:
    """Return `answer`; gRPC hands out None for a message that cannot be parsed."""
    if answer is None:
        raise IntertieError("FRAME_MALFORMED", "The node's answer cannot be parsed.")
    return answer
