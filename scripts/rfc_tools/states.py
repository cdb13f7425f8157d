"""State tables in RFCs against the tables of the reference node: equal cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from intertie.v1.entry_pb2 import EntryKind
from intertie.v1.task_pb2 import TaskState
from intertie_node.core.holds import HOLD_TABLE
from intertie_node.core.opening import OPENING_TABLE
from intertie_node.core.peering import PEERING_TABLE
from intertie_node.core.standing import ROUTE_TABLE
from intertie_node.core.tasks import TASK_TABLE
from rfc_tools.documents import Document
from rfc_tools.tables import Table, named

NOTHING = "–"
Cells = dict[tuple[str, str], str]
"""(state, signal) → cell."""


def _name(value: Any) -> str:
    """A state or signal as texts write it."""
    return str(value.value) if isinstance(value, Enum) and isinstance(value.value, str) else str(value.name)


def _rule(rule: Callable[..., Any]) -> str:
    name = rule.__name__.lstrip("_")
    return name.replace("_", " ", 1) if name.startswith("void_") else name.replace("_", " ")


def _holds() -> Cells:
    return {
        (state.name, EntryKind.Name(kind).removeprefix("ENTRY_KIND_")): _rule(rule)  # type: ignore[arg-type]
        for (state, kind), rule in HOLD_TABLE.items()
    }


def _opening() -> Cells:
    return {
        (_name(phase), _name(signal)): f"{step.value} → {after.value}"
        for (phase, signal), (step, after) in OPENING_TABLE.items()
    }


def _peering() -> Cells:
    return {
        (_name(state), _name(act)): after.name if after is not None else NOTHING
        for (state, act), after in PEERING_TABLE.items()
    }


def _routes() -> Cells:
    return {(_name(standing), _name(signal)): _name(after) for (standing, signal), after in ROUTE_TABLE.items()}


def _task(state: int) -> str:
    return TaskState.Name(state).removeprefix("TASK_STATE_")  # type: ignore[arg-type]


def _tasks() -> Cells:
    return {
        (_task(state), _name(signal)): _task(after) if after is not None else NOTHING
        for (state, signal), after in TASK_TABLE.items()
    }


CODE: Mapping[str, Callable[[], Cells]] = {
    "HOLD_TABLE": _holds,
    "OPENING_TABLE": _opening,
    "PEERING_TABLE": _peering,
    "ROUTE_TABLE": _routes,
    "TASK_TABLE": _tasks,
}
HOME = {"HOLD_TABLE": 7, "OPENING_TABLE": 5, "PEERING_TABLE": 6, "ROUTE_TABLE": 8, "TASK_TABLE": 9}
"""Table → RFC that shows it."""


def faults(documents: list[Document]) -> list[str]:
    """State tables that differ from the code's, are shown twice, or are missing from their RFC."""
    found = []
    present = {document.number for document in documents}
    for name, code in CODE.items():
        shown = named(documents, name)
        if len(shown) != 1 and HOME[name] in present:
            found.append(f"{name} is shown {len(shown)} times")
        found += [fault for table in shown for fault in _compare(table, code())]
    return found


def _compare(table: Table, code: Cells) -> list[str]:
    text = {
        (row[0], column): cell for row in table.rows for column, cell in zip(table.columns[1:], row[1:], strict=True)
    }
    return [
        f"{table.where}: {table.name} ({', '.join(key)}): the text says {text.get(key)!r}, the code {code.get(key)!r}"
        for key in sorted(text.keys() | code.keys())
        if text.get(key) != code.get(key)
    ]
