"""Requirement → code → checks → mutants, and what the last self-test saw of them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from rfc_tools.documents import ROOT

from intertie_conformance.checks import all_checks
from intertie_conformance.mutants import all_mutants
from intertie_conformance.passive import all_rules
from intertie_conformance.unseen import unseen
from site_tools import markdown

PLACES = ROOT / "reference_node/places.toml"
REQUIREMENTS = ROOT / "protocol/registry/requirements.json"
SEEN = ROOT / "build/selftest.json"
"""Written by `make selftest`: mutant → whether it was killed."""
BINDING = ("MUST", "MUST NOT")


@dataclass
class Line:
    """One requirement with everything that stands for it."""

    id: str
    level: str
    role: str
    page: str
    section: str
    anchor: str
    sentence: Markup
    code: list[str]
    checks: list[str]
    mutants: list[tuple[str, bool | None]]
    """(name, whether a check has turned red against it; None while no self-test has run)."""
    reason: str
    """Why no check can exist, "" if one can."""

    @property
    def standing(self) -> str:
        """In one word: killed, checked, unseen, open, or none where nothing binds."""
        if self.mutants and all(killed for _, killed in self.mutants):
            return "killed"
        if self.checks:
            return "checked"
        if self.reason:
            return "unseen"
        return "open" if self.level in BINDING else "none"


def places() -> dict[str, dict[str, list[str]]]:
    """Return RFC number → section number → files of the reference node."""
    found: dict[str, dict[str, list[str]]] = tomllib.loads(PLACES.read_text(encoding="utf-8"))
    return found


def load(seen_at: Path = SEEN) -> list[Line]:
    """Return all requirements in order of RFC and id."""
    rows = json.loads(REQUIREMENTS.read_text(encoding="utf-8"))["requirements"]
    seen: dict[str, bool] = json.loads(seen_at.read_text(encoding="utf-8"))["mutants"] if seen_at.exists() else {}
    where, reasons = places(), unseen()
    checks, mutants = _checks(), list(all_mutants())
    return [
        Line(
            id=row["id"],
            level=row["level"],
            role=row["role"],
            page=Path(row["file"]).stem,
            section=row["section"],
            anchor=row["anchor"],
            sentence=markdown.sentence(row["sentence"]),
            code=where.get(str(row["rfc"]), {}).get(row["section"].partition(" ")[0], []),
            checks=checks.get(row["id"], []),
            mutants=[(m.name, seen.get(m.name)) for m in mutants if m.requirement == row["id"]],
            reason=reasons.get(row["id"], "") or row.get("reason", ""),
        )
        for row in sorted(rows, key=lambda row: (row["rfc"], row["id"]))
    ]


def _checks() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for check in all_checks():
        found.setdefault(check.id, []).append(check.name)
    for requirement, (name, _) in all_rules().items():
        found.setdefault(requirement, []).append(name)
    return found
