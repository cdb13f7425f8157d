"""Keys and certificates are replaced while grids are peered: links come back, work goes on, proofs hold."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.federation.grids import GridProcess, peer_up, run, serving, up

ECHO = "south.example/conformance/echo"


async def _works(north: GridProcess, token: str) -> None:
    async with north.client(token) as client:
        assert (await client.call(ECHO, {"n": 1}, max_charge=100_000)).state == "COMPLETED", north.tail()


async def _verified(grid: GridProcess, other: GridProcess, file: Path) -> Any:
    await grid.must("ledger", "export", other.name, "--out", str(file))
    ran = await run("ledger", "verify", str(file), "--json")
    assert ran.status == 0, ran
    report = ran.json()
    assert report["ok"] is True
    assert report["proofs"]["faulty"] == []
    return report


async def _rotate(grid: GridProcess, *what: str) -> Any:
    await grid.stop()
    made = await grid.must("descriptor", "rotate", *what)
    await grid.start()
    return made


EVERYTHING = ("--root", "--signing-key", "--certificate")


@pytest.mark.parametrize("who", ["north", "south"])
async def test_everything_is_rotated_while_peered(who: str, tmp_path: Path) -> None:
    async with serving(tmp_path, "north.example") as north, serving(tmp_path, "south.example") as south:
        await peer_up(north, south)
        token = await north.token("alice", 5_000_000)
        await _works(north, token)
        grid, other = (north, south) if who == "north" else (south, north)
        before = await grid.get("/v1/descriptor")
        for version in (2, 3):
            made = await _rotate(grid, *EVERYTHING)
            after = await grid.get("/v1/descriptor")
            assert made == after
            assert (after["version"], after["fingerprint"]) == (version, before["fingerprint"])
            assert after["certificates"][0] != before["certificates"][0]
            assert after["certificates"][1] == before["certificates"][0], "old and new overlap"
            assert after["signing_keys"][0] != before["signing_keys"][0]
            assert before["signing_keys"][0] in after["signing_keys"]
            before = after
            await up(north, south)
            await up(south, north)
            await _works(north, token)
            await other.restart()
            await up(north, south)
            await _works(north, token)
        for one, two in ((north, south), (south, north)):
            report = await _verified(one, two, tmp_path / f"{one.name}.intertie")
            assert report["proofs"]["proven"] == 5
        assert (await grid.get("/v1/descriptor"))["version"] == 3
        await asyncio.gather(north.stop(), south.stop())


async def test_a_peer_that_was_away_for_two_rotations_asks_for_the_descriptor(tmp_path: Path) -> None:
    """It knows neither of the certificates that are presented by then."""
    async with serving(tmp_path, "north.example") as north, serving(tmp_path, "south.example") as south:
        await peer_up(north, south)
        token = await north.token("alice", 5_000_000)
        await _works(north, token)
        await south.stop()
        await north.stop()
        for _ in range(2):
            await north.must("descriptor", "rotate", "--certificate")
        await asyncio.gather(north.start(), south.start())
        await up(north, south)
        await _works(north, token)
        await asyncio.gather(north.stop(), south.stop())


async def test_what_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, "north.example") as north:
        running = await north.cli("descriptor", "rotate", "--root")
        assert (running.status, running.problem()["reason"]) == (1, "NODE_UNAVAILABLE")
        assert "stop that node" in running.problem()["message"]
        nothing = await north.cli("descriptor", "rotate")
        assert nothing.status == 2
        await north.stop()
    fresh = GridProcess(tmp_path / "west", "west.example")
    await fresh.init()
    unserved = await fresh.cli("descriptor", "rotate", "--root")
    assert (unserved.status, unserved.problem()["reason"]) == (1, "INVALID_ARGUMENT")
