"""How late the suite itself is: on a busy machine, what is waited for in vain may have come too late to be seen."""

from __future__ import annotations

import asyncio
import time
from typing import Final

BEAT_S: Final = 0.05
NOTICED_S: Final = 0.25
"""A delay of the suite below this is not worth a word."""


class Pulse:
    """A task that wants to run every 50 ms, and notes how much later it did."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []
        """(when, by how many seconds)."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to beat."""
        self._task = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Beat no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            due = time.monotonic() + BEAT_S
            await asyncio.sleep(BEAT_S)
            late = time.monotonic() - due
            if late >= NOTICED_S:
                self._late.append((due, late))

    def since(self, began: float) -> float:
        """The longest delay since a moment (`time.monotonic`), seconds; 0 if none was worth a word."""
        return max((late for due, late in self._late if due + late >= began), default=0.0)
