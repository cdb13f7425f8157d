"""The order of a node's life: compute, commit, speak (design §11). No thread, no task, no sleep.

Whoever drives it, the asyncio engine or a simulator with a virtual clock, brings the time and the disk:
`compute` runs waiting steps into the open batch, `launch` ends that and hands over what must become durable,
`landed` is told that it is durable, and only then is anything said or started. While one batch is being committed
the next stays open: what comes meanwhile shares its transaction, its frames and its signatures.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from intertie_node.core.effects import Changes, Effects
from intertie_node.core.grid import Grid
from intertie_node.ports import Clock

Step = Callable[[Effects], None]
MAX_BATCH = 256
"""Steps a batch."""
MAX_TURN_S = 0.05
"""Steps are run for so long at a time, so that costly ones of one peer delay the others little."""


def unobserved(point: str, effects: Effects) -> None:
    """Nobody watches the points that a batch passes."""


class Turns:
    """Batches of steps on their way from the inbox to the wire."""

    def __init__(
        self,
        grid: Grid,
        clock: Clock,
        perform: Callable[[Any], None],
        timer: Callable[[], float],
        reach: Callable[[str, Effects], None] = unobserved,
    ) -> None:
        self._grid = grid
        self._clock = clock
        self._perform = perform
        self._timer = timer
        """Seconds, rising: what bounds the length of a batch."""
        self._reach = reach
        """Told which point a batch passes: before_commit, after_commit, after_send."""
        self._last_now = 0
        self.inbox: deque[Step] = deque()
        self.open: Effects | None = None
        """The batch that steps are run into."""
        self._size = 0
        """Steps in the open batch."""
        self.flying: Effects | None = None
        """The batch that is being committed."""
        self.commits = 0
        """Transactions since the start."""
        self.steps = 0
        """Steps since the start."""
        self.frames_out = 0
        """Frames sent to peers since the start."""

    @property
    def ready(self) -> bool:
        """Whether steps can be run now."""
        return bool(self.inbox) and (self.open is None or self._size < MAX_BATCH)

    @property
    def idle(self) -> bool:
        """Whether everything is durable and said."""
        return not self.inbox and self.open is None and self.flying is None

    def compute(self) -> None:
        """Run waiting steps into the open batch. Raises what a step raises: the process must then end."""
        self._last_now = max(self._last_now, self._clock())
        if self.open is None:
            self.open, self._size = Effects(self._last_now), 0
        effects, before = self.open, self._size
        effects.now = self._last_now
        inbox, until = self.inbox, self._timer() + MAX_TURN_S
        while inbox and self._size < MAX_BATCH and (self._size % 8 or self._timer() < until):
            inbox.popleft()(effects)
            self._size += 1
        self.steps += self._size - before

    def close(self) -> Effects:
        """End the open batch. Raises what proving and signing raise: the process must then end."""
        effects, self.open = self.open, None
        assert effects is not None, "no batch is open"
        self._grid.flush(effects)
        return effects

    def launch(self) -> Changes | None:
        """End the open batch and hand over its rows; None if it has none, and then it has been said already."""
        assert self.flying is None, "batches become durable in the order of their computing"
        effects = self.close()
        if not effects.changes:
            self._speak(effects)
            return None
        self._reach("before_commit", effects)
        self.commits += 1
        self.flying = effects
        return effects.changes

    def landed(self) -> None:
        """The rows handed over last are durable: say and start what follows from them."""
        effects, self.flying = self.flying, None
        assert effects is not None, "nothing was being committed"
        self._reach("after_commit", effects)
        self._speak(effects)
        self._reach("after_send", effects)

    def _speak(self, effects: Effects) -> None:
        self.frames_out += len(effects.sends)
        for connection, frame in effects.sends:
            connection.send(frame)
        for callback, value in effects.replies:
            callback(value)
        for work in effects.work:
            self._perform(work)
