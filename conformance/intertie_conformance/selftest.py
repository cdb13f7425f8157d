"""The suite judged: every check against the honest grid, every mutant against its checks, three liars.

A mutant that no check of its requirement turns red survives, and a survivor fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from intertie_conformance.checks import Check, all_checks
from intertie_conformance.grid.liars import LIARS
from intertie_conformance.grid.node import Grid
from intertie_conformance.mutants import Mutant, all_mutants
from intertie_conformance.registry import requirements
from intertie_conformance.trials import RED, Trial, judge, trial, try_all
from intertie_conformance.unseen import unseen
from intertie_conformance.verdicts import Outcome, Verdict

LIAR_S: Final = 0.3
YES_TOO: Final = frozenset(
    {
        "offers.AnyInput",
        "offers_of_conformance.TakesAnyReply",
        "resold_routes.PassesBack",
        "routes.AnyName",
        "routes.AnyOrigin",
        "routes.AnyPrices",
        "routes.HalfAnswers",
        "routes.HugeOffers",
        "routes.LongUnits",
        "routes.TakesExtras",
        "routes.UnitsTwice",
        "routes.LatestChain",
        "routes.UnsignedRoots",
    }
)
"""Mutants that the liar who says yes to everything is as well."""


@dataclass
class Matrix:
    """What came of the whole."""

    honest: list[Outcome] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    unearned: dict[str, list[str]] = field(default_factory=dict)
    """Liar → checks that it has passed without having earned it."""

    @property
    def killed(self) -> set[str]:
        """Requirements of which every mutant was killed."""
        tried = {trial.mutant.requirement for trial in self.trials}
        return tried - {trial.mutant.requirement for trial in self.trials if not trial.killed}

    @property
    def survivors(self) -> list[str]:
        """Mutants that no check has seen."""
        return [trial.mutant.name for trial in self.trials if not trial.killed]

    @property
    def faults(self) -> list[str]:
        """Everything for which the self-test fails."""
        found = [f"the honest grid: {o.id} {o.check} {o.verdict.value}: {o.got}" for o in self.honest if _bad(o)]
        found += [f"{name} survives" for name in self.survivors]
        found += [f"the liar that {liar} passes {', '.join(names)}" for liar, names in self.unearned.items() if names]
        broken = [o for trial in self.trials for o in trial.outcomes if o.verdict is Verdict.HARNESS_ERROR]
        return found + [f"{o.check} breaks: {o.got}" for o in broken if not o.check.startswith("passive.")]

    def as_data(self) -> dict[str, Any]:
        """What was seen: check → verdict of the honest grid; mutant → whether it was killed, and by which checks."""
        return {
            "honest": {outcome.check: outcome.verdict.value for outcome in self.honest},
            "mutants": {trial.mutant.name: trial.killed for trial in self.trials},
            "killers": {
                trial.mutant.name: sorted({o.check for o in trial.outcomes if o.verdict in RED})
                for trial in self.trials
            },
            "unearned": self.unearned,
        }

    @property
    def figures(self) -> str:
        """killed / testable / total; mutants of a SHOULD count for none of them."""
        binding = testable()
        return f"{len(self.killed.intersection(binding))} / {len(binding)} / {len(requirements())}"


def _bad(outcome: Outcome) -> bool:
    return outcome.verdict is not Verdict.PASS


def testable() -> list[str]:
    """Ids of what binds and can be seen from outside."""
    return [r.id for r in requirements().values() if r.testable and r.is_must and r.id not in unseen()]


async def honest(seed: str) -> list[Outcome]:
    """Everything against the honest grid; what is red is tried once more, alone."""
    outcomes = await judge(Grid("honest.example"), all_checks(), seed, answer_s=5.0)
    red = {outcome.check for outcome in outcomes if _bad(outcome)}
    again = [check for check in all_checks() if check.name in red]
    if not again:
        return outcomes
    second = await judge(Grid("honest.example"), again, seed, watch=False, answer_s=5.0)
    by_name = {outcome.check: outcome for outcome in second}
    return [by_name.get(outcome.check, outcome) for outcome in outcomes]


async def liars(seed: str) -> dict[str, list[str]]:
    """Checks that liars have passed without having earned it.

    Who closes or refuses every stream serves strangers honestly, and earns nothing else; who says yes to everything
    earns no refusal.
    """
    quick = [c for c in all_checks() if not c.slow]
    tried = await asyncio.gather(*(_lie(liar, quick, seed) for liar in LIARS))
    return dict(zip(LIARS, tried, strict=True))


async def _lie(liar: str, checks: Sequence[Check], seed: str) -> list[str]:
    outcomes = await judge(LIARS[liar]("liar.example", _lies()), checks, seed, watch=False, answer_s=LIAR_S)
    passed = {o.check for o in outcomes if o.verdict is Verdict.PASS}
    yes = liar == "says yes to everything"
    return [c.name for c in checks if c.name in passed and (c.refusal if yes else c.role != "stranger")]


def _lies() -> dict[str, Any]:
    """Rules of mutants that say yes where an honest rule does more than refuse, by name."""
    chosen = [vars(made.rules) for made in all_mutants() if made.name in YES_TOO]
    return {name: rule for rules in chosen for name, rule in rules.items() if not name.startswith("__")}


async def selftest(
    seed: str,
    only: Sequence[str] = (),
    *,
    others: bool = False,
    jobs: int = 1,
    progress: Callable[[Trial], None] = lambda _: None,
) -> Matrix:
    """All of it; `only` narrows the mutants by requirement or name and leaves honest grid and liars out."""
    matrix = Matrix()
    trying = partial(try_all, chosen(only), seed, others=others, jobs=jobs, progress=progress)
    if only:
        matrix.trials = await asyncio.to_thread(trying)
    else:  # alone at first: an honest grid that is slow because of others would look like a broken one
        matrix.honest = await honest(seed)
        matrix.unearned, matrix.trials = await asyncio.gather(liars(seed), asyncio.to_thread(trying))
    for place, done in enumerate(matrix.trials):  # again, alone: beside others a check may have had too little time
        if not done.killed:
            matrix.trials[place] = await trial(done.mutant, seed, others=others)
        elif names := done.undeclared:
            second = await trial(done.mutant, seed, others=others, of=names)
            done.outcomes = [o for o in done.outcomes if o.id not in names]
            done.outcomes += [o for o in second.outcomes if o.id in names]
    return matrix


def chosen(only: Sequence[str]) -> list[Mutant]:
    """Mutants whose requirement or name begins with one of `only`; all if that is empty."""
    wanted = tuple(only) or ("",)
    return [made for made in all_mutants() if made.requirement.startswith(wanted) or made.name.startswith(wanted)]
