"""What happens in a simulated world, fixed before anything runs (drawn from a seed: see `drawing`).

A plan is data: grids, peerings, what consumers do, what goes wrong, when the world is quiet. Everything that
is left to chance while it runs (latencies, jitter) comes from generators that are seeded by the plan's seed
and by whose they are. The shrinker drops operations and faults from a plan and runs it again.

Times are milliseconds since the start of the world, amounts minor units.
"""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec import Struct

BUSY_MS = 12_000
CALM_MS = 3_000
"""How long a call takes at most where nothing goes wrong."""
LONG_MS = 3_600_000
HABITS = (
    "equivocate", "overcharge", "charge_twice", "charge_late", "withhold", "refuse_all", "jam", "replay", "forge",
    "hijack", "flood", "silence",
)  # fmt: skip
"""What hostile grids do (see `habits`)."""
FAULTS = (
    "cut", "half_open", "delay", "partition", "second_stream", "crash", "crash_at", "restore", "slow_disk",
    "full_disk", "jump", "freeze", "slow_reader", "suspend", "terminate", "drain", "rotate", "repeat",
)  # fmt: skip
"""What goes wrong (see `faults`)."""
POINTS = ("before_commit", "after_commit", "after_send", "amid_sends")
OPENING_MS = 1_200
"""Within this time the links open for the first time."""


class GridPlan(Struct):
    """One grid."""

    skew: int = 0
    """Milliseconds by which its clock leads true time."""
    fee: int = 0
    markup: tuple[int, int] = (1, 1)
    tariff_ms: int = LONG_MS
    event_credit: int = 64 * 1024
    budgets: tuple[int, ...] = ()
    """Of its consumers' accounts."""
    habits: tuple[str, ...] = ()
    """What a hostile grid does; none for an honest one."""


class Peering(Struct):
    """An agreement between two grids, by index; the first has proposed it."""

    a: int
    b: int
    credit_limit: int
    max_unagreed: int
    window: int
    skew: int
    holds: int
    longest: int


class Item(Struct):
    """An operation of a consumer, or a fault."""

    at: int
    kind: str
    args: dict[str, Any]

    def __str__(self) -> str:
        told = " ".join(f"{name}={value}" for name, value in self.args.items())
        return f"{self.at:>6} ms  {self.kind} {told}"


class Plan(Struct):
    """A whole world."""

    seed: int
    shape: str
    grids: list[GridPlan]
    peerings: list[Peering]
    ops: list[Item]
    faults: list[Item]
    lulls: list[tuple[int, int]]
    """(from, to): nothing new happens, ticks are rare."""
    end: int
    """When faults are over and the world is drained."""

    @property
    def honest(self) -> list[int]:
        """Indices of honest grids."""
        return [n for n, grid in enumerate(self.grids) if not grid.habits]


def busy(rng: Random, plan: Plan) -> int:
    """A moment at which the world is not in a lull."""
    at = rng.randrange(OPENING_MS, BUSY_MS)
    return plan.lulls[0][1] + at if plan.lulls and rng.random() < 0.5 else at


def calm(plan: Plan, link: int, until: int) -> bool:
    """Whether nothing ails a link or its two grids before a time."""
    pair = {plan.peerings[link].a, plan.peerings[link].b}
    return pair <= set(plan.honest) and not ailing(plan, link, until)


def ailing(plan: Plan, link: int, until: float) -> bool:
    """Whether a fault strikes a link or one of its grids before a time."""
    pair = {plan.peerings[link].a, plan.peerings[link].b}
    return any(
        fault.at < until
        and (
            fault.args.get("link") == link
            or fault.args.get("grid") in pair
            or len(pair & set(fault.args.get("grids", ()))) == 1
        )
        for fault in plan.faults
    )
