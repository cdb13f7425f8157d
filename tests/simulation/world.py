"""A simulated world: grids, streams, faults and consumers on one virtual clock, all from one plan.

`Simulation(plan).run()` plays a plan to its end, ends the faults, drains the network, asks every grid once
more, and returns what the judge has found. Nothing in it reads a real clock or an unseeded generator, so
two runs of one plan are the same run: `trace` is the digest of everything said, written and answered.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any

from google.protobuf.message import DecodeError
from tests.kit.identities import START
from tests.kit.network import Network
from tests.simulation import ending
from tests.simulation.consumers import Consumers
from tests.simulation.coverage import Coverage, kind_name
from tests.simulation.crypto import keep_verifications
from tests.simulation.faults import Faults
from tests.simulation.hostile import HostileGrid
from tests.simulation.judge import Judge, Violation
from tests.simulation.node import Node
from tests.simulation.plan import Peering, Plan
from tests.simulation.wire import End, Owner, Stream

from intertie import envelope
from intertie.errors import IntertieError
from intertie.v1 import link_pb2 as lk
from intertie_node.core.link import Link
from intertie_node.core.opening import Phase
from intertie_node.core.work import FetchOffers

DRAIN_STEP_MS, DRAIN_MAX_MS = 5_000, 400_000
SETTLE_MS = 90_000
MAX_EVENTS = 3_000_000


class Simulation(Network):
    """One world."""

    def __init__(self, plan: Plan, keep_trace: bool = False, max_events: int = MAX_EVENTS) -> None:
        super().__init__()
        keep_verifications()
        self.plan = plan
        self.start = START
        self.now = 0.0  # type: ignore[assignment]
        self.events = 0
        self._max_events = max_events
        self.steps = 0
        self.lull = False
        self.over = False
        """True once no fault happens any more."""
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._digest = sha256()
        self.story: list[str] | None = [] if keep_trace else None
        """What happened, line by line, if anybody wants to read it."""
        self._rng = Random(f"world {plan.seed}")
        self.streams: dict[Stream, None] = {}
        self._numbers = 0
        self.partitions: list[frozenset[int]] = []
        self.coverage = Coverage()
        self.judge = Judge(self)
        self.grids: list[Node | HostileGrid] = []
        self.genesis: list[bytes] = []
        self.consumers = Consumers(self)
        self._build()

    # -- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        for index, grid in enumerate(self.plan.grids):
            made = HostileGrid(self, index, grid) if grid.habits else Node(self, index, grid)
            self.grids.append(made)
        self.nodes = [grid for grid in self.grids if isinstance(grid, Node)]
        for number, peering in enumerate(self.plan.peerings):
            self.genesis.append(self._peer(number, peering))
        Faults(self).schedule()
        self.consumers.schedule()
        for since, to in self.plan.lulls:
            self.at(since + 3_000, lambda: setattr(self, "lull", True))
            self.at(to, lambda: setattr(self, "lull", False))

    def _peer(self, number: int, peering: Peering) -> bytes:
        parties = [self.grids[peering.a], self.grids[peering.b]]
        genesis = self.peer(
            *(party if isinstance(party, Node) else party.identity for party in parties),
            credit_limit=peering.credit_limit,
            max_unagreed=peering.max_unagreed,
            claim_window_ms=peering.window,
            max_skew_ms=peering.skew,
            max_open_holds=peering.holds,
            max_hold_ms=peering.longest,
        )
        for party, other in zip(parties, parties[::-1], strict=True):
            if isinstance(party, HostileGrid):
                party.peered(number, other)
        return genesis

    def peering_of(self, link: str) -> int:
        """Index of the peering of a link."""
        return self.genesis.index(bytes.fromhex(link))

    def grid_of(self, fingerprint: bytes) -> Node | HostileGrid:
        """The grid with a fingerprint."""
        return next(grid for grid in self.grids if grid.fingerprint == fingerprint)

    # -- time -------------------------------------------------------------------------------------

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Have `act` happen at a time."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, act))

    def after(self, ms: float, act: Callable[[], None]) -> None:
        """Have `act` happen a while later."""
        self.at(self.now + ms, act)

    def play(self, until: float) -> None:
        """Let time pass."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, act = heapq.heappop(heap)
            self.events += 1
            act()
            if self.events > self._max_events:
                raise Violation("the world comes to rest", f"{self._max_events} events and no end")
        self.now = until

    # -- running ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Play the whole plan. Raises: Violation if an invariant does not hold."""
        for node in self.nodes:
            node.boot()
        self.play(self.plan.end)
        self._heal()
        self._drain()
        self.consumers.probe()
        self.play(self.now + 15_000)
        self.consumers.check_probes()
        self._drain()
        for _ in range(200):
            if self.judge.at_rest() and ending.acknowledged(self):
                break
            self.play(self.now + 50)
        self.judge.verdict()

    def _heal(self) -> None:
        """Faults are over: every disk has room, every clock is right, every grid runs."""
        self.over, self.lull = True, False
        self.partitions.clear()
        for stream in list(self.streams):
            stream.extra = 0
            for end in stream.ends:
                end.deliver()
        for node in self.nodes:
            node.heal()

    def _drain(self) -> None:
        """Let time pass until nothing is open any more."""
        until = self.now + DRAIN_MAX_MS
        while self.now < until:
            self.play(self.now + DRAIN_STEP_MS)
            if self.judge.at_rest():
                break
        self.lull = True
        self.play(self.now + SETTLE_MS)
        self.lull = False
        self.play(self.now + 2 * DRAIN_STEP_MS)

    # -- streams ----------------------------------------------------------------------------------

    def parted(self, a: int, b: int) -> bool:
        """Whether nothing passes between two grids now."""
        return any((a in part) != (b in part) for part in self.partitions)

    def dial(self, node: Node, link: Link, second: bool = False) -> None:
        """A node reaches for the peer of a link; nothing comes of it if the peer cannot be reached."""
        peer = self.grid_of(link.peer.fingerprint)
        number = self.peering_of(link.name)

        def reached() -> None:
            if not peer.alive or self.parted(node.index, peer.index) or (link.phase is not Phase.DOWN and not second):
                return
            mine = self.connect_grids(number, node, peer)
            node.links.dialled(link, mine)  # type: ignore[arg-type]

        node.after(1 + self._rng.random() * 10, reached)

    def connect_grids(self, number: int, dialler: Owner, acceptor: Owner) -> End:
        """A stream from one grid to another; returns the dialler's end."""
        self._numbers += 1
        stream = Stream(self, self._numbers, number, dialler, acceptor)
        self.streams[stream] = None
        if isinstance(acceptor, HostileGrid):
            acceptor.answered(stream.ends[1])
        return stream.ends[0]

    def streams_of(self, link: int) -> list[Stream]:
        """The streams of a peering."""
        return [stream for stream in self.streams if stream.link == link]

    def forget(self, stream: Stream) -> None:
        """A stream has gone for both."""
        self.streams.pop(stream, None)

    def said(self, end: End, frame: bytes) -> tuple[int, ...]:
        """A grid is sending a frame: judge it; returns the kinds of its entries."""
        hostile = not isinstance(end.owner, Node)
        try:
            parsed = lk.Frame.FromString(frame)
            if parsed.open:
                end.opened = envelope.peek_unverified(parsed.open)[1]
        except Exception:
            self.judge.check(hostile, "an honest grid says what decodes", frame[:40].hex())
            return ()
        if hostile:
            return ()
        kinds = self.judge.said(end, parsed)
        end.owner.sending(kinds)
        if self.story is not None:
            self._tell_frame(end, parsed, kinds)
        return kinds

    def heard(self, end: End, frame: bytes) -> None:
        """A grid takes a frame."""
        self._digest.update(b"%d %d %d|" % (int(self.now * 1000), end.owner.index, len(frame)))
        self._digest.update(canonical(frame))
        if isinstance(end.owner, Node):
            link = end.owner.world.links.get(self.genesis[end.stream.link].hex())
            if link is not None:
                self.coverage.frame(link.phase, frame)

    # -- grids ------------------------------------------------------------------------------------

    def booted(self, node: Node) -> None:
        """A node has come up."""
        self.note(node, "boot")
        self.consumers.booted(node)

    def died(self, node: Node, silently: bool) -> None:
        """A node has gone down."""
        for stream in list(self.streams):
            if any(end.owner is node for end in stream.ends):
                stream.abandon(node, silently)

    def offers_of(self, node: Node, peer: Node | HostileGrid, work: FetchOffers) -> list[bytes]:
        """Offers fetched from a peer by digest. Raises: IntertieError PEER_UNAVAILABLE."""
        if not peer.alive or self.parted(node.index, peer.index):
            raise IntertieError("PEER_UNAVAILABLE", "The peer cannot be reached.")
        if isinstance(peer, HostileGrid):
            return peer.offers()
        return [data for _, data in peer.desk.offers(node.fingerprint, bytes.fromhex(work.link), work.root)]

    # -- the trace --------------------------------------------------------------------------------

    def note(self, node: Any, what: str) -> None:
        """Something happened at a grid."""
        self._digest.update(f"{self.now:.3f} {node.index} {what}|".encode())
        if self.story is not None:
            self.story.append(f"{self.now:>10.1f}  {node.identity.grid}  {what}")

    def _tell_frame(self, end: End, frame: lk.Frame, kinds: tuple[int, ...]) -> None:
        words = [kind_name(kind) for kind in kinds]
        words += [f"returns {len(frame.returned)}"] if frame.returned else []
        words += [f"event {event.WhichOneof('body')}" for event in frame.events]
        words += ["Open"] if frame.open else []
        words += [f"close {frame.close.reason}"] if frame.HasField("close") else []
        if words and self.story is not None:
            peer = self.grids[end.other.owner.index].identity.grid
            signed = f" seq {frame.signature.seq} acked {frame.signature.acked}" if frame.HasField("signature") else ""
            who = self.grids[end.owner.index].identity.grid
            self.story.append(f"{self.now:>10.1f}  {who} → {peer}:{signed} {', '.join(words)}")

    @property
    def trace(self) -> str:
        """Digest of everything until now."""
        return self._digest.hexdigest()


def canonical(frame: bytes) -> bytes:
    """A frame with its maps in order: protobuf writes them in an order that no seed decides."""
    try:
        return lk.Frame.FromString(frame).SerializeToString(deterministic=True)
    except DecodeError:
        return frame
