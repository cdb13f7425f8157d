"""What a grid shows its consumers of the catalog (RFC 0008, section 3.10)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from intertie.v1 import catalog_pb2 as ct
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.catalog import Offered
    from intertie_conformance.grid.routes import Route
    from intertie_conformance.wire.amounts import Price

MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 20
MAX_TEXT: Final = 256
WEIGHTS: Final = (8, 4, 2, 1)


def _texts(offer: ct.Offer, grid: str) -> tuple[str, ...]:
    """Name, tags, description and grid, in lower case."""
    return tuple(text.lower() for text in (offer.name, " ".join(offer.tags), offer.description, grid))


class ListingRules:
    """Search, Get and Watch."""

    def keeps_text(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        """Each word occurs somewhere."""
        texts = _texts(item.offer, item.origin)
        return all(any(word in text for text in texts) for word in asked.text.lower().split())

    def keeps_kind(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        """It is of the kind."""
        return asked.kind in (ct.OFFER_KIND_UNSPECIFIED, item.offer.kind)

    def keeps_unit(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        """It prices the unit."""
        return not asked.unit or any(line.unit == asked.unit for line in item.offer.prices)

    def keeps_places(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        """Its place is allowed: a country allows its subdivisions."""
        places, place = asked.policy.places, item.offer.place
        return not places or any(place == p or place.startswith(f"{p}-") for p in places)

    def keeps_origin(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        """It is of the grid."""
        return asked.origin in ("", item.origin)

    def keeps_price(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> bool:
        """One atom of each line costs at most so much here."""
        least = sum(-(-line.num // line.den) for line in item.prices)
        return not asked.max_price or (bool(item.prices) and least <= asked.max_price)

    SEARCH_RULES: tuple[str, ...] = (
        "keeps_text",
        "keeps_kind",
        "keeps_unit",
        "keeps_places",
        "keeps_origin",
        "keeps_price",
    )

    def rank(self, asked: ct.SearchRequest, item: ct.ListedOffer) -> Any:
        """Sorts the best first."""
        texts = _texts(item.offer, item.origin)
        words = asked.text.lower().split()
        score = sum(weight for word in words for weight, text in zip(WEIGHTS, texts, strict=True) if word in text)
        return (-score, item.ref.encode())

    def search_size(self, asked: ct.SearchRequest) -> int:
        """Most items of a page. Raises: Refusal INVALID_ARGUMENT."""
        if asked.page_size > MAX_PAGE:
            raise Refusal("INVALID_ARGUMENT", f"A page has at most {MAX_PAGE} items.", field="page_size")
        return asked.page_size or DEFAULT_PAGE

    def search_text(self, asked: ct.SearchRequest) -> None:
        """A text is not too long."""
        if len(asked.text) > MAX_TEXT:
            raise Refusal("INVALID_ARGUMENT", f"A text has at most {MAX_TEXT} characters.", field="text")

    def search_start(self, asked: ct.SearchRequest) -> int:
        """Where a page begins. Raises: Refusal INVALID_ARGUMENT for a foreign token."""
        if not asked.page_token:
            return 0
        try:
            return int(base64.b64decode(asked.page_token.encode(), validate=True).decode().removeprefix("page "))
        except ValueError:
            raise Refusal("INVALID_ARGUMENT", "The page token is not one of this grid.", field="page_token") from None

    def search_token(self, start: int, shown: int, total: int) -> str:
        """The token of the page after, "" on the last one."""
        return base64.b64encode(f"page {start + shown}".encode()).decode() if start + shown < total else ""

    def listing(
        self, ref: str, grid: str, offer: Offered, me: str, way: tuple[Route, Sequence[Price]] | None, own: bool
    ) -> ct.ListedOffer:
        """An offer as it is shown."""
        made = ct.ListedOffer(ref=ref, origin=grid, digest=self.listed_digest(offer), offer=offer.message)
        made.origin_fingerprint = offer.message.origin
        made.path.extend(self.listed_path(me, way))
        for unit, num, den in offer.prices if own else self.listed_prices(offer, way):
            made.prices.add(unit=unit, num=num, den=den)
        return made

    def listed_digest(self, offer: Offered) -> bytes:
        """That of the exact bytes."""
        return offer.digest

    def listed_path(self, me: str, way: tuple[Route, Sequence[Price]] | None) -> list[str]:
        """From this grid to the origin."""
        return [me, *(way[0].stated.path_names if way else ())]

    def listed_prices(self, offer: Offered, way: tuple[Route, Sequence[Price]] | None) -> Sequence[Price]:
        """Those of the way that would be taken now; none without a way."""
        return way[1] if way else ()

    def unknown_offer(self, refusal: Refusal) -> Refusal:
        """What Get says of a reference that leads nowhere."""
        return refusal

    def watched(self, before: dict[str, bytes], now: dict[str, ct.ListedOffer]) -> list[ct.WatchResponse]:
        """Changes between two states of the catalog; `before` is ref → serialized listing."""
        came = [item for ref, item in now.items() if before.get(ref) != item.SerializeToString(deterministic=True)]
        gone = [ref for ref in before if ref not in now]
        return [*(ct.WatchResponse(upsert=item) for item in came), *(ct.WatchResponse(removed=ref) for ref in gone)]

    def synced(self) -> bool:
        """Said once, after everything known has been sent."""
        return True
