"""Keeps links up: dials, receives, reads what has to be resent, fetches offers (design §7)."""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

import msgspec

from intertie import envelope
from intertie.encoding import parse
from intertie.errors import IntertieError
from intertie.registry import ERRORS
from intertie.v1 import link_pb2 as lk
from intertie_node.core.catalog import KnownOffer, known_offer
from intertie_node.core.effects import Effects
from intertie_node.core.grid import Grid
from intertie_node.core.invocations import Invocation
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.core.opening import Phase
from intertie_node.core.recovery import revive
from intertie_node.core.sinks import events_gone
from intertie_node.core.work import CloseLink, FetchOffers, ReadEntries, ReadEvents, RecallOrder
from intertie_node.ports import Connection, Dialler, Reach, Store
from intertie_node.services.restoring import order_id
from intertie_node.services.waiting import cancelled

log = logging.getLogger(__name__)
Submit = Callable[[Callable[[Effects], None]], None]
PAGE_BYTES = 1 << 20
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 5.0
FIRST_FETCH_S, LAST_FETCH_S = 1.0, 60.0
REFRESH_S = 10.0
"""How often a peer that cannot be dialled is asked for its descriptor."""
MAX_OFFERS_BYTES = 128 << 20
"""Offers that are kept of all origins of one link."""


