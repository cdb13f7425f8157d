"""A grid that is put back to an older copy of its data directory takes nothing back and catches up (design §7)."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.federation.judge import Books, Judge, Log, read, settled
from tests.federation.kit import NODES, NodeProcess, Trio, logs_of, until
from tests.federation.provoke import CALLS, SOUTH
from tests.federation.traffic import Made, call, work

from intertie.client import Client
from intertie_node.ports import ME, THEM


def copy(node: NodeProcess, to: Path) -> None:
    """A consistent copy of a running node's data directory, as an operator's backup makes it."""
    shutil.copytree(node.folder, to, ignore=shutil.ignore_patterns("*.sqlite3*", "*.sock", "*.lock", "node.log"))
    with closing(sqlite3.connect(node.database)) as source, closing(sqlite3.connect(to / node.database.name)) as target:
        source.backup(target)


def put_back(node: NodeProcess, copied: Path) -> None:
    """Replace the data directory of a node that does not run."""
    for file in node.folder.glob("node.sqlite3*"):
        file.unlink()
    shutil.copytree(copied, node.folder, dirs_exist_ok=True)


def held_by_peers(name: str, every: dict[str, Books]) -> dict[str, Log]:
    """Peer → what it holds of a node's log."""
    found = {}
    for peer, books in every.items():
        for link, other in books.peerings.items():
            if other == name:
                found[peer] = books.logs.get((link, THEM), [])
    return found


def written_by(name: str, every: dict[str, Books]) -> dict[str, Log]:
    """Peer → the node's own log towards it."""
    books = every[name]
    return {peer: books.logs.get((link, ME), []) for link, peer in books.peerings.items()}


async def trade(client: Client, made: Made, times: int = 1) -> None:
    """Calls of every kind that can be run again, and one stream."""
    for _ in range(times):
        await asyncio.gather(
            *(work(client, made, ref) for ref in CALLS),
            work(client, made, f"{SOUTH}/stream", {"chunks": 4}, first_grant=60),
            call(client, made, f"{SOUTH}/broken"),
            call(client, made, f"{SOUTH}/conformance/refuse"),
        )


async def _lost_since(trio: Trio, name: str, before: dict[str, Books], made: Made) -> None:
    """Check that everything which the peers held has come back, unchanged, and nothing stands in its place."""
    after, moving = await settled(trio)
    assert not moving, "\n".join([*moving, logs_of(trio.nodes.values())])
    own = written_by(name, after)
    for peer, log in held_by_peers(name, before).items():
        assert own[peer][: len(log)] == log, f"{name} wrote other entries than those that {peer} held"
    for peer, log in held_by_peers(name, after).items():
        known = held_by_peers(name, before)[peer]
        assert log[: len(known)] == known
        assert log == own[peer]


@pytest.mark.parametrize("name", NODES)
async def test_an_older_copy_catches_up(name: str, tmp_path: Path) -> None:
    trio, made = Trio(), Made()
    node = trio.nodes[name]
    try:
        await trio.start()
        judge = Judge(trio)
        async with trio.client() as client:
            await trade(client, made)
            assert await judge.verdict(made) == []
            copied = await settled(trio)
            copy(node, tmp_path / "copy")
            await trade(client, made, 2)
            before, moving = await settled(trio)
            assert not moving
            for peer, log in held_by_peers(name, before).items():
                assert len(log) > len(held_by_peers(name, copied[0])[peer]), "the copy is older"
            node.kill()
            put_back(node, tmp_path / "copy")
            judge.restored.add(node.name)
            assert len(read(node).logs) < len(before[name].logs) or read(node).logs != before[name].logs
            node.start()
            await trio.connected()
            await _lost_since(trio, name, before, made)
            await trade(client, made, 2)
        faults = await judge.verdict(made)
        assert not faults, "\n".join([*faults, logs_of(trio.nodes.values())])
        assert made.completed == made.wanted
    finally:
        trio.remove()


@pytest.mark.parametrize("name", NODES)
async def test_an_older_copy_in_the_middle_of_work(name: str, tmp_path: Path) -> None:
    """Copied and killed while calls are under way; only work that may be run again is asked for."""
    trio, made = Trio(), Made()
    node = trio.nodes[name]
    refs = (f"{SOUTH}/once", f"{SOUTH}/metered", f"{SOUTH}/conformance/echo")
    try:
        await trio.start()
        judge = Judge(trio)
        async with trio.client() as client:

            async def some(number: int) -> None:
                await asyncio.sleep(number * 0.04)
                await work(client, made, refs[number % 3], {} if number % 3 == 2 else {"ms": 30})

            running = asyncio.gather(*(some(number) for number in range(60)))
            await asyncio.sleep(0.5)
            copy(node, tmp_path / "copy")
            await asyncio.sleep(0.8)
            node.kill()
            before = {each: read(trio.nodes[each]) for each in NODES}
            put_back(node, tmp_path / "copy")
            judge.restored.add(node.name)
            node.start()
            await trio.connected()
            await running
        await _lost_since(trio, name, before, made)
        faults = await judge.verdict(made)
        assert not faults, "\n".join([*faults, logs_of(trio.nodes.values())])
    finally:
        trio.remove()


async def test_a_relay_hears_last_from_whom_it_had_ordered(tmp_path: Path) -> None:
    """Its upstream link opens first, with an order that it knows no more: it waits for the downstream link."""
    trio, made = Trio(), Made()
    node = trio.hub
    try:
        await trio.start()
        judge = Judge(trio)
        async with trio.client() as client:
            await trade(client, made)
            assert await judge.verdict(made) == []
            copy(node, tmp_path / "copy")
            late = asyncio.gather(*(work(client, made, f"{SOUTH}/once", {"ms": 700}) for _ in range(5)))
            await asyncio.sleep(0.4)
            node.kill()
            trio.south.kill()
            put_back(node, tmp_path / "copy")
            judge.restored.add(node.name)
            node.start()

            async def met() -> bool:
                return bool((await node.ask("status"))["links"]["north.example"] == "open")

            await node.ready()
            await until("hub hears from north", met)
            await asyncio.sleep(0.5)
            assert made.completed + 5 == made.wanted
            trio.south.start()
            await trio.connected()
            await late
        once = [result for id, result in made.results.items() if made.refs[id] == f"{SOUTH}/once"]
        assert not [result for result in once if result.state == "REJECTED"]
        faults = await judge.verdict(made)
        assert not faults, "\n".join([*faults, logs_of(trio.nodes.values())])
        assert made.completed == made.wanted
    finally:
        trio.remove()
