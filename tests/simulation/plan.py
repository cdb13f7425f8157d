"""What happens in a simulated world, drawn from a seed before anything runs.

A plan is data: grids, peerings, what consumers do, what goes wrong, when the world is quiet. Everything that
is left to chance while it runs (latencies, jitter) comes from generators that are seeded by the plan's seed
and by whose they are. The shrinker drops operations and faults from a plan and runs it again.

Times are milliseconds since the start of the world, amounts minor units.
"""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec import Struct

SIZES = (2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 8, 12)
SHAPES = ("line", "star", "ring", "random")
BUSY_MS = 12_000
CALM_MS = 3_000
"""How long a call takes at most where nothing goes wrong."""
LONG_MS = 3_600_000
MAX_SHORT = 2
"""So many grids have tariffs that expire soon: each renewal is told to everybody."""
HABITS = (
    "equivocate", "overcharge", "charge_twice", "charge_late", "withhold", "refuse_all", "jam", "replay", "forge",
    "hijack", "flood", "silence",
)  # fmt: skip
"""What hostile grids do (see `hostile`)."""
FAULTS = (
    "cut", "half_open", "delay", "partition", "second_stream", "crash", "crash_at", "restore", "slow_disk",
    "full_disk", "jump", "freeze", "slow_reader", "suspend", "terminate", "drain", "rotate", "repeat",
)  # fmt: skip
"""What goes wrong (see `faults`)."""
POINTS = ("before_commit", "after_commit", "after_send", "amid_sends")
ACTS = ("accept", "refuse", "resume", "terminate", "terminate")
RARE = (1, 4, 5, 6, 7, 8, 8, 9, 10, 10, 10, 11)
"""Kinds of entries that few batches hold: all but tariffs and orders."""
AHEAD_MS = 3_500
OPENING_MS = 1_200
"""Within this time the links open for the first time."""
ENDINGS = ("done",) * 8 + ("fail", "die", "hang", "twice", "deaf", "refuse", "refuse")
"""How a backend ends its work (see `runs`)."""


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
    plan.faults = _faults(rng, plan) if rng.random() < 0.88 else []
    if rng.random() < 0.5:
        _add_storms(rng, plan)
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


def _busy(rng: Random, plan: Plan) -> int:
    """A moment at which the world is not in a lull."""
    at = rng.randrange(OPENING_MS, BUSY_MS)
    return plan.lulls[0][1] + at if plan.lulls and rng.random() < 0.5 else at


# -- what consumers do --------------------------------------------------------------------------------


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
    others += [Item(_busy(rng, plan), "withdraw", {"grid": rng.choice(plan.honest)}) for _ in range(16)]
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
        _busy(rng, plan),
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


# -- what goes wrong ----------------------------------------------------------------------------------


