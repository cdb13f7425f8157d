"""A node without sockets or threads, and a consumer's end: the shipped core and desks over a store in memory.

Everything between the ports is the node's own: core, link service, peering desk. A batch here does what the
engine does: run the steps, commit, send, reply, start work. A node is restarted by `boot`: what its store holds
is all that it keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from tests.kit.identities import Identity, make_offer
from tests.kit.memory_store import MemoryStore

from intertie import descriptors
from intertie.errors import IntertieError
from intertie.ids import make_uuid7
from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Payload
from intertie_node.core import executing
from intertie_node.core.books import Account
from intertie_node.core.catalog import KnownOffer, known_offer
from intertie_node.core.effects import Effects
from intertie_node.core.grid import Grid
from intertie_node.core.invocations import Invocation
from intertie_node.core.link import Link, OwnSide
from intertie_node.core.opening import Phase
from intertie_node.core.recovery import load_invocations
from intertie_node.core.work import (
    CloseLink,
    FetchOffers,
    GiveInput,
    ReadEntries,
    ReadEvents,
    RecallOrder,
    StartWork,
    StopWork,
)
from intertie_node.core.world import Settings, World
from intertie_node.services.links import LinkService
from intertie_node.services.peerings import PeeringDesk
from intertie_node.services.turns import Step, Turns

Backend = Callable[["SimNode", StartWork], None]
"""Called after the commit that marked the work as started; reports back by `SimNode.report`."""


class Surroundings(Protocol):
    """What a node needs of the network that it is in (`tests.kit.network`)."""

    now: int
    ids: int
    """How many invocations have been asked for."""
    catalogs: dict[bytes, list[bytes]]
    """Fingerprint of a scripted peer → offers that it serves."""

    def by_fingerprint(self, fingerprint: bytes) -> SimNode | None:
        """The node with that fingerprint; None if it is a scripted peer's."""


def echo(node: SimNode, work: StartWork) -> None:
    """A backend that returns its input at once."""
    output = Payload(media_type=work.media_type, data=work.input)
    node.report(work.invocation, lambda inv, fx: executing.completed(node.world, inv, output, False, None, fx))


