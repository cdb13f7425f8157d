"""Bringing back, after a restart, what was known of other grids' offers, and what is still to be passed on."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from intertie.descriptors import VerifiedDescriptor, verify_chain
from intertie.errors import IntertieError
from intertie_node.core.catalog import KnownOffer, Route, known_offer
from intertie_node.core.crediting import OWED
from intertie_node.core.invocations import unpacked
from intertie_node.core.rejoining import ORPHAN
from intertie_node.core.routing import ROOT_VERSION
from intertie_node.core.world import Orphan, World
from intertie_node.ports import Store


def restore_catalog(world: World, store: Store) -> None:
    """Load stored routes and offers, and the descriptors by which records of their origins are verified.

    The peerings must have been loaded. Routes come back faded: their offers are out of reach until they are
    advertised again, and unknown once their tariffs have expired.
    """
    routes: list[Route] = []
    past: list[Route] = []
    for _, _, packed in store.all_rows("routes"):
        route = msgspec.msgpack.decode(packed, type=Route)
        world.catalog.saw_root(route)
        known = _pinned(world, verify_chain(route.descriptors)) and route.link in world.links
        (routes if known and route.offers else past).append(route)
    world.catalog.restore(routes, past, _stored_offers(world, store))
    own = store.row("settings", (ROOT_VERSION,))
    if own is not None:
        world.catalog.root_versions[world.fingerprint] = msgspec.msgpack.decode(own[1], type=int)


def _stored_offers(world: World, store: Store) -> Iterator[KnownOffer]:
    """Stored offers of known origins; one that would not be learnt today is left out, like a new one."""
    for _, origin, _, data in store.all_rows("offers"):
        if origin in world.executors:
            with suppress(IntertieError):
                yield known_offer(origin, world.executors[origin].grid, data)


def restore_owed(world: World, store: Store) -> None:
    """Load which credits are to be passed upstream (`core.crediting`)."""
    for name, _ in store.all_rows("settings"):
        if name.startswith(OWED):
            upstream, downstream, seq = name.removeprefix(OWED).split("/")
            world.owed.setdefault(upstream, set()).add((downstream, int(seq)))


def restore_orphans(world: World, store: Store) -> None:
    """Load own orders that came back before those for which they had been placed (`core.rejoining`)."""
    for name, value in store.all_rows("settings"):
        if name.startswith(ORPHAN):
            link, seq, end = msgspec.msgpack.decode(value)
            world.orphans[name.removeprefix(ORPHAN)] = Orphan(link, seq, unpacked(end))


def _pinned(world: World, origin: VerifiedDescriptor) -> bool:
    """Take an origin's descriptor if it is the newest known; False if its name is another grid's here."""
    if any(k.grid == origin.grid and k.fingerprint != origin.fingerprint for k in world.executors.values()):
        return False
    known = world.executors.get(origin.fingerprint)
    if known is None or known.version < origin.version:
        world.executors[origin.fingerprint] = origin
    return True
