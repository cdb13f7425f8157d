"""A peer that is gone makes its offers unavailable, not unknown, also across a restart: real processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.federation.grids import GridProcess, peer_up, serving, until, up

ECHO = "south.example/conformance/echo"


async def _refusal(grid: GridProcess, token: str) -> str:
    ran = await grid.call(token, ECHO)
    return str(ran.problem()["reason"]) if ran.status else ""


async def test_offers_of_a_peer_that_is_gone(tmp_path: Path) -> None:
    async with serving(tmp_path, "north.example") as north, serving(tmp_path, "south.example") as south:
        await peer_up(north, south)
        token = await north.token("alice", 1_000_000)
        assert await _refusal(north, token) == ""
        await south.stop()
        await until(lambda: _down(north, south), "north notices")
        assert await _refusal(north, token) == "PEER_UNAVAILABLE"
        shown = await north.cli("offers", "show", ECHO, token=token)
        assert shown.problem()["reason"] == "PEER_UNAVAILABLE"
        await north.restart(killed=True)
        assert await _refusal(north, token) == "PEER_UNAVAILABLE"
        await south.start()
        await up(north, south)
        assert await _refusal(north, token) == ""
        await asyncio.gather(north.stop(), south.stop())


async def _down(one: GridProcess, other: GridProcess) -> bool:
    return (await one.link_with(other))["link"] == "down"