class SimNode:
    """A grid's core and services over a store in memory."""

    def __init__(self, network: Surroundings, name: str, settings: Settings, own_limits: lk.Limits) -> None:
        self.network = network
        self.identity = Identity(name)
        self.settings = settings
        self.limits = own_limits
        self.store = MemoryStore()
        self.backends: dict[str, Backend] = {"echo": echo}
        self.peers: list[Identity] = []
        self.working: set[str] = set()
        """Invocations whose work was started and not stopped."""
        self.given: list[GiveInput] = []
        self.nonces = 0

    @property
    def fingerprint(self) -> bytes:
        return self.identity.fingerprint

    # -- starting ---------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start, or start again from what the store holds."""
        identity = self.identity
        keys = {k.key.key_id: k.key for k in descriptors.verify_history(identity.chain).signing_keys}
        own = OwnSide(identity.fingerprint, identity.grid, identity.key, keys, identity.chain, self.limits, frozenset())
        self.working.clear()
        self.world = World(own, identity.descriptor, self.settings, identity.secret, lambda schema, data: None)
        self.grid = Grid(self.world, self._nonce)
        self.turns = self.make_turns()
        nobody: Any = None
        self.links = LinkService(self.grid, self.store, nobody, self.submit)
        self.desk = PeeringDesk(self.grid, self.store, self.links, nobody, self.submit)
        for row in self.store.all_rows("accounts"):
            self.world.books.put_account(Account(*row))
        for name, asset, debits, credits_ in self.store.all_rows("balances"):
            self.world.books.balances[name, asset] = [debits, credits_]
        self.desk.load()
        offers = [self.own_offer(name) for name in self.backends]
        self.submit(lambda fx: self.grid.set_offers(offers, fx))
        rows = self.store.active_invocations()
        self.submit(lambda fx: load_invocations(self.world, rows, fx))

    def make_turns(self) -> Turns:
        """The order in which this node computes, commits and speaks."""
        return Turns(self.grid, self.clock, self._perform, lambda: 0.0)

    def own_offer(self, name: str) -> KnownOffer:
        data = make_offer(self.fingerprint, name, features=["idempotent"] if name == "echo" else [])
        return known_offer(self.fingerprint, self.identity.grid, data)

    def _nonce(self) -> bytes:
        self.nonces += 1
        return self.identity.secret[:12] + self.nonces.to_bytes(4, "big")

    def link(self, peer: SimNode | Identity | None = None) -> Link:
        """The link with a peer; the only one if none is named."""
        found = [x for x in self.world.links.values() if peer is None or x.peer.fingerprint == peer.fingerprint]
        assert len(found) == 1
        return found[0]

    # -- running ----------------------------------------------------------------------------------

    def clock(self) -> int:
        """This node's time, milliseconds since the Unix epoch."""
        return self.network.now

    def submit(self, step: Step) -> None:
        self.turns.inbox.append(step)

    def batch(self) -> None:
        """What the engine does in one turn."""
        self.turns.compute()
        changes = self.turns.launch()
        if changes is not None:
            self.store.commit(changes)
            self.turns.landed()

    def _perform(self, work: Any) -> None:
        plain: dict[Any, Callable[[Any], None]] = {
            ReadEvents: self.links.read_events,
            ReadEntries: self.links.read_entries,
            RecallOrder: self.links.recall,
            CloseLink: self.links.close,
            FetchOffers: self._fetch,
            StartWork: self._start,
            StopWork: self._stop,
            GiveInput: self._give,
        }
        plain[type(work)](work)

    def _fetch(self, work: FetchOffers) -> None:
        fingerprint = self.world.links[work.link].peer.fingerprint
        peer = self.network.by_fingerprint(fingerprint)
        if peer is None:
            received = self.network.catalogs.get(fingerprint, [])
        else:
            received = [data for _, data in peer.desk.offers(self.fingerprint, bytes.fromhex(work.link), work.root)]
        try:
            offers = self.links._checked(work, received)
        except IntertieError:  # logged by a node, which then goes on without them
            return
        self.submit(lambda fx: self.grid.offers_fetched(offers, fx))

    def _start(self, work: StartWork) -> None:
        self.working.add(work.invocation)
        self.backends[work.offer](self, work)

    def _stop(self, work: StopWork) -> None:
        self.working.discard(work.invocation)

    def _give(self, work: GiveInput) -> None:
        self.given.append(work)

    def report(self, key: str, act: Callable[[Invocation, Effects], None]) -> None:
        """Have `act` happen to an invocation, as a run's steps do."""

        def step(fx: Effects) -> None:
            inv = self.grid.by_key(key)
            if inv is not None:
                act(inv, fx)

        self.submit(step)

    # -- consumers --------------------------------------------------------------------------------

    def open_account(self, name: str, budget: int) -> None:
        account = Account(name, name.encode(), budget)
        self.submit(lambda fx: self.world.books.put_account(account))

    def invoke(self, offer: str, data: bytes = b"{}", account: str = "alice", **fields: Any) -> Listener:
        """Ask as a consumer does; the answer is heard by the listener."""
        from intertie_node.core import consuming

        self.network.ids += 1
        number = make_uuid7(self.network.now, self.network.ids.to_bytes(10, "big"))
        request = iv.Invocation(
            **{"id": number, "offer": offer, "max_charge": 1_000, "timeout_ms": 10_000, **fields}  # type: ignore[arg-type]
        )
        request.input.data = data
        listener = Listener(request)
        self.submit(lambda fx: consuming.invoke(self.world, account, request, listener, fx))
        return listener


class Listener:
    """A consumer's end of an invocation (`ports.Subscription`)."""

    def __init__(self, request: iv.Invocation) -> None:
        self.request = request
        self.next = 1
        self.events: list[Any] = []
        self.outcome: iv.Outcome | None = None
        self.refused = ""

    def push(self, item: iv.InvocationEvent) -> None:
        if item.HasField("outcome"):
            assert self.outcome is None, "two outcomes"
            self.outcome = item.outcome
        elif item.HasField("refused"):
            self.refused = item.refused.reason
        else:
            self.events.append(item.event)


def snapshot(node: SimNode) -> Any:
    """Everything durable, and everything in memory that entries may change."""
    links = {}
    for name, link in node.world.links.items():
        lanes = [(x.posted, x.pending, x.granted, x.agreed, x.open) for x in link.ledger.lanes]
        holds = {key: msgspec.msgpack.encode(hold) for key, hold in link.ledger.holds.items()}
        heads = [dict(log.heads) for log in link.pair.logs]
        dirty = [set(x) for x in link.ledger.dirty]
        claims = [dict(x) for x in link.ledger.claims]
        links[name] = (msgspec.msgpack.encode(link.stored()), lanes, holds, heads, dirty, claims)
    tables = {name: dict(rows) for name, rows in node.store.tables.items()}
    accounts = {name: msgspec.msgpack.encode(a) for name, a in node.world.books.accounts.items()}
    balances = {key: tuple(value) for key, value in node.world.books.balances.items()}
    return links, tables, accounts, balances, set(node.world.invocations), len(node.store.transfers)


def is_open(node: SimNode, peer: SimNode | Identity) -> bool:
    """Whether the link with a peer is open."""
    return node.link(peer).phase is Phase.OPEN
