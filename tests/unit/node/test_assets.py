"""Nothing converts between assets yet: no order goes over a link of another one (design §9, IT-CAT-094)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit.line import ECHO, HOUR_MS
from tests.kit.network import Network
from tests.kit.sim_node import SimNode

from intertie.errors import IntertieError
from intertie_node.core.ledger import ME
from intertie_node.core.placing import best_way
from intertie_node.services.consumers import ConsumerDesk

OTHERS = [{"asset": "EUR", "scale": 2}, {"asset": "x-credit", "scale": 6}, {"scale": 5, "asset": "x-test"}]


def pair(**terms: Any) -> tuple[Network, SimNode, SimNode]:
    net = Network()
    north, south = net.add("north.example"), net.add("south.example")
    net.peer(north, south, **terms)
    net.start()
    north.open_account("alice", 10**6)
    net.run()
    return net, north, south


@pytest.mark.parametrize("terms", OTHERS)
def test_a_consumer_s_order_does_not_go_over_a_link_of_another_asset(terms: dict[str, Any]) -> None:
    net, north, south = pair(**terms)
    listener = north.invoke(ECHO)
    net.run()
    assert listener.refused == "NO_ROUTE"
    assert north.world.books.accounts["alice"].reserved == 0
    assert not north.link(south).ledger.holds
    desk = ConsumerDesk(north.grid, north.store, north.submit, HOUR_MS)
    assert not desk.offer(ECHO).prices


def test_it_goes_over_a_link_of_the_same_asset() -> None:
    net, north, _ = pair()
    listener = north.invoke(ECHO)
    net.run()
    assert listener.refused == ""


def test_a_relay_advertises_and_orders_within_one_asset_only() -> None:
    net = Network()
    north, south = net.add("north.example"), net.add("south.example")
    hub = net.add("hub.example", relay=True)
    net.peer(north, hub, claim_window_ms=20_000)
    net.peer(hub, south, asset="EUR", scale=2)
    net.start()
    assert ECHO in hub.world.catalog._by_ref
    assert ECHO not in north.world.catalog._by_ref
    offer = hub.world.catalog.find(ECHO)
    with pytest.raises(IntertieError, match="NO_ROUTE"):
        best_way(hub.world, offer, net.now, hub.link(north))
    assert not hub.link(south).ledger.lanes[ME].open
