"""Offers of this grid and of those it can reach, and what they cost from here (design §8).

Origins are keyed by fingerprint. Routes are learnt from advertisements, path-vector like: one per
(link, origin); the cheapest usable one is taken. A route that is not advertised any more is kept, faded,
until its tariff or its root expires: what it led to is out of reach for now, not unknown.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec
from msgspec import Struct

from intertie.amounts import INT64_MAX, apply_tariff
from intertie.digests import multihash
from intertie.errors import IntertieError
from intertie.v1.catalog_pb2 import CatalogRoot, Offer
from intertie_node.core.effects import Effects
from intertie_node.core.holds import MAX_PRICE_LINES, Prices
from intertie_node.core.ledger import TariffTerms
from intertie_node.core.standing import EPOCHS, FADED, ROUTE_TABLE, RouteSignal, Standing, standing_of

ORDER_UNIT = "order"
MAX_UNIT = 64
"""Characters of a unit's name, so that an order's lines fit an entry."""


class KnownOffer(Struct, frozen=True, eq=False):
    """An offer with its exact bytes."""

    origin: bytes
    grid: str
    digest: bytes
    data: bytes
    offer: Offer
    prices: Prices

    @property
    def ref(self) -> str:
        """The reference that consumers use."""
        return f"{self.grid}/{self.offer.name}"


class Route(Struct):
    """An origin as reachable over a link. Usable once its offers are known."""

    link: str
    origin: bytes
    grid: str
    path: tuple[bytes, ...]
    path_names: tuple[str, ...]
    tariff_seq: int
    root: bytes
    """Serialized Envelope of the origin's catalog root."""
    root_digest: bytes
    offers: tuple[bytes, ...]
    expires_at: int
    descriptors: tuple[bytes, ...]
    epoch: int
    """Round of advertisements that named it last, from 1; or FADED, EXPECTED (`core.standing`)."""
    version: int = 0
    """Of the root."""


RouteKey = tuple[str, bytes]
"""(link, origin)."""


MAX_OFFER_BYTES = 262_144


def known_offer(origin: bytes, grid: str, data: bytes) -> KnownOffer:
    """Decode an offer's exact bytes. Raises: IntertieError INVALID_ARGUMENT naming what is wrong."""
    if len(data) > MAX_OFFER_BYTES:
        raise IntertieError("INVALID_ARGUMENT", f"An offer of {grid} has {len(data)} bytes.")
    try:
        offer = Offer.FromString(data)
    except Exception as error:
        raise IntertieError("INVALID_ARGUMENT", f"An offer of {grid} does not decode.") from error
    prices = tuple((line.unit, line.num, line.den) for line in offer.prices)
    if offer.origin != origin:
        raise IntertieError("INVALID_ARGUMENT", f"The offer {offer.name} is not one of {grid}'s.")
    if not offer.name or len(offer.name) > 128 or len(prices) > 16 or len({p[0] for p in prices}) < len(prices):
        raise IntertieError("INVALID_ARGUMENT", f"An offer of {grid} has a bad name or bad price lines.")
    if any(len(unit) > MAX_UNIT for unit, _, _ in prices):
        raise IntertieError("INVALID_ARGUMENT", f"The offer {grid}/{offer.name} prices a unit of too long a name.")
    if any(num < 0 or den <= 0 for _, num, den in prices):
        raise IntertieError("INVALID_ARGUMENT", f"The offer {grid}/{offer.name} has a price that is no price.")
    return KnownOffer(origin, grid, multihash(data), data, offer, prices)


def priced(offer: KnownOffer, tariff: TariffTerms) -> Prices | None:
    """The offer's prices with a tariff applied; the fee is added to the unit "order" (design §7, tariff).

    None if the price cannot be stated: a term exceeds int64, or the fee makes a line too many (IT-CAT-089).
    """
    return _under(offer.prices, tariff)


@lru_cache(4096)
def _under(prices: Prices, tariff: TariffTerms) -> Prices | None:
    try:
        lines = tuple(apply_tariff(prices, tariff.markup_num, tariff.markup_den, tariff.fee))
    except IntertieError:
        return None
    return lines if len(lines) <= MAX_PRICE_LINES else None


