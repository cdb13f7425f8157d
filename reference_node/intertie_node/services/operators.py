"""What the node does for its operator: implements the operator API (`adapters.http.operators.Operators`)."""

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from msgspec import Struct

from intertie.amounts import check_amount
from intertie.descriptors import verify_chain, verify_history
from intertie.errors import IntertieError
from intertie.names import is_address
from intertie.v1.catalog_pb2 import SearchRequest
from intertie.v1.invocation_pb2 import CancelRequest
from intertie_node import operator_api as api
from intertie_node.core import buying, selling
from intertie_node.core.link import Link
from intertie_node.core.opening import Phase
from intertie_node.core.peering import PeeringAct, PeeringState
from intertie_node.core.world import World
from intertie_node.ports import ME, THEM, Store, StrangerCalls
from intertie_node.services import accounts, log_pages, searching, views
from intertie_node.services.clock import wall_clock
from intertie_node.services.consumers import ConsumerDesk
from intertie_node.services.engine import Engine
from intertie_node.services.exporting import export_link, make_header
from intertie_node.services.links import LinkService
from intertie_node.services.naming import pick, place_in_list, place_in_log, state, unhex
from intertie_node.services.peerings import DECIDES, INCOMING, OUTGOING, Offered, PeeringDesk, Proposal
from intertie_node.services.piping import pieces
from intertie_node.services.runner import Runner
from intertie_node.services.waiting import durable

_NOT_SO: Mapping[int, str] = {
    INCOMING: "The proposal is {grid}'s: intertie peer accept or refuse decides on it.",
    OUTGOING: "The proposal to {grid} is this grid's own: the operator of {grid} accepts or refuses it. Until then "
    "intertie peer withdraw takes it back.",
}
"""Direction of a proposal → what to say to an act of the other direction."""


class Parts(Struct, frozen=True, kw_only=True):
    """What the desk speaks for."""

    world: World
    store: Store
    read_apart: Callable[[], AbstractContextManager[Store]]
    """Opens the store for reading in another thread."""
    engine: Engine
    runner: Runner
    links: LinkService
    peerings: PeeringDesk
    consumers: ConsumerDesk
    calls: StrangerCalls
    defaults: Offered
    """Terms that are proposed unless the operator says otherwise."""
    ports: dict[str, int]


