"""Offers that could not be fetched are asked for again while the link is up (`services.links`)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.kit.identities import make_offer
from tests.kit.live import until
from tests.kit.network import Network
from tests.kit.sim_node import SimNode

from intertie.digests import multihash
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


class Slow:
    """Answers with these offers when it is told to, and counts who waits."""

    def __init__(self, *offers: bytes) -> None:
        self.go = asyncio.Event()
        self.asked: list[bytes] = []
        self.waiting: Counter[bytes] = Counter()
        self.most = 0
        self.reply = list(offers)

    async def offers(self, reach: Reach, genesis: bytes, root: bytes, have: Sequence[bytes]) -> list[bytes]:
        self.asked.append(root)
        self.waiting[genesis] += 1
        self.most = max(self.most, *self.waiting.values())
        await self.go.wait()
        await asyncio.sleep(0)
        self.waiting[genesis] -= 1
        return self.reply


def _fetching(net: Network, hub: SimNode, dialler: Any) -> links.LinkService:
    """A service of the hub whose links are up and fetch from the dialler."""
    net.start()
    service = links.LinkService(hub.grid, hub.store, dialler, hub.submit)
    for link in hub.world.links.values():
        service.keep(link, Reach(link.peer.grid, [], []))
    return service


async def test_one_fetch_of_a_link_runs_at_a_time() -> None:
    """Whatever is waited for on one link, another fetches."""
    net = Network()
    hub, north, south = net.add("hub.example"), net.add("north.example"), net.add("south.example")
    net.peer(hub, north)
    net.peer(hub, south)
    dialler = Slow()
    service = _fetching(net, hub, dialler)
    for number in range(100):
        origin = b"\x12\x20" + number.to_bytes(32, "big")
        service.fetch_offers(FetchOffers(hub.link(north).name, origin, b"north %d" % number, ()))
    service.fetch_offers(FetchOffers(hub.link(north).name, b"\x12\x20" + bytes(32), b"newer", ()))
    service.fetch_offers(FetchOffers(hub.link(south).name, south.fingerprint, b"south", ()))
    await until("both links fetch", lambda: b"south" in dialler.asked)
    assert sorted(dialler.asked) == [b"newer", b"south"]
    dialler.go.set()
    await until("everything is fetched", lambda: len(dialler.asked) == 101 and not service._fetching)
    assert dialler.most == 1
    await service.stop()


@pytest.mark.parametrize("room", [True, False])
async def test_a_link_brings_no_more_than_there_is_room_for(room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network()
    north, south = net.add("north.example"), net.add("south.example")
    net.peer(north, south)
    offer = make_offer(south.fingerprint, "tool")
    dialler = Slow(offer)
    dialler.go.set()
    service = _fetching(net, north, dialler)
    link, catalog = north.link(south), north.world.catalog
    route = catalog.routes[link.name, south.fingerprint]
    catalog.put_route(msgspec.structs.replace(route, offers=(*route.offers, multihash(offer))))
    kept = sum(len(known.data) for known in catalog.offers.values() if known.origin == south.fingerprint)
    assert catalog.size_over(link.name) == kept > 0
    monkeypatch.setattr(links, "MAX_OFFERS_BYTES", kept + len(offer) - (not room))
    service.fetch_offers(FetchOffers(link.name, south.fingerprint, b"root", (multihash(offer),)))
    await until("it is fetched", lambda: dialler.asked and not service._fetching)
    net.run()
    assert ("south.example/tool" in catalog._by_ref) is room
    refused = {name: why.partition(":")[0] for name, why in catalog.refused.items()}
    assert refused == ({} if room else {link.name: "PAYLOAD_TOO_LARGE"})
    await service.stop()
