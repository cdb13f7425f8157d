"""Grids in one process without sockets or threads: virtual time, and frames passed as exact bytes.

`Network.run` goes on until nothing is left to do; `Network.wait` lets time pass. Its nodes are those of
`tests.kit.sim_node`, its scripted peers those of `tests.kit.rogue`.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from tests.kit.identities import START, Identity, agreed, limits
from tests.kit.rogue import Rogue
from tests.kit.sim_node import SimNode

from intertie import agreements, descriptors, envelope
from intertie.v1 import link_pb2 as lk
from intertie.v1.agreement_pb2 import Agreement
from intertie_node.core.effects import Changes
from intertie_node.core.peering import PeeringState
from intertie_node.core.world import Settings

MAX_BATCHES = 10_000


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
