"""What simulated worlds have found of peerings that have ended, each at the smallest depth that shows it.

`tests/simulation/FOUND.md` says what, why and which rule changed.
"""

from __future__ import annotations

import pytest
from tests.kit.line import HOUR_MS, Line
from tests.kit.small_worlds import served_by, silent

from intertie.v1 import entry_pb2 as pb
from intertie_node.core.effects import Effects
from intertie_node.core.peering import PeeringState


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_terminated_link_is_dialled_until_nothing_is_left_to_say() -> None:
    net, north, south = served_by("slow", silent)
    net.run()
    links = [(node, node.link()) for node in (north, south)]
    for node, link in links:
        assert node.links.wanted(link)
        node.desk._set_state(link.name, PeeringState.TERMINATED)
        assert not node.links.wanted(link)
        node.desk._set_state(link.name, PeeringState.ACTIVE)
        node.world.ended.clear()
    listener = north.invoke("south.example/slow", timeout_ms=1_000)
    net.run()
    net.cut(net.wires[0])
    for node, link in links:
        node.desk._set_state(link.name, PeeringState.TERMINATED)
        assert node.links.wanted(link)
    net.wait(4_000)
    net.connect(north, south)
    net.run()
    net.wait(1_000)
    assert listener.outcome is not None
    assert north.world.books.accounts["alice"].reserved == 0
    assert not any(node.links.wanted(link) for node, link in links)


def test_an_entry_that_nobody_has_acknowledged_keeps_a_terminated_link_wanted(line: Line) -> None:
    link = line.south.link()
    line.south.desk._set_state(link.name, PeeringState.TERMINATED)
    assert not line.south.links.wanted(link)
    body = pb.Tariff(origin=line.south.fingerprint, markup_num=2, markup_den=1, expires_at=line.net.now + HOUR_MS)
    link.append(pb.Entry(kind=pb.ENTRY_KIND_TARIFF, tariff=body), Effects(line.net.now))
    assert line.south.links.wanted(link)


def test_a_settled_link_of_an_ended_peering_is_dialled_once_after_a_start(line: Line) -> None:
    """A copy was put back: the peer may hold entries that this node has lost."""
    line.restart(line.south)
    link = line.south.link()
    line.south.desk._set_state(link.name, PeeringState.TERMINATED)
    assert link.settled
    assert line.south.links.wanted(link)
    line.connect(line.hub, line.south)
    line.net.wait(1_000)
    assert not line.south.links.wanted(link)
