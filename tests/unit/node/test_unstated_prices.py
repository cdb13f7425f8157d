"""An offer whose price cannot be stated under a tariff is out of reach; it disturbs no other."""

from __future__ import annotations

import pytest
from tests.kit.identities import make_offer
from tests.kit.rogue import HOUR_MS, K
from tests.unit.node.test_misdeeds import MAL, Scene

from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import SearchRequest
from intertie_node.core.catalog import known_offer
from intertie_node.core.placing import best_way
from intertie_node.services.searching import search

HUGE = make_offer(MAL.fingerprint, "huge", prices={"order": (2**62, 1)})
MANY = make_offer(MAL.fingerprint, "many", prices={f"x-{n:02d}": (1, 1) for n in range(16)})
GOOD = make_offer(MAL.fingerprint, "good", prices={"order": (10, 1)})


def test_an_offer_without_a_price_disturbs_no_other() -> None:
    scene = Scene().opened()
    body = pb.Tariff(origin=MAL.fingerprint, markup_num=3, markup_den=1, fee=1, expires_at=scene.rogue.now() + HOUR_MS)
    seq = scene.rogue.write(K.ENTRY_KIND_TARIFF, tariff=body)
    world, offers = scene.node.world, [HUGE, MANY, GOOD]
    scene.rogue.say(advertisements=scene.rogue.advertise(offers, seq))
    scene.net.run()
    world.catalog.learn([known_offer(MAL.fingerprint, MAL.grid, data) for data in offers])
    found = search(world, SearchRequest(origin=MAL.grid), scene.net.now).offers
    assert {item.offer.name: [(line.num, line.den) for line in item.prices] for item in found} == {
        "huge": [],
        "many": [],
        "good": [(31, 1)],
    }
    for data in (HUGE, MANY):
        with pytest.raises(IntertieError) as refused:
            best_way(world, known_offer(MAL.fingerprint, MAL.grid, data), scene.net.now)
        assert refused.value.reason == "AMOUNT_OVERFLOW"
