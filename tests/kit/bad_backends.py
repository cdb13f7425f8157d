"""Work that goes wrong, for backends of type "python"."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from intertie.errors import IntertieError
from intertie.v1.metering_pb2 import ENERGY_METHOD_MEASURED, Energy
from intertie_node.ports import RefuseWork, Run, WorkResult


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


Misspeaks = Callable[[Any], Awaitable[Any]]


async def _many_units(run: Any) -> None:
    for number in range(2_500):
        await run.meter(f"x-unit-{number:04}-{'y' * 30}", 1)


async def _raising(error: BaseException) -> None:
    raise error


async def _returning(result: object) -> object:
    return result


def _energy(**fields: Any) -> WorkResult:
    stated = {"method": ENERGY_METHOD_MEASURED, "millijoules": 2, "lower": 1, "upper": 3, **fields}
    return WorkResult(media_type="text/plain", output=b"x", energy=Energy(**stated))


def _result(*parts: Any, **named: Any) -> Misspeaks:
    return lambda run: _returning(WorkResult(*parts, **named))


MISSPEAKS: Mapping[str, Misspeaks] = {
    "a fraction metered": lambda run: run.meter("sim.step", 1.5),
    "a text metered": lambda run: run.meter("sim.step", "1"),
    "too much metered": lambda run: run.meter("sim.step", 2**63),
    "a number as unit": lambda run: run.meter(7, 1),
    "an unknown unit": lambda run: run.meter("steps", 1),
    "a unit of the node's": lambda run: run.meter("order", 1),
    "a long unit": lambda run: run.meter("x-" + "y" * 63, 1),
    "many units": _many_units,
    "usage beside a chunk": lambda run: run.chunk(b"x", "text/plain", {"sim.step": 0.5}),
    "a chunk of text": lambda run: run.chunk("x"),
    "a chunk of a long type": lambda run: run.chunk(b"x", "t" * 100_000),
    "progress by halves": lambda run: _returning(run.progress(0.5)),
    "a question with a text as schema": lambda run: run.ask("?", "{}"),
    "no prompt": lambda run: run.ask(None),
    "much metadata": lambda run: _raising(IntertieError("EXECUTION_FAILED", "no", detail="x" * 200_000)),
    "metadata of numbers": lambda run: _raising(IntertieError("EXECUTION_FAILED", "no", detail=5)),  # type: ignore[arg-type]
    "half a character": lambda run: _raising(IntertieError("EXECUTION_FAILED", "\ud800")),
    "no result": _result(media_type="text/plain", output="text"),
    "half a character of a type": _result(media_type="a\ud800", output=b"x"),
    "a long type": _result(media_type="t" * 100_000, output=b"x"),
    "an error that is no answer": _result(is_error="perhaps"),
    "an energy of words": _result(media_type="text/plain", output=b"x", energy="much"),
    "a long boundary": lambda run: _returning(_energy(boundary="b" * 100_000)),
    "an energy below its bound": lambda run: _returning(_energy(millijoules=0)),
    "an unknown method": lambda run: _returning(_energy(method=99)),
}
"""What of a backend's words breaks a rule; each fails its invocation as EXECUTION_FAILED."""


async def misspeaks(input: dict[str, Any], run: Run) -> object:
    """Says something that no backend should."""
    return await MISSPEAKS[input["what"]](run) or {}


async def gives_up(input: dict[str, Any], run: Run) -> object:
    """Ends in a way that is the node's to choose, in words without end."""
    if input["refuses"]:
        raise RefuseWork(IntertieError("INPUT_INVALID", "no", path="x" * 200_000))
    raise asyncio.CancelledError("x" * 200_000)
