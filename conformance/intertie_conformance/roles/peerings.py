"""Peerings of the suite's grids with the target: proposed in batches, accepted by the target's operator."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc

from intertie.v1 import directory_pb2 as dr
from intertie_conformance.grid.identity import Identity
from intertie_conformance.grid.streams import GrpcStream
from intertie_conformance.grid.terms import terms
from intertie_conformance.roles.peer import Peer
from intertie_conformance.roles.shop import Door, Shop
from intertie_conformance.roles.target import Target, Unreachable
from intertie_conformance.verdicts import Failed
from intertie_conformance.wire import agreements
from intertie_conformance.wire.agreements import Agreed
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import said

AT_A_TIME: Final = 2
"""Accept commands that run beside each other."""
ACCEPT_S: Final = 30.0
DECIDES_S: Final = 10.0
"""How long a target may take to accept a proposal (IT-CNF-030)."""
ASK_AGAIN_S: Final = 0.2


class Proposal:
    """One proposal of one of the suite's grids."""

    def __init__(self, me: Identity, sealed: bytes, agreed: Agreed) -> None:
        self.me = me
        self.sealed = sealed
        self.agreed = agreed

    @property
    def named(self) -> dict[str, str]:
        """As an operator knows it."""
        return {
            "digest": self.agreed.digest.hex(),
            "fingerprint": self.me.fingerprint.hex(),
            "grid": self.me.grid,
        }


class Peerings:
    """Makes peers and keeps those that may be used again."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pool: list[Peer] = []
        self._sellers: list[Shop] = []
        self._salt = os.urandom(3).hex()
        self._count = 0
        self.lock = asyncio.Lock()
        self._decides_s = DECIDES_S
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
        async with self.lock:
            if changes:
                return (await self.make([self.identity()], **changes))[0]
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
        if self._sellers:
            return self._sellers.pop()
        async with self.lock:
            return await self.shop()

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
        answers = [await self.propose(proposal) for proposal in proposals]
        if any(answer.state != dr.PROPOSAL_STATE_ACCEPTED for answer in answers):
            await self.accept(proposals)
        return [await self._peer(proposal, kind) for proposal in proposals]

    def proposal(self, me: Identity, **changes: Any) -> Proposal:
        """A signed proposal, not sent yet."""
        message = terms(me, self._target.described, **changes)
        sealed = agreements.propose(message, me.key)
        return Proposal(me, sealed, agreements.read(sealed, me.described))

    async def propose(self, proposal: Proposal) -> dr.ProposeResponse:
        """Send a proposal, or ask how it stands. Raises: Failed."""
        request = dr.ProposeRequest(descriptors=proposal.me.chain, agreement=proposal.sealed)
        try:
            answer: dr.ProposeResponse = await self._target.directory().Propose(
                request, timeout=self._target.suite.answer_s
            )
        except grpc.aio.AioRpcError as error:
            raise Failed("a sound proposal is taken", str(said(error))) from None
        return answer

    async def accepted(self, me: Identity, sealed: bytes) -> bytes:
        """Have a proposal accepted: the countersigned envelope. Raises: Failed, Unreachable."""
        proposal = Proposal(me, sealed, agreements.read(sealed, me.described))
        answer = await self.propose(proposal)
        if answer.state != dr.PROPOSAL_STATE_ACCEPTED:
            await self.accept([proposal])
        return await self._countersigned(proposal)

    async def _countersigned(self, proposal: Proposal) -> bytes:
        """Ask until the target has accepted; one that once has not is asked no longer. Raises: Failed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._decides_s
        answer = await self.propose(proposal)
        while answer.state == dr.PROPOSAL_STATE_PENDING and loop.time() < end:
            await asyncio.sleep(ASK_AGAIN_S)
            answer = await self.propose(proposal)
        if answer.state != dr.PROPOSAL_STATE_ACCEPTED:
            waited, self._decides_s = self._decides_s, 0.0
            state = dr.ProposalState.Name(answer.state)
            raise Failed("a proposal that the operator accepts is ACCEPTED", f"{state} within {waited:g} s")
        return answer.agreement

    async def _peer(self, proposal: Proposal, kind: type[Peer]) -> Peer:
        sealed = await self._countersigned(proposal)
        try:
            agreed = agreements.read(sealed, proposal.me.described, self._target.described)
        except Refusal as refusal:
            raise Failed("a countersigned agreement", str(refusal)) from None
        if agreed.payload != proposal.agreed.payload:
            raise Failed("the countersigned payload is the proposed one, byte by byte", "other bytes")
        return kind(proposal.me, self._target.described, agreed, self._target.channel(proposal.me))

    # -- the operator -----------------------------------------------------------------------------

    async def accept(self, proposals: Sequence[Proposal]) -> None:
        """Have the target's operator accept. Raises: Unreachable if its command fails."""
        command = self._target.table.accept
        if command == "auto":
            return
        if not any(f"{{{key}}}" in command for key in proposals[0].named):
            lines = "".join(json.dumps(proposal.named) + "\n" for proposal in proposals)
            await _run(shlex.split(command), lines.encode())
            return
        turns = asyncio.Semaphore(AT_A_TIME)

        async def one(proposal: Proposal) -> None:
            async with turns:
                await _run([part.format(**proposal.named) for part in shlex.split(command)], b"")

        await asyncio.gather(*map(one, proposals))


async def _run(command: list[str], given: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(given), ACCEPT_S)
    except TimeoutError:
        process.kill()
        raise Unreachable(f"the accept command did not end within {ACCEPT_S:g} s") from None
    if process.returncode:
        raise Unreachable(f"the accept command ended with {process.returncode}: {out.decode(errors='replace')[-400:]}")
