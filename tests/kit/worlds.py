"""Grids in one process without sockets or threads: virtual time, stores in memory, frames passed as exact bytes.

Everything between the ports is the node's own: core, link service, peering desk. A batch here does what the
engine does: run the steps, commit, send, reply, start work. `Network.run` goes on until nothing is left to do;
`Network.wait` lets time pass. A node is restarted by `boot`: what its store holds is all that it keeps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from tests.kit.rogue import Rogue

from intertie import agreements, descriptors, envelope
from intertie.errors import IntertieError
from intertie.ids import make_uuid7
from intertie.keys import PrivateKey
from intertie.registry import LIMITS
from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import link_pb2 as lk
from intertie.v1.agreement_pb2 import Agreement
from intertie.v1.catalog_pb2 import CHARGE_ON_USAGE, OFFER_KIND_TOOL, Offer
from intertie.v1.envelope_pb2 import Payload
from intertie_node.core import executing
from intertie_node.core.books import Account
from intertie_node.core.catalog import KnownOffer, known_offer
from intertie_node.core.effects import Changes, Effects
from intertie_node.core.grid import Grid
from intertie_node.core.invocations import Invocation
from intertie_node.core.link import Link, OwnSide
from intertie_node.core.opening import Phase
from intertie_node.core.peering import PeeringState
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
from intertie_node.ports import TABLES, Row
from intertie_node.services.links import LinkService
from intertie_node.services.peerings import PeeringDesk
from intertie_node.services.turns import Step, Turns

START = 1_900_000_000_000
PRICES = {"order": (10, 1), "llm.output.token": (1, 10)}
MAX_BATCHES = 10_000

Backend = Callable[["SimNode", StartWork], None]
"""Called after the commit that marked the work as started; reports back by `SimNode.report`."""


class MemoryStore:
    """`ports.Store` in memory."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Row, Row]] = {name: {} for name in TABLES}
        self.transfers: list[Row] = []
        self.commits = 0

    def commit(self, changes: Changes) -> None:
        self.commits += 1
        for table, rows in changes.appends.items():
            width = TABLES[table][1]
            if not width:
                self.transfers.extend(rows)
                continue
            for row in rows:
                assert row[:width] not in self.tables[table], f"{table} has {row[:width]} already"
                self.tables[table][row[:width]] = row
        for table, puts in changes.puts.items():
            for key, put in puts.items():
                if put is None:
                    self.tables[table].pop(key, None)
                else:
                    assert put[: len(key)] == key
                    self.tables[table][key] = put

    def all_rows(self, table: str) -> list[Row]:
        return [row for _, row in sorted(self.tables[table].items())]

    def row(self, table: str, key: Row) -> Row | None:
        return self.tables[table].get(tuple(key))

    def open_holds(self, link: str) -> list[Row]:
        return [row for row in self.all_rows("holds") if row[0] == link and row[3] > 0]

    def active_invocations(self) -> list[Row]:
        return [row for row in self.all_rows("invocations") if row[7] == 1]

    def newest_invocation_id(self, account: str) -> str:
        return max((row[0] for row in self.tables["invocations"].values() if row[1] == account), default="")

    def invocations_page(self, account: str | None, before: str, limit: int, states: Sequence[int]) -> list[Row]:
        rows = [
            row
            for row in reversed(self.all_rows("invocations"))
            if account in (None, row[1]) and (not before or row[0] < before) and (not states or row[4] in states)
        ]
        return rows[:limit]

    def _limited(self, rows: Sequence[Row], max_bytes: int) -> list[Row]:
        taken: list[Row] = []
        for row in rows:
            max_bytes -= len(row[1])
            if taken and max_bytes < 0:
                break
            taken.append(row)
        return taken

    def entries(self, link: str, side: int, after: int, upto: int, max_bytes: int) -> list[Row]:
        log = self.tables["entries"]
        rows = [log[link, side, seq][2:] for seq in range(after + 1, upto + 1) if (link, side, seq) in log]
        return self._limited(rows, max_bytes)

    def signatures(self, link: str, signer: int, after: int, upto: int) -> list[Row]:
        rows = (row for row in self.all_rows("signatures") if row[:2] == (link, signer))
        return [row[2:] for row in rows if after < row[2] <= upto]

    def last_signature(self, link: str, signer: int) -> bytes | None:
        rows = self.signatures(link, signer, -1, 2**63)
        return rows[-1][2] if rows else None

    def events(self, invocation: str, after: int, max_bytes: int) -> list[Row]:
        rows = [row[1:] for row in self.all_rows("events") if row[0] == invocation and row[1] > after]
        return self._limited(rows, max_bytes)

    def transfers_page(self, before: int, limit: int) -> list[Row]:
        rows = [(n, *row) for n, row in enumerate(self.transfers, 1) if not before or n < before]
        return rows[::-1][:limit]

    def close(self) -> None:
        """Nothing is open."""


