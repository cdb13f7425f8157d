"""Draws the plan of a seed: grids, their peerings, what consumers do. What goes wrong is drawn by `misfortunes`."""

from __future__ import annotations

from random import Random

from tests.simulation.misfortunes import add_storms, defraud, faults, hurry, tear
from tests.simulation.plan import (
    BUSY_MS,
    CALM_MS,
    HABITS,
    LONG_MS,
    GridPlan,
    Item,
    Peering,
    Plan,
    busy,
    calm,
)

SIZES = (2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 8, 12)
SHAPES = ("line", "star", "ring", "random")
MAX_SHORT = 2
"""So many grids have tariffs that expire soon: each renewal is told to everybody."""
WRONGS = {5: tear, 15: tear, 6: defraud, 16: defraud, 17: hurry}
"""Remainder of a seed by 20 → what else goes wrong in its world, if anything does."""
ENDINGS = ("done",) * 8 + ("fail", "die", "hang", "twice", "deaf", "refuse", "refuse")
"""How a backend ends its work (see `runs`)."""


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = Random(f"plan {seed}")
    size = rng.choice(SIZES)
    shape = rng.choice(SHAPES)
    grids = [_grid(rng) for _ in range(size)]
    for grid in [grid for grid in grids if grid.tariff_ms < LONG_MS][MAX_SHORT:]:
        grid.tariff_ms = LONG_MS
    edges = _edges(rng, shape, size)
    if rng.random() < 0.45:
        _add_hostile(rng, grids, edges)
    peerings = [_peering(rng, a, b, bool(grids[a].habits or grids[b].habits)) for a, b in edges]
    lulls = _lulls(rng, min(grid.tariff_ms for grid in grids))
    end = BUSY_MS + sum(to - since for since, to in lulls) + (BUSY_MS if lulls else 0)
    plan = Plan(seed, shape, grids, peerings, [], [], lulls, end)
    plan.ops = _ops(rng, plan)
    plan.faults = faults(rng, plan) if rng.random() < 0.88 else []
    if rng.random() < 0.5:
        add_storms(rng, plan)
    wrong = WRONGS.get(seed % 20)
    if wrong is not None and plan.faults:
        wrong(Random(f"wrong {seed}"), plan)
    plan.faults.sort(key=lambda item: item.at)
    plan.ops = sorted([*plan.ops, *_calm_calls(rng, plan)], key=lambda item: item.at)
    return plan


def _grid(rng: Random) -> GridPlan:
    return GridPlan(
        skew=rng.choice((0, 0, 0, rng.randint(-400, 400))),
        fee=rng.choice((0, 0, 1, 7)),
        markup=rng.choice(((1, 1), (1, 1), (11, 10), (4, 3))),
        tariff_ms=rng.choice((LONG_MS,) * 8 + (30_000, 6_000, 2_500)),
        event_credit=rng.choice((64 * 1024, 64 * 1024, 600)),
        budgets=tuple(rng.choice((1_500, 20_000, 200_000)) for _ in range(3)),
    )


