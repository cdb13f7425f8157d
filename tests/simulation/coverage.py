"""What the worlds have reached: rows of the core's tables, faults by kind, and which entries each fault met.

The tables of the core are wrapped in mappings that count look-ups; nothing else of the core is touched.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tests.simulation.plan import FAULTS, POINTS, Item, Peering

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.task_pb2 import TaskState
from intertie_node.core import holds, invocations, ledger, link, peering
from intertie_node.core.opening import Phase, Signal
from intertie_node.core.tasks import TaskSignal

NEAR_MS = 1_000
"""So long before a fault strikes, and after it is over, an entry still meets it."""
OPEN_TAG = lk.Frame(open=b"x").SerializeToString()[:1]
COUNTED = (
    ("holds", holds, "HOLD_TABLE", (ledger,)),
    ("tasks", invocations, "TASK_TABLE", ()),
    ("opening", link, "OPENING_TABLE", ()),
    ("peering", peering, "PEERING_TABLE", ()),
)
"""(name, module that looks up, attribute, modules that look up too)."""


BEYOND = {
    "opening: DOWN, CAUGHT_UP": "the core asks only while it catches up",
    "opening: OPENING, CAUGHT_UP": "the core asks only while it catches up",
    "opening: OPEN, CAUGHT_UP": "the core asks only while it catches up",
    "opening: DOWN, LOST": "a link that is down has no connection to lose",
    **{f"peering: PROPOSED, {act.name}": "worlds begin with countersigned agreements" for act in peering.PeeringAct},
    **{f"peering: REFUSED, {act.name}": "worlds begin with countersigned agreements" for act in peering.PeeringAct},
    **{f"tasks: AUTH_REQUIRED, {signal.name}": "nothing asks for authorization yet" for signal in TaskSignal},
    "tasks: SUBMITTED, ASKED": "work that asks has started",
    "tasks: SUBMITTED, ANSWERED": "nothing is answered that was not asked",
    "tasks: INPUT_REQUIRED, STARTED": "what has asked has sent an event, and is not run again",
    **{f"tasks: {state}, STARTED": "what has ended is never started: only SUBMITTED work is placed or run"
       for state in ("COMPLETED", "CANCELED", "FAILED", "REJECTED")},
    "tasks: CANCELED, REJECTED": "a reject after the final charge is void, and so never acted upon",
    "tasks: COMPLETED, REJECTED": "a reject after the final charge is void, and so never acted upon",
    "tasks: REJECTED, DONE": "a charge after a reject is void, and so never acted upon",
    "tasks: REJECTED, STOPPED": "a charge after a reject is void, and so never acted upon",
    "tasks: COMPLETED, STOPPED": "a second final charge is void, and so never acted upon",
    "tasks: CANCELED, DONE": "a second final charge is void, and so never acted upon",
}  # fmt: skip
"""Rows of tables that no world can reach, and why."""
KINDS = tuple(kind for kind in ledger.RULES)
"""Kinds of entries that this version knows."""
STRIKES = (*(fault for fault in FAULTS if fault != "crash_at"), *(f"crash {point}" for point in POINTS))
"""What an entry may meet: a kind of fault, or a crash at one of the points that its batch passes."""
UNMET: dict[tuple[str, str], str] = {}
"""(strike, kind of entry) that need not meet in 300 worlds, and why."""


class Counting(dict[Any, Any]):
    """A table that counts which rows were looked up."""

    def __init__(self, rows: Any) -> None:
        super().__init__(rows)
        self.reached: Counter[Any] = Counter()

    def __getitem__(self, key: Any) -> Any:
        self.reached[key] += 1
        return super().__getitem__(key)


def count_tables() -> dict[str, Counting]:
    """Wrap the core's tables, once a process."""
    if not _TABLES:
        for name, module, attribute, others in COUNTED:
            table = Counting(getattr(module, attribute))
            for each in (module, *others):
                setattr(each, attribute, table)
            _TABLES[name] = table
    return _TABLES