class Wire:
    """One end of a stream between two nodes (`ports.Connection`)."""

    def __init__(self, owner: Any, fingerprint: bytes) -> None:
        self.owner = owner
        self.fingerprint = fingerprint
        """Of the grid at the other end."""
        self.other: Wire
        self.sent: deque[bytes] = deque()
        """Frames on their way to the other end."""
        self.closed = ""
        self.fault = ""
        self.gone = False

    def send(self, frame: bytes) -> None:
        if not self.closed and not self.gone:
            self.sent.append(bytes(frame))

    def taken(self) -> None:
        """Frames wait for nothing here."""

    def close(self, reason: str) -> None:
        self.closed = self.closed or reason


def wired(a: Any, b: Any) -> tuple[Wire, Wire]:
    """A stream between two parties that have a fingerprint."""
    one, two = Wire(a, b.fingerprint), Wire(b, a.fingerprint)
    one.other, two.other = two, one
    return one, two


class Identity:
    """Keys and descriptor of a grid; the same for the same name."""

    def __init__(self, name: str) -> None:
        seed = name.encode().ljust(32, b".")[:32]
        self.grid = name
        self.root, self.key = PrivateKey.from_seed(seed), PrivateKey.from_seed(seed[::-1])
        keys = (descriptors.SigningKey(self.key.public, 0, START * 2),)
        statement = descriptors.Statement(grid=name, issued_at=1, signing_keys=keys)
        self.chain = [descriptors.issue([], statement, self.root)]
        self.descriptor = descriptors.verify_chain(self.chain)
        self.fingerprint = self.descriptor.fingerprint
        self.secret = seed

    def rotate(self, now: int, *, root: bool = False, key: bool = True, keep: bool = True) -> None:
        """A new version: with a new signing key, if asked, and root; the old key stays listed until `now`, or not."""
        seed = len(self.chain).to_bytes(1) + self.secret[1:]
        old_root, old = self.root, self.key
        self.root = PrivateKey.from_seed(seed) if root else old_root
        self.key = PrivateKey.from_seed(seed[::-1]) if key else old
        keys = [descriptors.SigningKey(self.key.public, 0, START * 2)]
        keys += [descriptors.SigningKey(old.public, 0, now)] if keep and key else []
        statement = descriptors.Statement(grid=self.grid, issued_at=now, signing_keys=tuple(keys))
        changed = old_root if root else None
        self.chain = [*self.chain, descriptors.issue(self.chain, statement, self.root, changed)]
        self.descriptor = descriptors.verify_chain(self.chain)


def limits(**changes: int) -> lk.Limits:
    """The default limits of a node."""
    values = {
        "frame_bytes": LIMITS["frame_bytes"].default,
        "inline_bytes": LIMITS["inline_bytes"].default,
        "input_bytes": LIMITS["input_bytes"].default,
        "orders": LIMITS["orders"].default,
        "hops": LIMITS["hops"].default,
    }
    return lk.Limits(**{**values, **changes})


def agreed(proposer: Identity, acceptor: Identity, **changes: Any) -> agreements.VerifiedAgreement:
    """A countersigned agreement; `credit_limit` and `max_unagreed` hold for both."""
    asset = {"asset": "XTS", "scale": 6}
    money = (changes.pop("credit_limit", 10**9), changes.pop("max_unagreed", 10**9))
    times = {"claim_window_ms": 2_000, "max_skew_ms": 1_000, "max_open_holds": 4_096, "max_hold_ms": 86_400_000}
    parties = [agreements.Party(p.fingerprint, p.grid, p.secret[:16], *money) for p in (proposer, acceptor)]
    terms = agreements.Terms(
        proposer=parties[0], acceptor=parties[1], proposed_at=START, **{**asset, **times, **changes}
    )
    sealed = agreements.propose(terms, proposer.key)
    sealed = agreements.countersign(sealed, proposer.descriptor, acceptor.descriptor, acceptor.key)
    return agreements.verify(sealed, proposer.descriptor, acceptor.descriptor)


def echo(node: SimNode, work: StartWork) -> None:
    """A backend that returns its input at once."""
    output = Payload(media_type=work.media_type, data=work.input)
    node.report(work.invocation, lambda inv, fx: executing.completed(node.world, inv, output, False, None, fx))


def make_offer(origin: bytes, name: str, prices: Mapping[str, tuple[int, int]] = PRICES, **fields: Any) -> bytes:
    """Exact bytes of an offer."""
    offer = Offer(
        kind=OFFER_KIND_TOOL, name=name, asset="XTS", scale=6, origin=origin, charge_on=CHARGE_ON_USAGE, **fields
    )
    for unit in sorted(prices):
        offer.prices.add(unit=unit, num=prices[unit][0], den=prices[unit][1])
    return offer.SerializeToString(deterministic=True)


class SimNode:
    """A grid's core and services over a store in memory."""

    def __init__(self, network: Network, name: str, settings: Settings, own_limits: lk.Limits) -> None:
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


