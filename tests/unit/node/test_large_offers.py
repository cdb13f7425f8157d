"""Offers are bounded, and so are pages of them (RFC 0008, sections 3.1 and 3.10)."""

from __future__ import annotations

import pytest

from intertie.errors import IntertieError
from intertie.v1.catalog_pb2 import ListedOffer, Offer
from intertie_node.core.catalog import MAX_OFFER_BYTES, known_offer
from intertie_node.services.searching import MAX_PAGE_BYTES, bounded

ORIGIN = b"\x12\x20" + bytes(32)


def offer(size: int) -> bytes:
    made = Offer(origin=ORIGIN, name="a", description="d" * (size - 100))
    made.description += "d" * (size - made.ByteSize())
    return made.SerializeToString()


def test_an_offer_above_the_bound_is_refused() -> None:
    assert known_offer(ORIGIN, "a.example", offer(MAX_OFFER_BYTES)).offer.name == "a"
    with pytest.raises(IntertieError, match="262145 bytes"):
        known_offer(ORIGIN, "a.example", offer(MAX_OFFER_BYTES + 1))


@pytest.mark.parametrize(
    ("size", "shown"), [(10, 5), (MAX_PAGE_BYTES // 5 - 100, 5), (MAX_PAGE_BYTES // 2, 1), (2 * MAX_PAGE_BYTES, 1)]
)
def test_a_page_holds_what_fits_and_one_at_least(size: int, shown: int) -> None:
    items = [ListedOffer(ref="r" * size) for _ in range(5)]
    assert len(bounded(items)) == shown


def test_no_offers_make_an_empty_page() -> None:
    assert bounded([]) == []
