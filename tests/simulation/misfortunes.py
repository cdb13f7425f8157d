"""Draws what goes wrong in a plan: single faults, and misfortunes that belong together."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.simulation.plan import BUSY_MS, FAULTS, OPENING_MS, POINTS, Item, Plan, busy

ACTS = ("accept", "refuse", "resume", "terminate", "terminate")
RARE = (1, 4, 5, 6, 7, 8, 8, 9, 10, 10, 10, 11)
"""Kinds of entries that few batches hold: all but tariffs and orders."""
AHEAD_MS = 3_500


def faults(rng: Random, plan: Plan) -> list[Item]:
    """Faults of a few kinds only: what is rare everywhere is frequent somewhere."""
    kinds = [kind for kind in FAULTS if rng.random() < 0.35] or [rng.choice(FAULTS)]
    count = rng.randint(2, 10 + 3 * len(plan.grids))
    drawn = [Item(_moment(rng, plan), kind, _fault(rng, plan, kind)) for kind in rng.choices(kinds, k=count)]
    if rng.random() < 0.4:
        drawn += [_snare(rng, grid, at) for grid in plan.honest for at in (1, OPENING_MS, BUSY_MS // 2)]
    return sorted(drawn, key=lambda item: item.at)


def _moment(rng: Random, plan: Plan) -> int:
    """When a fault strikes: now and then while the links open for the first time."""
    return rng.randrange(20, OPENING_MS) if rng.random() < 0.08 else busy(rng, plan)


def _snare(rng: Random, grid: int, at: int) -> Item:
    """A crash that waits for an entry of a rare kind."""
    args = {"grid": grid, "point": rng.choice(POINTS), "kind": rng.choice(RARE), "count": 1, "down": 400}
    return Item(at, "crash_at", args)


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


# -- misfortunes that belong together -----------------------------------------------------------------


def add_storms(rng: Random, plan: Plan) -> None:
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
    return _neighbours(plan, call.args["grid"])


def _neighbours(plan: Plan, grid: int) -> list[int]:
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


def _honest_link(rng: Random, plan: Plan) -> tuple[int, int, int, int] | None:
    """(link, payer, provider, when) between two honest grids, None if there are none."""
    pairs = [number for number, peering in enumerate(plan.peerings) if {peering.a, peering.b} <= set(plan.honest)]
    if not pairs:
        return None
    link, at = rng.choice(pairs), busy(rng, plan)
    payer, provider = rng.sample((plan.peerings[link].a, plan.peerings[link].b), 2)
    return link, payer, provider, at


def tear(rng: Random, plan: Plan) -> None:
    """A link breaks while many outputs are on their way over it; some end just when it is open again."""
    drawn = _honest_link(rng, plan)
    if drawn is None:
        return
    link, grid, target, at = drawn
    calls = [op for op in plan.ops if op.kind == "call"]
    for number in range(len(calls), len(calls) + 10):
        work = {"offer": "stream", "pieces": rng.randint(10, 40), "pause": 8, "tokens": 1, "end": "done", "reading": 0}
        terms = {"max": 60, "grant": 60, "timeout": 4_000, "grid": grid, "target": target, "number": number}
        plan.ops.append(Item(at + rng.randrange(20), "call", {**rng.choice(calls).args, **work, **terms}))
    cut = {"link": link, "kind": 0, "amid": False, "noticed": 0}
    plan.faults.append(Item(at + rng.randint(60, 160), "cut", cut))


def hurry(rng: Random, plan: Plan) -> None:
    """A link closes and opens under calls that come faster than a slow disk commits: many share a batch with that."""
    drawn = _honest_link(rng, plan)
    if drawn is None:
        return
    link, grid, target, at = drawn
    calls = [op for op in plan.ops if op.kind == "call"]
    for number in range(len(calls), len(calls) + 120):
        work = {"offer": "echo", "max": 20, "grant": 20, "timeout": 4_000, "number": number}
        args = {**rng.choice(calls).args, **work, "grid": grid, "target": target}
        plan.ops.append(Item(at + 3 * (number - len(calls)), "call", args))
    plan.faults.append(Item(at, "slow_disk", {"grid": grid, "factor": 20, "lasting": 1_500}))
    plan.faults.append(Item(at + 30, "cut", {"link": link, "kind": 0, "amid": False, "noticed": 0}))


def defraud(rng: Random, plan: Plan) -> None:
    """A relay starts again while its payer cannot be reached, and its provider claims a part and forges an end."""
    ways = [
        (payer, relay, provider)
        for payer in plan.honest
        for relay in _neighbours(plan, payer)
        for provider in _neighbours(plan, relay)
        if relay in plan.honest and plan.grids[provider].habits
    ]
    if not ways:
        return
    (payer, relay, provider), at = rng.choice(ways), busy(rng, plan)
    plan.grids[provider].habits = ("forge",)
    calls = [op for op in plan.ops if op.kind == "call"]
    for number in range(len(calls), len(calls) + 8):
        work = {"offer": "stream", "timeout": 4_000, "max": 250, "grant": 250, "number": number}
        args = {**rng.choice(calls).args, **work, "grid": payer, "target": provider}
        plan.ops.append(Item(at + rng.randrange(20), "call", args))
    plan.faults.append(Item(at + 90, "partition", {"grids": [payer], "lasting": 3_500}))
    plan.faults.append(Item(at + 100, "crash", {"grid": relay, "down": 50}))
    plan.end = max(plan.end, at + 5_000)


def _set_back(rng: Random, plan: Plan, grid: int) -> None:
    """A clock goes ahead as far as peers take it, work begins, the grid starts again with the clock set back.

    Now and then it has started once while its clock led, or its disk is put back too, to before the last start.
    """
    at = rng.choice((busy(rng, plan), rng.randrange(1, 400)))
    plan.end = max(plan.end, at + 4_000)
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
