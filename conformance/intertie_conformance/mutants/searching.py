"""Grids that break RFC 0008, sections 3.9 and 3.10: references, Search, Get and Watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intertie.v1 import catalog_pb2 as ct
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.routes import Route, Routes
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.amounts import Price
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-CAT-110")
class AnyWord(Rules):
    """Keeps an offer if one of the words occurs."""

    def keeps_text(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        text = f"{item.offer.name} {item.offer.tags} {item.offer.description} {item.origin}".lower()
        return not asked.text or any(word in text for word in asked.text.lower().split())


@mutant("IT-CAT-110")
class AnyKind(Rules):
    """Does not look at kinds."""

    def keeps_kind(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        return True


@mutant("IT-CAT-110")
class AnyUnit(Rules):
    """Does not look at units."""

    def keeps_unit(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        return True


@mutant("IT-CAT-110")
class ExactPlaces(Rules):
    """Does not take a country for its parts."""

    def keeps_places(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        return not asked.policy.places or item.offer.place in asked.policy.places


@mutant("IT-CAT-110", also=("IT-CAT-111", "IT-CAT-113"))
class AnyGrid(Rules):
    """Does not look at origins."""

    def keeps_origin(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        return True


@mutant("IT-CAT-110")
class OriginsPrice(Rules):
    """Compares the exact sum with the highest price, unrounded."""

    def keeps_price(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        return not asked.max_price or sum(line.num / line.den for line in item.prices) <= asked.max_price


@mutant("IT-CAT-111")
class ByReferenceAlone(Rules):
    """Does not rank."""

    def rank(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> Any:
        return item.ref.encode()


@mutant("IT-CAT-112")
class AnyPageSize(Rules):
    """Serves pages of any size."""

    def search_size(self, asked: ct.SearchRequest) -> int:
        return asked.page_size or 20


@mutant("IT-CAT-112")
class AnyText(Rules):
    """Takes texts of any length."""

    def search_text(self, asked: ct.SearchRequest) -> None:
        return


@mutant("IT-CAT-112")
class AnyPageToken(Rules):
    """Begins anew for a token that it does not know."""

    def search_start(self, asked: ct.SearchRequest) -> int:
        try:
            return super().search_start(asked)
        except Refusal:
            return 0


@mutant("IT-CAT-113")
class TenAPage(Rules):
    """Takes a page size of 0 as 10."""

    def search_size(self, asked: ct.SearchRequest) -> int:
        return super().search_size(asked) if asked.page_size else 10


@mutant("IT-CAT-113")
class TokenOnLastPage(Rules):
    """Gives a token with the last page, if that is a full one."""

    def search_token(self, start: int, shown: int, total: int) -> str:
        return super().search_token(start, shown, total + 1)


@mutant("IT-CAT-114")
class OtherDigest(Rules):
    """Lists a digest of the offer as it is encoded here."""

    def listed_digest(self, offer: Offered) -> bytes:
        return multihash(offer.data + b"\x00")


@mutant("IT-CAT-114")
class PathWithoutMe(Rules):
    """Leaves itself out of the path."""

    def listed_path(self, me: str, way: tuple[Route, Sequence[Price]] | None) -> list[str]:
        return list(way[0].stated.path_names) if way else [me]


@mutant("IT-CAT-114", also=("IT-CAT-110", "IT-CAT-080", "IT-CAT-089", "IT-CAT-115"))
class PricesOfOrigin(Rules):
    """Lists the prices that the origin states."""

    def listed_prices(self, offer: Offered, way: tuple[Route, Sequence[Price]] | None) -> Sequence[Price]:
        return offer.prices if way else ()


@mutant("IT-CAT-115", also=("IT-CAT-089",))
class LastKnownPrices(Rules):
    """Lists prices also where there is no way."""

    def listed_prices(self, offer: Offered, way: tuple[Route, Sequence[Price]] | None) -> Sequence[Price]:
        return way[1] if way else offer.prices


@mutant("IT-CAT-116")
class NotFound(Rules):
    """Says of an unknown reference that it is not found."""

    def unknown_offer(self, refusal: Refusal) -> Refusal:
        return Refusal("NOT_FOUND", "No such offer.")


@mutant("IT-CAT-116", also=("IT-CAT-067", "IT-CAT-092"))
class TellsOfWithdrawn(Rules):
    """Shows what is out of reach as if it were not."""

    def within_reach(self, offer: Offered, routes: Routes, ref: str) -> None:
        return


@mutant("IT-CAT-117")
class NeverSynced(Rules):
    """Does not say that everything was sent."""

    def synced(self) -> bool:
        return False


@mutant("IT-CAT-117")
class NeverRemoves(Rules):
    """Says nothing of offers that went."""

    def watched(self, before: dict[str, bytes], now: dict[str, ct.ListedOffer]) -> list[ct.WatchResponse]:
        return [change for change in super().watched(before, now) if change.HasField("upsert")]


@mutant("IT-CAT-117")
class NewOffersAlone(Rules):
    """Says nothing of offers that changed."""

    def watched(self, before: dict[str, bytes], now: dict[str, ct.ListedOffer]) -> list[ct.WatchResponse]:
        return [c for c in super().watched(before, now) if not c.HasField("upsert") or c.upsert.ref not in before]


@mutant("IT-CAT-100")
class ByNameAlone(Rules):
    """Takes the first offer of a name, whatever its grid."""

    def resolve(self, ref: str, known: Mapping[str, Offered], own: Mapping[str, Offered]) -> Offered:
        name = ref.partition("/")[2]
        first = next((offer for offer in known.values() if offer.message.name == name), None)
        return first if first is not None and ref in known else super().resolve(ref, known, own)


@mutant("IT-CAT-101")
class FullAlone(Rules):
    """Knows full references alone."""

    def resolve(self, ref: str, known: Mapping[str, Offered], own: Mapping[str, Offered]) -> Offered:
        return super().resolve(ref, known, {})


@mutant("IT-CAT-102", also=("IT-CAT-101", "IT-CAT-116"))
class UnresolvedByOtherName(Rules):
    """Has another reason for what it cannot resolve."""

    def resolve(self, ref: str, known: Mapping[str, Offered], own: Mapping[str, Offered]) -> Offered:
        try:
            return super().resolve(ref, known, own)
        except Refusal:
            raise Refusal("NO_ROUTE", "Nothing leads there.", offer=ref[:200]) from None


@mutant("IT-CAT-104")
class WithdrawnFirst(Rules):
    """Means by a reference what is out of reach before what is in reach."""

    def withdrawn_first(self) -> bool:
        return True