class LinkService:
    """The shell around the core's links."""

    def __init__(self, grid: Grid, store: Store, dialler: Dialler, submit: Submit) -> None:
        self._grid = grid
        self._store = store
        self._dialler = dialler
        self._submit = submit
        self._reach: dict[str, Reach] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_connection: dict[Connection, Link] = {}
        grid.world.find_invocation = self._find
        grid.world.stored_events = self._stored_events
        self._fetching: dict[tuple[str, bytes], FetchOffers] = {}
        """(link, origin) → what is to be fetched, while a fetch is under way."""
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Link → held by the one fetch over it, so that it brings no more at a time than one may."""
        self.refresh: Callable[[Link], Awaitable[None]] | None = None
        """Asked for a peer's newest descriptor when it cannot be dialled."""
        self.closed: dict[str, str] = {}
        """Link → why its last connection was closed, for operators."""
        self.frames_in = 0
        """Frames received from peers since the start."""

    # -- keeping up -------------------------------------------------------------------------------

    def keep(self, link: Link, reach: Reach) -> None:
        """Dial the peer of a link whenever the link is down and wanted, from now on."""
        known = link.name in self._reach
        self._reach[link.name] = reach
        if not known:
            self._spawn(self._keep(link))

    def wanted(self, link: Link) -> bool:
        """Whether a link that is down is dialled: that of a terminated peering only until nothing is left to say.

        Where a copy was put back, the peer alone knows what is left: such a link has to open once after each start.
        """
        return link.name not in self._grid.world.ended or not link.can_append or not link.settled

    def redirect(self, link: Link, reach: Reach) -> None:
        """The peer of a link is reached otherwise from now on."""
        if link.name in self._reach:
            self._reach[link.name] = reach

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, link: Link) -> None:
        delay, refreshed = FIRST_RETRY_S, -REFRESH_S
        while True:
            if link.phase is Phase.DOWN and self.wanted(link):
                up = await self._attempt(link, self._dial(link))
                if not up and self.refresh is not None and monotonic() - refreshed > REFRESH_S:
                    await self._attempt(link, self.refresh(link))
                    refreshed = monotonic()
                delay = min(LAST_RETRY_S, delay * 2)
            elif link.phase is Phase.OPEN:
                delay = FIRST_RETRY_S
            await asyncio.sleep(delay * random.uniform(0.7, 1.3))  # noqa: S311 - jitter needs no secrecy

    async def _attempt(self, link: Link, work: Awaitable[None]) -> bool:
        """Whether one attempt went well; whatever fails ends that attempt alone, a fault of this node shows itself."""
        try:
            await work
        except IntertieError as error:
            self.closed[link.name] = str(error)
            return False
        except Exception as error:
            self.closed[link.name] = f"INTERNAL: {type(error).__name__}: {error}"
            log.exception("reaching %s has failed; it is tried again", link.peer.grid)
            return False
        return True

    async def _dial(self, link: Link) -> None:
        reach = self._reach[link.name]
        self.dialled(link, await self._dialler.dial(reach, link.peer.fingerprint, self))

    def dialled(self, link: Link, connection: Connection) -> None:
        """A stream to the peer of a link stands."""
        self._by_connection[connection] = link
        self._submit(lambda fx: self._grid.dialled(link, connection, fx))

    async def stop(self) -> None:
        """Stop dialling and close every connection."""
        await cancelled(self._tasks)
        for connection in list(self._by_connection):
            connection.close("NODE_DRAINING")

    # -- hearing (ports.Receiver) -----------------------------------------------------------------

    def frame(self, connection: Connection, data: bytes) -> None:
        """Hand a frame to the core; the first one of an accepted stream names its link."""
        self.frames_in += 1
        link = self._by_connection.get(connection) or self._name(connection, data)
        if link is None:
            connection.taken()
            return

        def step(fx: Effects) -> None:
            self._grid.frame(link, connection, data, fx)
            connection.taken()

        self._submit(step)

    def _name(self, connection: Connection, data: bytes) -> Link | None:
        """The link that the Open of an accepted stream asks for: must be one with the grid of the certificate."""
        try:
            if len(data) > self._grid.world.own.limits.frame_bytes:
                raise IntertieError("FRAME_TOO_LARGE", f"The first frame has {len(data)} bytes.")
            frame = parse(lk.Frame, data, len(data), "FRAME_MALFORMED")
            if frame.HasField("close"):  # its dialler has found meanwhile that another stream stands
                connection.close(frame.close.reason)
                return None
            if not frame.open:
                raise IntertieError("UNEXPECTED_FRAME", "The first frame of a stream must be an Open.")
            _, payload = envelope.peek_unverified(frame.open)
            stated = parse(lk.Open, payload, len(payload), "FRAME_MALFORMED")
            link = self._grid.world.links.get(stated.genesis.hex())
            if link is None or link.peer.fingerprint != connection.fingerprint:
                raise IntertieError("UNKNOWN_GENESIS", "No peering with this grid has that genesis.")
        except IntertieError as error:
            self._refuse(connection, error)
            return None
        self._by_connection[connection] = link
        return link

    @staticmethod
    def _refuse(connection: Connection, error: IntertieError) -> None:
        close = lk.Frame()
        close.close.reason, close.close.message = error.reason, error.message
        connection.send(close.SerializeToString())
        connection.close(error.reason)

    def lost(self, connection: Connection) -> None:
        """Tell the core that a connection has gone."""
        link = self._by_connection.pop(connection, None)
        if link is not None:
            if connection.fault:
                self.closed[link.name] = connection.fault
                log.warning("link with %s cut: %s", link.peer.grid, connection.fault)
            self._submit(lambda fx: self._grid.lost(link, connection, fx))

    # -- work of the core -------------------------------------------------------------------------

    def close(self, work: CloseLink) -> None:
        """Close a connection and remember why."""
        link = self._by_connection.get(work.connection)
        if link is not None:
            self.closed[link.name] = f"{work.reason}: {work.message}"
            level = logging.INFO if work.reason == "SUPERSEDED" else logging.WARNING
            log.log(level, "link with %s closed: %s: %s", link.peer.grid, work.reason, work.message)
        work.connection.close(work.reason)

    def read_entries(self, work: ReadEntries) -> None:
        """Read what the other side lacks, a page at a time, in an order that it can apply."""
        link = self._grid.world.links[work.link]
        frames, rest = resend_page(self._store, work, lambda seq: self._input(work.link, seq))
        if work.first:
            frames = [*held_signature(self._store, work.link), *frames]
        self._submit(lambda fx: self._grid.entries_read(link, work, frames, rest, fx))

    def _input(self, link: str, seq: int) -> bytes:
        inv = self._grid.world.orders.get((link, ME, seq))
        return inv.spec.input if inv is not None and not inv.ended else b""

    def read_events(self, work: ReadEvents) -> None:
        """Read durable events of own work."""
        rows = [(row[0], row[1]) for row in self._store.events(work.invocation, work.after, work.limit_bytes)]
        self._submit(lambda fx: self._grid.events_read(work.invocation, work.after, rows, fx))

    def _stored_events(self, key: str) -> Iterator[bytes]:
        """Durable events of an invocation, a page at a time."""
        after = 0
        while rows := self._store.events(key, after, PAGE_BYTES):
            yield from (data for _, data in rows)
            after = rows[-1][0]

    def _find(self, key: str) -> Invocation | None:
        """An invocation from memory, or brought back from the store."""
        world = self._grid.world
        row = self._store.row("invocations", (key,)) if key not in world.invocations else None
        return world.invocations.get(key) or (revive(world, row) if row is not None else None)

    def recall(self, work: RecallOrder) -> None:
        """Bring an ended order's invocation back for its payer, or say that its events are gone."""
        self._submit(lambda fx: self._recalled(work, fx))

    def _recalled(self, work: RecallOrder, fx: Effects) -> None:
        world = self._grid.world
        link = world.links[work.link]
        inv = world.orders.get((work.link, THEM, work.seq)) or self._stored_order(work)
        if inv is not None:
            world.at(fx.now + 60_000, "forget", inv.key)
        if inv is None or inv.sink is None:
            link.outbox.events.append(events_gone(work.seq, work.after))
            return
        inv.sink.resume(world, inv, work.after, work.credit, fx)

    def _stored_order(self, work: RecallOrder) -> Invocation | None:
        """The invocation of an order that is in memory no longer; within a step, so that its row is as it stands."""
        id = order_id(self._store, work.link, THEM, work.seq)
        return self._find(f"{id}@link:{work.link}:{work.seq}") if id else None

    def fetch_offers(self, work: FetchOffers) -> None:
        """Fetch offers in the background, one fetch of a link at a time; links go on meanwhile."""
        key = (work.link, work.origin)
        under_way = key in self._fetching
        self._fetching[key] = work
        if not under_way:
            self._spawn(self._fetch_all(key))

    async def _fetch_all(self, key: tuple[str, bytes]) -> None:
        """Fetch what was asked for last, until that has not changed; again what failed, while the link is up."""
        done, delay, link = None, FIRST_FETCH_S, self._grid.world.links[key[0]]
        try:
            while self._fetching[key] != done:
                async with self._turns[key[0]]:
                    work = self._fetching[key]
                    fetched = link.phase is Phase.DOWN or await self._fetch(work)
                if fetched or link.phase is Phase.DOWN:
                    done, delay = work, FIRST_FETCH_S
                else:
                    await asyncio.sleep(delay)
                    delay = min(LAST_FETCH_S, delay * 2)
        finally:
            del self._fetching[key]

    async def _fetch(self, work: FetchOffers) -> bool:
        """Fetch once; returns whether there is nothing to try again."""
        world = self._grid.world
        link, reach = world.links[work.link], self._reach.get(work.link)
        if reach is None:
            return True
        have = list(world.catalog.offers)[:4096]
        try:
            received = await self._dialler.offers(reach, link.genesis, work.root, have)
            offers = self._checked(work, received)
        except IntertieError as error:
            log.warning("offers from %s not fetched: %s", link.peer.grid, error)
            return ERRORS[error.reason].retry == "final"
        self._submit(lambda fx: self._fetched(work, offers, fx))
        return True

    def _fetched(self, work: FetchOffers, offers: Sequence[KnownOffer], fx: Effects) -> None:
        """A step: take what was fetched, unless the link would have brought too much."""
        world = self._grid.world
        size = world.catalog.size_over(work.link) + sum(len(offer.data) for offer in offers)
        if size <= MAX_OFFERS_BYTES:
            self._grid.offers_fetched(offers, fx)
            return
        error = IntertieError("PAYLOAD_TOO_LARGE", f"With these, the offers of one link would have {size} bytes.")
        world.catalog.refused[work.link] = str(error)
        log.warning("offers from %s not taken: %s", world.links[work.link].peer.grid, error)

    def _checked(self, work: FetchOffers, received: Sequence[bytes]) -> list[KnownOffer]:
        world = self._grid.world
        origin = world.executors.get(work.origin)
        if origin is None:
            return []
        offers = [known_offer(work.origin, origin.grid, data) for data in received]
        return [offer for offer in offers if offer.digest in work.missing]


