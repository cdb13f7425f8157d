"""Offers whose link is down: out of reach for now, not unknown, also after a restart (design §8)."""

from __future__ import annotations

import pytest
from msgspec import structs
from tests.kit.line import ECHO, HOUR_MS, Line
from tests.kit.sim_node import SimNode

from intertie.errors import IntertieError
from intertie.registry import ERRORS
from intertie_node.core.catalog import KnownOffer
from intertie_node.core.ledger import THEM
from intertie_node.core.opening import Phase
from intertie_node.core.placing import best_way, out_of_reach


@pytest.fixture
def line() -> Line:
    return Line()


def test_offers_of_a_link_that_is_down_are_out_of_reach_for_now(line: Line) -> None:
    assert ERRORS["PEER_UNAVAILABLE"].retry == ERRORS["NO_ROUTE"].retry == "temporary"
    version = line.north.world.catalog.version
    line.cut(line.north, line.hub)
    assert line.refusal(line.north) == line.get(line.north) == "PEER_UNAVAILABLE"
    assert line.refusal(line.north, "hub.example/echo") == "PEER_UNAVAILABLE"
    assert line.refusal(line.north, "south.example/nothing") == "OFFER_UNKNOWN"
    assert line.found(line.north) == {"north.example/echo"}
    assert line.north.world.catalog.version > version, "who watches the catalog is told"
    line.connect(line.north, line.hub)
    assert line.found(line.north) == {"north.example/echo", "hub.example/echo", ECHO}
    assert line.refusal(line.north) == line.get(line.north) == ""


def test_a_grid_further_down_that_is_cut_off_is_out_of_reach_too(line: Line) -> None:
    line.hub.open_account("alice", 10**6)
    line.cut(line.hub, line.south)
    line.net.wait(1_000)
    assert line.refusal(line.hub) == "PEER_UNAVAILABLE"
    assert line.refusal(line.north) == line.get(line.north) == "NO_ROUTE"
    assert line.refusal(line.north, "hub.example/echo") == ""
    line.connect(line.hub, line.south)
    assert line.refusal(line.north) == ""


def test_an_order_that_meets_the_link_down_is_rejected_as_temporary(line: Line) -> None:
    """North has not been told yet that south is cut off."""
    listener = line.north.invoke(ECHO)
    line.cut(line.hub, line.south)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "PEER_UNAVAILABLE"


def test_what_lies_behind_a_suspended_peering_is_named_so(line: Line) -> None:
    world = line.north.world
    (link,) = (link.name for link in world.links.values() if link.peer.grid == "hub.example")
    known = world.catalog.find(ECHO)
    world.suspended.add(link)
    assert line.refusal(line.north) == "PEER_UNAVAILABLE"
    assert "intertie peer resume hub.example" in out_of_reach(world, known).message
    world.suspended.discard(link)
    assert line.refusal(line.north) == ""
    line.cut(line.north, line.hub)
    assert "resume" not in out_of_reach(world, known).message


def test_what_changes_within_a_batch_counts_for_the_next_call(line: Line) -> None:
    """A batch stays open while the one before it is being committed: links open and close meanwhile."""
    world, now = line.north.world, line.net.now
    known = world.catalog.find(ECHO)
    (link,) = (link for link in world.links.values() if link.peer.grid == "hub.example")
    for _ in range(2):
        link.phase = Phase.DOWN
        with pytest.raises(IntertieError, match="PEER_UNAVAILABLE"):
            best_way(world, known, now)
        link.phase = Phase.OPEN
        way = best_way(world, known, now)
        assert best_way(world, known, now) is way
    link.ledger.tariffs[THEM][way.route.tariff_seq] = structs.replace(way.tariff, fee=7)
    assert best_way(world, known, now).tariff.fee == 7
    world.catalog.routes[way.route.link, way.route.origin] = structs.replace(way.route, expires_at=now)
    with pytest.raises(IntertieError, match="PEER_UNAVAILABLE"):
        best_way(world, known, now)


@pytest.mark.parametrize("times", [1, 2])
def test_a_restart_does_not_make_them_unknown(line: Line, times: int) -> None:
    for _ in range(times):
        line.restart(line.north)
    assert line.refusal(line.north) == line.get(line.north) == "PEER_UNAVAILABLE"
    assert line.found(line.north) == {"north.example/echo"}
    line.connect(line.north, line.hub)
    assert line.refusal(line.north) == ""


def test_they_are_unknown_once_the_tariff_has_expired(line: Line) -> None:
    line.cut(line.north, line.hub)
    line.net.wait(HOUR_MS // 2, tick=10_000)
    assert line.refusal(line.north) == "PEER_UNAVAILABLE"
    line.net.wait(HOUR_MS // 2 + 2_000, tick=10_000)
    assert line.refusal(line.north) == "OFFER_UNKNOWN"
    assert not line.north.store.tables["offers"]
    line.restart(line.north)
    assert line.refusal(line.north) == "OFFER_UNKNOWN"
    assert line.north.world.executors.keys() >= {line.hub.fingerprint, line.south.fingerprint}
    line.connect(line.north, line.hub)
    assert line.refusal(line.north) == ""


def replaced(node: SimNode, name: str) -> None:
    """The grid offers something else now."""

    def step(fx: object) -> None:
        node.grid.set_offers([node.own_offer(name)], fx)  # type: ignore[arg-type]

    node.submit(step)


def test_what_its_origin_offers_no_longer_is_unknown(line: Line) -> None:
    replaced(line.south, "other")
    line.net.run()
    line.net.wait(2_000)
    assert line.refusal(line.north) == "OFFER_UNKNOWN"
    assert line.found(line.north) >= {"south.example/other"}
    kept = {row[2] for row in line.north.store.all_rows("offers") if row[1] == line.south.fingerprint}
    assert kept == {"other"}


def test_a_new_offer_of_one_name_is_meant_before_a_faded_one(line: Line) -> None:
    """An origin that is reached over two links has changed, and only one link has said so."""
    catalog = line.north.world.catalog
    old = catalog.find(ECHO)
    line.cut(line.north, line.hub)
    fields = {name: getattr(old, name) for name in old.__struct_fields__}
    new = KnownOffer(**{**fields, "digest": old.digest[::-1]})
    route = next(r for r in catalog.routes.values() if r.origin == old.origin)
    changed = {"link": "another", "offers": (new.digest,), "epoch": 1}
    catalog.put_route(type(route)(**{**{f: getattr(route, f) for f in route.__struct_fields__}, **changed}))
    catalog.learn([new])
    assert catalog.find(ECHO) is new


def test_the_own_root_is_signed_anew_before_it_expires(line: Line) -> None:
    line.net.wait(30 * HOUR_MS, tick=10_000)
    assert not line.north.world.catalog.refused
    now = line.net.now
    assert all(route.expires_at > now + HOUR_MS for route in line.north.world.catalog.routes.values())
    assert line.refusal(line.north) == ""