class Network:
    """All nodes, the streams between them, and the time."""

    def __init__(self) -> None:
        self.now = START
        self.ids = 0
        self.nodes: list[SimNode] = []
        self.wires: list[Wire] = []
        self.catalogs: dict[bytes, list[bytes]] = {}
        """Fingerprint of a scripted peer → offers that it serves."""

    def add(self, name: str, own_limits: lk.Limits | None = None, **settings: Any) -> SimNode:
        """A node that is not started yet."""
        node = SimNode(self, name, Settings(**settings), own_limits or limits())
        self.nodes.append(node)
        return node

    def by_fingerprint(self, fingerprint: bytes) -> SimNode | None:
        return next((node for node in self.nodes if node.fingerprint == fingerprint), None)

    def peer(self, proposer: SimNode | Identity, acceptor: SimNode | Identity, **terms: Any) -> bytes:
        """Peer two grids before they are booted; returns the genesis. An Identity plays itself."""
        ids = [p.identity if isinstance(p, SimNode) else p for p in (proposer, acceptor)]
        agreement = agreed(*ids, **terms)
        for party, other in ((proposer, ids[1]), (acceptor, ids[0])):
            if isinstance(party, SimNode):
                packed = msgspec.msgpack.encode(other.chain)
                changes = Changes()
                row = (agreement.genesis, other.fingerprint, other.grid, int(PeeringState.ACTIVE))
                changes.put("peerings", row[:1], (*row, agreement.envelope, packed, self.now))
                party.store.commit(changes)
                party.peers.append(other)
        return agreement.genesis

    def connect(self, dialler: SimNode, acceptor: SimNode) -> tuple[Wire, Wire]:
        """A stream from one node to another."""
        mine, theirs = wired(dialler, acceptor)
        self.wires += [mine, theirs]
        link = dialler.link(acceptor)
        dialler.links.dialled(link, mine)
        return mine, theirs

    def rogue(self, node: SimNode, identity: Identity, own_limits: lk.Limits | None = None) -> Rogue:
        """A scripted peer of a node; its peering was made before the boot."""
        rows = node.store.all_rows("peerings")
        sealed = next(row[4] for row in rows if row[1] == identity.fingerprint)
        stated = agreements.verify(sealed, *self._parties(sealed, node.identity, identity))
        keys = {node.identity.key.public.key_id: node.identity.key.public}
        return Rogue(identity, keys, stated, lambda: self.now, own_limits or limits())

    @staticmethod
    def _parties(sealed: bytes, *grids: Identity) -> list[descriptors.VerifiedDescriptor]:
        proposer = Agreement.FromString(envelope.peek_unverified(sealed)[1]).proposer.fingerprint
        return [
            descriptors.verify_history(g.chain) for g in sorted(grids, key=lambda grid: grid.fingerprint != proposer)
        ]

    def dial(self, rogue: Rogue, node: SimNode) -> Wire:
        """A stream from a scripted peer to a node; returns the peer's end. Nothing is said yet."""
        mine, theirs = wired(rogue, node)
        self.wires += [mine, theirs]
        rogue.connected(mine.send)
        return mine

    def answer(self, rogue: Rogue, node: SimNode) -> Wire:
        """A stream that a node dials to a scripted peer."""
        mine, theirs = wired(rogue, node)
        self.wires += [mine, theirs]
        rogue.connected(mine.send, dialled=False)
        link = node.link(rogue.own)  # type: ignore[arg-type]
        node.links.dialled(link, theirs)
        return mine

    def cut(self, wire: Wire) -> None:
        """A stream breaks; what is on its way is lost."""
        for end in (wire, wire.other):
            end.sent.clear()
            if not end.gone:
                end.gone = True
                if isinstance(end.owner, SimNode):
                    end.owner.links.lost(end)
        self.wires = [w for w in self.wires if not w.gone]

    def _deliver(self) -> bool:
        moved = False
        for wire in list(self.wires):
            other = wire.other
            while wire.sent and not other.gone:
                frame, moved = wire.sent.popleft(), True
                if isinstance(other.owner, SimNode):
                    other.owner.links.frame(other, frame)
                else:
                    other.owner.hear(frame)
            if wire.closed and not wire.sent:
                self.cut(wire)
                moved = True
        return moved

    def run(self) -> None:
        """Run batches and deliver frames until nothing is left to do."""
        for _ in range(MAX_BATCHES):
            moved = self._deliver()
            for node in self.nodes:
                if node.turns.inbox:
                    moved = True
                    node.batch()
            if not moved:
                return
        raise AssertionError("the network does not come to rest")

    def wait(self, ms: int, tick: int = 100) -> None:
        """Let time pass, with ticks as a node has them."""
        end = self.now + ms
        while self.now < end:
            self.now = min(end, self.now + tick)
            for node in self.nodes:
                node.submit(node.grid.tick)
            self.run()

    def start(self) -> None:
        """Boot every node, dial every peering, and let the catalogs spread."""
        for node in self.nodes:
            node.boot()
        dialled: set[bytes] = set()
        for node in self.nodes:
            for link in node.world.links.values():
                other = self.by_fingerprint(link.peer.fingerprint)
                if other is not None and link.genesis not in dialled:
                    dialled.add(link.genesis)
                    self.connect(node, other)
        self.run()
        self.wait(1_000)


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