def _faults(rng: Random, plan: Plan) -> list[Item]:
    """Faults of a few kinds only: what is rare everywhere is frequent somewhere."""
    kinds = [kind for kind in FAULTS if rng.random() < 0.35] or [rng.choice(FAULTS)]
    count = rng.randint(2, 10 + 3 * len(plan.grids))
    drawn = [Item(_moment(rng, plan), kind, _fault(rng, plan, kind)) for kind in rng.choices(kinds, k=count)]
    if rng.random() < 0.4:
        drawn += [_snare(rng, grid, at) for grid in plan.honest for at in (1, OPENING_MS, BUSY_MS // 2)]
    return sorted(drawn, key=lambda item: item.at)


def _moment(rng: Random, plan: Plan) -> int:
    """When a fault strikes: now and then while the links open for the first time."""
    return rng.randrange(20, OPENING_MS) if rng.random() < 0.08 else _busy(rng, plan)


def _snare(rng: Random, grid: int, at: int) -> Item:
    """A crash that waits for an entry of a rare kind."""
    args = {"grid": grid, "point": rng.choice(POINTS), "kind": rng.choice(RARE), "count": 1, "down": 400}
    return Item(at, "crash_at", args)


# -- misfortunes that belong together -----------------------------------------------------------------


def _add_storms(rng: Random, plan: Plan) -> None:
    """Around a few calls, what is rare alone: cut off after a cancel, cut off from a grid that crashes, a crowd."""
    calls = [op for op in plan.ops if op.kind == "call"]
    lasting = [call for call in calls if (call.args["pieces"] + 1) * call.args["pause"] > 300] or calls
    relayed = [call for call in lasting if call.args["target"] not in (*_near(plan, call), call.args["grid"])]
    for call in [rng.choice(rng.choice((lasting, relayed or lasting))) for _ in range(rng.randint(1, 4))]:
        near = _near(plan, call)
        host = rng.choice([grid for grid in near if grid in plan.honest] or [call.args["grid"]])
        rng.choice((_cut_off, _cut_off, _crowd, _forgets))(rng, plan, call, host)
    for peering in plan.peerings:
        for host, other in ((peering.a, peering.b), (peering.b, peering.a)):
            if plan.grids[other].habits and not plan.grids[host].habits:
                _go_down(rng, plan, host, rng.randrange(OPENING_MS, BUSY_MS // 2))
    for peering in plan.peerings:
        if peering.skew > AHEAD_MS and rng.random() < 0.6:
            _set_back(rng, plan, rng.choice([grid for grid in (peering.a, peering.b) if grid in plan.honest]))
    plan.ops.sort(key=lambda item: item.at)
    plan.faults.sort(key=lambda item: item.at)


def _near(plan: Plan, call: Item) -> list[int]:
    """Neighbours of the grid at which a call is made."""
    grid = call.args["grid"]
    return [p.b if p.a == grid else p.a for p in plan.peerings if grid in (p.a, p.b)]


def _cut_off(rng: Random, plan: Plan, call: Item, host: int) -> None:
    """A payer cannot be reached for long; before that it has cancelled, or its neighbour crashes after that.

    For long: until its call is given up, or until its hold has expired too.
    """
    call.args["timeout"] = rng.choice((1_500, 4_000))
    at = call.at + rng.choice((20, 80, 300, 1_000))
    if rng.random() < 0.6:
        plan.ops.append(Item(at, "cancel", {"call": call.args["number"]}))
        at += rng.randint(2, 90)
    if len(plan.grids) > 1:
        lasting = call.args["timeout"] + rng.choice((2_600, 3_500, 10_000))
        plan.end = max(plan.end, at + lasting + 1_000)
        plan.faults.append(Item(at, "partition", {"grids": [call.args["grid"]], "lasting": lasting}))
    if host != call.args["grid"] and rng.random() < 0.6:
        plan.faults.append(Item(at + rng.randint(1, 60), "crash", {"grid": host, "down": rng.choice((50, 400, 1_600))}))


def _forgets(rng: Random, plan: Plan, call: Item, host: int) -> None:
    """A relay is put back to before an order and starts once more, all while the payer cannot be reached."""
    call.args["timeout"] = 20_000
    passed = rng.choice((150, 400))
    at, age = call.at + passed, passed + rng.choice((30, 100))
    plan.faults += [
        Item(at, "partition", {"grids": [call.args["grid"]], "lasting": 4_000}),
        Item(at + 5, "restore", {"grid": host, "age": age, "down": 100}),
        Item(at + 1_500, "crash", {"grid": host, "down": 200}),
    ]
    plan.end = max(plan.end, at + 5_000)


def _crowd(rng: Random, plan: Plan, call: Item, host: int) -> None:
    """Many orders at once, more than `max_unagreed` has room for, of a grid that then goes down."""
    calls = [op for op in plan.ops if op.kind == "call"]
    for number in range(len(calls), len(calls) + rng.randint(4, 9)):
        args = {**call.args, "target": host, "offer": "stream", "max": 250, "grant": 0, "pieces": 4, "number": number}
        plan.ops.append(Item(call.at + rng.randrange(40), "call", args))
        if rng.random() < 0.3:
            plan.ops.append(Item(call.at + rng.randrange(40, 2_000), "cancel", {"call": number}))
    _go_down(rng, plan, host, call.at + rng.choice((60, 150, 1_500)))


def _set_back(rng: Random, plan: Plan, grid: int) -> None:
    """A clock goes ahead as far as peers take it, work begins, the grid starts again with the clock set back.

    Now and then it has started once while its clock led, or its disk is put back too, to before the last start.
    """
    at = rng.choice((_busy(rng, plan), rng.randrange(1, 400)))
    plan.faults.append(Item(at, "jump", {"grid": grid, "ms": AHEAD_MS, "lasting": 2_000, "reboot": True}))
    if rng.random() < 0.3:
        plan.faults.append(Item(at + rng.randint(100, 1_900), "crash", {"grid": grid, "down": 50}))
    if rng.random() < 0.4:
        plan.faults.append(Item(at + 2_600, "restore", {"grid": grid, "age": 1_000, "down": 400}))
    if rng.random() < 0.7 and not any(to - since > 20_000 for since, to in plan.lulls):
        plan.grids[grid].tariff_ms = 2_500
    work = {"offer": "stream", "pieces": 10, "pause": 700, "timeout": 10_000, "max": 900, "grant": 0}
    calls = [op for op in plan.ops if op.kind == "call"]
    for number in range(len(calls), len(calls) + 2):
        args = {**rng.choice(calls).args, **work, "target": grid, "number": number}
        plan.ops.append(Item(at + rng.randint(100, 1_900), "call", args))


def _go_down(rng: Random, plan: Plan, host: int, at: int) -> None:
    """A grid goes down for a while, or comes back with an older disk; two streams are made when it is back."""
    down = rng.choice((400, 6_000, 35_000))
    if rng.random() < 0.5:
        plan.faults.append(Item(at, "crash", {"grid": host, "down": down}))
    else:
        age, down = rng.choice((50, 120, 1_000, 3_000)), 400
        plan.faults.append(Item(at, "restore", {"grid": host, "age": age, "down": down}))
    link = rng.choice([n for n, peering in enumerate(plan.peerings) if host in (peering.a, peering.b)])
    again = at + down + rng.choice((30, 60, 130))
    plan.faults.append(Item(again, "second_stream", {"link": link, "side": rng.randrange(2)}))


def _fault(rng: Random, plan: Plan, kind: str) -> dict[str, Any]:
    node, link = rng.choice(plan.honest), rng.randrange(len(plan.peerings))
    lasting = rng.choice((50, 400, 2_000, 6_000, 35_000))
    drawn: dict[str, dict[str, Any]] = {
        "cut": {"link": link, "kind": rng.randrange(12), "amid": rng.random() < 0.6, "noticed": rng.randint(0, 300)},
        "half_open": {"link": link, "side": rng.randrange(2), "kind": rng.choice((0, 3, 3, 4, 6, 7, 7)),
                      "amid": rng.random() < 0.4},
        "delay": {"link": link, "ms": rng.choice((100, 1_500, 9_000)), "lasting": lasting},
        "partition": {"grids": sorted(rng.sample(range(len(plan.grids)), rng.randint(1, len(plan.grids) - 1))),
                      "lasting": lasting},
        "second_stream": {"link": link, "side": rng.randrange(2)},
        "crash": {"grid": node, "down": lasting},
        "crash_at": {"grid": node, "point": rng.choice(POINTS), "kind": rng.randrange(12),
                     "count": rng.randint(1, 3), "down": lasting},
        "restore": {"grid": node, "age": rng.choice((100, 1_000, 4_000, 10_000)), "down": lasting},
        "slow_disk": {"grid": node, "factor": rng.choice((20, 300)), "lasting": lasting},
        "full_disk": {"grid": node, "down": lasting},
        "jump": {"grid": node, "ms": rng.choice((-20_000, -3_000, -900, 800, 3_000, 3_500, 20_000)), "lasting": lasting,
                 "reboot": rng.random() < 0.75},
        "freeze": {"grid": node, "lasting": lasting},
        "slow_reader": {"grid": node, "ms": rng.choice((50, 700)), "lasting": lasting},
        "suspend": {"grid": node, "link": link, "lasting": lasting},
        "terminate": {"grid": node, "link": link, "acts": rng.choices(ACTS, k=2), "suspended": rng.random() < 0.5},
        "rotate": {"grid": node, "what": rng.choice(("root", "key", "key", "certificate")), "keep": rng.random() < 0.6,
                   "down": lasting},
        "repeat": {"link": link, "side": rng.randrange(2)},
        "drain": {"grid": node, "down": lasting},
    }  # fmt: skip
    return drawn[kind]
