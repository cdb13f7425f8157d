"""Grids that break RFC 0008, sections 3.1 and 3.4 to 3.6: what is taken of the offers, roots and routes of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intertie.v1.catalog_pb2 import CatalogRoot, Offer, OriginRoute
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.routes import Route
from intertie_conformance.grid.rules import Rules
from intertie_conformance.grid.schema import references
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import envelope
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-CAT-010")
class AnyOrigin(Rules):
    """Takes offers of another origin."""

    def offer_origin(self, offer: Offer, origin: Described) -> bool:
        return True


@mutant("IT-CAT-010")
class AnyName(Rules):
    """Takes offers of any name."""

    def offer_name(self, offer: Offer, origin: Described) -> bool:
        return True


@mutant("IT-CAT-010")
class UnitsTwice(Rules):
    """Takes offers that price a unit twice."""

    def offer_once(self, offer: Offer, origin: Described) -> bool:
        return True


@mutant("IT-CAT-010")
class AnyPrices(Rules):
    """Takes offers with negative prices."""

    def offer_amounts(self, offer: Offer, origin: Described) -> bool:
        return all(line.den >= 1 for line in offer.prices)


@mutant("IT-CAT-010")
class HugeOffers(Rules):
    """Takes offers of any size."""

    def offer_size(self, offer: Offer, origin: Described) -> bool:
        return True


@mutant("IT-CAT-011")
class LongUnits(Rules):
    """Takes units with names of any length."""

    def offer_units(self, offer: Offer, origin: Described) -> bool:
        return True


@mutant("IT-CAT-019")
class FetchesSchemas(Rules):
    """Fetches what a schema refers to."""

    def refers_to(self, offer: Offered) -> Sequence[str]:
        return references(offer.message.input_schema)


@mutant("IT-CAT-035")
class UnsignedRoots(Rules):
    """Does not look at who has signed a root."""

    def root_signed(self, sealed: bytes, origin: Described, known: Described | None, now: int) -> bytes:
        return envelope.peek(sealed).payload


@mutant("IT-CAT-035")
class KeysOfAnyTime(Rules):
    """Takes roots by keys that are not valid any more."""

    def root_signed(self, sealed: bytes, origin: Described, known: Described | None, now: int) -> bytes:
        return envelope.unseal(sealed, envelope.CATALOG_ROOT, origin.keys())


@mutant("IT-CAT-035", also=("IT-CAT-066",))
class KeysOfTheShownChain(Rules):
    """Judges a root by the chain that is shown beside it, not by the newest one."""

    def root_signed(self, sealed: bytes, origin: Described, known: Described | None, now: int) -> bytes:
        return envelope.unseal(sealed, envelope.CATALOG_ROOT, origin.keys(now))


@mutant("IT-CAT-036")
class RootOfAnother(Rules):
    """Takes a root of another origin."""

    def root_origin(self, root: CatalogRoot, origin: Described, now: int) -> bool:
        return True


@mutant("IT-CAT-036")
class StaleRoot(Rules):
    """Takes a root that has expired."""

    def root_fresh(self, root: CatalogRoot, origin: Described, now: int) -> bool:
        return True


@mutant("IT-CAT-036")
class HugeRoot(Rules):
    """Takes a root of any length."""

    def root_count(self, root: CatalogRoot, origin: Described, now: int) -> bool:
        return True


@mutant("IT-CAT-036")
class RootInAnyOrder(Rules):
    """Takes a root in any order."""

    def root_sorted(self, root: CatalogRoot, origin: Described, now: int) -> bool:
        return True


@mutant("IT-CAT-038")
class OlderRoots(Rules):
    """Takes roots that are older than what it has taken."""

    def root_newer(self, root: CatalogRoot, taken: int) -> None:
        return


@mutant("IT-CAT-060")
class AnyPath(Rules):
    """Takes routes by any path."""

    def route_path(self, link: Link, stated: OriginRoute, me: bytes) -> None:
        if not stated.path:
            raise Refusal("LOOP", "A route without a path.")


@mutant("IT-CAT-060")
class PathThroughMe(Rules):
    """Takes routes that pass this grid."""

    def route_path(self, link: Link, stated: OriginRoute, me: bytes) -> None:
        super().route_path(link, stated, b"")


@mutant("IT-CAT-060")
class AnotherGridsChain(Rules):
    """Takes a route whose chain is of another grid than its path ends with."""

    def route_last(self, stated: OriginRoute, origin: Described) -> None:
        return


@mutant("IT-CAT-060")
class AnyGridsName(Rules):
    """Lets a grid bear the name of another."""

    def route_name(self, origin: Described, known: Mapping[bytes, Described]) -> None:
        return


@mutant("IT-CAT-060")
class AnyRouteTariff(Rules):
    """Takes a route under a tariff of another origin."""

    def route_tariff(self, link: Link, stated: OriginRoute, origin: Described) -> None:
        if stated.tariff_seq not in link.logs.account.tariffs[1]:
            raise Refusal("TARIFF_INVALID", "The advertised tariff is unknown.")


@mutant("IT-CAT-060")
class TwoStatements(Rules):
    """Takes another descriptor of a version that is known."""

    def route_grows(self, known: Described, origin: Described) -> None:
        return


@mutant("IT-CAT-060", also=("IT-CAT-035", "IT-CAT-036"))
class KeepsOldRoute(Rules):
    """Keeps the route that was advertised before a bad one."""

    def bad_route_withdraws(self) -> bool:
        return False


@mutant("IT-CAT-061", also=("IT-CAT-035", "IT-CAT-036", "IT-CAT-060"))
class BadRouteCloses(Rules):
    """Closes the link for a bad route."""

    def route_refused(self, refusal: Refusal) -> None:
        raise refusal


@mutant("IT-CAT-062")
class NeverWithdraws(Rules):
    """Keeps what an epoch has not refreshed."""

    def end_withdraws(self, route: Route, epoch: int) -> bool:
        return False


@mutant("IT-CAT-063")
class KeepsDownRoutes(Rules):
    """Keeps what was reached over a link that is down."""

    def down_withdraws(self) -> bool:
        return False


@mutant("IT-CAT-064")
class FewOrigins(Rules):
    """Takes a thousand origins of a link."""

    def has_room(self, routes: int) -> bool:
        return routes < 1_000


@mutant("IT-CAT-066", also=("IT-CAT-035",))
class LatestChain(Rules):
    """Goes by the chain that was shown last, older or not."""

    def newest(self, known: Described | None, origin: Described) -> Described:
        return origin


@mutant("IT-CAT-073")
class HalfAnswers(Rules):
    """Uses what came of an answer that has not ended."""

    def fetched_whole(self, ended: bool) -> bool:
        return True


@mutant("IT-CAT-074")
class TakesExtras(Rules):
    """Takes offers that the root does not list."""

    def is_listed(self, offer: Offered, route: Route) -> bool:
        if offer.digest not in route.root.offers:
            route.root.offers.append(offer.digest)
        return True


@mutant("IT-CAT-076")
class FetchesInTheWay(Rules):
    """Hears nothing on a link while it fetches offers over it."""

    def fetches_beside(self) -> bool:
        return False
