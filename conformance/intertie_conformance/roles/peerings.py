"""Peerings of the suite's grids with the target: proposed in batches, accepted by the target's operator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from intertie.v1 import directory_pb2 as dr
from intertie_conformance.grid.identity import Identity
from intertie_conformance.grid.streams import GrpcStream
from intertie_conformance.grid.terms import terms
from intertie_conformance.roles.operator import Operator, Proposal
from intertie_conformance.roles.peer import Peer
from intertie_conformance.roles.shop import Door, Shop
from intertie_conformance.roles.target import Target
from intertie_conformance.verdicts import Failed
from intertie_conformance.wire import agreements
from intertie_conformance.wire.refusal import Refusal


class Peerings:
    """Makes peers and keeps those that may be used again."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pool: list[Peer] = []
        self._sellers: list[Shop] = []
        self._salt = os.urandom(3).hex()
        self._count = 0
        self._operator = Operator(target)
        self.filling = asyncio.Lock()
        """Held while peers are made for later checks, too."""
        self.markets: list[Any] = []
        """Markets in good order."""

    @property
    def batch(self) -> int:
        """How many peerings are proposed at a time."""
        return self._target.suite.peers

    @property
    def host(self) -> str:
        """Where the suite's grids listen."""
        return self._target.suite.host

    def at_end(self, end: Callable[[], Any]) -> None:
        """Have something ended with the run."""
        self._target.ends.append(end)

    def identity(self, keys: int = 1) -> Identity:
        """A new grid with a name of its own; it has no address and is not dialled."""
        self._count += 1
        me = Identity(f"c{self._count}-{self._salt}.example", keys=keys)
        me.describe()
        return me

    async def take(self, **changes: Any) -> Peer:
        """A peer in good order; with changed terms always a new one. Raises: Failed, Unreachable."""
        if changes:
            return (await self.make([self.identity()], **changes))[0]
        async with self.filling:
            if not self._pool:
                self._pool = await self.make([self.identity() for _ in range(self._target.suite.peers)])
            return self._pool.pop()

    async def shop(self, me: Identity | None = None, **changes: Any) -> Shop:
        """A new provider of the target that listens on a port of its own."""
        door = Door(me or self.identity(), self._target)
        await door.open(self._target.suite.host)
        self.at_end(door.close)
        (shop,) = await self.make([door.me], Shop, **changes)
        assert isinstance(shop, Shop)
        shop.setup(door)
        return shop

    async def seller(self) -> Shop:
        """A provider that another check has left in good order, else a new one."""
        return self._sellers.pop() if self._sellers else await self.shop()

    def keeps(self, stream: GrpcStream) -> bool:
        """Whether a provider that waits for its next check is connected by a stream."""
        return any(shop.serves(stream) for shop in self._sellers)

    async def give_back(self, peer: Peer) -> None:
        """Keep a peer whose logs the target holds as they are; a provider stays connected."""
        if isinstance(peer, Shop):
            self._sellers.append(peer)
            return
        await peer.hang_up()
        peer.answers = peer.judges = True
        (self._pool if peer.home is None else peer.home).append(peer)

    async def make(self, grids: Sequence[Identity], kind: type[Peer] = Peer, **changes: Any) -> list[Peer]:
        """New peerings, accepted. Raises: Failed if the target does not take or countersign a proposal."""
        proposals = [self.proposal(me, **changes) for me in grids]
        sealed = await self._operator.accepted(proposals)
        return [self._peer(proposal, answer, kind) for proposal, answer in zip(proposals, sealed, strict=True)]

    def proposal(self, me: Identity, **changes: Any) -> Proposal:
        """A signed proposal, not sent yet."""
        message = terms(me, self._target.described, **changes)
        sealed = agreements.propose(message, me.key)
        return Proposal(me, sealed, agreements.read(sealed, me.described))

    async def propose(self, proposal: Proposal) -> dr.ProposeResponse:
        """Send a proposal, or ask how it stands. Raises: Failed."""
        return await self._operator.propose(proposal)

    async def accepted(self, me: Identity, sealed: bytes) -> bytes:
        """Have a proposal accepted: the countersigned envelope. Raises: Failed, Unreachable."""
        proposal = Proposal(me, sealed, agreements.read(sealed, me.described))
        return (await self._operator.accepted([proposal]))[0]

    def _peer(self, proposal: Proposal, sealed: bytes, kind: type[Peer]) -> Peer:
        try:
            agreed = agreements.read(sealed, proposal.me.described, self._target.described)
        except Refusal as refusal:
            raise Failed("a countersigned agreement", str(refusal)) from None
        if agreed.payload != proposal.agreed.payload:
            raise Failed("the countersigned payload is the proposed one, byte by byte", "other bytes")
        return kind(proposal.me, self._target.described, agreed, self._target.channel(proposal.me))
