"""A relay that is put back to an older copy: in whatever order its links open, it loses no order (design §5, §9)."""

from __future__ import annotations

import copy

import pytest
from tests.kit.line import ECHO, Line
from tests.kit.memory_store import MemoryStore
from tests.kit.network import Network
from tests.kit.sim_node import Listener, SimNode, echo

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import task_pb2 as ts
from intertie_node.core import consuming, selling
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.peering import PeeringState
from intertie_node.core.sinks import OrderSink
from intertie_node.core.work import StartWork

ORDERS = (["north", "south"], ["south", "north"])
HELD: list[tuple[SimNode, StartWork]] = []


def hold(node: SimNode, work: StartWork) -> None:
    """A backend that waits until it is let go."""
    HELD.append((node, work))


def cancel(line: Line) -> None:
    """Alice wants her one call to stop."""
    (inv,) = line.north.world.invocations.values()
    line.north.submit(lambda fx: consuming.cancel(line.north.world, inv, "enough", fx))
    line.net.run()


class Restored:
    """Hub has relayed an order, and is put back to before it."""

    def __init__(self, ends_meanwhile: bool = False) -> None:
        HELD.clear()
        self.line = Line(markup_num=3, markup_den=2, fee=3, tolerated_outage_ms=1_000)
        self.line.south.backends["echo"] = hold
        older = self.line.backup(self.line.hub)
        self.listener = self.call()
        if not ends_meanwhile:
            self.line.restart(self.line.hub, older)
            return
        self.line.cut(self.line.hub, self.line.south)
        self.finish()
        self.line.restart(self.line.hub, older)

    def call(self) -> Listener:
        listener = self.line.north.invoke(ECHO, b'{"n":1}')
        self.line.net.run()
        return listener

    def finish(self) -> None:
        """South does the work."""
        for node, work in HELD:
            echo(node, work)
        HELD.clear()
        self.line.net.run()

    def open(self, name: str) -> None:
        self.line.connect(self.line.hub, getattr(self.line, name))

    def orders_of_south(self) -> int:
        rows = self.line.south.store.all_rows("entries")
        return sum(row[1] == THEM and pb.Entry.FromString(row[3]).kind == pb.ENTRY_KIND_ORDER for row in rows)

    def paid(self) -> tuple[int, int]:
        """What hub has claimed from north and agreed to pay to south, minor units."""
        up, down = self.line.hub.link(self.line.north), self.line.hub.link(self.line.south)
        return up.ledger.lanes[THEM].posted, down.ledger.lanes[ME].posted

    def check_completed(self) -> None:
        outcome = self.listener.outcome
        assert outcome is not None
        assert outcome.state == ts.TASK_STATE_COMPLETED
        assert outcome.output.data == b'{"n":1}'
        assert self.orders_of_south() == 1
        assert self.paid() == (outcome.receipt.charge, 10)
        assert outcome.receipt.charge == 18
        assert not self.line.hub.world.recovering


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_that_still_runs_is_joined(order: list[str]) -> None:
    scene = Restored()
    scene.open(order[0])
    assert scene.listener.outcome is None
    scene.open(order[1])
    assert scene.listener.outcome is None
    scene.finish()
    scene.line.net.wait(4_000)
    scene.check_completed()


@pytest.mark.parametrize("order", ORDERS)
def test_work_that_has_ended_meanwhile_is_charged(order: list[str]) -> None:
    scene = Restored(ends_meanwhile=True)
    scene.open(order[0])
    scene.open(order[1])
    scene.line.net.wait(4_000)
    scene.check_completed()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ends_meanwhile", [False, True])
def test_what_came_back_is_joined_after_another_restart_too(ends_meanwhile: bool, order: list[str]) -> None:
    scene = Restored(ends_meanwhile=ends_meanwhile)
    scene.open("south")
    scene.line.restart(scene.line.hub)
    for name in order:
        scene.open(name)
    scene.finish()
    scene.line.net.wait(4_000)
    scene.check_completed()
    assert not scene.line.hub.world.orphans
    scene.line.restart(scene.line.hub)
    assert not scene.line.hub.world.orphans


def test_it_waits_beyond_the_deadline_as_long_as_the_provider_may_claim() -> None:
    scene = Restored(ends_meanwhile=True)
    scene.open("north")
    scene.line.net.wait(15_000)
    assert scene.listener.outcome is not None
    assert scene.listener.outcome.problem.reason == "OUTCOME_UNKNOWN"
    scene.open("south")
    scene.line.net.wait(4_000)
    assert scene.paid() == (18, 10)
    assert scene.line.north.world.books.accounts["alice"].spent == 18


def test_it_gives_up_when_nothing_can_be_claimed_any_more() -> None:
    scene = Restored()
    scene.open("north")
    scene.line.net.wait(25_000)
    assert scene.line.hub.world.recovering
    scene.line.net.wait(2_000)
    assert not scene.line.hub.world.recovering
    account = scene.line.north.world.books.accounts["alice"]
    assert (account.reserved, account.spent) == (0, 0)
    assert not scene.line.north.world.invocations, "nothing of it stays in memory"
    scene.open("south")
    scene.line.net.wait(1_000)
    assert scene.paid() == (0, 0)