class Catalog:
    """Everything that can be ordered from this grid."""

    def __init__(self) -> None:
        self.offers: dict[bytes, KnownOffer] = {}
        self.own: dict[str, KnownOffer] = {}
        self._own: set[bytes] = set()
        self.routes: dict[RouteKey, Route] = {}
        self.root_versions: dict[bytes, int] = {}
        """Origin, this grid too → highest version of a root of its that was ever taken."""
        self.refused: dict[str, str] = {}
        """Link → why its last bad advertisement was refused, for operators."""
        self._by_ref: dict[str, bytes] = {}
        self.past: dict[RouteKey, Route] = {}
        """Routes that are gone, oldest first, without offers: their rows keep what is known of the origins."""
        self._changed: dict[RouteKey, Route | None] = {}
        """Routes whose rows must be written, as they were last; None deletes."""
        self._learnt: set[bytes] = set()
        self._lost: set[bytes] = set()
        self.version = 0
        """Rises with every change; what Watch and the advertiser look at."""

    def set_own(self, offers: Iterable[KnownOffer]) -> None:
        """Replace this grid's own offers."""
        for old in self.own.values():
            self.offers.pop(old.digest, None)
        self.own = {o.offer.name: o for o in offers}
        self.offers.update({o.digest: o for o in self.own.values()})
        self._index()

    def learn(self, offers: Iterable[KnownOffer]) -> None:
        """Add offers of other origins, fetched by digest."""
        fresh = {o.digest: o for o in offers}
        self.offers.update(fresh)
        self._learnt |= fresh.keys()
        self._index()

    def restore(self, routes: Iterable[Route], past: Iterable[Route], offers: Iterable[KnownOffer]) -> None:
        """Put stored routes and offers back; the routes are faded until their links advertise them again."""
        self.past = {(r.link, r.origin): r for r in past}
        self.routes = {(r.link, r.origin): msgspec.structs.replace(r, epoch=FADED) for r in routes}
        self.offers.update({o.digest: o for o in offers})
        self._index()

    def put_route(self, route: Route) -> tuple[bytes, ...]:
        """Take up a route that is advertised, however it stood; returns the digests of offers not known yet."""
        key = (route.link, route.origin)
        self.saw_root(route)
        old = self.routes.get(key)
        self.routes[key] = route
        self.past.pop(key, None)
        if old is None or msgspec.structs.replace(old, epoch=route.epoch) != route:
            self._changed[key] = route
            self._index()
        elif old.epoch <= 0:
            self._index()
        return tuple(d for d in route.offers if d not in self.offers)

    def saw_root(self, route: Route) -> None:
        """Note a root's version, also that of a route which is gone: no older root is taken any more."""
        self.root_versions[route.origin] = max(route.version, self.root_versions.get(route.origin, 0))

    def refuse_route(self, key: RouteKey, why: str) -> None:
        """Note a bad advertisement; what the link had advertised of that origin before is forgotten."""
        self.refused[key[0]] = why
        self._move([self.routes[key]] if key in self.routes else [], RouteSignal.REFUSED)

    def expire(self, routes: Sequence[Route]) -> None:
        """Root or tariff of these routes has expired."""
        self._move(routes, RouteSignal.EXPIRED)

    def _move(self, routes: Sequence[Route], signal: RouteSignal) -> None:
        """Do to routes what the table says."""
        before = [standing_of(route.epoch) for route in routes]
        after = [ROUTE_TABLE[standing, signal] for standing in before]
        for route, standing in zip(routes, after, strict=True):
            if standing is Standing.GONE:
                self._put_away((route.link, route.origin))
            elif standing in EPOCHS:
                route.epoch = EPOCHS[standing]
        if before != after:
            self._index()

    def _put_away(self, key: RouteKey) -> None:
        # The row stays: it keeps the origin's descriptors, by which its records are verified.
        route = msgspec.structs.replace(self.routes.pop(key), offers=(), root=b"")
        self.past[key] = self._changed[key] = route

    def idle(self, link: str) -> list[RouteKey]:
        """Where a link has led and does not lead now: to what is gone first, then to what is faded or expected."""
        faded = [key for key, route in self.routes.items() if key[0] == link and route.epoch <= 0]
        return [key for key in self.past if key[0] == link] + faded

    def forget(self, keys: Collection[RouteKey]) -> set[bytes]:
        """Forget routes with their rows; returns the origins to which no other route leads or has led."""
        for key in keys:
            self._changed[key] = None
            self.past.pop(key, None)
            self.routes.pop(key, None)
        kept = {origin for routes in (self.routes, self.past) for _, origin in routes}
        gone = {origin for _, origin in keys} - kept
        for origin in gone:
            self.root_versions.pop(origin, None)
        self._index()
        return gone

    def fade_routes(self, link: str, keep_epoch: int | None = None) -> None:
        """Withdraw routes of a link: all, since it is down, or at a round's end those not refreshed in `keep_epoch`."""
        signal = RouteSignal.LINK_LOST if keep_epoch is None else RouteSignal.OMITTED
        self._move([r for r in self.routes.values() if r.link == link and r.epoch != keep_epoch], signal)

    def expect_routes(self, link: str) -> None:
        """A link is open again: what it led to may be tried before it is advertised anew."""
        self._move([r for r in self.routes.values() if r.link == link], RouteSignal.LINK_OPEN)

    def in_reach(self, offer: KnownOffer) -> bool:
        """Whether an offer is this grid's own, advertised or expected to be."""
        return offer.digest in self._own or any(r.epoch != FADED for r in self.routes_to(offer))

    def _index(self) -> None:
        self.version += 1
        faded = {d for route in self.routes.values() if route.epoch == FADED for d in route.offers}
        wanted = {d for route in self.routes.values() if route.epoch != FADED for d in route.offers}
        self._own = {o.digest for o in self.own.values()}
        kept = {d: o for d, o in self.offers.items() if d in self._own or d in wanted or d in faded}
        self._lost |= self.offers.keys() - kept.keys()
        self.offers = kept
        # Of two offers by one name, the one that is advertised now is meant, before all an own one.
        self._by_ref = {kept[d].ref: d for group in (faded, wanted, self._own) for d in group if d in kept}

    def flush(self, fx: Effects) -> None:
        """Write the rows that changed in this batch."""
        for key, route in self._changed.items():
            kept = msgspec.structs.replace(route, epoch=FADED) if route is not None else None
            fx.changes.put("routes", key, (*key, msgspec.msgpack.encode(kept)) if kept is not None else None)
        for digest in self._lost - self.offers.keys():
            fx.changes.put("offers", (digest,), None)
        for digest in self._learnt & self.offers.keys():
            offer = self.offers[digest]
            fx.changes.put("offers", (digest,), (digest, offer.origin, offer.offer.name, offer.data))
        if self._changed or self._lost or self._learnt:
            self._changed, self._lost, self._learnt = {}, set(), set()

    def size_over(self, link: str) -> int:
        """Bytes of the offers that are known and that routes of a link carry."""
        carried = {d for route in self.routes.values() if route.link == link for d in route.offers}
        return sum(len(self.offers[d].data) for d in carried & self.offers.keys())

    def find(self, ref: str) -> KnownOffer:
        """The offer of a reference "grid/name", or "name" for an own one. Raises: IntertieError OFFER_UNKNOWN."""
        digest = self._by_ref.get(ref)
        if digest is not None:
            return self.offers[digest]
        if ref in self.own:
            return self.own[ref]
        raise IntertieError(
            "OFFER_UNKNOWN", f"No offer {ref} is known here; search the catalog for what is.", offer=ref
        )

    def all(self) -> list[KnownOffer]:
        """Every offer that is known, by reference, also those out of reach."""
        return [self.offers[d] for _, d in sorted(self._by_ref.items())]

    def routes_to(self, offer: KnownOffer) -> Iterator[Route]:
        """Routes that carry this offer, shortest path first, faded ones too."""
        found = [r for r in self.routes.values() if r.origin == offer.origin and offer.digest in r.offers]
        return iter(sorted(found, key=lambda r: (len(r.path), r.link)))