def held_signature(store: Store, link: str) -> list[bytes]:
    """A frame with the other side's last signature: what it must not take back if it was restored from a copy."""
    data = store.last_signature(link, THEM)
    return [lk.Frame(returned_signature=lk.HeadSignature.FromString(data)).SerializeToString()] if data else []


def resend_page(
    store: Store, work: ReadEntries, input_of: Callable[[int], bytes]
) -> tuple[list[bytes], ReadEntries | None]:
    """Frames of stored groups of both logs that the other side lacks, and what is left for the next page.

    A group is the entries up to the first signature that covers them. It goes out once the other side will
    hold what that signature acknowledges, so the two logs are interleaved as they grew.
    """
    own = _groups(store, work.link, ME, work.own_after, work.own_upto)
    other = _groups(store, work.link, THEM, work.other_after, work.other_upto)
    frames: list[bytes] = []
    size, own_at, other_at = 0, work.own_after, work.other_after
    while size < PAGE_BYTES:
        if own and own[0].acked <= other_at:
            group, returned = own.pop(0), False
            own_at = group.seq
        elif other and other[0].acked <= own_at:
            group, returned = other.pop(0), True
            other_at = group.seq
        else:
            break
        frames.append(group.frame(returned, input_of))
        size += len(frames[-1])
    if not frames or (own_at >= work.own_upto and other_at >= work.other_upto):
        return frames, None
    return frames, ReadEntries(work.link, work.connection, own_at, work.own_upto, other_at, work.other_upto)


