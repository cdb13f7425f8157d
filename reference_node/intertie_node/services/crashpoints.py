"""Planted crash points for tests: the process ends abruptly where the environment says (issue: crash points).

`INTERTIE_TEST_BUILD=1 INTERTIE_CRASH=after_commit:charge:3` ends the process at the third batch, at that
point, that holds an own or received entry of that kind. Without INTERTIE_TEST_BUILD nothing is planted.
"""

import os
from collections.abc import Mapping

from msgspec import Struct

from intertie.v1 import entry_pb2 as pb
from intertie_node.core.effects import Effects

POINTS = ("before_commit", "after_commit", "after_send")
EXIT_CODE = 86


class CrashPoints(Struct):
    """Where the process ends, if anywhere."""

    point: str = ""
    kind: int = 0
    left: int = 0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "CrashPoints":
        """Read the planted point. Raises: ValueError for one that cannot be."""
        text = environ.get("INTERTIE_CRASH", "")
        if not text or environ.get("INTERTIE_TEST_BUILD") != "1":
            return cls()
        point, kind, count = [*text.split(":"), "1", "1"][:3]
        if point not in POINTS:
            raise ValueError(f"INTERTIE_CRASH names the point {point}; known are {', '.join(POINTS)}")
        return cls(point, pb.EntryKind.Value(f"ENTRY_KIND_{kind.upper()}"), int(count))

    def reach(self, point: str, effects: Effects) -> None:
        """Count a batch that passes a point, and end the process when it is the one."""
        if point != self.point or not self._holds_kind(effects):
            return
        self.left -= 1
        if self.left <= 0:
            os._exit(EXIT_CODE)

    def _holds_kind(self, effects: Effects) -> bool:
        rows = effects.changes.appends.get("entries", ())
        return any(pb.Entry.FromString(row[3]).kind == self.kind for row in rows)
