"""How what a backend says becomes the bytes of an offer."""

from __future__ import annotations

from typing import get_args

import pytest

from intertie.v1.catalog_pb2 import Offer, OfferKind
from intertie_node import config
from intertie_node.config import Terms
from intertie_node.ports import Kind, OfferSpec
from intertie_node.services.offering import KINDS, build_offer

CONFIG = config.decode('[grid]\nname = "north.example"\n')


@pytest.mark.parametrize("kind", get_args(Kind))
def test_an_offer_is_of_the_kind_that_its_backend_says(kind: Kind) -> None:
    offer = Offer.FromString(build_offer(OfferSpec(name="it", kind=kind), Terms(), CONFIG, bytes(34)))
    assert OfferKind.Name(offer.kind) == f"OFFER_KIND_{kind.upper()}"


def test_every_kind_of_the_protocol_can_be_offered() -> None:
    assert {*KINDS.values(), 0} == set(OfferKind.values())
