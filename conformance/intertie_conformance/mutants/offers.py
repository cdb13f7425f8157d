"""Origins that break RFC 0008, sections 3.1 to 3.7: offers, inputs, roots, advertisements, SyncCatalog, prices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement, Offer
from intertie_conformance.grid.account import Hold
from intertie_conformance.grid.catalog import HOUR_MS, Offered, advertisements, seal_root
from intertie_conformance.grid.identity import Identity
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.grid.schema import Fault
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import envelope
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.refusal import Refusal


def _ends_with(offer: Offer, name: str) -> bool:
    return offer.name == f"conformance/{name}"


@mutant("IT-CAT-001", also=("IT-CAT-114", "IT-CAT-081", "IT-CAT-083"))
class ForeignOffers(Rules):
    """Names another origin in an offer."""

    def own_offer(self, offer: Offer) -> Offer:
        if _ends_with(offer, "refuse"):
            offer.origin = multihash(b"another")
        return offer


@mutant("IT-CAT-002")
class SameName(Rules):
    """Gives two offers one name."""

    def own_offers(self, offers: list[Offered]) -> list[Offered]:
        twin = Offer.FromString(offers[-1].data)
        twin.description = "Another one."
        return [*offers, Offered.of(twin.SerializeToString())]


@mutant("IT-CAT-003")
class UpperCase(Rules):
    """Writes tags in upper case."""

    def own_offer(self, offer: Offer) -> Offer:
        offer.tags.append("SUITE")
        return offer


@mutant("IT-CAT-003")
class UnknownUnit(Rules):
    """Prices a unit that no registry knows."""

    def own_offer(self, offer: Offer) -> Offer:
        if _ends_with(offer, "refuse"):
            offer.prices.add(unit="llm.thought", num=1, den=1)
        return offer


@mutant("IT-CAT-004")
class UnitTwice(Rules):
    """Prices a unit twice."""

    def own_offer(self, offer: Offer) -> Offer:
        if _ends_with(offer, "refuse"):
            offer.prices.add(unit="order", num=1, den=1)
        return offer


@mutant("IT-CAT-015", also=("IT-CAT-016",))
class AnyInput(Rules):
    """Works on inputs that do not fit the schema."""

    def check_input(self, schema: bytes, data: bytes) -> Any:
        try:
            return super().check_input(schema, data)
        except Refusal:
            return {"bytes": 1}


@mutant("IT-CAT-015", also=("IT-CAT-016",))
class LateInput(Rules):
    """Refuses inputs by a reason of its own."""

    def input_fault(self, fault: Fault) -> Refusal:
        return Refusal("EXECUTION_FAILED", "The input does not fit.")


@mutant("IT-CAT-016")
class FaultNowhere(Rules):
    """Does not say where an input does not fit."""

    def input_fault(self, fault: Fault) -> Refusal:
        return Refusal("INPUT_INVALID", "The input does not fit.")


@mutant("IT-CAT-017")
class JsonOnly(Rules):
    """Takes JSON alone, also where there is no schema."""

    def check_input(self, schema: bytes, data: bytes) -> Any:
        return super().check_input(b'{"type": "object"}' if schema == b"{}" else schema, data)


@mutant("IT-CAT-018")
class OutwardReference(Rules):
    """Refers to a schema elsewhere."""

    def own_offer(self, offer: Offer) -> Offer:
        offer.output_schema = b'{"$ref": "https://schemas.example/output.json"}'
        return offer


@mutant("IT-CAT-030")
class RootKeyRoot(Rules):
    """Signs its catalog root with the root key."""

    def own_root(self, me: Identity, now: int, offers: Sequence[bytes]) -> bytes:
        payload = envelope.peek(super().own_root(me, now, offers)).payload
        return envelope.seal(envelope.CATALOG_ROOT, payload, [me.root])


@mutant("IT-CAT-031")
class UnsortedRoot(Rules):
    """Lists digests in any order."""

    def own_root(self, me: Identity, now: int, offers: Sequence[bytes]) -> bytes:
        changes: dict[str, object] = {"expires_at": now + 24 * HOUR_MS, "offers": sorted(offers, reverse=True)}
        return seal_root(me, now, (), **changes)


@mutant("IT-CAT-031", also=("IT-CAT-071", "IT-CAT-072"))
class ShortRoot(Rules):
    """Leaves an offer out of its root."""

    def own_root(self, me: Identity, now: int, offers: Sequence[bytes]) -> bytes:
        return super().own_root(me, now, sorted(offers)[1:])


@mutant("IT-CAT-034")
class LongRoot(Rules):
    """Lets a root stand for a month."""

    def own_root(self, me: Identity, now: int, offers: Sequence[bytes]) -> bytes:
        return seal_root(me, now, offers, expires_at=now + 30 * 24 * HOUR_MS)


@mutant(
    "IT-CAT-040",
    also=(
        "IT-CAT-002",
        "IT-CAT-015",
        "IT-CAT-017",
        "IT-CAT-030",
        "IT-CAT-034",
        "IT-CAT-070",
        "IT-CAT-072",
        "IT-CAT-083",
    ),
)
class AdvertisesOnce(Rules):
    """Says at a second opening that all is as before."""

    def own_round(self, link: Link, root: bytes, tariff_seq: int, epoch: int) -> Sequence[Advertisement]:
        told = vars(self).setdefault("told", set())
        whole = super().own_round(link, root, tariff_seq, epoch)
        first = link.genesis not in told
        told.add(link.genesis)
        return whole if first else whole[-1:]


@mutant("IT-CAT-042")
class LongPath(Rules):
    """Puts a stranger into its own path."""

    def own_round(self, link: Link, root: bytes, tariff_seq: int, epoch: int) -> Sequence[Advertisement]:
        path = [link.me.fingerprint, multihash(b"a stranger"), link.me.fingerprint]
        return advertisements(link.me, root, tariff_seq, epoch, path=path)


@mutant("IT-CAT-041")
class SameEpoch(Rules):
    """Gives every round one number."""

    def own_round(self, link: Link, root: bytes, tariff_seq: int, epoch: int) -> Sequence[Advertisement]:
        return [*advertisements(link.me, root, tariff_seq, 7), *advertisements(link.me, root, tariff_seq, 7)]


@mutant("IT-CAT-041")
class EndsTwice(Rules):
    """Ends a round that it has not begun."""

    def own_round(self, link: Link, root: bytes, tariff_seq: int, epoch: int) -> Sequence[Advertisement]:
        first, end = super().own_round(link, root, tariff_seq, epoch)
        return [first, Advertisement(epoch=epoch + 1, end=True), end]


@mutant(
    "IT-CAT-046",
    also=(
        "IT-CAT-015",
        "IT-CAT-016",
        "IT-CAT-017",
        "IT-CAT-081",
        "IT-CAT-083",
        "IT-CAT-087",
    ),
)
class UnwrittenTariff(Rules):
    """Names a tariff that it has not written yet."""

    def own_round(self, link: Link, root: bytes, tariff_seq: int, epoch: int) -> Sequence[Advertisement]:
        return super().own_round(link, root, tariff_seq + 50, epoch)


@mutant("IT-CAT-070")
class AnyGenesis(Rules):
    """Answers SyncCatalog of any genesis."""

    def sync_link(self, request: lk.SyncCatalogRequest, fingerprint: bytes, link: Link | None) -> None:
        return


@mutant("IT-CAT-071")
class SendsAllAgain(Rules):
    """Sends what the caller has as well."""

    def sync_offers(self, request: lk.SyncCatalogRequest, offers: Sequence[Offered], known: bool) -> Sequence[bytes]:
        return [offer.data for offer in offers]


@mutant("IT-CAT-071", also=("IT-CAT-072",))
class NoEnd(Rules):
    """Does not say that all was sent."""

    def sync_answer(self, offers: Sequence[bytes]) -> Sequence[lk.SyncCatalogResponse]:
        return super().sync_answer(offers)[:-1]


@mutant("IT-CAT-072")
class KnownRootsOnly(Rules):
    """Sends nothing for a root that it does not know."""

    def sync_offers(self, request: lk.SyncCatalogRequest, offers: Sequence[Offered], known: bool) -> Sequence[bytes]:
        return super().sync_offers(request, offers, known) if known else []


@mutant("IT-CAT-081")
class AnyLines(Rules):
    """Takes the prices that an order states."""

    def order_price(self, link: Link, hold: Hold, offer: Offered) -> None:
        if hold.order.tariff_seq not in link.logs.account.tariffs[0]:
            raise self.price_changed(link, "The order names no tariff.", offer.message.origin)


@mutant("IT-CAT-081")
class AnyTariff(Rules):
    """Looks at the prices of an order, not at its tariff."""

    def order_price(self, link: Link, hold: Hold, offer: Offered) -> None:
        if hold.prices != offer.prices:
            raise self.price_changed(link, "The prices are others.", offer.message.origin)


@mutant("IT-CAT-083")
class FirstTariff(Rules):
    """Names no tariff in a PRICE_CHANGED."""

    def price_changed(self, link: Link, message: str, origin: bytes) -> Refusal:
        return Refusal("PRICE_CHANGED", message, tariff_seq="0")


@mutant("IT-CAT-087")
class DayLongTariff(Rules):
    """Uses one tariff for a day."""

    def own_tariff(self, me: Identity, now: int) -> pb.Tariff:
        return pb.Tariff(origin=me.fingerprint, markup_num=1, markup_den=1, expires_at=now + 24 * HOUR_MS)
