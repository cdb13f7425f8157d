"""Peerings: proposing, accepting, suspending, and the links that follow (design §6)."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from intertie import agreements, chain, envelope
from intertie.agreements import VerifiedAgreement
from intertie.descriptors import VerifiedDescriptor, check_update, verify_chain, verify_history
from intertie.errors import IntertieError
from intertie.v1 import directory_pb2 as dr
from intertie.v1.agreement_pb2 import Agreement
from intertie_node.core.effects import Effects
from intertie_node.core.grid import Grid
from intertie_node.core.link import Link
from intertie_node.core.peering import PeeringAct, PeeringState, after, link_terms
from intertie_node.core.pinning import pinned
from intertie_node.ports import Reach, Store, StrangerCalls
from intertie_node.services.certificates import check_certificates
from intertie_node.services.clock import wall_clock
from intertie_node.services.links import LinkService
from intertie_node.services.origins import restore_catalog, restore_orphans, restore_owed
from intertie_node.services.pins import PeeringRow, Pins, reach_of
from intertie_node.services.restoring import load_hold, restore_link
from intertie_node.services.waiting import cancelled, durable

log = logging.getLogger(__name__)
Submit = Callable[[Callable[[Effects], None]], None]
INCOMING, OUTGOING = 0, 1
DECIDES: Mapping[PeeringAct, int] = {
    PeeringAct.ACCEPT: INCOMING,
    PeeringAct.REFUSE: INCOMING,
    PeeringAct.WITHDRAW: OUTGOING,
}
"""Act → whose proposals an operator decides on by it."""
MAX_PENDING = 64
POLL_S = 0.5


class Proposal(msgspec.Struct):
    """A proposal as stored."""

    digest: bytes
    direction: int
    fingerprint: bytes
    grid: str
    state: PeeringState
    agreement: bytes
    descriptors: list[bytes]
    at: int

    def row(self) -> tuple[Any, ...]:
        """As a row of `proposals`."""
        packed = msgspec.msgpack.encode(self.descriptors)
        return (
            self.digest,
            self.direction,
            self.fingerprint,
            self.grid,
            int(self.state),
            self.agreement,
            packed,
            self.at,
        )


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """Terms that an operator proposes; amounts in minor units, times in milliseconds."""

    asset: str
    scale: int
    our_credit_limit: int
    """Most that this grid may owe."""
    their_credit_limit: int
    our_max_unagreed: int
    their_max_unagreed: int
    claim_window_ms: int
    max_skew_ms: int
    max_open_holds: int
    max_hold_ms: int


class PeeringDesk:
    """Everything about peerings that is not the link itself."""

    def __init__(self, grid: Grid, store: Store, links: LinkService, calls: StrangerCalls, submit: Submit) -> None:
        self._grid = grid
        self._store = store
        self._links = links
        self._calls = calls
        self._submit = submit
        self._tasks: set[asyncio.Task[None]] = set()
        self.proposals: dict[bytes, Proposal] = {}
        self.states: dict[str, PeeringState] = {}
        """Link → state of its peering."""
        self.pins = Pins(grid.world, links, calls, submit)

    # -- loading ----------------------------------------------------------------------------------

    def load(self) -> None:
        """Bring peerings and proposals back from the store."""
        for digest, direction, fingerprint, grid, state, agreement, packed, at in self._store.all_rows("proposals"):
            descriptors = msgspec.msgpack.decode(packed, type=list[bytes])
            self.proposals[digest] = Proposal(
                digest, direction, fingerprint, grid, PeeringState(state), agreement, descriptors, at
            )
        for row in self._store.all_rows("peerings"):
            self._add(PeeringRow.read(row))
        restore_catalog(self._grid.world, self._store)
        restore_owed(self._grid.world, self._store)
        restore_orphans(self._grid.world, self._store)

    def start(self) -> None:
        """Dial peers and ask after own proposals."""
        for link in self._grid.world.links.values():
            self._links.keep(link, reach_of(link.peer))
        for proposal in self.proposals.values():
            self._follow(proposal)

    async def stop(self) -> None:
        """Stop asking."""
        await cancelled(self._tasks)

    def _add(self, row: PeeringRow) -> Link:
        own = self._grid.world.own
        verified = self._verify(row.agreement, verify_history(row.descriptors))
        genesis = verified.genesis
        name = genesis.hex()
        terms = link_terms(verified, own.fingerprint)
        asset = (verified.asset, verified.scale)
        side = pinned(row.descriptors)
        link = Link(name, genesis, own, side, terms, asset, partial(load_hold, self._store, name, terms))
        link.agreement = row.agreement if verified.proposer.fingerprint == own.fingerprint else b""
        restore_link(self._store, link)
        self.pins.add(link, row)
        self._set_state(name, row.state)
        return link

    def _verify(self, agreement: bytes, peer: VerifiedDescriptor) -> VerifiedAgreement:
        """Check an agreement that may have been signed before either side's keys were rotated."""
        own = verify_history(self._grid.world.own.descriptors)
        stated = Agreement.FromString(envelope.peek_unverified(agreement)[1])
        parties = (own, peer) if stated.proposer.fingerprint == own.fingerprint else (peer, own)
        return agreements.verify(agreement, *parties)

    def _set_state(self, link: str, state: PeeringState) -> None:
        self.states[link] = state
        world = self._grid.world
        (world.suspended.discard if state is PeeringState.ACTIVE else world.suspended.add)(link)
        if state is PeeringState.TERMINATED:
            world.ended.add(link)

    # -- who connects -----------------------------------------------------------------------------

    def offers(self, fingerprint: bytes, genesis: bytes, root: bytes) -> list[tuple[bytes, bytes]]:
        """Offers that this grid advertises under a root, as (digest, bytes). Raises: UNKNOWN_GENESIS."""
        world = self._grid.world
        link = world.links.get(genesis.hex())
        if link is None or link.peer.fingerprint != fingerprint:
            raise IntertieError("UNKNOWN_GENESIS", "No peering with this grid has that genesis.")
        routes = [r.offers for r in world.catalog.routes.values() if r.root_digest == root]
        digests = routes[0] if routes else [o.digest for o in world.catalog.own.values()]
        return [(d, world.catalog.offers[d].data) for d in digests if d in world.catalog.offers]

    # -- strangers (ports.Strangers) ----------------------------------------------------------------

    def descriptors(self, after_version: int) -> Sequence[bytes]:
        """This grid's descriptor chain."""
        return self._grid.world.own.descriptors[after_version:]

    async def propose(self, request: dr.ProposeRequest) -> dr.ProposeResponse:
        """A stranger proposes, or asks how its proposal stands."""
        own = self._grid.world.descriptor
        peer = verify_chain(list(request.descriptors))
        verified = agreements.verify(request.agreement, peer)
        meant = verified.acceptor
        if (meant.fingerprint, meant.grid) != (own.fingerprint, own.grid) or verified.version != 1:
            raise IntertieError("AGREEMENT_INVALID", "The proposal is not a first agreement with this grid.")
        self._check_pinned(peer)
        asked = Proposal(
            verified.digest, INCOMING, peer.fingerprint, peer.grid, PeeringState.PROPOSED, verified.envelope,
            list(request.descriptors), wall_clock(),
        )  # fmt: skip
        return _standing(await durable(self._submit, lambda fx: self._known(asked, fx)))

    def _check_pinned(self, peer: VerifiedDescriptor) -> None:
        """Check a descriptor against what is pinned: the own one and those of peers, not what others advertise."""
        check_certificates(peer.grid, peer.certificates)
        known = self._grid.world.executors.get(peer.fingerprint)
        if known is not None:
            check_update(known, peer)
        self._check_name(peer.fingerprint, peer.grid)

    def _check_name(self, fingerprint: bytes, grid: str) -> None:
        """Check that a name is not pinned to another grid (IT-PEE-020, step 6; IT-PEE-029)."""
        world = self._grid.world
        pinned = {world.own.grid: world.fingerprint}
        pinned |= {link.peer.grid: link.peer.fingerprint for link in world.links.values()}
        if pinned.get(grid, fingerprint) != fingerprint:
            raise IntertieError("DESCRIPTOR_INVALID", f"The name {grid} is pinned to another grid here.")

    def _known(self, asked: Proposal, fx: Effects) -> Proposal:
        """A step: the proposal as it is stored, newly if there is room.

        Its state is told once the step is durable, so that nothing is answered that a crash could take back.
        Raises: IntertieError NODE_BUSY.
        """
        known = self.proposals.get(asked.digest)
        if known is not None:
            return known
        pending = [p for p in self.proposals.values() if p.state is PeeringState.PROPOSED]
        if len(pending) >= MAX_PENDING:
            raise IntertieError("NODE_BUSY", "Too many proposals wait for the operator; try again later.")
        return self._put(asked, fx)

    # -- operators --------------------------------------------------------------------------------

    async def offer_peering(self, address: str, fingerprint: bytes | None, offered: Offered) -> Proposal:
        """Propose to the grid at a public address.

        Raises: IntertieError PEER_UNAVAILABLE, DESCRIPTOR_INVALID if the fingerprint is not the typed one.
        """
        described = await self._calls.descriptors(address)
        peer = verify_chain(described)
        if fingerprint is not None and peer.fingerprint != fingerprint:
            raise IntertieError(
                "DESCRIPTOR_INVALID",
                f"{address} is {peer.grid} with fingerprint {peer.fingerprint.hex()}, not the one that was typed.",
                version=str(peer.version),
                field="fingerprint",
            )
        self._check_pinned(peer)
        world = self._grid.world
        terms = agreements.Terms(
            proposer=self._party(world.descriptor, offered.our_credit_limit, offered.our_max_unagreed),
            acceptor=self._party(peer, offered.their_credit_limit, offered.their_max_unagreed),
            asset=offered.asset,
            scale=offered.scale,
            claim_window_ms=offered.claim_window_ms,
            max_skew_ms=offered.max_skew_ms,
            max_open_holds=offered.max_open_holds,
            max_hold_ms=offered.max_hold_ms,
            proposed_at=wall_clock(),
        )
        sealed = agreements.propose(terms, world.own.key)
        digest = agreements.verify(sealed, world.descriptor).digest
        proposal = Proposal(
            digest, OUTGOING, peer.fingerprint, peer.grid, PeeringState.PROPOSED, sealed, described, wall_clock()
        )
        await durable(self._submit, lambda fx: self._put(proposal, fx))
        self._follow(proposal)
        return proposal

    @staticmethod
    def _party(grid: VerifiedDescriptor, credit_limit: int, max_unagreed: int) -> agreements.Party:
        return agreements.Party(grid.fingerprint, grid.grid, secrets.token_bytes(16), credit_limit, max_unagreed)

    async def decide(self, digest: bytes, act: PeeringAct) -> Proposal:
        """Accept or refuse an incoming proposal, or withdraw an own one, which nobody has decided before.

        Raises: IntertieError NOT_FOUND, INVALID_ARGUMENT if it is decided, DESCRIPTOR_INVALID if its name has been
        pinned to another grid meanwhile.
        """
        decided: Proposal = await durable(self._submit, lambda fx: self._decide(digest, act, fx))
        return decided

    def _decide(self, digest: bytes, act: PeeringAct, fx: Effects) -> Proposal:
        """A step: of two decisions at once the first counts, the other finds the proposal decided."""
        proposal = self.proposals.get(digest)
        if proposal is None or proposal.direction != DECIDES[act]:
            raise IntertieError("NOT_FOUND", "No such proposal has this digest: intertie peer list shows them.")
        state, agreement = after(proposal.state, act), proposal.agreement
        if state is PeeringState.ACTIVE:
            world = self._grid.world
            peer = verify_chain(proposal.descriptors)
            agreement = agreements.countersign(agreement, peer, world.descriptor, world.own.key)
        return self._settle(msgspec.structs.replace(proposal, state=state, agreement=agreement), fx)

    async def change(self, link: str, act: PeeringAct) -> PeeringState:
        """Suspend, resume or terminate a peering: only new orders are refused.

        Raises: IntertieError NOT_FOUND, INVALID_ARGUMENT if its state does not allow it.
        """
        state: PeeringState = await durable(self._submit, lambda fx: self._change(link, act, fx))
        return state

    def _change(self, link: str, act: PeeringAct, fx: Effects) -> PeeringState:
        if link not in self.states:
            raise IntertieError("NOT_FOUND", "No peering has this genesis: intertie peer list shows them.")
        state = after(self.states[link], act)
        self.pins.put(link, fx, state=state)
        self._set_state(link, state)
        return state

    # -- following own proposals --------------------------------------------------------------------

    def _follow(self, proposal: Proposal) -> None:
        if proposal.direction == OUTGOING and proposal.state is PeeringState.PROPOSED:
            task = asyncio.create_task(self._ask(proposal))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, proposal: Proposal) -> None:
        peer = verify_chain(proposal.descriptors)
        request = dr.ProposeRequest(descriptors=self._grid.world.own.descriptors, agreement=proposal.agreement)
        reach = Reach(peer.grid, peer.public_endpoints, peer.certificates)
        delay = POLL_S
        while self.proposals[proposal.digest].state is PeeringState.PROPOSED:
            try:
                await self._answered(proposal, peer, await self._calls.propose(reach, request))
            except IntertieError as error:
                log.info("proposal to %s: %s", peer.grid, error)
                delay = min(30.0, delay * 1.5)
            except Exception:
                log.exception("asking %s about a proposal has failed; it is tried again", peer.grid)
                delay = min(30.0, delay * 1.5)
            await asyncio.sleep(delay)

    async def _answered(self, proposal: Proposal, peer: VerifiedDescriptor, answer: dr.ProposeResponse) -> None:
        act = _ANSWERS.get(answer.state)
        if act is None:
            return
        state, agreement = after(proposal.state, act), proposal.agreement
        if state is PeeringState.ACTIVE:
            agreement = self._countersigned(proposal, peer, answer.agreement)
        decided = msgspec.structs.replace(proposal, state=state, agreement=agreement)
        await durable(self._submit, lambda fx: self._hear(decided, fx))

    def _hear(self, decided: Proposal, fx: Effects) -> None:
        """A step: what the other grid has decided counts unless the proposal was withdrawn before."""
        if self.proposals[decided.digest].state is PeeringState.PROPOSED:
            self._settle(decided, fx)

    def _countersigned(self, proposal: Proposal, peer: VerifiedDescriptor, answer: bytes) -> bytes:
        """The answer to a proposal, if it is that proposal with the acceptor's signature added (IT-PEE-028).

        Raises: IntertieError AGREEMENT_INVALID for other terms, older ones that both had signed too; and as
        `agreements.verify`.
        """
        verified = agreements.verify(answer, self._grid.world.descriptor, peer)
        if verified.digest != proposal.digest:
            message = f"{peer.grid} answers with another agreement than the one that was proposed."
            raise IntertieError("AGREEMENT_INVALID", message, field="payload")
        return verified.envelope

    # -- steps ------------------------------------------------------------------------------------

    def _settle(self, proposal: Proposal, fx: Effects) -> Proposal:
        """Keep a decided proposal and the peering that follows from it: both are durable, or neither is.

        Raises: IntertieError AGREEMENT_INVALID if its genesis has been known before (IT-PEE-011), DESCRIPTOR_INVALID
        if its name has been pinned to another grid meanwhile (IT-PEE-029).
        """
        if proposal.state is PeeringState.ACTIVE:
            self._check_name(proposal.fingerprint, proposal.grid)
            genesis = chain.genesis(envelope.peek_unverified(proposal.agreement)[1])
            if genesis.hex() in self.states:
                raise IntertieError("AGREEMENT_INVALID", "A peering with this genesis is known already.")
            row = PeeringRow(
                genesis, proposal.fingerprint, proposal.grid, PeeringState.ACTIVE, proposal.agreement,
                self._latest(proposal), fx.now,
            )  # fmt: skip
            link = self._add(row)
            self.pins.put(link.name, fx)
            fx.reply(lambda link: self._links.keep(link, reach_of(link.peer)), link)
        return self._put(proposal, fx)

    def _latest(self, proposal: Proposal) -> tuple[bytes, ...]:
        """The longest chain of the proposal's grid: it may be a peer already, and have gone on meanwhile."""
        known = [row.descriptors for row in self.pins.rows.values() if row.fingerprint == proposal.fingerprint]
        return max((tuple(proposal.descriptors), *known), key=len)

    def _put(self, proposal: Proposal, fx: Effects) -> Proposal:
        row = proposal.row()
        fx.changes.put("proposals", row[:1], row)
        self.proposals[proposal.digest] = proposal
        return proposal


_ANSWERS: Mapping[int, PeeringAct] = {
    dr.PROPOSAL_STATE_REFUSED: PeeringAct.REFUSE,
    dr.PROPOSAL_STATE_ACCEPTED: PeeringAct.ACCEPT,
}
"""What the other grid has decided; every other answer leaves the proposal as it is."""


def _standing(proposal: Proposal) -> dr.ProposeResponse:
    if proposal.state is PeeringState.ACTIVE:
        return dr.ProposeResponse(state=dr.PROPOSAL_STATE_ACCEPTED, agreement=proposal.agreement)
    state = dr.PROPOSAL_STATE_REFUSED if proposal.state is PeeringState.REFUSED else dr.PROPOSAL_STATE_PENDING
    return dr.ProposeResponse(state=state)
