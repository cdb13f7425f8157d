"""What a consumer searches for (RFC 0008, section 3.10)."""

from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

from intertie.amounts import check_amount
from intertie.client.requests import check_choice, check_size
from intertie.v1.catalog_pb2 import OfferKind, SearchRequest

Kind = Literal["agent", "tool", "model", "environment"]


class SearchOptions(TypedDict, total=False):
    """What narrows a search."""

    kind: Kind | None
    """Only offers of this kind."""
    unit: str
    """Only offers that price this unit."""
    max_price: int
    """Bounds one order plus one atom of each unit, minor units; 0 for no limit."""
    places: Sequence[str]
    """ISO 3166 codes of places where the work may be done; empty for anywhere."""
    origin: str
    """Only offers of the grid with this name."""


def make_search(text: str, after: str, size: int, /, **options: Unpack[SearchOptions]) -> SearchRequest:
    """Return the request for a page of at most `size` offers, `after` the token of the page before.

    Raises INVALID_ARGUMENT for a kind or size that there is not, AMOUNT_INVALID, and TypeError for an option that
    there is not.
    """
    if unknown := options.keys() - SearchOptions.__optional_keys__:
        known = ", ".join(sorted(SearchOptions.__optional_keys__))
        raise TypeError(f"There is no option {min(unknown)!r}; there are {known}.")
    request = SearchRequest(
        text=text,
        unit=options.get("unit", ""),
        max_price=check_amount(options.get("max_price", 0)),
        origin=options.get("origin", ""),
        page_size=check_size(size),
        page_token=after,
    )
    if (kind := options.get("kind")) is not None:
        request.kind = OfferKind.ValueType(check_choice(kind, dict(OfferKind.items()), "OFFER_KIND_", "kind"))
    if places := options.get("places"):
        request.policy.places.extend(places)
    return request
