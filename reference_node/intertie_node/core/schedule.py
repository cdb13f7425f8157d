"""What is to happen when: the timers of one node. Time is an argument (design §4)."""

import heapq


class Schedule:
    """Timers in order of time, and of setting where the times are equal.

    Those of one moment share a place in the heap: the calls of a batch have the same deadline.
    """

    __slots__ = ("_moments", "_waiting")

    def __init__(self) -> None:
        self._moments: list[int] = []
        self._waiting: dict[int, list[tuple[str, str]]] = {}

    def at(self, when: int, what: str, key: str) -> None:
        """Have `what` happen to `key` at `when` (milliseconds since the Unix epoch)."""
        waiting = self._waiting.get(when)
        if waiting is None:
            self._waiting[when] = [(what, key)]
            heapq.heappush(self._moments, when)
        else:
            waiting.append((what, key))

    def due(self, now: int) -> list[tuple[str, str]]:
        """Take what has become due by `now`, in order."""
        ready: list[tuple[str, str]] = []
        while self._moments and self._moments[0] <= now:
            ready += self._waiting.pop(heapq.heappop(self._moments))
        return ready
