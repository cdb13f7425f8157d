"""Every crash point, for each kind of entry, at each node: what must hold afterwards holds (issue: crash points).

A point is chosen by the environment of the process that is to end there; its exit status shows that it did.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.federation.judge import Judge
from tests.federation.kit import NODES, PATIENCE_S, Trio, logs_of
from tests.federation.provoke import PROVOKE, Scene
from tests.federation.traffic import Made

from intertie_node.services.crashpoints import POINTS

CASES = [(kind, point, node) for kind in PROVOKE for point in POINTS for node in NODES]

RENEWED_AFTER = 12
"""Tests that one trio serves: its logs grow, and each test verifies them all."""


class Shared:
    """A trio that tests use one after another; a new one after a test that failed."""

    def __init__(self) -> None:
        self.trio: Trio | None = None
        self.judge: Judge | None = None
        self.uses = 0

    async def borrow(self) -> tuple[Trio, Judge]:
        """The trio, running and connected."""
        self.uses += 1
        if self.uses % RENEWED_AFTER == 0:
            self.drop()
        if self.trio is None:
            self.trio = Trio()
            await self.trio.start()
            self.judge = Judge(self.trio)
        assert self.judge
        return self.trio, self.judge

    def drop(self) -> None:
        """End it."""
        if self.trio is not None:
            self.trio.remove()
        self.trio = self.judge = None


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    one = Shared()
    yield one
    one.drop()


@pytest_asyncio.fixture
async def fresh() -> AsyncIterator[Trio]:
    trio = Trio()
    yield trio
    trio.remove()


@pytest.mark.parametrize(("kind", "point", "node"), CASES)
async def test_crash_and_restart(shared: Shared, kind: str, point: str, node: str) -> None:
    trio, judge = await shared.borrow()
    target = trio.nodes[node]
    made, faults, whole = Made(), ["not judged"], False
    try:
        target.kill()
        target.start(f"{point}:{kind}:1")
        await trio.connected()
        async with trio.client() as client:
            scene = Scene(trio, target, client, made)
            async with asyncio.timeout(2 * PATIENCE_S):
                await asyncio.gather(PROVOKE[kind](scene), scene.finally_run())
        faults = await judge.verdict(made)
        assert not faults, logs_of(trio.nodes.values())
        whole = True
    finally:
        if not whole:
            print("\n".join(faults))
            shared.drop()


@pytest.mark.parametrize("point", POINTS)
async def test_crash_at_the_agreement(fresh: Trio, point: str) -> None:
    await fresh.start(f"{point}:agreement:1")
    made = Made()
    async with fresh.client() as client:
        await PROVOKE["order"](Scene(fresh, fresh.hub, client, made))
    faults = await Judge(fresh).verdict(made)
    assert not faults, "\n".join([*faults, logs_of(fresh.nodes.values())])
    assert made.completed == made.wanted
