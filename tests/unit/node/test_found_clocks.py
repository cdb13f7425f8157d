"""What simulated worlds have found of clocks and limits, each at the smallest depth that shows it.

`tests/simulation/FOUND.md` says what, why and which rule changed.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
from tests.kit.line import ECHO, Line
from tests.kit.network import Network
from tests.kit.sim_node import is_open
from tests.kit.small_worlds import served_by, silent

from intertie.v1.envelope_pb2 import Payload
from intertie_node.core import consuming, executing
from intertie_node.core.effects import Effects
from intertie_node.core.ledger import ME
from intertie_node.core.routing import ROOT_LIFETIME_MS, Advertised


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_clock_set_back_makes_no_void_order_or_tariff() -> None:
    net, north, south = served_by("slow", silent, tariff_lifetime_ms=600)
    listener = north.invoke("south.example/slow", timeout_ms=5_000)
    net.run()
    assert not listener.refused
    for wire in [w for w in net.wires if w.owner is north]:
        net.cut(wire)
    net.now -= 900
    for node in (north, south):
        node.boot()
    net.connect(north, south)
    net.run()
    assert is_open(north, south)
    late = north.invoke("south.example/slow", timeout_ms=500)
    net.run()
    assert late.refused == "DEADLINE_EXCEEDED"


def test_a_root_has_no_lower_version_after_a_restart_with_the_clock_set_back(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    for leads in (900, 0):
        monkeypatch.setattr(line.south, "clock", lambda leads=leads: line.net.now + leads)
        line.restart(line.south)
        line.net.connect(line.hub, line.south)
        line.net.run()
        assert not line.hub.world.catalog.refused
        assert line.refusal(line.north) == ""


def test_a_restored_grid_renews_its_root_when_later_entries_come_back(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = line.backup(line.south)
    monkeypatch.setattr(line.south, "clock", lambda: line.net.now + 900)
    line.restart(line.south)
    line.net.connect(line.hub, line.south)
    line.net.run()
    line.north.invoke(ECHO)
    line.net.run()
    monkeypatch.setattr(line.south, "clock", lambda: line.net.now)
    line.restart(line.south, older)
    line.net.connect(line.hub, line.south)
    line.net.run()
    assert not line.hub.world.catalog.refused
    assert line.refusal(line.north) == ""


def test_a_restored_grid_whose_clock_had_led_is_known_again_soon(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    older = line.backup(line.south)
    monkeypatch.setattr(line.south, "clock", lambda: line.net.now + 900)
    line.restart(line.south)
    line.net.connect(line.hub, line.south)
    line.net.run()
    monkeypatch.setattr(line.south, "clock", lambda: line.net.now)
    line.restart(line.south, older)
    line.net.connect(line.hub, line.south)
    line.net.run()
    assert "newer one" in line.hub.world.catalog.refused[line.hub.link(line.south).name]
    line.net.wait(6_000)
    assert line.refusal(line.north) == ""


def test_what_was_told_with_any_lead_is_passed_in_twice_that_time(line: Line) -> None:
    """Roots are renewed when the process has run twice as long as at the last time, at first soon, at last seldom."""
    told, now, started = Advertised(), line.net.now, line.net.now
    ages = []
    for _ in range(20):
        told.renew(line.south.world, Effects(now))
        ages.append(now - started)
        assert not told.is_due(line.south.world, told.renew_at - 1)
        now = told.renew_at
    assert ages[1] < 10_000
    assert all(later <= 2 * earlier for earlier, later in pairwise(ages[1:]))
    assert ages[-1] - ages[-2] == ROOT_LIFETIME_MS // 2


def test_work_that_ends_before_it_began_by_a_clock_set_back_is_proven_all_the_same() -> None:
    net, north, south = served_by("slow", silent)
    listener = north.invoke("south.example/slow")
    net.run()
    net.now -= 500
    key = next(iter(south.world.invocations))
    south.turns._last_now = 0
    south.report(key, lambda inv, fx: executing.completed(south.world, inv, Payload(data=b"."), False, None, fx))
    net.run()
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == ""
    assert listener.outcome.receipt.charge == 10


def test_work_that_ends_while_meterings_of_it_wait_for_a_grant_is_charged_for_what_it_ended_with() -> None:
    """The first of three grants in a frame covers the end, the second one metering, which the end has made void."""
    net, north, south = served_by("slow", silent)
    listener = north.invoke("south.example/slow", max_charge=90, first_grant=9)
    net.run()
    world, key = south.world, next(iter(south.world.invocations))
    south.report(key, lambda inv, fx: executing.completed(world, inv, Payload(data=b"."), False, None, fx))
    used = {"llm.output.token": 150}
    for _ in range(2):
        south.report(key, lambda inv, fx: executing.metered(world, inv, used, None, lambda error: None, fx))
    net.run()
    assert listener.outcome is not None
    assert (listener.outcome.problem.reason, listener.outcome.receipt.charge) == ("", 10)


@pytest.mark.parametrize("canceled", [False, True])
def test_an_order_that_comes_back_with_its_charges_is_not_worked_off_again(canceled: bool) -> None:
    """South was put back to before the order: its own charges, which come back, show that it had begun."""
    begun: list[Any] = []
    net, north, south = served_by("slow", lambda node, work: begun.append(work))
    older = copy.deepcopy(south.store)
    listener = north.invoke("south.example/slow", max_charge=900, first_grant=40)
    net.run()
    used, key = {"llm.output.token": 300}, begun[0].invocation
    for _ in range(2):
        south.report(key, lambda inv, fx: executing.metered(south.world, inv, used, None, lambda error: None, fx))
        net.run()
    charged = north.link().ledger.lanes[ME].posted
    assert charged > 0
    for wire in [w for w in net.wires if w.owner is south]:
        net.cut(wire)
    if canceled:
        inv = north.world.invocations[f"{listener.request.id}@alice"]
        north.submit(lambda fx: consuming.cancel(north.world, inv, "", fx))
        net.run()
    south.store = older
    south.boot()
    net.connect(north, south)
    net.run()
    net.wait(1_000)
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == ("CANCELED" if canceled else "EXECUTION_LOST")
    assert listener.outcome.receipt.charge >= charged
    assert len(begun) == 1


def test_an_order_longer_than_the_agreement_allows_is_refused_by_name() -> None:
    net = Network()
    north, south = net.add("north.example"), net.add("south.example")
    net.peer(north, south, max_hold_ms=5_000)
    net.start()
    north.open_account("alice", 10**6)
    net.run()
    listener = north.invoke("south.example/echo", timeout_ms=10_000)
    net.run()
    assert listener.refused == "DEADLINE_TOO_LONG"
    assert north.world.books.accounts["alice"].reserved == 0


def test_a_relay_rejects_an_order_longer_than_its_next_agreement_allows() -> None:
    net = Network()
    north, hub, south = net.add("north.example"), net.add("hub.example", relay=True), net.add("south.example")
    net.peer(north, hub, claim_window_ms=20_000)
    net.peer(hub, south, max_hold_ms=5_000)
    net.start()
    north.open_account("alice", 10**6)
    net.run()
    listener = north.invoke(ECHO, timeout_ms=10_000)
    net.run()
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "DEADLINE_TOO_LONG"
    assert not hub.link(south).ledger.holds
