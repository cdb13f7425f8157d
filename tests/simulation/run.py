"""Runs simulated worlds: `python -m tests.simulation.run --seed 7`, `--seeds 300 --from 0`, `--json`.

One seed is replayed with its story on failure; many run on all cores and end with one line of totals. A failure
prints the seed, the commit, the invariant in words, and the shortest plan and story that the shrinker finds.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

import msgspec
from tests.simulation.drawing import draw
from tests.simulation.hostile import HostileGrid
from tests.simulation.judge import Violation
from tests.simulation.plan import Plan
from tests.simulation.shrink import shrink
from tests.simulation.totals import Result, Totals
from tests.simulation.world import Simulation

ROOT = Path(__file__).resolve().parents[2]
OPEN = Path(__file__).parent / "open.toml"
STORY_LINES = 60
PROGRESS_S = 10.0
REPORT_SEEDS = 100
"""From how many seeds on what was not met tells anything about the plans."""


def play(plan: Plan) -> Result:
    """Run one world and measure it."""
    began = monotonic()
    sim = Simulation(plan)
    result = Result(plan.seed, grids=len(plan.grids))
    try:
        sim.run()
    except Violation as violation:
        result.invariant, result.detail = violation.invariant, violation.detail
    except Exception:
        result.invariant, result.detail = "the simulator itself does not fail", traceback.format_exc(limit=-3)
    result.trace, result.seconds = sim.trace, monotonic() - began
    result.simulated_ms, result.events, result.calls = sim.now, sim.events, len(sim.consumers.calls)
    result.steps, result.commits = sim.steps, sum(node.disk.commits for node in sim.nodes)
    result.deeds = sum(grid.deeds for grid in sim.grids if isinstance(grid, HostileGrid))
    result.faults, result.rows = dict(sim.coverage.faults), sim.coverage.rows()
    result.met = {f"{fault} × {kind}": count for (fault, kind), count in sim.coverage.met.items()}
    return result


def play_seed(seed: int) -> Result:
    """Run the world of a seed."""
    return play(draw(seed))


def silence() -> None:
    """What nodes log is not looked at: worlds run faster without."""
    logging.disable(logging.CRITICAL)


def campaign(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    """Run many seeds on several processes, in any order."""
    if jobs <= 1:
        yield from map(play_seed, seeds)
        return
    with get_context("spawn").Pool(jobs, silence) as pool:
        yield from pool.imap_unordered(play_seed, seeds, chunksize=2)


def commit() -> str:
    """The commit of the checkout, with "+" if files have changed since."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


def explain(result: Result, shorten: bool = True) -> str:
    """A failure as a person needs it: how to replay it, what broke, and the shortest way there."""
    plan = draw(result.seed)
    if shorten:
        print(f"seed {result.seed} breaks an invariant; looking for a shorter plan …", file=sys.stderr, flush=True)
    smaller = shrink(plan, result.invariant) if shorten else plan
    sim = Simulation(smaller, keep_trace=True)
    detail = result.detail
    try:
        sim.run()
    except Violation as violation:
        detail = violation.detail
    story = (sim.story or [])[-STORY_LINES:]
    return "\n".join(
        [
            f"seed {result.seed} at commit {commit()} breaks: {result.invariant}",
            f"  {detail}",
            f"replay: make simulate SEED={result.seed}",
            f"plan: {len(plan.ops)} operations and {len(plan.faults)} faults, shortened to {len(smaller.ops)} and "
            f"{len(smaller.faults)}; {len(smaller.grids)} grids ({smaller.shape})",
            *(f"  {item}" for item in sorted([*smaller.ops, *smaller.faults], key=lambda item: item.at)),
            "hostile: "
            + (", ".join(f"{n}: {'+'.join(g.habits)}" for n, g in enumerate(plan.grids) if g.habits) or "none"),
            f"the last {len(story)} lines of its story:",
            *(f"  {line}" for line in story),
        ]
    )


def known_open() -> dict[int, str]:
    """Seeds that are known to break an invariant, with what is known of each."""
    return {int(seed): about for seed, about in tomllib.loads(OPEN.read_text(encoding="utf-8")).items()}


def run_many(args: argparse.Namespace) -> int:
    """Run a range of seeds; the last line is that of the totals. Returns the exit code."""
    began = told = monotonic()
    totals = Totals()
    seeds = range(args.first, args.first + args.seeds)
    for result in campaign(seeds, args.jobs):
        totals.add(result)
        if result.invariant:
            print(f"seed {result.seed}: {result.invariant}: {result.detail}", file=sys.stderr, flush=True)
        if monotonic() - told > PROGRESS_S and not args.json:
            told = monotonic()
            print(
                f"… {totals.results} of {args.seeds} seeds, {len(totals.failed)} failed, {told - began:.0f} s",
                flush=True,
            )
    known = {seed: about for seed, about in known_open().items() if seed in seeds}
    fresh = [result for result in totals.failed if not known.get(result.seed, "").startswith(result.invariant)]
    stale = sorted(known.keys() - {result.seed for result in totals.failed})
    if fresh and not args.json:
        print(explain(min(fresh, key=lambda each: each.seed), not args.no_shrink))
    if args.json:
        print(json.dumps(totals.as_json(monotonic() - began)))
    else:
        if args.seeds >= REPORT_SEEDS:
            print(totals.report())
        print(*(f"known to be open: seed {seed}: {about}" for seed, about in known.items()), sep="\n")
        print(*(f"clean, so no longer open: seed {seed}" for seed in stale), sep="\n")
        print(totals.line(monotonic() - began))
    return 1 if fresh or stale or totals.explained_away else 0


def run_one(args: argparse.Namespace) -> int:
    """Run one seed. Returns the exit code."""
    result = play_seed(args.seed)
    if args.json:
        print(json.dumps(msgspec.to_builtins(result)))
    elif result.invariant:
        print(explain(result, not args.no_shrink))
    else:
        print(
            f"seed {result.seed}: {result.grids} grids, {result.calls} calls, {sum(result.faults.values())} faults, "
            f"{result.simulated_ms / 1000:.0f} simulated s in {result.seconds:.1f} s, trace {result.trace}: all holds"
        )
    return 1 if result.invariant else 0


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse what plays no world, or not the one that is asked for: a negative seed is drawn like its opposite."""
    if args.seeds < 1:
        parser.error(f"--seeds {args.seeds} plays no world")
    if args.first < 0 or (args.seed or 0) < 0:
        parser.error("a seed is 0 or more")
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs} runs nothing")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run simulated worlds of grids.")
    parser.add_argument("--seed", type=int, help="replay one seed")
    parser.add_argument("--seeds", type=int, default=300, help="how many seeds")
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--no-shrink", action="store_true", help="do not look for the shortest plan")
    args = parser.parse_args()
    _check(parser, args)
    silence()
    return run_one(args) if args.seed is not None else run_many(args)


if __name__ == "__main__":
    sys.exit(main())
