"""Offers of this grid and of those it can reach, and what they cost from here (design §8).

Origins are keyed by fingerprint. Routes are learnt from advertisements, path-vector like: one per
(link, origin); the cheapest usable one is taken.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec
from msgspec import Struct

from intertie.amounts import INT64_MAX, apply_tariff
from intertie.digests import multihash
from intertie.errors import IntertieError
from intertie.v1.catalog_pb2 import CatalogRoot, Offer
from intertie.v1.metering_pb2 import PriceLine
from intertie_node.core.ledger import TariffTerms

ORDER_UNIT = "order"
Prices = tuple[tuple[str, int, int], ...]
"""(unit, num, den): num/den minor units per atom."""


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


def known_offer(origin: bytes, grid: str, data: bytes) -> KnownOffer:
    """Decode an offer's exact bytes. Raises: IntertieError INVALID_ARGUMENT naming what is wrong."""
    try:
        offer = Offer.FromString(data)
    except Exception as error:
        raise IntertieError("INVALID_ARGUMENT", f"An offer of {grid} does not decode.") from error
    prices = tuple((line.unit, line.num, line.den) for line in offer.prices)
    if offer.origin != origin:
        raise IntertieError("INVALID_ARGUMENT", f"The offer {offer.name} is not one of {grid}'s.")
    if not offer.name or len(offer.name) > 128 or len(prices) > 16 or len({p[0] for p in prices}) < len(prices):
        raise IntertieError("INVALID_ARGUMENT", f"An offer of {grid} has a bad name or bad price lines.")
    if any(num < 0 or den <= 0 for _, num, den in prices):
        raise IntertieError("INVALID_ARGUMENT", f"The offer {grid}/{offer.name} has a price that is no price.")
    return KnownOffer(origin, grid, multihash(data), data, offer, prices)


def priced(offer: KnownOffer, tariff: TariffTerms | None) -> Prices:
    """The offer's prices with a tariff applied; the fee is added to the unit "order" (design §7, tariff)."""
    return offer.prices if tariff is None else _under(offer.prices, tariff)


@lru_cache(4096)
def _under(prices: Prices, tariff: TariffTerms) -> Prices:
    return tuple(apply_tariff(prices, tariff.markup_num, tariff.markup_den, tariff.fee))


@lru_cache(4096)
def price_lines(prices: Prices) -> tuple[PriceLine, ...]:
    """Prices as messages, to be copied into an order."""
    return tuple(PriceLine(unit=unit, num=num, den=den) for unit, num, den in prices)


class Catalog:
    """Everything that can be ordered from this grid."""

    def __init__(self) -> None:
        self.offers: dict[bytes, KnownOffer] = {}
        self.own: dict[str, KnownOffer] = {}
        self.routes: dict[tuple[str, bytes], Route] = {}
        self.refused: dict[str, str] = {}
        """Link → why its last bad advertisement was refused, for operators."""
        self._by_ref: dict[str, bytes] = {}
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
        self.offers.update({o.digest: o for o in offers})
        self._index()

    def put_route(self, route: Route) -> tuple[bytes, ...]:
        """Add or refresh a route; returns the digests of offers that are not known yet."""
        old = self.routes.get((route.link, route.origin))
        self.routes[route.link, route.origin] = route
        if old is None or msgspec.structs.replace(old, epoch=route.epoch) != route:
            self._index()
        return tuple(d for d in route.offers if d not in self.offers)

    def refuse_route(self, key: tuple[str, bytes], why: str) -> None:
        """Note a bad advertisement; what the link had advertised of that origin before is withdrawn."""
        self.refused[key[0]] = why
        if self.routes.pop(key, None) is not None:
            self._index()

    def drop_routes(self, link: str, keep_epoch: int | None = None) -> list[Route]:
        """Withdraw routes of a link, all or those not refreshed in `keep_epoch`."""
        gone = [r for k, r in self.routes.items() if k[0] == link and r.epoch != keep_epoch]
        for route in gone:
            del self.routes[route.link, route.origin]
        if gone:
            self._index()
        return gone

    def _index(self) -> None:
        self.version += 1
        wanted = {d for route in self.routes.values() for d in route.offers}
        own = {o.digest for o in self.own.values()}
        self.offers = {d: o for d, o in self.offers.items() if d in own or d in wanted}
        self._by_ref = {self.offers[d].ref: d for d in wanted if d in self.offers}
        self._by_ref |= {o.ref: o.digest for o in self.own.values()}

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
        """Every offer that can be ordered, by reference."""
        return [self.offers[d] for _, d in sorted(self._by_ref.items())]

    def routes_to(self, offer: KnownOffer) -> Iterator[Route]:
        """Routes that carry this offer, shortest path first."""
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
