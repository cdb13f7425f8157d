"""north – hub – south in memory: hub relays, alice buys at north. Links are cut and restored, nodes restarted."""

from __future__ import annotations

import copy
from typing import Any

from tests.kit.memory_store import MemoryStore
from tests.kit.network import Network
from tests.kit.sim_node import SimNode

from intertie.errors import IntertieError
from intertie.v1.catalog_pb2 import SearchRequest
from intertie_node.services.consumers import ConsumerDesk
from intertie_node.services.searching import search

HOUR_MS = 3_600_000
ECHO = "south.example/echo"


class Line:
    """Three grids in a row."""

    def __init__(self, **hub: Any) -> None:
        self.net = Network()
        self.north = self.net.add("north.example")
        self.hub = self.net.add("hub.example", **{"relay": True, **hub})
        self.south = self.net.add("south.example")
        self.net.peer(self.north, self.hub, claim_window_ms=20_000)
        self.net.peer(self.hub, self.south)
        self.net.start()
        self.north.open_account("alice", 10**6)
        self.net.run()

    def cut(self, one: SimNode, other: SimNode) -> None:
        """The link of two nodes goes down."""
        ends = {one.fingerprint, other.fingerprint}
        self.net.cut(next(w for w in self.net.wires if {w.owner.fingerprint, w.fingerprint} == ends))
        self.net.run()

    def connect(self, one: SimNode, other: SimNode) -> None:
        """It comes back."""
        self.net.connect(one, other)
        self.net.run()
        self.net.wait(1_000)

    def backup(self, node: SimNode) -> MemoryStore:
        """A copy of what a node's store holds."""
        return copy.deepcopy(node.store)

    def restart(self, node: SimNode, store: MemoryStore | None = None) -> None:
        """A node ends and starts again, with an older copy of its store if one is given; its links are down."""
        for wire in [w for w in self.net.wires if w.owner is node]:
            self.net.cut(wire)
        self.net.run()
        node.store = store or node.store
        node.boot()
        self.net.run()

    def refusal(self, node: SimNode, ref: str = ECHO) -> str:
        """Why a call is refused, "" if it is not."""
        listener = node.invoke(ref)
        self.net.run()
        return listener.refused

    def get(self, node: SimNode, ref: str = ECHO) -> str:
        """Why an offer is not shown, "" if it is."""
        desk = ConsumerDesk(node.grid, node.store, node.submit, HOUR_MS)
        try:
            desk.offer(ref)
        except IntertieError as error:
            return error.reason
        return ""

    def found(self, node: SimNode) -> set[str]:
        """What a search finds."""
        return {item.ref for item in search(node.world, SearchRequest(), self.net.now).offers}
