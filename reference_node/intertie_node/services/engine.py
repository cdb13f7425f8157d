"""The engine: one thread of control that runs the core, commits, then speaks (design §11).

Commit n overlaps with computing n+1. Steps that have gathered while a commit was under way share the next
one; nothing waits on a timer. A failed commit or a fault in a step stops the node: memory would be ahead of
what is durable.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from intertie_node.core.effects import Effects
from intertie_node.core.grid import Grid
from intertie_node.ports import Clock, Store
from intertie_node.services.crashpoints import CrashPoints

Step = Callable[[Effects], None]
MAX_BATCH = 128
MAX_TURN_S = 0.05
"""A batch ends after this time, so that costly steps of one peer delay the others little."""
AHEAD = 8
"""So many waiting steps are computed while a commit is still under way."""


class Engine:
    """Runs steps in batches."""

    def __init__(self, grid: Grid, store: Store, clock: Clock, perform: Callable[[Any], None]) -> None:
        self.grid = grid
        self._store = store
        self._clock = clock
        self._perform = perform
        self._inbox: deque[Step] = deque()
        self._wake = asyncio.Event()
        self._flying: tuple[asyncio.Future[None], Effects] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._crash = CrashPoints.from_environment()
        self._stopping = False
        self._last_now = 0
        self.commits = 0
        """Transactions since the start."""
        self.steps = 0
        """Steps since the start."""
        self.frames_out = 0
        """Frames sent to peers since the start."""

    def submit(self, step: Step) -> None:
        """Have `step` run in the next batch."""
        self._inbox.append(step)
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
                if self._stopping and not self._inbox and self._flying is None:
                    return
        finally:
            self._pool.shutdown(wait=True)

    async def _turn(self) -> None:
        if self._flying and self._flying[0].done():
            await self._land()
        if not self._inbox or (self._flying and len(self._inbox) < AHEAD):
            return
        effects = self._compute()
        if self._flying:
            await self._land()
        self._launch(effects)
        if self._inbox:
            self._wake.set()

    def _compute(self) -> Effects:
        self._last_now = max(self._last_now, self._clock())
        effects = Effects(self._last_now)
        inbox, until = self._inbox, monotonic() + MAX_TURN_S
        count = 0
        while inbox and count < MAX_BATCH and (count % 8 or monotonic() < until):
            inbox.popleft()(effects)
            count += 1
        self.steps += count
        self.grid.flush(effects)
        return effects

    def _launch(self, effects: Effects) -> None:
        if not effects.changes:
            self._speak(effects)
            return
        self._crash.reach("before_commit", effects)
        self.commits += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._store.commit, effects.changes)
        future.add_done_callback(lambda _: self._wake.set())
        self._flying = (future, effects)

    async def _land(self) -> None:
        assert self._flying is not None
        future, effects = self._flying
        await future
        self._flying = None
        self._crash.reach("after_commit", effects)
        self._speak(effects)
        self._crash.reach("after_send", effects)

    def _speak(self, effects: Effects) -> None:
        self.frames_out += len(effects.sends)
        for connection, frame in effects.sends:
            connection.send(frame)
        for callback, value in effects.replies:
            callback(value)
        for work in effects.work:
            self._perform(work)
