"""What others offer: routes as they are advertised, origins as they are known, ways to an offer (RFC 0008)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from intertie.v1.catalog_pb2 import Advertisement, CatalogRoot, OriginRoute
from intertie_conformance.grid.account import THEM
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie.v1 import entry_pb2 as pb
    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.rules import Rules
    from intertie_conformance.wire.amounts import Price
    from intertie_conformance.wire.descriptors import Described


class Route:
    """An origin as reachable over one link."""

    def __init__(self, link: Link, epoch: int, stated: OriginRoute, origin: Described, payload: bytes) -> None:
        self.link = link
        self.epoch = epoch
        self.stated = stated
        self.origin = origin
        self.root = CatalogRoot.FromString(payload)
        self.root_digest = multihash(payload)
        self.withdrawn = False

    @property
    def tariff(self) -> pb.Tariff:
        """The tariff that prices it."""
        return self.link.logs.account.tariffs[THEM][self.stated.tariff_seq]

    def priced(self, offer: Offered) -> list[Price]:
        """An offer's prices under that tariff, none if they cannot be stated."""
        return self.link.rules.priced(offer, self.tariff) or []


class Routes:
    """All routes of a grid, the offers that they list, and the newest descriptor of each origin."""

    def __init__(self, rules: Rules, me: bytes, own: Mapping[str, Offered]) -> None:
        self.rules = rules
        self.me = me
        self.own = own
        """Own offers by reference."""
        self.table: dict[tuple[bytes, bytes], Route] = {}
        """(genesis, fingerprint of the origin) → route."""
        self.offers: dict[bytes, Offered] = {}
        """Fetched and sound, by digest."""
        self.origins: dict[bytes, Described] = {}
        """Newest descriptors."""
        self.versions: dict[bytes, int] = {}
        """Highest version of a root that was taken, by origin."""
        self.version = 0
        """Rises with every change."""

    # -- advertisements ---------------------------------------------------------------------------

    def take(self, link: Link, item: Advertisement, now: int) -> Route | None:
        """Take one advertisement; returns a route whose offers are to be fetched."""
        self.version += 1
        if item.end:
            for route in self.of(link):
                route.withdrawn |= self.rules.end_withdraws(route, item.epoch)
            return None
        if not item.HasField("route"):
            return None
        key = (link.genesis, item.route.path[-1] if item.route.path else b"")
        try:
            route = self._checked(link, item, now)
        except Refusal as refusal:
            self.rules.route_refused(refusal)
            if self.rules.bad_route_withdraws():
                self.table.pop(key, None)
            return None
        if not self.rules.has_room(len(self.of(link))):
            return None
        self.table[key] = route
        return route

    def _checked(self, link: Link, item: Advertisement, now: int) -> Route:
        stated, rules = item.route, self.rules
        rules.route_path(link, stated, self.me)
        origin = rules.route_chain(stated)
        rules.route_last(stated, origin)
        rules.route_name(origin, self.origins)
        payload = rules.root_signed(stated.root, origin, self.origins.get(origin.fingerprint), now)
        rules.check_root(payload, origin, now)
        root = CatalogRoot.FromString(payload)
        rules.root_newer(root, self.versions.get(origin.fingerprint, 0))
        rules.route_tariff(link, stated, origin)
        known = self.origins.get(origin.fingerprint)
        if known is not None:
            rules.route_grows(known, origin)
        self.origins[origin.fingerprint] = rules.newest(known, origin)
        self.versions[origin.fingerprint] = root.version
        return Route(link, item.epoch, stated, origin, payload)

    def of(self, link: Link) -> list[Route]:
        """Routes of one link."""
        return [route for route in self.table.values() if route.link is link]

    def down(self, link: Link) -> None:
        """A link is no longer open."""
        self.version += 1
        for route in self.of(link):
            route.withdrawn |= self.rules.down_withdraws()

    def fetched(self, route: Route, offers: Iterable[bytes]) -> None:
        """Keep the sound ones of what came for a route."""
        self.version += 1
        for data in offers:
            try:
                offer = self.rules.sound_offer(data, route.origin)
            except Refusal:
                continue
            if self.rules.is_listed(offer, route):
                self.offers[offer.digest] = offer

    # -- looking ----------------------------------------------------------------------------------

    def of_offer(self, offer: Offered) -> list[Route]:
        """Routes that list an offer, in the order in which they are taken."""
        found = [route for route in self.table.values() if self.rules.lists(route, offer)]
        return sorted(found, key=self.rules.way_key)

    def ways(self, offer: Offered, now: int) -> list[tuple[Route, list[Price]]]:
        """Candidates with the prices under their tariffs."""
        found = []
        for route in self.of_offer(offer):
            prices = self.rules.priced(offer, route.tariff)
            if prices is not None and self.rules.is_candidate(route, now):
                found.append((route, prices))
        return found

    def known(self) -> dict[str, Offered]:
        """Every offer by reference: own ones, and those that a route lists, withdrawn or not."""
        found = dict(self.own)
        first = not self.rules.withdrawn_first()
        for withdrawn in (first, not first):
            for route in self.table.values():
                if route.withdrawn is withdrawn and (not withdrawn or self.rules.remembers_withdrawn()):
                    found.update(self._of_route(route))
        return found

    def _of_route(self, route: Route) -> dict[str, Offered]:
        held = [self.offers[digest] for digest in route.root.offers if digest in self.offers]
        return {f"{route.origin.grid}/{offer.message.name}": offer for offer in held}

    def in_reach(self) -> dict[str, Offered]:
        """Own offers, and those of routes that are not withdrawn."""
        found = dict(self.own)
        for route in self.table.values():
            if not route.withdrawn:
                found.update(self._of_route(route))
        return found

    def find(self, ref: str, now: int) -> tuple[Route | None, Offered]:
        """The offer of a reference with the way to it, None to an own one.

        The way is the one to take; if there is none, one that cannot be taken now. Raises: Refusal OFFER_UNKNOWN.
        """
        offer = self.rules.resolve(ref, self.known(), self.own)
        if offer.message.origin == self.me:
            return None, offer
        ways = self.ways(offer, now)
        return (ways[0][0] if ways else self.of_offer(offer)[0]), offer
