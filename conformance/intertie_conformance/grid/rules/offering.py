"""What a grid offers and tells its peers of it (RFC 0008, sections 3.1 to 3.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement, Offer
from intertie_conformance.grid.catalog import HOUR_MS, Offered, advertisements, seal_root
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.identity import Identity
    from intertie_conformance.grid.link import Link

DAY_MS: Final = 24 * HOUR_MS


class OfferingRules:
    """Own offers, roots, advertisements, tariffs, answers to SyncCatalog."""

    def own_offer(self, offer: Offer) -> Offer:
        """An own offer as it is made."""
        return offer

    def own_offers(self, offers: list[Offered]) -> list[Offered]:
        """Everything that is offered."""
        return offers

    def own_root(self, me: Identity, now: int, offers: Sequence[bytes]) -> bytes:
        """The signed list of digests; it stands for a day."""
        return seal_root(me, now, offers, expires_at=now + DAY_MS)

    def own_tariff(self, me: Identity, now: int) -> pb.Tariff:
        """The tariff of own offers: 1/1 for an hour."""
        return pb.Tariff(origin=me.fingerprint, markup_num=1, markup_den=1, expires_at=now + HOUR_MS)

    def own_round(self, link: Link, root: bytes, tariff_seq: int, epoch: int) -> Sequence[Advertisement]:
        """One round of advertisements: itself, and the end."""
        return advertisements(link.me, root, tariff_seq, epoch)

    def sync_link(self, request: lk.SyncCatalogRequest, fingerprint: bytes, link: Link | None) -> None:
        """The request names a peering with the caller."""
        if link is None or link.peer.fingerprint != fingerprint:
            raise Refusal("UNKNOWN_GENESIS", "No peering with this grid has that genesis.")

    def sync_offers(self, request: lk.SyncCatalogRequest, offers: Sequence[Offered], known: bool) -> Sequence[bytes]:
        """The present offers that the caller does not have, whether the root that it names is known or not."""
        return [offer.data for offer in offers if offer.digest not in request.have]

    def sync_answer(self, offers: Sequence[bytes]) -> Sequence[lk.SyncCatalogResponse]:
        """Offers, and their number at the end."""
        return [
            *(lk.SyncCatalogResponse(offer=data) for data in offers),
            lk.SyncCatalogResponse(end=len(offers)),
        ]
