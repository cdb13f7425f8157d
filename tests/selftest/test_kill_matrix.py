"""The kill matrix: honest grid all PASS, every mutant killed, no PASS that a liar has not earned."""

from __future__ import annotations

import pytest

from intertie_conformance import selftest
from intertie_conformance.checks import all_checks
from intertie_conformance.mutants import all_mutants
from intertie_conformance.passive import all_rules
from intertie_conformance.registry import requirements
from intertie_conformance.unseen import unseen

WHOLE_AREAS = ("ENC", "LNK")
"""Areas in which nothing that binds is without check, mutant or reason."""


@pytest.mark.timeout(300)
def test_the_suite_catches_every_mutant_and_believes_no_liar() -> None:
    matrix = selftest.run("selftest")
    print(f"killed / testable / total: {matrix.figures}")
    assert matrix.faults == []
    assert matrix.honest
    assert set(matrix.unearned) == {"closes every stream", "answers everything with an error", "says yes to everything"}


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
    assert sorted(name for name in unseen() if not requirements()[name].testable) == []
