"""Calls a second, time and memory of the reference node; the baseline is measured in the same run.

    python tests/bench/run.py --output build/bench.json
    python tests/bench/run.py --only link_stream_256 --rounds 1 --profile

Two nodes, the load and the baseline's server are processes of their own. Nodes run as in production: SQLite with
synchronous=FULL on the disk of the output file, TLS on every connection, consumers with bearer tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import pstats
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
from children import Child, ChildError, busy_s, cpu_s, memory_mb
from disk import commit_ms
from grids import ECHO, NORTH, SOUTH, Grids, idle_figures, two_grids
from load import PATIENCE_S, Figures, Plan
from report import RAW, Round, budget, ratios, show, summarise, targets
from rich.console import Console

# name → (mode of the load, grid that does the work, calls in flight)
SCENARIOS: Final = {
    RAW: ("raw", "", 64),
    "link_stream_1": ("stream", SOUTH, 1),
    "link_stream_16": ("stream", SOUTH, 16),
    "link_stream_256": ("stream", SOUTH, 256),
    "link_call_1": ("call", SOUTH, 1),
    "link_call_64": ("call", SOUTH, 64),
    "call_local_64": ("call", NORTH, 64),
}
FLOOR_S: Final = 1.0
PROFILE_LINES: Final = 40


class Bench:
    """One run."""

    def __init__(self, options: argparse.Namespace, grids: Grids, raw: Child, raw_port: int, folder: Path) -> None:
        self._options = options
        self._grids = grids
        self._raw = raw
        self._raw_port = raw_port
        self._folder = folder
        self.charged = {NORTH: 0, SOUTH: 0}
        """Sum of the receipts by executing grid, minor units."""

    def _plan(self, name: str) -> Plan:
        mode, executor, in_flight = SCENARIOS[name]
        options, north = self._options, self._grids.north
        plan = Plan(
            mode=mode,
            target=f"127.0.0.1:{self._raw_port}",
            in_flight=in_flight,
            seconds=options.seconds,
            warm_up=options.warm_up,
            calls=options.calls,
        )
        if mode == "raw":
            return plan
        return msgspec.structs.replace(
            plan,
            target=north.target,
            token=self._grids.token,
            offer=f"{executor}/{ECHO}",
            executor=executor,
            certificate=str(north.certificate),
            name=NORTH,
        )

    async def measure(self, name: str) -> dict[str, Any]:
        """Figures of one scenario. Raises: ChildError."""
        plan, nodes = self._plan(name), self._grids.nodes
        pids = {"server": self._raw.pid} if plan.mode == "raw" else {n: node.pid for n, node in nodes.items()}
        wait = plan.seconds + PATIENCE_S + 5
        load = Child("load.py", msgspec.json.encode(plan).decode(), errors=self._folder / "load.txt")
        async with load:
            await self._profile(name, plan)
            commits, cpu, busy = await self._grids.commits(), {n: cpu_s(p) for n, p in pids.items()}, busy_s()
            load.say("go")
            figures = msgspec.convert(await load.line(wait), Figures)
            busy, cpu = busy_s() - busy, {n: cpu_s(p) - cpu[n] for n, p in pids.items()}
            after = await self._grids.commits()
            await self._profile(name, plan)
        if plan.executor:
            self.charged[plan.executor] += figures.charged
        ours = sum(cpu.values()) + figures.cpu_s
        cores = os.cpu_count() or 1
        return {
            "calls": figures.calls,
            "calls_per_s": figures.calls / figures.seconds,
            "p50_ms": figures.p50_ms,
            "p99_ms": figures.p99_ms,
            "cpu_ms_per_call": {n: s * 1e3 / figures.calls for n, s in {"load": figures.cpu_s, **cpu}.items()},
            "commits_per_call": {}
            if plan.mode == "raw"
            else {n: (after[n] - commits[n]) / figures.calls for n in nodes},
            "others_cpu": max(0.0, busy - ours) / (figures.seconds * cores),
        }

    async def floor_ms(self) -> float:
        """Processor milliseconds of a paid call with no node around it (`floor.py`). Raises: ChildError."""
        with tempfile.TemporaryDirectory(prefix="floor-", dir=self._folder) as folder:
            child = Child("floor.py", folder, str(FLOOR_S), errors=self._folder / "floor.txt")
            found: float = (await child.start())["cpu_ms"]
            await child.stop()
        return found

    async def _profile(self, name: str, plan: Plan) -> None:
        """Start profiling the nodes, or end it and write what was found."""
        if not self._options.profile or plan.mode == "raw":
            return
        for short, node in self._grids.nodes.items():
            path = self._options.output.with_name(f"profile-{name}-{short}.prof")
            path.unlink(missing_ok=True)
            await node.ask("profile", path=str(path))
            if path.exists():
                with path.with_suffix(".txt").open("w") as text:
                    pstats.Stats(str(path), stream=text).sort_stats("tottime").print_stats(PROFILE_LINES)

    async def round(self, names: list[str], console: Console) -> Round:
        """Measure each scenario once; the accounts must then be right. Raises: ChildError."""
        found: Round = {}
        for name in names:
            found[name] = one = await self.measure(name)
            console.print(
                f"  {name:16} {one['calls_per_s']:9,.0f} calls/s   p50 {one['p50_ms']:8.2f} ms", highlight=False
            )
        await self._grids.check_accounts(sum(self.charged.values()), self.charged[SOUTH])
        return found


async def run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Everything. Raises: ChildError."""
    names = options.only or list(SCENARIOS)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.output.parent) as name:
        folder = Path(name)
        disk = commit_ms(folder)
        node = {} if options.only else await idle_figures(folder)
        raw = Child("raw_echo.py", errors=folder / "raw.txt")
        port = (await raw.start())["port"]
        try:
            async with two_grids(folder) as grids:
                bench = Bench(options, grids, raw, port, folder)
                rounds, floors = list[Round](), list[float]()
                for number in range(options.rounds):
                    console.print(f"round {number + 1} of {options.rounds}", highlight=False)
                    floors.append(await bench.floor_ms())
                    rounds.append(await bench.round(names, console))
                node |= {f"{short}_loaded_mb": memory_mb(one.pid) for short, one in grids.nodes.items()}
                charged = dict(bench.charged)
        finally:
            await raw.stop()
    result = {
        "machine": {
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
            "commit_ms": disk,
        },
        "settings": {"rounds": options.rounds, "seconds": options.seconds, "profiled": options.profile},
        "scenarios": summarise(rounds),
        "ratios": ratios(rounds),
        "node": node,
        "charged": charged,
        "rounds": rounds,
    }
    return {**result, "targets": targets(result), "budget": budget(result, statistics.median(floors))}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description="Measure the reference node against a raw gRPC echo.")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), help="file for the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=0.4, help="seconds before each measurement")
    parser.add_argument("--calls", type=int, default=1_000_000, help="most calls of each measurement")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario; may be repeated")
    parser.add_argument("--profile", action="store_true", help="profile both nodes into build/profile-*.txt: slower")
    options = parser.parse_args(arguments)
    options.output = options.output.absolute()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    return options


def main() -> int:
    """Run, print, write."""
    options, console = parse(sys.argv[1:]), Console()
    if not console.is_terminal:
        console = Console(width=160)
    try:
        result = asyncio.run(run(options, console))
    except ChildError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
    show(result, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