class Group(msgspec.Struct):
    """Consecutive entries and the signature that ends them."""

    first: int
    seq: int
    acked: int
    entries: list[bytes]
    signature: bytes

    def frame(self, returned: bool, input_of: Callable[[int], bytes]) -> bytes:
        """The group as a serialized frame; inputs of own open orders go beside them."""
        signature = lk.HeadSignature.FromString(self.signature)
        if returned:
            return lk.Frame(
                first_returned=self.first, returned=self.entries, returned_signature=signature
            ).SerializeToString()
        frame = lk.Frame(first_seq=self.first, entries=self.entries, signature=signature)
        for seq in range(self.first, self.seq + 1):
            data = input_of(seq)
            if data:
                frame.inputs.add(order_seq=seq, data=data)
        return frame.SerializeToString()


def _groups(store: Store, link: str, side: int, after: int, upto: int) -> list[Group]:
    rows = store.entries(link, side, after, upto, PAGE_BYTES)
    if not rows:
        return []
    entries: Mapping[int, bytes] = {row[0]: row[1] for row in rows}
    groups: list[Group] = []
    first, last = after + 1, rows[-1][0]
    for seq, acked, data in store.signatures(link, side, after, last):
        if seq < first:
            continue
        groups.append(Group(first, seq, acked, [entries[s] for s in range(first, seq + 1)], data))
        first = seq + 1
    return groups
