"""What peers are known by: pinned descriptor chains, certificates, addresses, and their rows (design §6)."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from intertie.descriptors import VerifiedDescriptor
from intertie.errors import IntertieError
from intertie_node.core.effects import Effects
from intertie_node.core.link import Link
from intertie_node.core.peering import PeeringState
from intertie_node.core.pinning import PeerSide, successor
from intertie_node.core.world import World
from intertie_node.ports import Reach, StrangerCalls
from intertie_node.services.certificates import check_certificates
from intertie_node.services.links import LinkService

log = logging.getLogger(__name__)
Submit = Callable[[Callable[[Effects], None]], None]


class PeeringRow(msgspec.Struct, frozen=True):
    """A row of `peerings`."""

    genesis: bytes
    fingerprint: bytes
    grid: str
    state: PeeringState
    agreement: bytes
    descriptors: tuple[bytes, ...]
    at: int

    @classmethod
    def read(cls, row: Any) -> "PeeringRow":
        """From the store."""
        genesis, fingerprint, grid, state, agreement, packed, at = row
        chain = msgspec.msgpack.decode(packed, type=tuple[bytes, ...])
        return cls(genesis, fingerprint, grid, PeeringState(state), agreement, chain, at)

    def row(self) -> tuple[Any, ...]:
        """For the store."""
        packed = msgspec.msgpack.encode(self.descriptors)
        return (self.genesis, self.fingerprint, self.grid, int(self.state), self.agreement, packed, self.at)


class Pins:
    """The peerings' rows, and what follows from their descriptors."""

    def __init__(self, world: World, links: LinkService, calls: StrangerCalls, submit: Submit) -> None:
        self._world = world
        self._links = links
        self._calls = calls
        self._submit = submit
        self.rows: dict[str, PeeringRow] = {}
        """Link → row of its peering."""
        self._certificates: dict[bytes, bytes] = {}
        """Certificate (DER) → fingerprint of the peered grid."""
        world.take_descriptor = self.take
        links.refresh = self.refresh

    def add(self, link: Link, row: PeeringRow) -> None:
        """Pin the peer of a new link."""
        world, peer = self._world, link.peer
        world.links[link.name] = link
        self.rows[link.name] = row
        self._unpin(peer.descriptor)
        world.executors[peer.fingerprint] = peer.descriptor
        self._index()

    def put(self, link: str, fx: Effects, **changes: Any) -> None:
        """Change a peering's row."""
        self.rows[link] = msgspec.structs.replace(self.rows[link], at=fx.now, **changes)
        row = self.rows[link].row()
        fx.changes.put("peerings", row[:1], row)

    def _unpin(self, peer: VerifiedDescriptor) -> None:
        """A grid that was only advertised does not keep a name from one that is peered with."""
        world = self._world
        for fingerprint, known in list(world.executors.items()):
            if known.grid == peer.grid and fingerprint != peer.fingerprint:
                del world.executors[fingerprint]
                for key in [key for key in world.catalog.routes if key[1] == fingerprint]:
                    world.catalog.refuse_route(key, f"DESCRIPTOR_INVALID: {peer.grid} is a peer with another key.")

    def _index(self) -> None:
        peers = [link.peer for link in self._world.links.values()]
        self._certificates = {der: peer.fingerprint for peer in peers for der in peer.descriptor.certificates}

    # -- newer descriptors --------------------------------------------------------------------------

    def take(self, newer: PeerSide, fx: Effects) -> None:
        """A newer descriptor of a known grid, which follows the pinned one (`World.take_descriptor`).

        Raises: IntertieError CERTIFICATE_MISMATCH if a peer's new certificates break the profile.
        """
        descriptor = newer.descriptor
        links = [link for link in self._world.links.values() if link.peer.fingerprint == newer.fingerprint]
        if links:
            check_certificates(descriptor.grid, descriptor.certificates)
        known = self._world.executors.get(newer.fingerprint)
        if known is None or known.version < descriptor.version:
            self._world.executors[newer.fingerprint] = descriptor
        for link in links:
            if link.peer.descriptor.version < descriptor.version:
                link.peer = newer
                self.put(link.name, fx, descriptors=newer.chain)
                self._links.redirect(link, reach_of(newer))
                log.info("%s has descriptor version %d", newer.grid, descriptor.version)
        self._index()

    async def refresh(self, link: Link) -> None:
        """Ask a peer that cannot be dialled for its descriptor: its certificate may have changed meanwhile."""
        for address in link.peer.descriptor.public_endpoints:
            try:
                chain = await self._calls.descriptors(address)
                newer = successor(link.peer, chain, len(chain))
            except IntertieError as error:
                log.info("descriptor of %s not renewed: %s", link.peer.grid, error)
                continue
            if newer is not None:
                self._submit(lambda fx, newer=newer: self._refreshed(newer, fx))  # type: ignore[misc]
            return

    def _refreshed(self, newer: PeerSide, fx: Effects) -> None:
        try:
            self.take(newer, fx)
        except IntertieError as error:
            log.warning("descriptor of %s refused: %s", newer.grid, error)

    # -- who connects -------------------------------------------------------------------------------

    def admitted(self) -> list[bytes]:
        """Certificates (DER) of all peered grids."""
        return list(self._certificates)

    def who(self, certificate: bytes) -> bytes | None:
        """Fingerprint of the peered grid that has this certificate."""
        return self._certificates.get(certificate)

    def all_met(self) -> bool:
        """Whether every living peer has heard this node's present descriptor since the process started."""
        living = (link for link in self._world.links.values() if link.name not in self._world.ended)
        return all(link.can_append for link in living)


def reach_of(peer: PeerSide) -> Reach:
    """How the peer port of a peer is reached."""
    return Reach(peer.grid, peer.descriptor.peer_endpoints, peer.descriptor.certificates)
