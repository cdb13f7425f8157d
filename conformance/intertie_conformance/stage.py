"""What a check is given: the target, roles to play, a trace, and a place to note what it has seen."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from intertie_conformance.grid.streams import GrpcStream
from intertie_conformance.trace import Trace

if TYPE_CHECKING:
    from intertie_conformance.passive import Observer
    from intertie_conformance.roles.customer import Customer
    from intertie_conformance.roles.market import Market
    from intertie_conformance.roles.peer import Peer
    from intertie_conformance.roles.peerings import Peerings
    from intertie_conformance.roles.shop import Shop
    from intertie_conformance.roles.target import Target

USUAL_S = 5.0
"""The usual patience, for which longer bounds are written."""


class Stage:
    """The surroundings of one check."""

    def __init__(self, target: Target, peerings: Peerings, observer: Observer, seed: str, patience: float) -> None:
        self.target = target
        self.peerings = peerings
        self.observer = observer
        self.random = random.Random(seed)  # noqa: S311 - chosen values must be the same again
        """Seeded by the run's seed and the check's name: the same values with the same `--seed`."""
        self.patience = patience
        """Seconds to wait for an answer that should come at once."""
        self.trace = Trace()
        self.seen: list[str] = []
        self._peers: list[Peer] = []
        self._streams: list[GrpcStream] = []
        self.ends: list[Callable[[], Awaitable[None]]] = []
        """What else ends with the check."""
        self._with_verdict: list[Callable[[bool], Awaitable[None]]] = []

    def within(self, seconds: float) -> float:
        """A bound longer than `patience`, shorter where patience is."""
        return max(4 * self.patience, seconds * self.patience / USUAL_S) if self.patience < USUAL_S else seconds

    def saw(self, what: str) -> None:
        """Note a right outcome that was observed: without one, no check passes."""
        self.seen.append(what)

    def keep(self, stream: GrpcStream) -> None:
        """End a stream with the check."""
        self._streams.append(stream)

    def forgo(self, stream: GrpcStream) -> None:
        """Let a stream go on after the check."""
        self._streams.remove(stream)

    def at_end(self, act: Callable[[bool], Awaitable[None]]) -> None:
        """Do something once the check has ended; it is told whether the check has passed."""
        self._with_verdict.append(act)

    def observe(self, peer: Peer, data: bytes) -> None:
        """Have the passive rules look at a frame of the target."""
        self.observer.frame(peer, data)

    async def peer(self, **terms: Any) -> Peer:
        """A scripted peer of the target; with `terms` changed, on a peering of its own. Nothing is dialled yet."""
        peer = await self.peerings.take(**terms)
        peer.stage = self
        peer.spoiled = bool(terms)
        self._peers.append(peer)
        return peer

    async def shop(self, **terms: Any) -> Shop:
        """A scripted provider of the target, which dials it. Needs a consumer's token."""
        shop = await self.peerings.shop(**terms)
        shop.stage, shop.spoiled = self, True
        self._peers.append(shop)
        shop.door.enter(shop)
        return shop

    def adopt(self, peer: Peer) -> None:
        """Take a peer that a check has made itself; it is not used again."""
        peer.stage, peer.spoiled = self, True
        self._peers.append(peer)

    async def market(self, **terms: Any) -> Market:
        """A scripted provider that dials the target and advertises what a check tells it."""
        from intertie_conformance.roles.market import take_market

        market = await take_market(self.peerings, **terms)
        market.stage, market.spoiled = self, bool(terms)
        self._peers.append(market)
        return market

    @cached_property
    def customer(self) -> Customer:
        """A consumer who looks into the target's catalog and calls what it lists."""
        from intertie_conformance.roles.customer import Customer

        return Customer(self)

    async def seller(self) -> Shop:
        """A scripted provider whose link is up; one that is left in good order serves later checks, too."""
        shop = await self.peerings.seller()
        self._peers.append(shop)
        await shop.serve(self)
        return shop

    async def shop_beside(self, larger: bool) -> Shop:
        """A shop whose fingerprint is larger, or smaller, than the target's; it answers nothing by itself."""
        me = self.peerings.identity()
        while (me.fingerprint > self.target.described.fingerprint) is not larger:
            me = self.peerings.identity()
        shop = await self.peerings.shop(me)
        shop.stage, shop.spoiled, shop.judges = self, True, False
        self._peers.append(shop)
        shop.door.enter(shop)
        return shop

    async def peer_with_keys(self, count: int) -> Peer:
        """A scripted peer whose descriptor lists so many signing keys."""
        (peer,) = await self.peerings.make([self.peerings.identity(keys=count)])
        peer.stage, peer.spoiled = self, True
        self._peers.append(peer)
        return peer

    async def twins(self) -> tuple[Peer, Peer]:
        """Two peerings of one of the suite's grids with the target."""
        me = self.peerings.identity()
        first, second = [(await self.peerings.make([me]))[0] for _ in range(2)]
        for peer in (first, second):
            peer.stage, peer.spoiled = self, True
            self._peers.append(peer)
        return first, second

    async def clear(self, passed: bool) -> None:
        """End what the check has begun; keep peers that are in good order."""
        for act in self._with_verdict:
            await act(passed)
        for peer in self._peers:
            if passed and not peer.spoiled and not peer.fault and peer.settled:
                await self.peerings.give_back(peer)
            else:
                await peer.leave()
        for stream in self._streams:
            if not self.peerings.keeps(stream):
                await stream.stop()
        for end in self.ends:
            await end()
