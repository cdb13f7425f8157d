"""Faults that are planted in a node must be caught by the judge that the other tests trust."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from tests.federation.judge import Judge
from tests.federation.kit import Trio
from tests.federation.provoke import SOUTH, Scene, calls
from tests.federation.traffic import Made, call

PATIENCE_S = 5.0


@pytest_asyncio.fixture
async def trio() -> AsyncIterator[Trio]:
    one = Trio()
    await one.start()
    yield one
    one.remove()


async def _crash(trio: Trio, plants: list[str], crash: str) -> list[str]:
    """South runs with faults, ends at a crash point and comes back; returns what the judge finds."""
    south = trio.south
    south.kill()
    south.plants += plants
    south.start(crash)
    await trio.connected()
    made = Made()
    async with trio.client() as client:
        work = asyncio.gather(*(call(client, made, f"{SOUTH}/plain", seconds=3.0) for _ in range(3)))
        await south.crashed()
        south.start()
        await work
    return await Judge(trio).verdict(made, PATIENCE_S)


async def test_an_honest_node_passes_the_same_crash(trio: Trio) -> None:
    assert await _crash(trio, [], "before_commit:order:1") == []


async def test_speaking_before_the_commit_is_caught(trio: Trio) -> None:
    faults = await _crash(trio, ["speak_before_commit"], "before_commit:order:1")
    assert any("effects of" in fault for fault in faults), faults


async def test_skipping_retransmission_is_caught(trio: Trio) -> None:
    faults = await _crash(trio, ["skip_retransmission"], "after_commit:charge:1")
    assert any("entries" in fault for fault in faults), faults


async def test_the_judge_sees_calls_that_are_lost(trio: Trio) -> None:
    made = Made()
    async with trio.client() as client:
        await calls(Scene(trio, trio.south, client, made))
    made.completed -= 2
    assert any("calls completed" in fault for fault in await Judge(trio).verdict(made))
