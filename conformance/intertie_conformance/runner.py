"""Runs checks against one target: each bounded, each in surroundings of its own, never a hung suite."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from intertie_conformance import registry
from intertie_conformance.checks import Check
from intertie_conformance.config import Config
from intertie_conformance.passive import Observer
from intertie_conformance.pulse import Pulse
from intertie_conformance.roles.peerings import Peerings
from intertie_conformance.roles.target import Target, Unreachable
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import Absent, Bound, Failed, Outcome, Slip, Verdict

BESIDE: Final = 6
"""Slow checks that run beside each other."""
ABREAST: Final = 4
"""Quick checks that run beside each other: most of their time is waiting for the target."""
LONGEST_S: Final = 40.0
"""After so long a check is ended: each of its waits has a shorter bound."""
DYING_S: Final = 0.3
"""How long the end of a target's process is waited for when a check has failed."""
IMPATIENT_AFTER: Final = 3
IMPATIENT_S: Final = 0.5
"""A target that has given no answer in so many checks in a row is waited for less."""

Progress = Callable[[Outcome], None]


@dataclass
class Run:
    """What came of a run."""

    target: str
    seed: str
    version: str = field(default_factory=registry.version)
    """Of the requirement set."""
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    """Expected failures that did not fail."""

    @property
    def red(self) -> list[Outcome]:
        """What counts against the target, expected failures left out."""
        return [outcome for outcome in self.outcomes if outcome.is_red and not outcome.reason]

    @property
    def ok(self) -> bool:
        """Whether nothing is red and nothing stale."""
        return not self.red and not self.stale


class Runner:
    """Checks against one target."""

    def __init__(self, target: Target, config: Config, seed: str, progress: Progress | None = None) -> None:
        self.target = target
        self.config = config
        self.seed = seed
        self.observer = Observer()
        self.peerings = Peerings(target)
        self.pulse = Pulse()
        self._progress = progress or (lambda _: None)
        self._mute = 0
        """Checks in a row in which the target gave no answer."""
        self._ends = time.monotonic() + config.suite.limit_s

    async def run(self, checks: Iterable[Check], abreast: int = ABREAST) -> list[Outcome]:
        """The outcomes of checks; `abreast` quick ones run at a time, those that want to be alone come last.

        Those that wait longest are begun first: begun late, they would be waited for when all others are over.
        """
        turns = {True: asyncio.Semaphore(BESIDE), False: asyncio.Semaphore(abreast)}
        chosen = sorted(checks, key=lambda found: -found.waits_s)
        together = [self._in_turn(turns[found.slow], found) for found in chosen if not found.alone]
        self.pulse.start()
        outcomes = await asyncio.gather(*together)
        outcomes += [await self.one(found) for found in chosen if found.alone]
        await self.pulse.stop()
        return outcomes

    async def again(self, outcomes: Sequence[Outcome], checks: Sequence[Check]) -> list[Outcome]:
        """Try once more, one after another, what is red: on a busy machine a check may have had too little time."""
        by_name, told = {check.name: check for check in checks}, []
        for outcome in outcomes:
            if outcome.is_red and outcome.check in by_name:
                second = await self.one(by_name[outcome.check])
                second.first = outcome
                told.append(second)
            else:
                told.append(outcome)
        return told

    async def exercise(self) -> None:
        """Traffic for the passive rules; how it ends is judged by the checks."""
        from intertie_conformance.watching.exercise import exercise

        stage = Stage(self.target, self.peerings, self.observer, f"{self.seed}/exercise", self.patience)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(exercise(stage), LONGEST_S)
        await stage.clear(False)

    async def _in_turn(self, turns: asyncio.Semaphore, found: Check) -> Outcome:
        async with turns:
            return await self.one(found)

    @property
    def patience(self) -> float:
        """How long an answer that should come at once is waited for."""
        return self.config.suite.answer_s if self._mute < IMPATIENT_AFTER else IMPATIENT_S

    async def one(self, found: Check) -> Outcome:
        """Run one check to its verdict."""
        stage = Stage(self.target, self.peerings, self.observer, f"{self.seed}/{found.name}", self.patience)
        began, before = time.monotonic(), await self.target.ended()
        outcome = await self._verdict(found, stage)
        ended = await self.target.ended(DYING_S) if outcome.is_red else ""
        if ended:
            outcome.got = f"{ended} {'before' if before else 'during'} this check; {outcome.got}"
        try:
            await asyncio.wait_for(stage.clear(outcome.verdict is Verdict.PASS), LONGEST_S)
        except Exception as error:
            outcome = Outcome(found.id, found.name, Verdict.HARNESS_ERROR, "the check is cleared away", repr(error))
        outcome.seen, outcome.trace = stage.seen, stage.trace.lines
        outcome.seconds, outcome.late = time.monotonic() - began, self.pulse.since(began)
        self._progress(outcome)
        return outcome

    async def _verdict(self, found: Check, stage: Stage) -> Outcome:
        unready = self._unready(found)
        if unready is not None:
            return unready
        try:
            await asyncio.wait_for(found.act(stage), LONGEST_S)
        except Exception as error:
            return self._failed(found, error)
        self._mute = 0
        if not stage.seen:
            got = "the check has seen nothing"
            return Outcome(found.id, found.name, Verdict.HARNESS_ERROR, "something observed", got)
        return Outcome(found.id, found.name, Verdict.PASS)

    def _unready(self, found: Check) -> Outcome | None:
        """Why a check cannot be begun."""
        if time.monotonic() > self._ends:
            got = f"the run had taken {self.config.suite.limit_s:g} s"
            return Outcome(found.id, found.name, Verdict.FAIL, "the check is reached in time", got)
        if found.consumer and not (self.target.table.token and self.target.table.other_token):
            got = "the configuration does not name both (target.token, target.other_token)"
            return Outcome(found.id, found.name, Verdict.HARNESS_ERROR, "the tokens of two consumers", got)
        return None

    def _failed(self, found: Check, error: Exception) -> Outcome:
        """What an exception that ended a check means."""
        broken = Verdict.FAIL if registry.requirements()[found.id].is_must else Verdict.NON_STRICT
        if isinstance(error, Failed):
            silent = isinstance(error, Bound) or "within" in error.got
            self._mute = self._mute + 1 if silent else 0
            return Outcome(found.id, found.name, broken, error.expected, error.got)
        if isinstance(error, Absent):
            return Outcome(found.id, found.name, Verdict.NOT_APPLICABLE, got=str(error))
        if isinstance(error, Slip):
            return Outcome(
                found.id, found.name, Verdict.HARNESS_ERROR, "the suite does what the check asks", str(error)
            )
        expected, got = "a verdict", "".join(traceback.format_exception(error, limit=-4))
        if isinstance(error, TimeoutError):
            expected, got = f"an end within {LONGEST_S:g} s", "the check went on"
        elif isinstance(error, Unreachable):
            expected, got = "the target can be used", str(error)
        return Outcome(found.id, found.name, Verdict.HARNESS_ERROR, expected, got)


def select(checks: Sequence[Check], only: Sequence[str]) -> list[Check]:
    """Checks whose id, or name, begins with one of `only`; all if that is empty."""
    return [c for c in checks if not only or any(c.id.startswith(part) or c.name.startswith(part) for part in only)]
