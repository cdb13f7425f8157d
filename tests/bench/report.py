"""Medians of the rounds, ratios, the first targets, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

RAW: Final = "raw_64"
STREAM: Final = "link_stream_256"
Round = dict[str, dict[str, Any]]
"""Scenario → its figures."""

# name → (where it stands, "at least" or "under", bound)
TARGETS: Final[Mapping[str, tuple[str, str, float]]] = {
    "link_stream_256_vs_raw": ("ratios", "at least", 1.5),
    "call_local_64_vs_raw": ("ratios", "at least", 0.4),
    "idle_mb": ("node", "under", 120.0),
    "start_s": ("node", "under", 2.0),
}


def summarise(rounds: Sequence[Round]) -> dict[str, Any]:
    """Scenario → the median of each figure over the rounds."""
    names = dict.fromkeys(name for one in rounds for name in one)
    return {name: _median([one[name] for one in rounds if name in one]) for name in names}


def _median(found: Sequence[Any]) -> Any:
    if isinstance(found[0], dict):
        return {key: _median([one[key] for one in found]) for key in found[0]}
    return statistics.median(found)


def ratios(rounds: Sequence[Round]) -> dict[str, float]:
    """Calls a second as a multiple of the baseline's in the same round: medians over the rounds."""
    found: dict[str, list[float]] = {}
    for one in rounds:
        for name in one.keys() - {RAW} if RAW in one else ():
            found.setdefault(f"{name}_vs_raw", []).append(one[name]["calls_per_s"] / one[RAW]["calls_per_s"])
    return {name: statistics.median(values) for name, values in sorted(found.items())}


def targets(result: Mapping[str, Any]) -> dict[str, Any]:
    """How the targets stand whose figures were measured."""
    found = {}
    for name, (table, kind, bound) in TARGETS.items():
        value = result.get(table, {}).get(name)
        if value is not None:
            met = value >= bound if kind == "at least" else value < bound
            found[name] = {"value": value, "target": f"{kind} {bound:g}", "met": met}
    return found


def budget(result: Mapping[str, Any], floor_ms: float) -> dict[str, float]:
    """Processor milliseconds a paid call: what the target over the link leaves if no processor ever rests, the floor
    (`floor.py`), and what is used. Empty where those were not measured."""
    found = result["scenarios"]
    if not {RAW, STREAM} <= found.keys():
        return {}
    least = TARGETS[f"{STREAM}_vs_raw"][2] * found[RAW]["calls_per_s"]
    return {
        "left_ms": result["machine"]["processors"] * 1e3 / least,
        "floor_ms": floor_ms,
        "used_ms": sum(found[STREAM]["cpu_ms_per_call"].values()),
    }


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print everything."""
    table = Table(title="Paid calls, medians of the rounds", title_justify="left")
    table.add_column("scenario", no_wrap=True)
    heads = ("calls/s", "× raw", "p50 ms", "p99 ms", "CPU ms/call: all", "load", "server", "north", "south")
    for head in (*heads, "commits/call: north", "south", "others' CPU"):
        table.add_column(head, justify="right")
    for name, row in result["scenarios"].items():
        cpu, commits = row["cpu_ms_per_call"], row["commits_per_call"]
        table.add_row(
            name,
            f"{row['calls_per_s']:,.0f}",
            _number(result["ratios"].get(f"{name}_vs_raw"), 2),
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            _number(sum(cpu.values()), 3),
            *(_number(cpu.get(process), 3) for process in ("load", "server", "north", "south")),
            *(_number(commits.get(node), 3) for node in ("north", "south")),
            f"{row['others_cpu']:.0%}",
        )
    console.print(table)
    machine = result["machine"]
    disk = f"a durable commit of 1 kB takes {machine['commit_ms']:.2f} ms on this disk"
    console.print(f"{machine['processors']} processors; {disk}")
    if result["node"]:
        names = {
            "idle_mb": "memory idle, MB",
            "north_loaded_mb": "north loaded, MB",
            "south_loaded_mb": "south loaded, MB",
            "start_s": "start to serving, s",
            "first_start_s": "with a new folder, s",
        }
        console.print("; ".join(f"{names[key]}: {value:.2f}" for key, value in result["node"].items()))
    if spent := result["budget"]:
        console.print(
            f"CPU ms/call over the link: the target leaves {spent['left_ms']:.2f}, messages, hashes, signatures and "
            f"rows alone take {spent['floor_ms']:.2f}, {STREAM} takes {spent['used_ms']:.2f}",
            soft_wrap=True,
        )
    for name, row in result["targets"].items():
        mark = "[green]met[/]" if row["met"] else "[red]missed[/]"
        console.print(f"{name} = {row['value']:.2f}, wanted {row['target']}: {mark}")


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
