"""What a grid takes of what others advertise, and which way it goes (RFC 0008)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from intertie.v1.catalog_pb2 import CatalogRoot, Offer
from intertie_conformance.grid.account import THEM
from intertie_conformance.wire import amounts, envelope
from intertie_conformance.wire.descriptors import read_chain
from intertie_conformance.wire.refusal import Refusal, decode

if TYPE_CHECKING:
    from intertie.v1 import entry_pb2 as pb
    from intertie.v1.catalog_pb2 import OriginRoute
    from intertie_conformance.grid.catalog import Offered
    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.routes import Route, Routes
    from intertie_conformance.wire.amounts import Price
    from intertie_conformance.wire.descriptors import Described

MAX_PATH: Final = 16
MAX_OFFERS: Final = 4_096
MAX_LINES: Final = 16
MAX_OFFER_BYTES: Final = 262_144
MAX_UNIT: Final = 64


class RoutingRules:
    """Routes, roots and offers of others."""

    def route_path(self, link: Link, stated: OriginRoute, me: bytes) -> None:
        """A path begins at the sender, is short, and does not pass this grid."""
        path = list(stated.path)
        if not 1 <= len(path) <= MAX_PATH or path[0] != link.peer.fingerprint or me in path:
            raise Refusal("LOOP", "An advertised path does not begin at the peer, is too long, or passes this grid.")

    def route_chain(self, stated: OriginRoute) -> Described:
        """The descriptor chain verifies."""
        return read_chain(list(stated.descriptors))

    def route_last(self, stated: OriginRoute, origin: Described) -> None:
        """The chain is that of the path's last grid."""
        if origin.fingerprint != stated.path[-1]:
            raise Refusal("DESCRIPTOR_INVALID", "The descriptor chain is not the advertised origin's.")

    def route_name(self, origin: Described, known: Mapping[bytes, Described]) -> None:
        """A name belongs to the fingerprint that was first seen under it."""
        if any(k.grid == origin.grid and k.fingerprint != origin.fingerprint for k in known.values()):
            raise Refusal("DESCRIPTOR_INVALID", f"The name {origin.grid} is pinned to another grid.")

    def root_signed(self, sealed: bytes, origin: Described, known: Described | None, now: int) -> bytes:
        """A root is signed by a key that the newest known descriptor lists as valid now."""
        newest = known if known is not None and known.version > origin.version else origin
        return envelope.unseal(sealed, envelope.CATALOG_ROOT, newest.keys(now))

    def root_origin(self, root: CatalogRoot, origin: Described, now: int) -> bool:
        """It names its origin."""
        return root.origin == origin.fingerprint

    def root_fresh(self, root: CatalogRoot, origin: Described, now: int) -> bool:
        """It has not expired."""
        return root.expires_at > now

    def root_count(self, root: CatalogRoot, origin: Described, now: int) -> bool:
        """It lists at most 4,096 offers."""
        return len(root.offers) <= MAX_OFFERS

    def root_sorted(self, root: CatalogRoot, origin: Described, now: int) -> bool:
        """It lists them in strictly ascending order."""
        return list(root.offers) == sorted(set(root.offers))

    ROOT_RULES: tuple[str, ...] = ("root_origin", "root_fresh", "root_count", "root_sorted")

    def check_root(self, payload: bytes, origin: Described, now: int) -> None:
        """The contents of a root. Raises: Refusal INVALID_ARGUMENT."""
        root = decode(CatalogRoot, payload, "INVALID_ARGUMENT")
        for name in self.ROOT_RULES:
            if not getattr(self, name)(root, origin, now):
                raise Refusal("INVALID_ARGUMENT", f"A catalog root breaks {name}.")

    def root_newer(self, root: CatalogRoot, taken: int) -> None:
        """No root is older than one that was taken before."""
        if root.version < taken:
            raise Refusal("INVALID_ARGUMENT", f"A catalog root has version {root.version}; {taken} was taken before.")

    def route_tariff(self, link: Link, stated: OriginRoute, origin: Described) -> None:
        """The tariff prices this origin."""
        tariff = link.logs.account.tariffs[THEM].get(stated.tariff_seq)
        if tariff is None or tariff.origin != origin.fingerprint:
            raise Refusal("TARIFF_INVALID", "The advertised tariff is unknown or prices another origin.")

    def route_grows(self, known: Described, origin: Described) -> None:
        """A chain that is not shorter than the one known continues it."""
        if origin.version >= known.version and origin.history[: known.version] != known.history:
            raise Refusal("DESCRIPTOR_EQUIVOCATION", f"{origin.grid} signed two descriptors of one version.")

    def newest(self, known: Described | None, origin: Described) -> Described:
        """The descriptor to go by."""
        return known if known is not None and known.version > origin.version else origin

    def route_refused(self, refusal: Refusal) -> None:
        """The link goes on."""

    def bad_route_withdraws(self) -> bool:
        """With a bad route the one before goes."""
        return True

    def has_room(self, routes: int) -> bool:
        """No bound on origins: the machine's."""
        return True

    def end_withdraws(self, route: Route, epoch: int) -> bool:
        """What the epoch has not refreshed is withdrawn."""
        return route.epoch != epoch

    def down_withdraws(self) -> bool:
        """What was reached over a link that is down is withdrawn."""
        return True

    def withdrawn_first(self) -> bool:
        """Of two offers by one reference the one in reach is meant."""
        return False

    def remembers_withdrawn(self) -> bool:
        """What is out of reach for now stays known."""
        return True

    # -- offers -----------------------------------------------------------------------------------

    def offer_origin(self, offer: Offer, origin: Described) -> bool:
        """It is the origin's own."""
        return offer.origin == origin.fingerprint

    def offer_name(self, offer: Offer, origin: Described) -> bool:
        """Its name has 1 to 128 characters."""
        return 1 <= len(offer.name) <= 128

    def offer_size(self, offer: Offer, origin: Described) -> bool:
        """It is short enough for a page."""
        return offer.ByteSize() <= MAX_OFFER_BYTES

    def offer_lines(self, offer: Offer, origin: Described) -> bool:
        """At most 16 price lines."""
        return len(offer.prices) <= MAX_LINES

    def offer_once(self, offer: Offer, origin: Described) -> bool:
        """One line a unit."""
        return len({line.unit for line in offer.prices}) == len(offer.prices)

    def offer_amounts(self, offer: Offer, origin: Described) -> bool:
        """Prices are prices."""
        return all(line.num >= 0 and line.den >= 1 for line in offer.prices)

    def offer_units(self, offer: Offer, origin: Described) -> bool:
        """Names of units are short enough for an order's entry."""
        return all(len(line.unit) <= MAX_UNIT for line in offer.prices)

    OFFER_RULES: tuple[str, ...] = (
        "offer_size",
        "offer_origin",
        "offer_name",
        "offer_lines",
        "offer_once",
        "offer_amounts",
        "offer_units",
    )

    def sound_offer(self, data: bytes, origin: Described) -> Offered:
        """An offer of another grid. Raises: Refusal INVALID_ARGUMENT."""
        from intertie_conformance.grid.catalog import Offered

        message = decode(Offer, data, "INVALID_ARGUMENT")
        for name in self.OFFER_RULES:
            if not getattr(self, name)(message, origin):
                raise Refusal("INVALID_ARGUMENT", f"An offer of {origin.grid} breaks {name}.")
        return Offered.of(data)

    def is_listed(self, offer: Offered, route: Route) -> bool:
        """The root lists what was fetched."""
        return offer.digest in route.root.offers

    def fetched_whole(self, ended: bool) -> bool:
        """Only an answer that has ended counts."""
        return ended

    def refers_to(self, offer: Offered) -> Sequence[str]:
        """Addresses to fetch for a schema: none."""
        return ()

    # -- ways -------------------------------------------------------------------------------------

    def lists(self, route: Route, offer: Offered) -> bool:
        """The route leads to the offer."""
        return offer.digest in route.root.offers

    def way_key(self, route: Route) -> Any:
        """The shortest path first."""
        return (len(route.stated.path), route.link.genesis.hex())

    def priced(self, offer: Offered, tariff: pb.Tariff) -> list[Price] | None:
        """Prices under a tariff; None if they cannot be stated."""
        lines = amounts.under_tariff(offer.prices, tariff.markup_num, tariff.markup_den, tariff.fee)
        fits = all(max(num, den) <= amounts.INT64_MAX for _, num, den in lines)
        return lines if fits and len(lines) <= MAX_LINES else None

    def is_candidate(self, route: Route, now: int) -> bool:
        """Over an open link, advertised, under a tariff in force."""
        return self.way_open(route) and self.way_in_force(route, now)

    def way_open(self, route: Route) -> bool:
        """The link is open and the route not withdrawn."""
        return route.link.phase.value == "open" and not route.withdrawn

    def way_in_force(self, route: Route, now: int) -> bool:
        """The tariff has not expired."""
        return route.tariff.expires_at > now

    def resolve(self, ref: str, known: Mapping[str, Offered], own: Mapping[str, Offered]) -> Offered:
        """The offer of a reference: full, or the bare name of an own offer. Raises: Refusal OFFER_UNKNOWN."""
        if ref in known:
            return known[ref]
        found = next((offer for offer in own.values() if offer.message.name == ref), None)
        if found is None:
            raise Refusal("OFFER_UNKNOWN", f"No offer {ref[:200]} is known here.", offer=ref[:200])
        return found

    def out_of_reach(self, routes: Sequence[Route], ref: str) -> Refusal:
        """Why an offer that is known cannot be ordered now."""
        if any(not route.withdrawn or route.link.phase.value != "open" for route in routes):
            return Refusal("PEER_UNAVAILABLE", f"The way to {ref[:200]} is down.", grid=routes[0].link.peer.grid)
        return Refusal("NO_ROUTE", f"No way leads to {ref[:200]}.", offer=ref[:200])

    def within_reach(self, offer: Offered, routes: Routes, ref: str) -> None:
        """Get tells of offers in reach alone."""
        leading = routes.of_offer(offer)
        if leading and all(route.withdrawn for route in leading):
            raise self.out_of_reach(leading, ref)

    def fetches_beside(self) -> bool:
        """Offers are fetched beside the link, not in its way."""
        return True