@pytest.mark.parametrize("order", ORDERS)
def test_a_cancel_meanwhile_reaches_who_works(order: list[str]) -> None:
    scene = Restored()
    for name in order:
        scene.open(name)
        if name == "north":
            cancel(scene.line)
    hold = next(iter(scene.line.south.link().ledger.holds.values()))
    assert hold.canceled


@pytest.mark.parametrize("canceled", [False, True])
def test_an_order_that_was_never_placed_is_placed_or_stopped(canceled: bool) -> None:
    """Hub ends with the order on its way: it never placed one."""
    scene = Restored.__new__(Restored)
    HELD.clear()
    scene.line = line = Line(markup_num=3, markup_den=2, fee=3)
    scene.listener = line.north.invoke(ECHO, b'{"n":1}')
    line.north.batch()
    line.restart(line.hub)
    scene.open("north")
    assert scene.listener.outcome is None
    if canceled:
        cancel(line)
    scene.open("south")
    if canceled:
        assert scene.listener.outcome is not None
        assert scene.listener.outcome.problem.reason == "CANCELED"
        assert scene.orders_of_south() == 0
    else:
        scene.check_completed()


def test_a_second_restart_while_it_waits() -> None:
    scene = Restored()
    scene.open("north")
    assert scene.line.hub.world.recovering
    scene.line.restart(scene.line.hub)
    scene.open("north")
    assert scene.listener.outcome is None
    scene.open("south")
    scene.finish()
    scene.line.net.wait(4_000)
    scene.check_completed()


def test_new_orders_do_not_wait_for_a_link_that_stays_down() -> None:
    line = Line()
    west = line.net.add("west.example")
    line.net.peer(line.hub, west)
    west.boot()
    line.restart(line.hub)
    line.connect(line.hub, line.north)
    line.connect(line.hub, line.south)
    assert not line.hub.link(west).can_append
    assert line.refusal(line.north) == ""
    assert not line.hub.world.recovering


def test_a_terminated_peering_is_not_waited_for() -> None:
    line = Line()
    west = line.net.add("west.example")
    line.net.peer(line.hub, west)
    west.boot()
    listener = line.north.invoke(ECHO)
    line.north.batch()
    line.restart(line.hub)
    line.hub.desk._set_state(line.hub.link(west).name, PeeringState.TERMINATED)
    line.connect(line.hub, line.south)
    line.connect(line.hub, line.north)
    assert listener.outcome is not None


def test_an_older_copy_of_what_waits_for_room_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy holds the upstream order without a downstream one, which was placed right after."""
    line = Line()
    line.south.backends["echo"] = hold
    HELD.clear()
    copies: list[MemoryStore] = []
    real = selling.admit

    def late(world: object, inv: object, offer: object, fx: object) -> None:
        line.hub.submit(lambda fx: real(world, inv, offer, fx))  # type: ignore[arg-type]

    monkeypatch.setattr(selling, "admit", late)
    listener = line.north.invoke(ECHO)
    line.north.batch()
    line.net._deliver()
    line.hub.batch()
    copies.append(line.backup(line.hub))
    monkeypatch.undo()
    line.net.run()
    assert HELD
    line.restart(line.hub, copies[0])
    line.connect(line.hub, line.north)
    assert listener.outcome is None
    line.connect(line.hub, line.south)
    for node, work in HELD:
        echo(node, work)
    line.net.wait(4_000)
    assert listener.outcome is not None
    assert listener.outcome.state == ts.TASK_STATE_COMPLETED


@pytest.mark.parametrize("routes", ["known", "forgotten"])
def test_a_consumers_id_is_not_ordered_again_over_another_link(routes: str) -> None:
    """North was put back to before the call; the link over which it was ordered opens last.

    Its copy may be older than the routes over that link.
    """
    HELD.clear()
    net = Network()
    north, hub, west, south = (
        net.add(f"{name}.example", relay=name in ("hub", "west")) for name in ("north", "hub", "west", "south")
    )
    for relay in (hub, west):
        net.peer(north, relay, claim_window_ms=20_000)
        net.peer(relay, south)
    south.backends["echo"] = hold
    net.start()
    north.open_account("alice", 10**6)
    net.run()
    older = copy.deepcopy(north.store)
    first = north.invoke(ECHO)
    net.run()
    (inv,) = north.world.invocations.values()
    assert isinstance(inv.sink, OrderSink)
    used, other = (hub, west) if inv.sink.link is north.link(hub) else (west, hub)
    for wire in [w for w in net.wires if w.owner is north]:
        net.cut(wire)
    north.store = older
    north.boot()
    if routes == "forgotten":
        catalog, lost = north.world.catalog, north.link(used).name
        for key in [key for key in catalog.routes if key[0] == lost]:
            catalog.refuse_route(key, "forgotten")
    net.connect(north, other)
    net.run()
    net.wait(1_000)
    again = north.invoke(ECHO, id=first.request.id)
    fresh = north.invoke(ECHO)
    net.run()
    assert again.refused == "PEER_UNAVAILABLE"
    assert fresh.refused == "", "a new id was never ordered before"
    net.connect(north, used)
    net.run()
    third = north.invoke(ECHO, id=first.request.id)
    net.run()
    assert third.refused == ""
    assert len(HELD) == 2
    for node, work in HELD:
        echo(node, work)
    net.run()
    net.wait(4_000)
    assert third.outcome is not None
    assert third.outcome.state == ts.TASK_STATE_COMPLETED
