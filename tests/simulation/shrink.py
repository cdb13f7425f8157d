"""Makes a failing plan small: drops faults and operations as long as the same invariant still fails.

First halves, then quarters, then single items (delta debugging), faults before operations, and last what hostile
grids do. A plan is data, so each try is a run of a smaller plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

import msgspec
from tests.simulation.judge import Violation
from tests.simulation.plan import Item, Plan
from tests.simulation.world import MAX_EVENTS, Simulation

Fails = Callable[[Plan], bool]
MAX_S = 120.0


def failure(plan: Plan, max_events: int = MAX_EVENTS) -> tuple[Violation | None, int]:
    """What a run of the plan violates, and after how many events it ended."""
    sim = Simulation(plan, max_events=max_events)
    try:
        sim.run()
    except Violation as violation:
        return violation, sim.events
    return None, sim.events


def shrink(plan: Plan, invariant: str, seconds: float = MAX_S) -> Plan:
    """The smallest plan found, within a time, that violates the same invariant.

    A try that goes on for much longer than the failing run did is given up: a hostile grid that has lost its lulls may
    act for hours.
    """
    until = monotonic() + seconds
    _, events = failure(plan)

    def fails(smaller: Plan) -> bool:
        if monotonic() > until:
            return False
        found, _ = failure(smaller, 2 * events)
        return found is not None and found.invariant == invariant

    plan = _without_lulls(plan, fails)
    for name in ("faults", "ops", "faults"):
        plan = _fewer(plan, name, fails)
    return _fewer_habits(plan, fails)


def _without_lulls(plan: Plan, fails: Fails) -> Plan:
    last = max((item.at for item in [*plan.ops, *plan.faults]), default=0)
    early = msgspec.structs.replace(plan, end=min(plan.end, last + 1_000))
    plan = early if fails(early) else plan
    awake = msgspec.structs.replace(plan, lulls=[])
    return awake if plan.lulls and fails(awake) else plan


def _fewer(plan: Plan, name: str, fails: Fails) -> Plan:
    """Drop items in ever smaller pieces."""
    items: Sequence[Item] = getattr(plan, name)
    size = max(1, len(items) // 2)
    while items:
        at = 0
        while at < len(items):
            fewer = [*items[:at], *items[at + size :]]
            smaller = msgspec.structs.replace(plan, **{name: fewer})
            if fails(smaller):
                items, plan = fewer, smaller
            else:
                at += size
        if size == 1:
            break
        size //= 2
    return plan


def _fewer_habits(plan: Plan, fails: Fails) -> Plan:
    for index, grid in enumerate(plan.grids):
        for habit in grid.habits:
            habits = tuple(each for each in plan.grids[index].habits if each != habit) or ("silence",)
            grids = list(plan.grids)
            grids[index] = msgspec.structs.replace(plan.grids[index], habits=habits)
            smaller = msgspec.structs.replace(plan, grids=grids)
            if habits != plan.grids[index].habits and fails(smaller):
                plan = smaller
    return plan
