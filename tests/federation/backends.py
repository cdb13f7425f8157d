"""What the grids of the federation tests sell: work whose effect is a line in a journal on the disk.

A line is written, and forced to the disk, before the function returns. The idempotent function looks first
whether its effect is there; the others write whenever they are run. The journal stands beside the data
directories, so that a data directory that is put back does not put back the effects.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from intertie.errors import IntertieError
from intertie_node.ports import Run

JOURNAL = "INTERTIE_TEST_JOURNAL"


def _effect(call: str, run: Any, *, once: bool) -> None:
    journal = Path(os.environ[JOURNAL])
    if once and journal.exists() and any(line.split()[0] == call for line in journal.read_text().splitlines()):
        return
    with journal.open("ab") as file:
        file.write(f"{call} {run.invocation}\n".encode())
        file.flush()
        os.fsync(file.fileno())


async def once(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Has its effect at most once, however often it is run."""
    await asyncio.sleep(input.get("ms", 0) / 1000)
    _effect(input["call"], run, once=True)
    return {"done": input["call"]}


async def plain(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Has its effect each time it is run; must therefore never be run twice."""
    await asyncio.sleep(input.get("ms", 0) / 1000)
    _effect(input["call"], run, once=False)
    return {"done": input["call"]}


async def stream(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Sends chunks, priced by the byte; its effect comes last."""
    for number in range(input.get("chunks", 4)):
        await asyncio.sleep(input.get("ms", 0) / 1000)
        data = f"{number:04d}".encode() * 8
        await run.chunk(data, usage={"text.output.byte": len(data)})
    _effect(input["call"], run, once=False)
    return {"done": input["call"]}


async def metered(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Meters without sending anything: what is run again after a crash must not be charged twice."""
    for _ in range(input.get("steps", 5)):
        await run.meter("sim.step", 10)
        await asyncio.sleep(input.get("ms", 0) / 1000)
    _effect(input["call"], run, once=True)
    return {"done": input["call"]}


async def broken(input: dict[str, Any], run: Run) -> dict[str, Any]:
    """Fails without an effect."""
    raise IntertieError("EXECUTION_FAILED", "failed as asked")
