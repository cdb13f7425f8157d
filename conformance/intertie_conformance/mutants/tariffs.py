"""Payers that break RFC 0008, sections 3.3, 3.5, 3.7 and 3.8: prices under tariffs, ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.routes import Route
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.amounts import Price
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-CAT-020")
class PartOfTheGrant(Rules):
    """Grants what the consumer wishes, also where the offer is charged on completion."""

    def first_grant(self, offer: Offered, max_charge: int, wished: int) -> int:
        return min(wished, max_charge)


@mutant("IT-CAT-080")
class PricesAsOffered(Rules):
    """Orders at the origin's prices, whatever the tariff."""

    def order_prices_of(self, offer: Offered, route: Route) -> list[Price]:
        return offer.prices


@mutant("IT-CAT-080")
class SortedLines(Rules):
    """States the lines in order of unit."""

    def order_prices_of(self, offer: Offered, route: Route) -> list[Price]:
        return sorted(route.priced(offer))


@mutant("IT-CAT-080")
class Unreduced(Rules):
    """Does not reduce the lines."""

    def order_prices_of(self, offer: Offered, route: Route) -> list[Price]:
        return [(unit, 2 * num, 2 * den) if num < 2**60 else (unit, num, den) for unit, num, den in route.priced(offer)]


@mutant("IT-CAT-084", also=("IT-CAT-090", "IT-CAT-115"))
class ExpiredTariffs(Rules):
    """Orders under tariffs that have expired."""

    def way_in_force(self, route: Route, now: int) -> bool:
        return True


@mutant("IT-CAT-089")
class AnyPrice(Rules):
    """Orders at prices that cannot be stated, as far as they can."""

    def priced(self, offer: Offered, tariff: pb.Tariff) -> list[Price] | None:
        found = super().priced(offer, tariff)
        return offer.prices if found is None else found


@mutant("IT-CAT-090", also=("IT-CAT-063", "IT-CAT-084", "IT-CAT-092", "IT-CAT-115", "IT-CAT-067"))
class AnyWay(Rules):
    """Orders over the shortest way, candidate or not."""

    def is_candidate(self, route: Route, now: int) -> bool:
        return True


@mutant("IT-CAT-091")
class LongestFirst(Rules):
    """Takes the longest path."""

    def way_key(self, route: Route) -> Any:
        return (-len(route.stated.path), route.link.genesis.hex())


@mutant("IT-CAT-092", also=("IT-CAT-084", "IT-CAT-116"))
class OneReasonForAll(Rules):
    """Names one reason for every way that cannot be taken."""

    def out_of_reach(self, routes: Sequence[Route], ref: str) -> Refusal:
        return Refusal("NO_ROUTE", "No way leads there.", offer=ref[:200])


@mutant("IT-CAT-067", also=("IT-CAT-063", "IT-CAT-092", "IT-CAT-116"))
class ForgetsWithdrawn(Rules):
    """Forgets the offers of a withdrawn route."""

    def remembers_withdrawn(self) -> bool:
        return False
