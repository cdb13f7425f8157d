"""Search over the catalog: text, kind, unit, price, place; ranked and paged (design §8)."""

import base64
from collections.abc import Sequence
from itertools import accumulate

from intertie.errors import IntertieError
from intertie.v1.catalog_pb2 import OFFER_KIND_UNSPECIFIED, ListedOffer, SearchRequest, SearchResponse
from intertie_node.core.catalog import KnownOffer, indicative, matches, search_fields
from intertie_node.core.placing import ways
from intertie_node.core.world import World

MAX_TEXT = 256
MAX_PAGE = 100
MAX_PAGE_BYTES = 1 << 20
DEFAULT_PAGE = 20


def listed(world: World, offer: KnownOffer, now: int) -> ListedOffer:
    """An offer as this grid can sell it; without prices where no way is up."""
    item = ListedOffer(
        ref=offer.ref,
        origin=offer.grid,
        digest=offer.digest,
        offer=offer.offer,
        origin_fingerprint=offer.origin,
        path=[world.own.grid],
    )
    prices = offer.prices if offer.origin == world.fingerprint else ()
    for way in ways(world, offer, now)[:1]:
        prices = way.prices
        item.path.extend(way.route.path_names)
    for unit, num, den in prices:
        item.prices.add(unit=unit, num=num, den=den)
    return item


def search(world: World, request: SearchRequest, now: int) -> SearchResponse:
    """One page of what is in reach, best first. Raises: IntertieError INVALID_ARGUMENT: bad size, text or token."""
    if request.page_size > MAX_PAGE or len(request.text) > MAX_TEXT:
        raise IntertieError("INVALID_ARGUMENT", f"page_size may be {MAX_PAGE} and text {MAX_TEXT} characters at most.")
    size, start = request.page_size or DEFAULT_PAGE, _start(request.page_token)
    words = request.text.lower().split()
    found = []
    for offer in world.catalog.all():
        rank = matches(offer, words, search_fields(offer)) if words else 1
        if rank and _fits(offer, request) and world.catalog.in_reach(offer):
            found.append((-rank, offer.ref, offer))
    found.sort(key=lambda item: item[:2])
    items = [listed(world, offer, now) for _, _, offer in found]
    if request.max_price:
        items = [i for i in items if i.prices and _price(i) <= request.max_price]
    shown = bounded(items[start : start + size])
    page, end = SearchResponse(offers=shown), start + len(shown)
    if len(items) > end:
        page.next_page_token = base64.urlsafe_b64encode(str(end).encode()).decode()
    return page


def bounded(items: Sequence[ListedOffer]) -> Sequence[ListedOffer]:
    """As many of these offers as fit a page, one at least."""
    sizes = accumulate(item.ByteSize() for item in items)
    return items[: max(1, sum(size <= MAX_PAGE_BYTES for size in sizes))]


def _fits(offer: KnownOffer, request: SearchRequest) -> bool:
    places = request.policy.places
    place = offer.offer.place
    return (
        request.kind in (OFFER_KIND_UNSPECIFIED, offer.offer.kind)
        and (not request.unit or any(unit == request.unit for unit, _, _ in offer.prices))
        and (not request.origin or offer.grid == request.origin)
        and (not places or any(place == p or place.startswith(p + "-") for p in places))
    )


def _price(item: ListedOffer) -> int:
    return indicative(tuple((line.unit, line.num, line.den) for line in item.prices))


def _start(token: str) -> int:
    if not token:
        return 0
    try:
        start = int(base64.urlsafe_b64decode(token.encode()))
    except ValueError:
        start = -1
    if start < 0:
        raise IntertieError("INVALID_ARGUMENT", "The page token is not one of this node's.", field="page_token")
    return start
