"""Small worlds of one or two nodes, for faults that simulated worlds have found."""

from __future__ import annotations

from typing import Any

from tests.kit.identities import Identity
from tests.kit.line import HOUR_MS
from tests.kit.network import Network
from tests.kit.rogue import Rogue
from tests.kit.sim_node import SimNode

from intertie_node.services.consumers import ConsumerDesk

MAL = Identity("mal.example")


def silent(node: SimNode, work: Any) -> None:
    """A backend that never answers."""


def served_by(name: str, backend: Any, **settings: Any) -> tuple[Network, SimNode, SimNode]:
    """north buys from south, whose only other offer is `name`."""
    net = Network()
    north, south = net.add("north.example"), net.add("south.example", **settings)
    south.backends[name] = backend
    net.peer(north, south)
    net.start()
    north.open_account("alice", 10**6)
    net.run()
    return net, north, south


def hostile() -> tuple[Network, SimNode, Rogue]:
    """A node, and a hostile peer whose link to it is open."""
    net = Network()
    node = net.add("node.example")
    net.peer(MAL, node)
    node.boot()
    net.run()
    rogue = net.rogue(node, MAL)
    net.dial(rogue, node)
    rogue.open()
    net.run()
    return net, node, rogue


def desk_of(node: SimNode) -> ConsumerDesk:
    """A desk of consumers at `node`."""
    return ConsumerDesk(node.grid, node.store, node.submit, HOUR_MS, node.clock)