_TABLES: dict[str, Counting] = {}


class Coverage:
    """Counters of one world."""

    def __init__(self) -> None:
        self.tables = count_tables()
        self.faults: Counter[str] = Counter()
        self.met: Counter[tuple[str, str]] = Counter()
        """(kind of fault, kind of entry) → how often."""
        self._recent: deque[tuple[float, int, int, int]] = deque()
        """(when, grid, peering, kind) of entries that became durable a little while ago."""
        self._standing: list[tuple[float, str, Callable[[int, int], bool]]] = []
        """(until, kind of fault, whether it bears upon a grid and a peering)."""
        self._before = {name: Counter(table.reached) for name, table in self.tables.items()}

    def hit(self, fault: str, kinds: Iterable[int]) -> None:
        """A fault has met entries of these kinds."""
        for kind in kinds:
            self.met[fault, kind_name(kind)] += 1

    def struck(self, now: float, fault: Item, peerings: Sequence[Peering]) -> None:
        """A fault strikes: it meets what its grid or link has written shortly before, or writes while it stands."""
        self.faults[fault.kind] += 1
        if fault.kind == "crash_at":  # it strikes when it springs
            return
        bears = _bearing(fault.args, peerings)
        for when, grid, index, kind in self._recent:
            if when >= now - NEAR_MS and bears(grid, index):
                self.hit(fault.kind, [kind])
        lasting = fault.args.get("lasting", fault.args.get("down", 0))
        self._standing.append((now + lasting + NEAR_MS, fault.kind, bears))

    def written(self, now: float, grid: int, index: int, kind: int) -> None:
        """A grid has made an entry of a peering's logs durable, its own or its peer's."""
        self._recent.append((now, grid, index, kind))
        while self._recent[0][0] < now - NEAR_MS:
            self._recent.popleft()
        self._standing = [each for each in self._standing if each[0] >= now]
        for fault in {fault for _, fault, bears in self._standing if bears(grid, index)}:
            self.hit(fault, [kind])

    def frame(self, phase: Phase, frame: bytes) -> None:
        """A frame arrives at a link in this phase: the rows of the opening that frames stand for."""
        signal = Signal.OPEN_FRAME if frame[:1] == OPEN_TAG else Signal.ENTRY_FRAME
        self.tables["opening"].reached[phase, signal] += 1

    def rows(self) -> dict[str, int]:
        """Rows of tables that this world has looked up: "table: state, signal" → how often."""
        found = {}
        for name, table in self.tables.items():
            for key, count in (table.reached - self._before[name]).items():
                found[row_name(name, key)] = count
        return found


def _bearing(args: dict[str, Any], peerings: Sequence[Peering]) -> Callable[[int, int], bool]:
    """Whether a fault bears upon what a grid writes in the log of a peering."""
    if "link" in args:
        return lambda grid, index: index == args["link"]
    if "grid" in args:
        return lambda grid, index: grid == args["grid"]
    part = args["grids"]
    return lambda grid, index: (peerings[index].a in part) != (peerings[index].b in part)


def row_name(table: str, key: Any) -> str:
    """A row of a table as text."""
    state, signal = key
    of_state, of_signal = {"holds": (_name, kind_name), "tasks": (_task, _name)}.get(table, (_name, _name))
    return f"{table}: {of_state(state)}, {of_signal(signal)}"


def all_rows() -> set[str]:
    """Every row of every counted table."""
    return {row_name(name, key) for name, table in count_tables().items() for key in table}


def _name(value: Any) -> str:
    return str(value.name)


def _task(state: int) -> str:
    return TaskState.Name(state).removeprefix("TASK_STATE_")  # type: ignore[arg-type]


def kind_name(kind: int) -> str:
    """The name of a kind of entry."""
    try:
        return pb.EntryKind.Name(kind).removeprefix("ENTRY_KIND_").lower()  # type: ignore[arg-type]
    except ValueError:
        return f"kind {kind}"
