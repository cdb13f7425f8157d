"""What the kill matrix is made of has no holes; `make selftest` runs it, alone."""

from __future__ import annotations

import multiprocessing

import pytest

from intertie_conformance.checks import all_checks
from intertie_conformance.mutants import all_mutants
from intertie_conformance.passive import all_rules
from intertie_conformance.registry import requirements
from intertie_conformance.trials import Trial, try_all
from intertie_conformance.unseen import unseen

WHOLE_AREAS = ("ENC", "LNK")
"""Areas in which nothing that binds is without check, mutant or reason."""


def test_whole_areas_have_no_holes() -> None:
    checked = {check.id for check in all_checks()} | set(all_rules())
    broken = {made.requirement for made in all_mutants()}
    for requirement in requirements().values():
        if requirement.area in WHOLE_AREAS and requirement.is_must and requirement.testable:
            seen = requirement.id in checked & broken
            assert seen or requirement.id in unseen(), f"{requirement.id} has no check, no mutant and no reason"


def test_nothing_that_has_a_reason_has_a_check() -> None:
    checked = {check.id for check in all_checks()} | set(all_rules())
    assert sorted(checked & set(unseen())) == []
    assert sorted(name for name in checked if requirements()[name].reason) == []
    assert sorted(name for name in unseen() if not requirements()[name].testable) == []


def test_trials_come_in_the_order_of_their_mutants() -> None:
    mutants = [made for made in all_mutants() if made.name.startswith("encoding.")][:6]
    heard: list[str] = []
    found = try_all(mutants, "seed", others=False, jobs=2, progress=lambda trial: heard.append(trial.mutant.name))
    assert [trial.mutant.name for trial in found] == [made.name for made in mutants]
    assert sorted(heard) == sorted(made.name for made in mutants)
    assert all(trial.killed for trial in found)


def test_a_process_that_dies_is_no_verdict() -> None:
    def kill(_: Trial) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(RuntimeError, match="-9"):
        try_all(list(all_mutants())[:40], "seed", others=False, jobs=1, progress=kill)