def check_root(root: CatalogRoot, origin: bytes, now: int) -> tuple[bytes, ...]:
    """Check a verified catalog root; returns the offers' digests.

    Raises: IntertieError INVALID_ARGUMENT if it is another origin's, expired or unsorted.
    """
    offers = tuple(root.offers)
    if root.origin != origin or root.expires_at <= now or len(offers) > 4096 or list(offers) != sorted(set(offers)):
        raise IntertieError("INVALID_ARGUMENT", "The catalog root is another origin's, expired, or not sorted.")
    return offers


def build_root(origin: bytes, version: int, expires_at: int, offers: Iterable[KnownOffer]) -> bytes:
    """Payload bytes of this grid's catalog root."""
    digests = sorted(o.digest for o in offers)
    return CatalogRoot(origin=origin, version=version, expires_at=expires_at, offers=digests).SerializeToString()


def indicative(prices: Prices) -> int:
    """One order plus one atom of each unit, minor units: what search ranks and limits by."""
    return min(INT64_MAX, sum(-(-num // den) for _, num, den in prices))


def matches(offer: KnownOffer, words: Sequence[str], fields: Mapping[str, str]) -> int:
    """Rank of an offer for search words, 0 if one of them is nowhere (name counts most)."""
    score = 0
    for word in words:
        found = sum(weight for name, weight in _WEIGHTS if word in fields[name])
        if not found:
            return 0
        score += found
    return score or 1


_WEIGHTS = (("name", 8), ("tags", 4), ("description", 2), ("grid", 1))


def search_fields(offer: KnownOffer) -> dict[str, str]:
    """Lower-case text of an offer, by field."""
    o = offer.offer
    return {
        "name": o.name.lower(),
        "tags": " ".join(o.tags).lower(),
        "description": o.description.lower(),
        "grid": offer.grid.lower(),
    }