def _edges(rng: Random, shape: str, size: int) -> list[tuple[int, int]]:
    if shape == "star":
        edges = [(0, n) for n in range(1, size)]
    elif shape == "random":
        edges = [(rng.randrange(n), n) for n in range(1, size)]
        extra = {tuple(sorted(rng.sample(range(size), 2))) for _ in range(size // 3)} if size > 2 else set()
        edges += sorted(extra - set(edges))  # type: ignore[arg-type]
    else:
        edges = [(n - 1, n) for n in range(1, size)]
        if shape == "ring" and size > 2:
            edges.append((0, size - 1))
    return [edge if rng.random() < 0.5 else edge[::-1] for edge in edges]


def _add_hostile(rng: Random, grids: list[GridPlan], edges: list[tuple[int, int]]) -> None:
    honest = len(grids)
    for _ in range(rng.choice((1, 1, 2))):
        habits = tuple(sorted(rng.sample(HABITS, rng.choice((1, 2, 3)))))
        grids.append(GridPlan(habits=habits))
        host = rng.randrange(honest)
        edges.append((host, len(grids) - 1) if rng.random() < 0.5 else (len(grids) - 1, host))


def _peering(rng: Random, a: int, b: int, wary: bool) -> Peering:
    return Peering(
        a,
        b,
        credit_limit=rng.choice((10**6, 4_000, 1_200) if wary else (10**9, 10**9, 10**6, 4_000)),
        max_unagreed=rng.choice((2_000, 900, 400) if wary else (10**9, 5_000, 900, 300)),
        window=rng.choice((1_000, 2_000, 8_000)),
        skew=rng.choice((1_000, 1_000, 4_000)),
        holds=rng.choice((4_096, 4_096, 4)),
        longest=rng.choice((86_400_000, 86_400_000, 8_000)),
    )


def _lulls(rng: Random, tariff_ms: int) -> list[tuple[int, int]]:
    if rng.random() < 0.5:
        return []
    longest = 3_600_000 if tariff_ms > 600_000 else 20_000
    return [(BUSY_MS, BUSY_MS + rng.randint(10_000, longest))]


def _ops(rng: Random, plan: Plan) -> list[Item]:
    calls = [_call(rng, plan) for _ in range(rng.randint(8, 30) + 4 * len(plan.grids))]
    calls.sort(key=lambda item: item.at)
    others = []
    for number, call in enumerate(calls):
        if rng.random() < 0.2:
            others.append(Item(call.at + rng.choice((0, 5, 60, 400, 3_000)), "cancel", {"call": number}))
        if rng.random() < 0.15:
            others.append(Item(call.at + rng.choice((0, 30, 900, 9_000)), "again", {"call": number}))
        if rng.random() < 0.05:
            others.append(Item(call.at + rng.choice((0, 30, 900, 9_000)), "conflict", {"call": number}))
        if rng.random() < 0.06:
            others.append(Item(call.at + rng.choice((0, 900, 9_000)), "anew", {"call": number}))
        if rng.random() < 0.2:
            others.append(
                Item(call.at + rng.choice((30, 700, 2_000)), "credit", {"call": number, "share": rng.random()})
            )
        call.args["number"] = number
    others += [Item(busy(rng, plan), "withdraw", {"grid": rng.choice(plan.honest)}) for _ in range(16)]
    return sorted(calls + others, key=lambda item: item.at)


def _call(rng: Random, plan: Plan) -> Item:
    honest = plan.honest
    grid = rng.choice(honest)
    hops = rng.random()
    near = [p.b if p.a == grid else p.a for p in plan.peerings if grid in (p.a, p.b)]
    target = rng.choice(near) if hops < 0.5 and near else rng.randrange(len(plan.grids))
    if len(honest) < len(plan.grids) and rng.random() < 0.4:
        target = rng.randrange(len(honest), len(plan.grids))
    offer = rng.choice(("echo", "echo", "stream", "stream", "stream", "ask", "whole"))
    most = rng.choice((90, 250, 900, 2_500))
    pieces = rng.randint(1, 10) if offer in ("stream", "whole") else rng.choice((0, 0, 1))
    return Item(
        busy(rng, plan),
        "call",
        {
            "grid": grid,
            "target": target,
            "offer": offer,
            "account": rng.randrange(3),
            "max": most,
            "grant": rng.choice((0, 0, most // 2, most // 10)),
            "timeout": rng.choice((400, 1_500, 4_000, 10_000, 10_000, 20_000)),
            "pieces": pieces,
            "tokens": rng.choice((3, 40, 150, 700)),
            "pause": rng.choice((0, 0, 20, 150, 700)),
            "end": rng.choice(ENDINGS),
            "answer": rng.choice((5, 200, 3_000, -1)),
            "reading": rng.choice((0, 0, 0, 400, -1)),
        },
    )


def _calm_calls(rng: Random, plan: Plan) -> list[Item]:
    """Calls between neighbours whom nothing ails until they are done, whatever befalls others."""
    found = []
    for _ in range(4):
        link = rng.randrange(len(plan.peerings))
        at = rng.randrange(2_000, BUSY_MS)
        if calm(plan, link, at + CALM_MS):
            found.append(Item(at, "calm", {"link": link, "way": rng.randrange(2)}))
    return found
