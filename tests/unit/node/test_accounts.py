"""What one account may take of a node, and when it may take nothing more."""

from __future__ import annotations

from tests.kit.network import Network
from tests.kit.sim_node import SimNode

from intertie.v1 import task_pb2 as ts

MOST = 3


def crowded() -> tuple[Network, SimNode]:
    """A node that gives each account a few places, whose work never ends by itself, and two accounts."""
    net = Network()
    node = net.add("north.example", account_invocations=MOST)
    net.start()
    node.backends["echo"] = lambda node, work: None
    for name in ("alice", "bob"):
        node.open_account(name, 10**6)
    net.run()
    return net, node


def test_one_account_does_not_take_every_place() -> None:
    net, node = crowded()
    for _ in range(MOST):
        node.invoke("echo")
    late, other = node.invoke("echo"), node.invoke("echo", account="bob")
    net.run()
    assert (late.refused, other.refused) == ("NODE_BUSY", "")
    assert node.world.places == {"alice": MOST, "bob": 1}


def test_places_are_free_again_after_the_end_and_counted_anew_after_a_restart() -> None:
    net, node = crowded()
    for _ in range(MOST):
        node.invoke("echo")
    net.run()
    node.boot()
    net.run()
    assert node.world.places["alice"] == MOST
    net.wait(3_600_000)
    assert node.world.places["alice"] == 0
    assert not node.world.invocations
    again = node.invoke("echo")
    net.run()
    assert again.refused == ""


def test_who_has_no_place_any_more_is_not_counted() -> None:
    """Each order of a peer is a caller of its own: they would add up without end."""
    net = Network()
    north, south = net.add("north.example"), net.add("south.example")
    net.peer(north, south)
    net.start()
    north.open_account("alice", 10**6)
    for _ in range(MOST):
        north.invoke("south.example/echo")
    net.run()
    net.wait(120_000)
    assert not north.world.invocations
    assert not south.world.invocations
    assert (dict(north.world.places), dict(south.world.places)) == ({}, {})


def test_a_revoked_account_begins_nothing_and_what_runs_goes_on() -> None:
    net, node = crowded()
    first = node.invoke("echo")
    net.run()
    node.world.books.accounts["alice"].revoked = net.now
    second = node.invoke("echo")
    net.run()
    assert (first.refused, second.refused) == ("", "UNAUTHENTICATED")
    net.wait(20_000)
    assert first.outcome is not None
    assert first.outcome.state == ts.TASK_STATE_FAILED
