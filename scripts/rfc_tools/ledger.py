"""protocol/registry/requirements.json: the requirements of a version, and ids that are never used again.

A sentence, level or role that changes, and an id that vanishes, need a new version of the set. Added ids do not:
a report names the ids that it speaks of.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfc_tools.documents import ROOT
from rfc_tools.requirements import Requirement

PATH = ROOT / "protocol" / "registry" / "requirements.json"
_FIXED = ("sentence", "level", "role")
"""What may only change with the version."""


class UnbumpedError(Exception):
    """A requirement was reworded or has vanished, and the version of the set stayed."""


@dataclass(frozen=True)
class Ledger:
    """What is recorded."""

    version: int
    requirements: dict[str, dict[str, Any]]
    """By id."""
    retired: dict[str, dict[str, Any]]
    """By id: when it was last in force."""

    def text(self) -> str:
        """The file's contents."""
        document = {
            "version": self.version,
            "requirements": [self.requirements[name] for name in sorted(self.requirements)],
            "retired": [self.retired[name] for name in sorted(self.retired)],
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def load(path: Path = PATH) -> Ledger:
    """Return what is recorded; an empty set of version 1 if there is no file."""
    if not path.exists():
        return Ledger(1, {}, {})
    document = json.loads(path.read_text(encoding="utf-8"))
    named = [{row["id"]: row for row in document[part]} for part in ("requirements", "retired")]
    return Ledger(document["version"], *named)


def row_of(requirement: Requirement, version: int) -> dict[str, Any]:
    """A requirement as data; `changed` is the version of the set in which its wording last changed."""
    row: dict[str, Any] = {
        "id": requirement.id,
        "level": requirement.level,
        "role": requirement.role,
        "rfc": requirement.rfc,
        "file": f"rfcs/{requirement.file}",
        "section": requirement.section,
        "anchor": requirement.anchor,
        "sentence": requirement.sentence,
        "testable": requirement.testable,
        "since": version,
        "changed": version,
    }
    if requirement.unobservable:
        row["reason"] = requirement.unobservable
    if requirement.vectors:
        row["vectors"] = requirement.vectors
    return row


def differences(old: Ledger, found: list[Requirement]) -> list[str]:
    """What needs a new version: reworded and vanished requirements. Retired ids that came back are no such matter."""
    now = {requirement.id: row_of(requirement, old.version) for requirement in found}
    lost = [f"{name} has vanished" for name in sorted(old.requirements.keys() - now.keys())]
    reworded = [
        f"{name}: its {part} changed"
        for name, before in sorted(old.requirements.items())
        if name in now
        for part in _FIXED
        if before[part] != now[name][part]
    ]
    return lost + reworded


def reused(old: Ledger, found: list[Requirement]) -> list[str]:
    """Retired ids that stand in a text again."""
    return [f"{r.file}:{r.line}: {r.id} was retired and is never used again" for r in found if r.id in old.retired]


def updated(old: Ledger, found: list[Requirement], bump: bool, today: str) -> Ledger:
    """Return the ledger of the requirements found.

    Raises UnbumpedError if something was reworded or has vanished and `bump` does not ask for a new version.
    """
    changes = differences(old, found)
    if changes and not bump:
        raise UnbumpedError("\n".join(changes))
    version = old.version + bool(changes)
    rows = {}
    for requirement in found:
        row, before = row_of(requirement, version), old.requirements.get(requirement.id)
        if before:
            same = all(before[part] == row[part] for part in _FIXED)
            row |= {"since": before["since"], "changed": before["changed"] if same else version}
        rows[requirement.id] = row
    gone = {
        name: {"id": name, "date": today, "version": old.version, "sentence": row["sentence"]}
        for name, row in old.requirements.items()
        if name not in rows
    }
    return Ledger(version, rows, old.retired | gone)
