"""A link is dialled for as long as it is wanted, whatever an attempt meets (`services.links`)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.kit.live import until
from tests.kit.network import Network

from intertie.errors import IntertieError
from intertie_node.ports import Reach
from intertie_node.services import links
from intertie_node.services.waiting import cancelled

FAULTS = (ZeroDivisionError("a fault of this node"), IntertieError("PEER_UNAVAILABLE", "as told"))


class Dialler:
    """Fails with the same error at every attempt."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    async def dial(self, reach: Reach, fingerprint: bytes, receiver: Any) -> Any:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize("place", ["dialling", "refreshing"])
@pytest.mark.parametrize("error", FAULTS)
async def test_no_error_of_an_attempt_ends_the_keeping(
    place: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(links, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(links, "REFRESH_S", 0.0)
    net = Network()
    north, south = net.add("north.example"), net.add("south.example")
    net.peer(north, south)
    north.boot()
    dialler: Any = Dialler(error if place == "dialling" else FAULTS[1])
    service = links.LinkService(north.grid, north.store, dialler, north.submit)
    link, asked = north.link(south), 0

    async def refresh(_: Any) -> None:
        nonlocal asked
        asked += 1
        if place == "refreshing":
            raise error

    service.refresh = refresh
    caplog.set_level(logging.ERROR)
    service.keep(link, Reach("south.example", [], []))
    await until("attempts go on", lambda: min(dialler.calls, asked) >= 3)
    await service.stop()
    assert str(error) in service.closed[link.name] or place == "refreshing"
    faults = [record for record in caplog.records if record.exc_info]
    assert bool(faults) == isinstance(error, ZeroDivisionError), "a fault of this node shows itself"


async def test_a_task_that_loses_a_cancellation_is_told_again() -> None:
    losses = 2

    async def loses() -> None:
        nonlocal losses
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                losses -= 1
                if not losses:
                    raise

    tasks = {asyncio.create_task(loses()), asyncio.create_task(asyncio.sleep(60))}
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cancelled(tasks)
    assert all(task.cancelled() for task in tasks)