class OperatorDesk:
    """Answers operators."""

    def __init__(self, parts: Parts) -> None:
        self._node = parts
        self._world = parts.world
        self._started_at = wall_clock()

    # -- the node ---------------------------------------------------------------------------------

    def status(self) -> api.Status:
        """How the node is."""
        world, engine = self._world, self._node.engine
        return api.Status(
            grid=world.own.grid,
            fingerprint=world.fingerprint.hex(),
            state="draining" if world.draining else "serving",
            asset=world.settings.asset,
            scale=world.settings.scale,
            now=wall_clock(),
            started_at=self._started_at,
            pid=os.getpid(),
            ports=self._node.ports,
            offers=len(world.catalog.offers),
            peerings=len(world.links),
            links_up=sum(link.phase is Phase.OPEN for link in world.links.values()),
            invocations=sum(not inv.ended for inv in world.invocations.values()),
            running=self._node.runner.running,
            commits=engine.commits,
            steps=engine.steps,
        )

    def measures(self) -> api.Measures:
        """What the metrics show."""
        node, world = self._node, self._world
        return api.Measures(
            commits=node.engine.commits,
            steps=node.engine.steps,
            frames_in=node.links.frames_in,
            frames_out=node.engine.frames_out,
            running=node.runner.running,
            offers=len(world.catalog.offers),
            invocations=views.count_states(world),
            links=[self._peering(link) for link in world.links.values()],
        )

    def descriptor(self) -> api.DescriptorView:
        """This grid's descriptor."""
        return views.descriptor(self._world.descriptor, self._world.own.descriptors)

    # -- peerings ---------------------------------------------------------------------------------

    def peerings(self, after: str, limit: int) -> api.Page[api.PeeringView]:
        """Peerings with their links."""
        every = [self._peering(link) for link in self._world.links.values()]
        return views.paged(every, lambda view: view.genesis, after, limit)

    def _peering(self, link: Link) -> api.PeeringView:
        closed = self._node.links.closed.get(link.name, "")
        return views.peering(link, self._node.peerings.states[link.name], closed)

    def proposals(self, after: str, limit: int) -> api.Page[api.ProposalView]:
        """Proposals of both directions."""
        stored = views.paged(self._node.peerings.proposals.values(), lambda p: p.digest.hex(), after, limit)
        return api.Page([self._proposal(proposal) for proposal in stored.items], stored.next)

    def _proposal(self, stored: Proposal) -> api.ProposalView:
        return views.proposal(stored, verify_history(self._world.own.descriptors))

    async def look(self, address: str) -> api.DescriptorView:
        """Who is at a public address. Raises: IntertieError INVALID_ARGUMENT, and what reaching it raises."""
        if not is_address(address):
            raise IntertieError("INVALID_ARGUMENT", f"{address[:300]!r} is not host:port.", field="address")
        chain = await self._node.calls.descriptors(address)
        return views.descriptor(verify_chain(chain), chain)

    async def propose(self, request: api.ProposeRequest) -> api.ProposalView:
        """Propose a peering to the grid with the given fingerprint.

        Raises: IntertieError INVALID_ARGUMENT, also for this grid itself, AMOUNT_INVALID, and what
        `PeeringDesk.offer_peering` raises.
        """
        if not is_address(request.address):
            raise IntertieError("INVALID_ARGUMENT", f"{request.address[:300]!r} is not host:port.", field="address")
        fingerprint = unhex(request.fingerprint)
        if fingerprint == self._world.fingerprint:
            message = f"{request.address} is this grid itself, {self._world.own.grid}: it has no peering with itself."
            raise IntertieError("INVALID_ARGUMENT", message, field="address")
        terms = views.offered(request, self._node.defaults)
        for amount in (
            terms.our_credit_limit,
            terms.their_credit_limit,
            terms.our_max_unagreed,
            terms.their_max_unagreed,
        ):
            check_amount(amount)
        stored = await self._node.peerings.offer_peering(request.address, fingerprint, terms)
        return self._proposal(stored)

    async def decide(self, proposal: str, act: str) -> api.ProposalView:
        """Accept or refuse an incoming proposal, or withdraw an own one.

        Raises: IntertieError NOT_FOUND, INVALID_ARGUMENT if it is decided or not for this grid to decide so.
        """
        wanted = PeeringAct(act)
        known = self._node.peerings.proposals.values()
        meant = {p.digest.hex(): p for p in known if p.direction == DECIDES[wanted]}
        found = pick(proposal, {key: p for key, p in meant.items() if p.state is PeeringState.PROPOSED})
        if found is None:
            self._refuse_other(proposal, wanted)
            found = pick(proposal, meant)
        if found is None:
            message = f"No {views.DIRECTIONS[DECIDES[wanted]]} proposal is {proposal[:300]!r}: intertie peer list."
            raise IntertieError("NOT_FOUND", message)
        return self._proposal(await self._node.peerings.decide(found.digest, wanted))

    def _refuse_other(self, named: str, act: PeeringAct) -> None:
        """Raises: IntertieError INVALID_ARGUMENT if that is a proposal of the other direction, which waits."""
        known = self._node.peerings.proposals.values()
        waiting = (p for p in known if p.direction != DECIDES[act] and p.state is PeeringState.PROPOSED)
        other = pick(named, {p.digest.hex(): p for p in waiting})
        if other is not None:
            message = _NOT_SO[other.direction].format(grid=other.grid)
            raise IntertieError("INVALID_ARGUMENT", message, field="proposal")

    async def change(self, peering: str, act: str) -> api.PeeringView:
        """Suspend, resume or terminate a peering."""
        link = self._link(peering)
        await self._node.peerings.change(link.name, PeeringAct(act))
        return self._peering(link)

    def _link(self, name: str) -> Link:
        states = self._node.peerings.states
        views_by_name = {key: link.peer for key, link in self._world.links.items()}
        alive = {key: peer for key, peer in views_by_name.items() if states[key] is not PeeringState.TERMINATED}
        found = pick(name, alive) or pick(name, views_by_name)
        if found is None:
            raise IntertieError("NOT_FOUND", f"No peering is {name[:300]!r}: intertie peer list shows them.")
        return next(link for link in self._world.links.values() if link.peer is found)

    # -- accounts ---------------------------------------------------------------------------------

    def accounts(self, after: str, limit: int) -> api.Page[api.AccountView]:
        """Consumer accounts."""
        every = [views.account(held) for held in self._world.books.accounts.values()]
        return views.paged(every, lambda view: view.account, after, limit)

    async def create_token(self, request: api.TokenRequest) -> api.TokenMade:
        """A new bearer token; shown once, stored as a hash."""
        token = secrets.token_urlsafe(32)
        digest = hashlib.sha256(token.encode()).digest()

        accounts.check(request)
        books = self._world.books

        def step(fx: Any) -> None:
            books.put_account(accounts.renewed(books, request, digest, fx.now))

        await durable(self._node.engine.submit, step)
        return api.TokenMade(request.account, token, request.budget)

    async def revoke_token(self, account: str) -> api.AccountView:
        """Revoke an account's token. Raises: IntertieError NOT_FOUND."""
        held = self._world.books.accounts.get(account)
        if held is None:
            raise IntertieError("NOT_FOUND", f"No account is {account[:300]!r}: intertie token list shows them.")

        def step(fx: Any) -> None:
            held.revoked = held.revoked or fx.now
            self._world.books.put_account(held)

        await durable(self._node.engine.submit, step)
        return views.account(held)

    # -- invocations ------------------------------------------------------------------------------

    def invocations(self, account: str, states: Sequence[str], after: str, limit: int) -> api.Page[api.InvocationView]:
        """Invocations, newest first."""
        wanted = [state(name) for name in states]
        rows = self._node.store.invocations_page(account or None, place_in_list(after), limit + 1, wanted)
        shown = [views.invocation(row, self._world) for row in rows[:limit]]
        return api.Page(shown, rows[limit - 1][0] if len(rows) > limit else "")

    def invocation(self, id: str) -> Sequence[api.InvocationView]:
        """The invocations that have this id."""
        return [views.invocation(row, self._world) for row in self._rows(id)]

    def _rows(self, id: str) -> list[Any]:
        # Keys are "id@caller", and "A" follows "@".
        rows = self._node.store.invocations_page(None, f"{id}A", api.MAX_PAGE, [])
        found = [row for row in rows if row[0].startswith(f"{id}@")]
        if not found:
            raise IntertieError("NOT_FOUND", f"No invocation has the id {id[:300]!r}.")
        return found

    async def cancel(self, id: str) -> Sequence[api.InvocationView]:
        """Ask the invocations that have this id to stop."""
        for row in self._rows(id):
            request = CancelRequest(id=id, comment="Stopped by the operator.")
            await self._node.consumers.cancel(views.caller_of(row), request)
        return self.invocation(id)

    # -- books and logs ---------------------------------------------------------------------------

    def balances(self) -> Sequence[api.TrialBalance]:
        """Trial balance of each asset."""
        return views.trial_balances(self._world)

    async def credit(self, request: api.CreditRequest) -> api.CreditView:
        """Take back part of what was charged for an order of a peer.

        Raises: IntertieError NOT_FOUND for no order, AMOUNT_INVALID, and what `selling.credit` raises.
        """
        link, order_seq = self._order(request.order)
        amount = check_amount(int(request.amount))
        if link.ledger.find(THEM, order_seq) is None:
            message = f"The log of {link.peer.grid} has no order {order_seq}: intertie ledger log shows those it has."
            raise IntertieError("NOT_FOUND", message)

        def step(fx: Any) -> int:
            return selling.credit(self._world, link, order_seq, amount, request.comment, fx)

        seq = await durable(self._node.engine.submit, step)
        hold = link.ledger.find(THEM, order_seq)
        left = api.Amount(hold.posted if hold else 0)
        return api.CreditView(peer=link.peer.grid, order_seq=order_seq, seq=seq, amount=request.amount, left=left)

    async def withdraw(self, request: api.WithdrawRequest) -> api.WithdrawView:
        """Take an own refusal back."""
        peer, entry_seq = place_in_log(request.entry, "entry")
        link = self._link(peer)
        seq = await durable(self._node.engine.submit, lambda fx: buying.withdraw(link, entry_seq, fx))
        return api.WithdrawView(peer=link.peer.grid, entry_seq=entry_seq, seq=seq)

    def _order(self, named: str) -> tuple[Link, int]:
        """The link and seq of a peer's order. Raises: NOT_FOUND, INVALID_ARGUMENT."""
        if "/" in named:
            peer, seq = place_in_log(named, "order")
            return self._link(peer), seq
        callers = [views.caller_of(row).split(":") for row in self._rows(named)]
        orders = [(parts[1], int(parts[2])) for parts in callers if parts[0] == "link"]
        if len(orders) != 1:
            message = f"The invocation {named[:80]!r} is no order of a peer: name one, or PEER/SEQ."
            raise IntertieError("INVALID_ARGUMENT", message, field="order")
        return self._world.links[orders[0][0]], orders[0][1]

    def entries(self, peering: str, after: str, limit: int, last: bool) -> api.Page[api.EntryView]:
        """Both logs of a link, interleaved."""
        link, store = self._link(peering), self._node.store
        names, following = (self._world.own.grid, link.peer.grid), ""
        upto = (link.pair.logs[ME].seq, link.pair.logs[THEM].seq)
        if last:
            told = log_pages.last_page(store, link.name, upto, limit)
        else:
            told, following = log_pages.page(store, link.name, log_pages.position(after), upto, limit)
        return api.Page([log_pages.view(item, names) for item in told], following)

    def export(self, peering: str) -> AsyncIterator[bytes]:
        """The `.intertie` file of a link, written in a thread with a connection of its own."""
        link = self._link(peering)
        row = self._node.store.row("peerings", (link.genesis,))
        assert row is not None
        header = make_header(self._world.fingerprint, self._world.own.descriptors, _chain(row[5]), row[4])

        def write(out: Any) -> None:
            with self._node.read_apart() as store:
                export_link(store, link.name, header, out)

        return pieces(write)

    def offers(self, text: str, after: str, limit: int) -> api.Page[api.OfferView]:
        """A page of the catalog, best first."""
        shown: list[api.OfferView] = []
        while True:
            size = min(limit - len(shown), searching.MAX_PAGE)
            request = SearchRequest(text=text, page_size=size, page_token=after)
            found = searching.search(self._world, request, wall_clock())
            shown += map(views.offer, found.offers)
            after = found.next_page_token
            if not after or len(shown) >= limit:
                return api.Page(shown, after)


def _chain(packed: bytes) -> list[bytes]:
    return msgspec.msgpack.decode(packed, type=list[bytes])
