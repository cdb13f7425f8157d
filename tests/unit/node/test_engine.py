"""The engine on a real event loop and a real file: which steps share a commit, and what is said when."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.kit.network import Network

from intertie_node.adapters.storage import SqliteStore
from intertie_node.core.effects import Effects
from intertie_node.ports import StoreFailure
from intertie_node.services.engine import GATHERING, Engine


class Running:
    """A node's engine over its own file; told what was durable when a reply was given."""

    def __init__(self, path: Path) -> None:
        net = Network()
        node = net.add("north.example")
        net.start()
        self.store = SqliteStore(path)
        self.engine = Engine(node.grid, self.store, node.clock, lambda work: None)
        self.told: list[tuple[str, bool]] = []

    def put(self, name: str) -> None:
        """Submit a step that writes a row and replies."""

        def step(fx: Effects) -> None:
            fx.changes.put("settings", (name,), (name, name.encode()))
            fx.reply(lambda key: self.told.append((key, self.store.row("settings", (key,)) is not None)), name)

        self.engine.submit(step)

    async def finished(self) -> int:
        """Commits by the time that everything is durable and said."""
        self.engine.stop()
        await asyncio.wait_for(self.engine.run(), 10)
        return self.engine.commits


def run(path: Path, act: Any) -> Running:
    async def main() -> Running:
        running = Running(path)
        try:
            await act(running)
        finally:
            running.store.close()
        return running

    return asyncio.run(main())


def test_what_the_next_passes_of_the_loop_bring_shares_the_commit(tmp_path: Path) -> None:
    async def act(running: Running) -> None:
        loop = asyncio.get_running_loop()

        def late(passes: int) -> None:
            if passes:
                loop.call_soon(late, passes - 1)
            else:
                running.put("late")

        running.put("first")
        loop.call_soon(late, GATHERING - 1)
        assert await running.finished() == 1

    assert run(tmp_path / "node.db", act).told == [("first", True), ("late", True)]


def test_a_lone_step_is_committed_though_nothing_else_comes(tmp_path: Path) -> None:
    async def act(running: Running) -> None:
        running.put("alone")
        assert await running.finished() == 1

    assert run(tmp_path / "node.db", act).told == [("alone", True)]


def test_a_commit_that_fails_stops_the_engine_and_nothing_is_said(tmp_path: Path) -> None:
    async def act(running: Running) -> None:
        running.put("lost")
        running.store.close()
        with pytest.raises(StoreFailure):
            await running.finished()
        assert not running.told

    run(tmp_path / "node.db", act)
