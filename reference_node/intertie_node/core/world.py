"""The state of one grid's node, in memory. Steps change it; rows of what changed are written once a batch."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from intertie.descriptors import VerifiedDescriptor
from intertie.digests import SIZE
from intertie.errors import IntertieError
from intertie.records import RootCache
from intertie.v1.entry_pb2 import Order
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.metering_pb2 import Energy
from intertie_node.core.books import Books
from intertie_node.core.catalog import Catalog, KnownOffer
from intertie_node.core.effects import Effects
from intertie_node.core.invocations import End, Invocation, Spec
from intertie_node.core.ledger import THEM
from intertie_node.core.link import Link, OwnSide
from intertie_node.core.pinning import PeerSide
from intertie_node.core.schedule import Schedule


class Use(Struct):
    """What one upstream uses of a downstream link's limits (`core.sharing`)."""

    open: int = 0
    pending: int = 0
    unagreed: int = 0


class Settings(Struct, frozen=True, kw_only=True):
    """What the operator has fixed; amounts in minor units, times in milliseconds."""

    asset: str = "XTS"
    scale: int = 6
    place: str = ""
    relay: bool = False
    markup_num: int = 1
    markup_den: int = 1
    fee: int = 0
    share: tuple[int, int] = (1, 2)
    """(num, den): part of each downstream limit that one of several upstreams may use."""
    tolerated_outage_ms: int = 1_000
    tariff_lifetime_ms: int = 3_600_000
    hop_limit: int = 8
    max_input_bytes: int = 1 << 20
    event_credit: int = 64 * 1024
    max_timeout_ms: int = 3_600_000
    max_invocations: int = 16_384
    """Most invocations in memory; consumers' new ones are refused beyond. Those of peers: `Limits.orders`."""
    account_invocations: int = 8_192
    """Most of them that one account may have, so that none takes every place."""
    grace_ms: int = 2_000
    """How long after a deadline an outcome may still arrive before OUTCOME_UNKNOWN is reported."""


class StoredInvocation(Struct, array_like=True):
    """The `record` column of an invocation's row."""

    spec: Spec
    source: tuple[Any, ...]
    sink: tuple[Any, ...] | None
    last_event: int
    finished: bool
    reply: bytes = b""
    """The last input reply, serialized."""


class Orphan(Struct):
    """An own order that came back to a restored node before the order for which it had been placed."""

    link: str
    seq: int
    end: End | None = None
    """How its work ended, once that is known."""


