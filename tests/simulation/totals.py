"""What many worlds add up to: seeds, steps, simulated time, faults, coverage; as text and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from msgspec import Struct, field
from tests.simulation.coverage import BEYOND, KINDS, STRIKES, UNMET, all_rows, kind_name
from tests.simulation.plan import FAULTS


class Result(Struct):
    """One world."""

    seed: int
    invariant: str = ""
    """The one that does not hold; empty if all do."""
    detail: str = ""
    trace: str = ""
    seconds: float = 0.0
    simulated_ms: float = 0.0
    steps: int = 0
    commits: int = 0
    events: int = 0
    grids: int = 0
    calls: int = 0
    deeds: int = 0
    """Hostile acts."""
    faults: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    met: dict[str, int] = field(default_factory=dict)
    """"fault × entry" → how often."""


class Totals:
    """Sums over worlds."""

    def __init__(self) -> None:
        self.results = 0
        self.failed: list[Result] = []
        self.sums: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        """Count one more world."""
        self.results += 1
        if result.invariant:
            self.failed.append(result)
        for name in ("simulated_ms", "steps", "commits", "events", "grids", "calls", "deeds", "seconds"):
            self.sums[name] += getattr(result, name)
        self.faults.update(result.faults)
        self.rows.update(result.rows)
        self.met.update(result.met)

    @property
    def unreached(self) -> list[str]:
        """Rows of the core's tables that no world has reached, those apart that none can."""
        return sorted(all_rows() - set(self.rows) - set(BEYOND))

    @property
    def explained_away(self) -> list[str]:
        """Rows and pairs that were reached although a reason says why they are not."""
        return sorted({*BEYOND} & {*self.rows} | {f"{strike} × {name}" for strike, name in UNMET} & {*self.met})

    @property
    def holes(self) -> list[str]:
        """What kinds of entries a strike has never met, those apart for which there is a reason."""
        names = [kind_name(kind) for kind in KINDS]
        pairs = ((strike, name) for strike in STRIKES for name in names if (strike, name) not in UNMET)
        return [f"{strike} × {name}" for strike, name in pairs if not self.met[f"{strike} × {name}"]]

    def line(self, seconds: float) -> str:
        """One line of totals."""
        hours = self.sums["simulated_ms"] / 3_600_000
        rows, pairs = len(all_rows()) - len(BEYOND), len(STRIKES) * len(KINDS) - len(UNMET)
        return (
            f"{self.results} seeds, {len(self.failed)} failed, {hours:.1f} simulated hours, "
            f"{self.sums['calls']} calls, {self.sums['steps']} steps, {self.sums['commits']} commits, "
            f"{sum(self.faults.values())} faults, "
            f"{self.sums['deeds']} hostile acts, {rows - len(self.unreached)} of {rows} table rows, "
            f"{pairs - len(self.holes)} of {pairs} fault × entry pairs, {seconds:.0f} s"
        )

    def report(self) -> str:
        """Faults by kind, rows that were missed, and which entries each fault met."""
        faults = "  ".join(f"{kind} {self.faults[kind]}" for kind in FAULTS)
        lines = [f"faults: {faults}", "fault × entry:"]
        for strike in STRIKES:
            names = map(kind_name, KINDS)
            told = "  ".join(f"{name} {self.met[f'{strike} × {name}']}" for name in names)
            lines.append(f"  {strike:<20} {told}")
        lines.append(f"fault × entry never met: {'; '.join(self.holes) or 'none'}")
        if self.explained_away:
            lines.append(f"reached against all reason: {'; '.join(self.explained_away)}")
        lines.append(f"table rows not reached: {'; '.join(self.unreached) or 'none'}")
        return "\n".join(lines)

    def as_json(self, seconds: float) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "seeds": self.results,
            "failed": [{"seed": r.seed, "invariant": r.invariant, "detail": r.detail} for r in self.failed],
            **dict(sorted(self.sums.items())),
            "wall_seconds": round(seconds, 1),
            "faults": dict(sorted(self.faults.items())),
            "rows": dict(sorted(self.rows.items())),
            "unreached": self.unreached,
            "beyond_reach": dict(BEYOND),
            "met": dict(sorted(self.met.items())),
            "holes": self.holes,
        }
