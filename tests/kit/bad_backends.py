"""Work that goes wrong, for backends of type "python"."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from intertie_node.ports import Run


async def raises(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Uses three steps, then fails in a way that nobody has thought of."""
    await run.meter("sim.step", 3)
    raise ZeroDivisionError("a secret in a message")


async def hangs(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Uses three steps, then never returns."""
    await run.meter("sim.step", 3)
    await asyncio.sleep(3_600)
    return {}


async def stubborn(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Does not let itself be stopped at once, and goes on metering when it has been."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(3_600)
    with contextlib.suppress(Exception):
        await run.meter("sim.step", 500)
    await asyncio.sleep(0.2)
    return {"too": "late"}


async def greedy(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Meters more than any amount can state, in a unit with a price or in one without."""
    for _ in range(3):
        await run.meter(input["unit"], 2**63 - 1)
    return {}


async def negative(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Meters less than nothing."""
    await run.meter("sim.step", -5)
    return {}


async def chatty(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Reports progress as fast as it can."""
    for number in range(input["reports"]):
        run.progress(number, comment="x" * 1_000)
        if number % 100 == 0:
            await asyncio.sleep(0)
    return {}


async def endless(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Asks again and again; every reply is returned in the end."""
    replies = [bytes(await run.ask(f"question {number}")) for number in range(input["questions"])]
    return {"replies": [reply.decode() for reply in replies]}


async def wide(input: dict[str, Any], run: Run) -> str:
    """A large output."""
    return "w" * input["bytes"]