class World:
    """Links, invocations, catalog and books of one node."""

    def __init__(
        self,
        own: OwnSide,
        descriptor: VerifiedDescriptor,
        settings: Settings,
        secret: bytes,
        check_input: Callable[[bytes, bytes], None],
    ) -> None:
        self.own = own
        self.fingerprint = own.fingerprint
        self.descriptor = descriptor
        self.settings = settings
        self.secret = secret
        """Node secret from which hop ids and nonces of relayed orders follow."""
        self.take_descriptor: Callable[[PeerSide, Effects], None] = lambda newer, fx: None
        """A newer descriptor of a known grid, verified to follow the pinned one, is taken up and kept."""
        self.check_input = check_input
        """(schema, input) → None; raises IntertieError INPUT_INVALID."""
        self.links: dict[str, Link] = {}
        self.suspended: set[str] = set()
        """Links whose peering refuses new orders."""
        self.catalog = Catalog()
        self.books = Books()
        self.roots = RootCache()
        self.executors: dict[bytes, VerifiedDescriptor] = {own.fingerprint: descriptor}
        """Fingerprint → descriptor of every grid whose records may be met."""
        self.invocations: dict[str, Invocation] = {}
        self.places: Counter[str] = Counter()
        """How many of them each caller has."""
        self.orders: dict[tuple[str, int, int], Invocation] = {}
        """(link, payer, order seq) → invocation, for orders of both sides."""
        self.orphans: dict[str, Orphan] = {}
        """By the id of the own order, which follows from the upstream one (`placing.relay_order_id`)."""
        self.recovering: dict[str, tuple[Invocation, Order]] = {}
        """By key: orders for which this node may have placed one downstream before it was restored (`rejoining`)."""
        self.owed: dict[str, set[tuple[str, int]]] = {}
        """Upstream link → (downstream link, order seq) of credits that wait until it has opened (`crediting`)."""
        self.find_invocation: Callable[[str], Invocation | None] = self.invocations.get
        """Key → invocation, also one that has been forgotten."""
        self.stored_events: Callable[[str], Iterable[bytes]] = lambda key: ()
        """Key → its durable events, serialized, in order."""
        self.ended: set[str] = set()
        """Links whose peering is terminated."""
        self.started_at = 0
        """When the process started, milliseconds since the Unix epoch."""
        self.adopted_until = 0
        """Time of the newest id among orders that came back to a restored node: ids up to it may be known."""
        self.waiting: dict[str, list[Invocation]] = {}
        """Link → orders that wait until `max_unagreed` has room."""
        self.paused: set[str] = set()
        """Keys of invocations that wait for a grant, or for room under `max_unagreed`: tried again at each tick."""
        self.finished: list[tuple[Invocation, End, Energy | None]] = []
        """Own work that ended in this batch: proven and claimed at its end."""
        self.draining = False
        self.uses: dict[str, dict[str, Use]] = {}
        """Uses counted in this batch: downstream link → upstream link, "" for consumers."""
        self.ways: dict[tuple[bytes, str], Any] = {}
        """Ways taken in this batch: (offer digest, link not to be taken) → the best `placing.Way`."""
        self._changed: dict[str, Invocation] = {}
        """By key: what the open batch has changed."""
        self._leaving: list[Invocation] = []
        """What is to be forgotten once the open batch is durable."""
        self.schedule = Schedule()
        self.at = self.schedule.at

    def granted(self, link: Link, inv: Invocation) -> int:
        """The grant of an order of the peer, minor units; 0 once its hold has ended."""
        hold = link.ledger.holds.get((THEM, inv.source.order[2])) if inv.source.order is not None else None
        return hold.granted if hold is not None else 0

    def parked(self, link: Link) -> int:
        """The grants of the peer's orders that wait, minor units: nothing is at stake for them yet."""
        waiting = self.waiting.get(link.name)
        return sum([self.granted(link, inv) for inv in waiting]) if waiting else 0

    def at_stake(self, link: Link) -> int:
        """What counts against the peer's `max_unagreed`, minor units, orders that wait left out."""
        return link.ledger.lanes[THEM].unagreed - self.parked(link)

    # -- invocations ------------------------------------------------------------------------------

    def add(self, inv: Invocation) -> None:
        """Take up a new invocation."""
        self.keep(inv)
        self.touch(inv)

    def keep(self, inv: Invocation) -> None:
        """Hold an invocation in memory."""
        if inv.key not in self.invocations:
            self.places[inv.spec.caller] += 1
        self.invocations[inv.key] = inv

    def touch(self, inv: Invocation) -> None:
        """Have the invocation's row written at the end of the batch."""
        self._changed[inv.key] = inv

    def forget(self, inv: Invocation) -> None:
        """Drop an invocation that has ended from memory; its row stays. One whose end is still to be told stays.

        So does one to whose end a consumer listens. One that the open batch has changed goes when that is durable:
        until then its row is not what it is.
        """
        if not inv.finished or (inv.source.order is None and inv.source.listening):
            return
        if inv.key in self._changed:
            self._leaving.append(inv)
            return
        if self.invocations.pop(inv.key, None) is not None:
            self._leave(inv.spec.caller)
        for party in (inv.source, inv.sink):
            if party is not None and party.order is not None:
                self.orders.pop(party.order, None)

    def _leave(self, caller: str) -> None:
        """Give a caller's place back; one without any is not counted: each order of a peer is a caller of its own."""
        self.places[caller] -= 1
        if not self.places[caller]:
            del self.places[caller]

    def flush_rows(self, fx: Effects) -> None:
        """Write the rows of changed invocations and of the books."""
        rows = fx.changes.puts["invocations"] if self._changed else {}
        for key, inv in self._changed.items():
            rows[key,] = invocation_row(inv)
        self._changed.clear()
        for inv in self._leaving:
            fx.reply(self.forget, inv)
        self._leaving.clear()
        self.ways.clear()
        self.uses.clear()
        self.books.flush(fx)
        self.catalog.flush(fx)

    # -- look-ups ---------------------------------------------------------------------------------

    def unheard(self) -> Iterator[Link]:
        """Links not opened since the process started: a restored node does not know what it has lost there."""
        return (link for link in self.links.values() if not link.can_append and link.name not in self.ended)

    def offer_of(self, digest: bytes) -> KnownOffer:
        """The offer with that digest. Raises: IntertieError OFFER_UNKNOWN."""
        offer = self.catalog.offers.get(digest)
        if offer is None:
            raise IntertieError("OFFER_UNKNOWN", "No offer with this digest is known here.", offer=digest[:SIZE].hex())
        return offer


def invocation_row(inv: Invocation) -> tuple[Any, ...]:
    """The row of an invocation; its inputs are dropped once it has ended."""
    spec = inv.spec
    ended = inv.ended and inv.finished
    kept = msgspec.structs.replace(spec, input=b"") if ended else spec
    sink = inv.sink.row() if inv.sink else None
    reply = inv.reply.SerializeToString() if inv.reply is not None and not ended else b""
    stored = StoredInvocation(kept, inv.source.row(), sink, inv.last_event, inv.finished, reply)
    record = msgspec.msgpack.encode(stored)
    outcome = inv.outcome.SerializeToString() if inv.outcome is not None else b""
    is_order = spec.caller.startswith("link:")
    active = 0 if ended and (is_order or inv.outcome is not None) else 1
    return (
        inv.key,
        None if is_order else spec.caller,
        spec.digest,
        spec.offer,
        inv.state,
        spec.created_at,
        inv.ended_at,
        active,
        record,
        outcome,
    )


def problem(reason: str, message: str, **metadata: str) -> Problem:
    """A problem of the errors registry, in this node's own words: they are short (others' go through `trimmed`)."""
    return Problem(reason=reason, message=message, metadata=metadata)
