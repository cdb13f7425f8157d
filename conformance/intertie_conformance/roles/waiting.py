"""Bounded waiting: nothing in the suite waits without an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from intertie_conformance.verdicts import Bound

T = TypeVar("T")
POLL_S: Final = 0.002
MAX_POLL_S: Final = 0.02


async def until(look: Callable[[], T], what: str, seconds: float) -> T:
    """Wait until `look` finds something true; return it. Raises: Bound naming `what`."""
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + seconds, POLL_S
    while True:
        found = look()
        if found:
            return found
        if loop.time() > end:
            raise Bound(what, f"nothing of the kind within {seconds:g} s")
        await asyncio.sleep(pause)
        pause = min(MAX_POLL_S, pause * 1.3)
