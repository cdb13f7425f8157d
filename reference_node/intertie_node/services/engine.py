"""The engine: one thread of control that runs the core, commits, then speaks (design §11).

Commit n overlaps with computing n+1. Steps that come while a commit is under way share the next one, and so do those
that are on their way when none is; nothing waits on a timer. A failed commit or a fault in a step stops the node:
memory would be ahead of what is durable. The order itself is that of `services.turns`, without asyncio.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Final

from intertie_node.core.grid import Grid
from intertie_node.ports import Clock, Store
from intertie_node.services.crashpoints import CrashPoints
from intertie_node.services.turns import Step, Turns

GATHERING: Final = 2
"""Passes of the loop before a commit: what they bring shares it. More bring little (measured)."""


class Engine:
    """Runs steps in batches."""

    def __init__(self, grid: Grid, store: Store, clock: Clock, perform: Callable[[Any], None]) -> None:
        self.grid = grid
        self.turns = Turns(grid, clock, perform, monotonic, CrashPoints.from_environment().reach)
        self._store = store
        self._wake = asyncio.Event()
        self._flying: asyncio.Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._stopping = False

    @property
    def commits(self) -> int:
        """Transactions since the start."""
        return self.turns.commits

    @property
    def steps(self) -> int:
        """Steps since the start."""
        return self.turns.steps

    @property
    def frames_out(self) -> int:
        """Frames sent to peers since the start."""
        return self.turns.frames_out

    def submit(self, step: Step) -> None:
        """Have `step` run in the next batch."""
        self.turns.inbox.append(step)
        self._wake.set()

    def stop(self) -> None:
        """Let `run` return once the inbox is empty and everything is durable and said."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Run until stopped. Raises what a step or a commit raised: the process must then end."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._turn()
                if self._stopping and self.turns.idle:
                    return
        finally:
            self._pool.shutdown(wait=True)

    async def _turn(self) -> None:
        if self._flying and self._flying.done():
            await self._land()
        if self.turns.ready:
            self.turns.compute()
        if self.turns.open is not None and self._flying is None:
            await self._gather()
            self._launch()
        if self.turns.ready:
            self._wake.set()

    async def _gather(self) -> None:
        for _ in range(GATHERING):
            await asyncio.sleep(0)
            if self.turns.ready:
                self.turns.compute()

    def _launch(self) -> None:
        changes = self.turns.launch()
        if changes is not None:
            self._flying = asyncio.get_running_loop().run_in_executor(self._pool, self._store.commit, changes)
            self._flying.add_done_callback(lambda _: self._wake.set())

    async def _land(self) -> None:
        assert self._flying is not None
        await self._flying
        self._flying = None
        self.turns.landed()
