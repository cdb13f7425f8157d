"""Grids that tests share."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.federation.grids import peer_up, serving
from tests.federation.pair import Pair
from tests.federation.stage import ECHO, OFFERS, Stage
from tests.kit.live import LiveNode, peer, until

MCP = Path(__file__).parents[1] / "unit/node/backends/small_mcp_server.py"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("requests")
    mcp = f'[[backend]]\ntype = "mcp"\nname = "small"\ncommand = ["{sys.executable}", "{MCP}"]\n'
    for tool in ("add", "crash", "hang"):
        mcp += f'[backend.tools.{tool}]\noffer = "{tool}"\nprices = {{ order = 1 }}\n'
    north = LiveNode("north.example", folder / "n", offers=OFFERS, extra=mcp)
    hub = LiveNode("hub.example", folder / "h", relay=True)
    south = LiveNode("south.example", folder / "s", offers=OFFERS)
    for node in (north, hub, south):
        await node.start()
    await peer(north, hub)
    await peer(hub, south, claim_window_ms=50_000)
    for ref in (f"hub.example/{ECHO}", "south.example/raises"):
        await north.knows(ref)
    async with north.consumer() as consumer:
        yield Stage((north, hub, south), consumer)
    for node in (north, hub, south):
        await node.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(module_stage: Stage) -> AsyncIterator[Stage]:
    yield module_stage
    nodes = (module_stage.north, module_stage.hub, module_stage.south)
    await until("nothing runs", lambda: not any(node.node.runner.running for node in nodes))
    await until("nothing is reserved", lambda: module_stage.account.reserved == 0)
    await module_stage.check_calm()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """What is typed at two grids is typed at the same two in all modules: their start takes longer than most tests."""
    folder = tmp_path_factory.mktemp("cli")
    async with serving(folder, "north.example") as north, serving(folder, "south.example") as south:
        genesis = await peer_up(north, south)
        yield Pair(north, south, genesis, await north.token("alice", 5_000_000))
        await asyncio.gather(north.stop(), south.stop())
