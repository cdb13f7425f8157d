"""Offers that could not be fetched are asked for again while the link is up (`services.links`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.kit.worlds import Network

from intertie.errors import IntertieError
from intertie_node.core.work import FetchOffers
from intertie_node.ports import Reach
from intertie_node.services import links


class Dialler:
    """Fails with these reasons, one after another, then answers with nothing."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = list(reasons)
        self.calls = 0

    async def offers(self, reach: Reach, genesis: bytes, root: bytes, have: Sequence[bytes]) -> list[bytes]:
        self.calls += 1
        if self.reasons:
            raise IntertieError(self.reasons.pop(0), "as told")
        return []


@pytest.mark.parametrize(
    ("reasons", "calls"),
    [(("PEER_UNAVAILABLE", "PEER_UNAVAILABLE"), 3), (("PAYLOAD_TOO_LARGE", "PEER_UNAVAILABLE"), 1), ((), 1)],
)
async def test_what_failed_for_now_is_fetched_again(
    reasons: tuple[str, ...], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "FIRST_FETCH_S", 0.01)
    net = Network()
    north, south = net.add("north.example"), net.add("south.example")
    net.peer(north, south)
    net.start()
    dialler: Any = Dialler(*reasons)
    service = links.LinkService(north.grid, north.store, dialler, north.submit)
    link = north.link(south)
    service.keep(link, Reach("south.example", [], []))
    service.fetch_offers(FetchOffers(link.name, south.fingerprint, b"root", ()))
    await asyncio.sleep(0.2)
    assert dialler.calls == calls
    await service.stop()
