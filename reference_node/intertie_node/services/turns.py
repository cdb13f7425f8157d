"""The order of a node's life: compute, commit, speak (design §11). No thread, no task, no sleep.

Whoever drives it, the asyncio engine or a simulator with a virtual clock, brings the time and the disk:
`compute` runs waiting steps into one batch, `launch` hands over what must become durable, `landed` is told
that it is durable, and only then is anything said or started. While one batch is being committed the next
may be computed, but not launched.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from intertie_node.core.effects import Changes, Effects
from intertie_node.core.grid import Grid
from intertie_node.ports import Clock

Step = Callable[[Effects], None]
MAX_BATCH = 128
MAX_TURN_S = 0.05
"""A batch ends after this time, so that costly steps of one peer delay the others little."""
AHEAD = 64
"""So many waiting steps are computed while a commit is still under way; fewer wait for it, and share a larger one."""


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
        self.computed: Effects | None = None
        """The batch that waits for the one before it to become durable."""
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
        """Whether a batch should be computed now."""
        return bool(self.inbox) and self.computed is None and (self.flying is None or len(self.inbox) >= AHEAD)

    @property
    def idle(self) -> bool:
        """Whether everything is durable and said."""
        return not self.inbox and self.computed is None and self.flying is None

    def compute(self) -> None:
        """Run waiting steps and end their batch. Raises what a step raises: the process must then end."""
        self._last_now = max(self._last_now, self._clock())
        effects = Effects(self._last_now)
        inbox, until = self.inbox, self._timer() + MAX_TURN_S
        count = 0
        while inbox and count < MAX_BATCH and (count % 8 or self._timer() < until):
            inbox.popleft()(effects)
            count += 1
        self.steps += count
        self._grid.flush(effects)
        self.computed = effects

    def launch(self) -> Changes | None:
        """Hand over the rows of the computed batch; None if it has none, and then it has been said already."""
        effects, self.computed = self.computed, None
        assert effects is not None and self.flying is None, "batches become durable in the order of their computing"
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
