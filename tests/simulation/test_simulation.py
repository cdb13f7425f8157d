"""The simulator itself: a seed is a run, the shipped code is what runs, worlds are clean, plants stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.simulation import coverage, ending, plants
from tests.simulation.drawing import draw
from tests.simulation.found import REGRESSIONS
from tests.simulation.judge import Violation
from tests.simulation.planting import mutated
from tests.simulation.run import ROOT, main, play_seed
from tests.simulation.shrink import failure, shrink
from tests.simulation.totals import Result, Totals
from tests.simulation.world import Simulation

from intertie_node.core import grid
from intertie_node.core.books import Books
from intertie_node.core.ledger import ME
from intertie_node.services import turns

SEEDS = (*range(8), *REGRESSIONS)


def elsewhere(hash_seed: int, *seeds: int) -> list[str]:
    """Traces of seeds, run in another process with another hash seed."""
    told = []
    for seed in seeds:
        command = [sys.executable, "-m", "tests.simulation.run", "--seed", str(seed), "--json"]
        environ = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
        told.append(json.loads(done.stdout)["trace"])
    return told


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--seeds", "-1"], ["--from", "-1"], ["--seed", "-7"]])
def test_a_run_of_no_world_is_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run", *arguments, "--jobs", "1", "--no-shrink"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_is_clean(seed: int) -> None:
    result = play_seed(seed)
    assert (result.invariant, result.detail) == ("", "")
    assert result.calls
    assert result.steps


def test_two_runs_of_a_seed_are_the_same_run_in_any_process() -> None:
    here = [play_seed(seed).trace for seed in (3, 5)]
    assert here == [play_seed(seed).trace for seed in (3, 5)]
    assert here == elsewhere(1, 3, 5) == elsewhere(2, 3, 5)
    assert here[0] != here[1]


def test_the_judge_follows_the_heads_of_both_logs_itself() -> None:
    sim = Simulation(draw(8))
    sim.run()
    node = sim.nodes[0]
    (name,) = node.world.links
    rows = node.disk.log(name, ME)
    ending._linked(sim.judge, node, name)
    rows[1] = (*rows[1][:4], rows[0][4])
    with pytest.raises(Violation, match="gapless and linked"):
        ending._linked(sim.judge, node, name)


def test_reasons_name_rows_and_pairs_that_there_are() -> None:
    assert set(coverage.BEYOND) <= coverage.all_rows()
    assert all(coverage.BEYOND.values())
    names = {coverage.kind_name(kind) for kind in coverage.KINDS}
    assert all(strike in coverage.STRIKES and name in names and why for (strike, name), why in coverage.UNMET.items())


def test_what_is_reached_against_a_reason_is_told() -> None:
    totals = Totals()
    totals.add(Result(0, rows={"peering: PROPOSED, ACCEPT": 1, "peering: ACTIVE, SUSPEND": 1}))
    assert totals.explained_away == ["peering: PROPOSED, ACCEPT"]
    assert "reached against all reason: peering: PROPOSED, ACCEPT" in totals.report()
    assert "peering: ACTIVE, SUSPEND" not in totals.unreached
    assert "peering: SUSPENDED, RESUME" in totals.unreached
    assert len(totals.holes) == len(coverage.STRIKES) * len(coverage.KINDS) - len(coverage.UNMET)


def test_the_shipped_core_and_order_run() -> None:
    sim = Simulation(draw(3))
    node = sim.nodes[0]
    node.boot()
    assert type(node.turns) is turns.Turns
    assert type(node.grid) is grid.Grid
    for module in (turns, grid):
        assert "site-packages" in str(module.__file__) or Path(str(module.__file__)).is_relative_to(ROOT)


def test_a_change_in_the_core_changes_the_simulation() -> None:
    name = "settle one entry late"
    command = [sys.executable, "-m", "tests.simulation.plants", "--one", name, "--most", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["seeds"] is not None


@pytest.mark.parametrize("name", plants.ALL)
def test_a_plant_stands_in_its_module(name: str) -> None:
    plant = plants.ALL[name]
    folder = "protocol" if plant.module.startswith("intertie.") else "reference_node"
    path = ROOT / folder / (plant.module.replace(".", "/") + ".py")
    source = path.read_text(encoding="utf-8")
    changed = mutated(source, plant)
    assert changed != source
    compile(changed, str(path), "exec")


def test_a_failing_plan_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    def reserve(books: Books, name: str, amount: int) -> None:
        books.accounts[name].reserved += amount
        books._changed_accounts.add(name)

    monkeypatch.setattr(Books, "reserve", reserve)
    plan, found = _first_failing()
    smaller = shrink(plan, found, seconds=30)
    assert len(smaller.ops) < len(plan.ops)
    assert len(smaller.ops) <= 6
    again, _ = failure(smaller)
    assert again is not None
    assert again.invariant == found == "no consumer spends beyond its budget"


def _first_failing() -> tuple[Any, str]:
    for seed in range(20):
        plan = draw(seed)
        violation, _ = failure(plan)
        if violation is not None:
            return plan, violation.invariant
    raise AssertionError("no seed has found the fault")
