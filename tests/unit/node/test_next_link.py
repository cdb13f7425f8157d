"""What the terms of the next link do not allow is refused before it is written (RFC 0011, Table 1; RFC 0007)."""

from __future__ import annotations

from tests.kit.line import ECHO
from tests.unit.node.test_sharing import Delta, refused

from intertie_node.core.routing import _relayable


def test_an_order_too_long_for_the_next_link_is_refused() -> None:
    """The hub's own link allows it; the one behind it does not."""
    delta = Delta(upstreams=1, max_hold_ms=30_000)
    (north,) = delta.upstreams
    assert refused(delta.order(north, timeout_ms=60_000)) == ["DEADLINE_TOO_LONG"]
    assert refused(delta.order(north, timeout_ms=20_000)) == [""]
    delta.finish()


def test_a_consumer_is_told_that_the_link_takes_no_order_so_long() -> None:
    delta = Delta(upstreams=1, max_hold_ms=30_000)
    delta.hub.open_account("alice", 10**9)
    assert [said.refused for said in delta.order(delta.hub, timeout_ms=60_000)] == ["DEADLINE_TOO_LONG"]
    assert [said.refused for said in delta.order(delta.hub, timeout_ms=20_000)] == [""]


def test_an_origin_is_sold_on_only_once_one_of_its_offers_is_held() -> None:
    """Until then an order of it would be refused as unknown, for good."""
    delta = Delta(upstreams=1)
    (north,) = delta.upstreams
    link, catalog = delta.hub.link(north), delta.hub.world.catalog
    assert [route.grid for route in _relayable(delta.hub.world, link, delta.net.now)] == ["south.example"]
    offer = catalog.find(ECHO)
    del catalog.offers[offer.digest]
    assert _relayable(delta.hub.world, link, delta.net.now) == []
