"""Real processes, killed at random moments under traffic, come back to one truth (issue: crash points).

A few kills with every test run; `make kills` does fifty. `SEED=n` repeats a run's choices.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from typing import Final

import pytest
from tests.federation.judge import Judge, read
from tests.federation.kit import NODES, Trio, logs_of
from tests.federation.provoke import HUB, SOUTH
from tests.federation.traffic import Made, call, work

from intertie.client import Client

KILLS: Final = int(os.environ.get("KILLS", "8"))
SEED: Final = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
CALLERS: Final = 6
REST_S: Final = 30.0
WORK: Final = (
    *((f"{SOUTH}/once", {}),) * 6,
    *((f"{SOUTH}/once", {"ms": 150}),) * 2,
    *((f"{HUB}/once", {}),) * 3,
    *((f"{SOUTH}/metered", {"steps": 4, "ms": 20}),) * 2,
    *((f"{SOUTH}/conformance/echo", {}),) * 4,
    (f"{SOUTH}/plain", {}),
    (f"{HUB}/plain", {}),
    (f"{SOUTH}/stream", {"chunks": 6}),
)
"""What the calls are that should complete: those that may be run again after a crash are many."""
OTHER: Final = (f"{SOUTH}/conformance/refuse", f"{SOUTH}/broken")


async def _caller(client: Client, made: Made, choices: random.Random, stop: asyncio.Event) -> None:
    while not stop.is_set():
        if choices.random() < 0.05:
            await call(client, made, choices.choice(OTHER))
            continue
        ref, given = choices.choice(WORK)
        grant = {"first_grant": 60} if choices.random() < 0.5 and ref.endswith(("stream", "metered")) else {}
        await work(client, made, ref, given, **grant)
        await asyncio.sleep(choices.uniform(0, 0.15))


async def _killer(trio: Trio, choices: random.Random) -> Counter[str]:
    """Kill one node after another; often before the links are open again."""
    killed: Counter[str] = Counter()
    for _ in range(KILLS):
        await asyncio.sleep(choices.uniform(0.05, 1.2))
        node = trio.nodes[choices.choice(NODES)]
        node.kill()
        killed[node.name] += 1
        await asyncio.sleep(choices.choice((0.0, 0.0, choices.uniform(0, 1))))
        node.start()
        await node.ready()
        if choices.random() < 0.7:
            await trio.connected()
    await trio.connected()
    return killed


@pytest.mark.timeout(60 + 12 * KILLS)
async def test_random_kills() -> None:
    print(f"SEED={SEED} KILLS={KILLS}")
    trio, made, choices, stop = Trio(), Made(), random.Random(SEED), asyncio.Event()
    try:
        await trio.start()
        judge = Judge(trio)
        async with trio.client() as client:
            async with asyncio.TaskGroup() as group:
                for _ in range(CALLERS):
                    group.create_task(_caller(client, made, random.Random(choices.random()), stop))
                killed = await _killer(trio, choices)
                stop.set()
            faults = await judge.verdict(made, REST_S)
        every = {name: read(node) for name, node in trio.nodes.items()}
        logs = {f"{name}/{peer}": len(log) for name, b in every.items() for (link, side), log in b.logs.items()
                if side == 0 for peer in [b.peerings[link]]}  # fmt: skip
        print(f"killed {dict(killed)}, {made.completed} of {made.wanted} calls completed,", end=" ")
        print(f"{Counter(result.state for result in made.results.values())}, entries {logs}")
        assert sum(killed.values()) == KILLS
        assert made.wanted > 3 * KILLS
        assert not faults, "\n".join([f"SEED={SEED}", *faults, logs_of(trio.nodes.values())])
    finally:
        trio.remove()
