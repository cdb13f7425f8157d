"""Mutants tried: each grid that breaks one rule against the checks of its requirement, in several processes.

A process has one loop, in which many mutants are tried beside each other: most of their time is waiting.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from multiprocessing.process import BaseProcess
from typing import Any, Final

from intertie_conformance.checks import Check, all_checks
from intertie_conformance.config import Config, SuiteTable, TargetTable
from intertie_conformance.grid.invocations import OTHER_TOKEN, TOKEN
from intertie_conformance.grid.node import Grid
from intertie_conformance.mutants import Mutant, all_mutants
from intertie_conformance.passive import all_rules
from intertie_conformance.registry import requirements
from intertie_conformance.roles.target import Target, Unreachable
from intertie_conformance.runner import Runner
from intertie_conformance.verdicts import Outcome, Verdict

ANSWER_S: Final = 1.0
AT_A_TIME: Final = 8
"""Mutants that are tried beside each other in all processes."""
SLOW_AT_A_TIME: Final = 24
LOOK_S: Final = 1.0
"""How often it is seen whether a process has died."""
RED: Final = frozenset({Verdict.FAIL, Verdict.NON_STRICT})


@dataclass
class Trial:
    """What came of one mutant."""

    mutant: Mutant
    outcomes: list[Outcome]

    @property
    def killed(self) -> bool:
        """Whether a check of its requirement turned red."""
        return any(o.id == self.mutant.requirement and o.verdict in RED for o in self.outcomes)

    @property
    def others(self) -> list[str]:
        """Other requirements whose checks turned red."""
        return sorted({o.id for o in self.outcomes if o.verdict in RED} - {self.mutant.requirement})

    @property
    def undeclared(self) -> list[str]:
        """Of these, what the mutant does not name."""
        return [name for name in self.others if not any(fnmatch(name, also) for also in self.mutant.also)]


async def judge(
    grid: Grid, checks: Sequence[Check], seed: str, *, watch: bool = True, answer_s: float = ANSWER_S
) -> list[Outcome]:
    """Run checks, and the passive rules, against one of the suite's own grids."""
    await grid.start()
    table = TargetTable(public=grid.public, token=TOKEN, other_token=OTHER_TOKEN)
    config = Config(target=table, suite=SuiteTable(answer_s=answer_s, peers=1))
    target = Target(config)
    try:
        await target.meet()
    except Unreachable as error:  # too busy: another try, alone, will tell
        await target.stop()
        await grid.stop()
        got = str(error)
        return [Outcome(c.id, c.name, Verdict.HARNESS_ERROR, "the grid can be met", got) for c in checks]
    try:
        runner = Runner(target, config, seed)
        if watch:
            await runner.exercise()
        outcomes = await runner.run(checks, abreast=1)
        return outcomes + (runner.observer.outcomes() if watch else [])
    finally:
        await target.stop()
        await grid.stop()


async def trial(made: Mutant, seed: str, *, others: bool, of: Sequence[str] = ()) -> Trial:
    """A mutant against the checks of its requirement, and of its area where `others`; only against those `of` these."""
    area = requirements()[made.requirement].area
    chosen = [
        c
        for c in all_checks()
        if c.id == made.requirement or (others and not c.slow and requirements()[c.id].area == area)
    ]
    if of:
        chosen = [c for c in all_checks() if c.id in of and not c.slow]
    watched = others or made.requirement in all_rules()
    outcomes = await judge(Grid("mutant.example", made.rules()), chosen, seed, watch=watched)
    return Trial(made, outcomes)


def try_all(
    mutants: Sequence[Mutant], seed: str, *, others: bool, jobs: int, progress: Callable[[Trial], None]
) -> list[Trial]:
    """All these mutants, tried in `jobs` processes; in the order given.

    Raises: RuntimeError if a process dies.
    """
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    shares = [[made.name for made in mutants[start::jobs]] for start in range(jobs)]
    processes = [
        context.Process(target=_work, args=(share, seed, others, jobs, told), daemon=True) for share in shares if share
    ]
    for process in processes:
        process.start()
    found: dict[str, Trial] = {}
    while len(found) < len(mutants):
        done = _next(told, processes)
        if done is not None:
            found[done.mutant.name] = done
            progress(done)
    for process in processes:
        process.join()
    return [found[each.name] for each in mutants]


def _next(told: Any, processes: Sequence[BaseProcess]) -> Trial | None:
    """The next trial that has ended, None if none has for a while. Raises: RuntimeError."""
    dead = [process for process in processes if process.exitcode]
    try:
        done: Trial = told.get(timeout=LOOK_S)
    except queue.Empty:
        if dead:
            raise RuntimeError(f"a process that tried mutants ended with status {dead[0].exitcode}") from None
        return None
    return done


def _work(names: Sequence[str], seed: str, others: bool, jobs: int, told: Any) -> None:
    """What a process does: try mutants, and tell each. Ctrl-C ends it without a trace; the first process says so."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    by_name = {made.name: made for made in all_mutants()}
    asyncio.run(_beside([by_name[name] for name in names], seed, others, jobs, told.put))


async def _beside(mutants: Sequence[Mutant], seed: str, others: bool, jobs: int, tell: Callable[[Trial], None]) -> None:
    limits = {True: SLOW_AT_A_TIME, False: AT_A_TIME}
    turns = {slow: asyncio.Semaphore(max(1, limit // jobs)) for slow, limit in limits.items()}

    async def one(made: Mutant) -> None:
        async with turns[_is_slow(made)]:
            tell(await trial(made, seed, others=others))

    await asyncio.gather(*map(one, mutants))


def _is_slow(made: Mutant) -> bool:
    """Whether a mutant waits for real time rather than working."""
    return any(c.slow for c in all_checks() if c.id == made.requirement)
