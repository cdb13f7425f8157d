"""A node that shuts down: what runs ends in peace if it can, and is taken up again under its id if it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.kit.live import Consumer, LiveNode, peer, refused, until

from intertie.client import Client
from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import task_pb2 as ts

DELAY = "conformance/delay"
GRIDS = pytest.mark.parametrize("grid", ["north", "south"])


@pytest_asyncio.fixture
async def north(tmp_path: Path) -> AsyncIterator[LiveNode]:
    """A grid with a consumer, linked to another that works for it."""
    north, south = LiveNode("north.example", tmp_path / "n"), LiveNode("south.example", tmp_path / "s")
    await north.start()
    await south.start()
    await peer(north, south)
    await north.knows(f"south.example/{DELAY}")
    yield north
    await north.stop(0)
    await south.stop(0)


def delay(grid: str, ms: int) -> iv.Invocation:
    return Consumer.request(f"{grid}.example/{DELAY}", b'{"ms":%d}' % ms)


async def begun(north: LiveNode, count: int = 1) -> None:
    await until("it runs", lambda: len(north.node.world.invocations) >= count)


@GRIDS
async def test_what_ends_in_time_is_told(north: LiveNode, grid: str) -> None:
    async with north.consumer() as consumer:
        call = asyncio.create_task(consumer.call(delay(grid, 600)))
        await begun(north)
        await north.stop(5)
        assert (await call).state == ts.TASK_STATE_COMPLETED
    await north.start_again()


@GRIDS
async def test_what_does_not_end_in_time_is_handed_back_by_name(north: LiveNode, grid: str) -> None:
    request = delay(grid, 2_000)
    async with north.consumer() as consumer:
        call = asyncio.create_task(refused(consumer.call(request)))
        stream = consumer.stream()
        await stream.say(invocations=[delay(grid, 2_000)])
        await begun(north, 2)
        await north.stop(0.2)
        assert (await call).reason == "NODE_DRAINING"
        assert (await stream.error()).reason == "NODE_DRAINING"
    await north.start_again()
    async with north.consumer() as consumer:
        outcome = await consumer.call(request)
        assert outcome.id == request.id
        assert outcome.state == ts.TASK_STATE_COMPLETED


@GRIDS
async def test_a_stream_of_the_client_outlives_a_restart(north: LiveNode, grid: str) -> None:
    async with Client(north.loopback, north.token, insecure=True) as client, client.stream() as stream:
        call = asyncio.create_task(stream.call(f"{grid}.example/{DELAY}", {"ms": 1_500}, max_charge=1_000))
        await begun(north)
        await north.stop(0.2)
        await north.start_again()
        assert (await call).state == "COMPLETED"
    assert north.node.world.books.accounts["alice"].reserved == 0
