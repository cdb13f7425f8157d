"""One greedy upstream leaves another its share of what a relay may use further down (design §9, relay)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit.line import ECHO
from tests.kit.network import Network
from tests.kit.sim_node import Listener, SimNode, echo
from tests.unit.node.test_misdeeds import check_books

from intertie.v1 import task_pb2 as ts
from intertie_node.core import executing
from intertie_node.core.effects import Effects
from intertie_node.core.invocations import Invocation
from intertie_node.core.ledger import ME
from intertie_node.core.work import StartWork


class Delta:
    """north and west order through hub at south, whose backend answers when it is told to."""

    def __init__(self, share: tuple[int, int] = (1, 2), upstreams: int = 2, **terms: int) -> None:
        self.net = Network()
        names = ("north.example", "west.example")[:upstreams]
        self.upstreams = [self.net.add(name) for name in names]
        self.hub = self.net.add("hub.example", relay=True, share=share)
        self.south = self.net.add("south.example")
        for node in self.upstreams:
            self.net.peer(node, self.hub, claim_window_ms=20_000)
        self.net.peer(self.hub, self.south, **terms)
        self.held: list[StartWork] = []
        self.south.backends["echo"] = lambda node, work: self.held.append(work)
        self.net.start()
        for node in self.upstreams:
            node.open_account("alice", 10**9)
        self.net.run()

    def order(self, node: SimNode, times: int = 1, **fields: Any) -> list[Listener]:
        made = [node.invoke(ECHO, **fields) for _ in range(times)]
        self.net.run()
        return made

    def finish(self) -> None:
        held, self.held = self.held, []
        for work in held:
            echo(self.south, work)
        self.net.run()

    @property
    def lane(self) -> Any:
        return self.hub.link(self.south).ledger.lanes[ME]


def refused(listeners: list[Listener]) -> list[str]:
    """Why each was rejected, "" if it was not."""
    return [x.outcome.problem.reason if x.outcome is not None else "" for x in listeners]


LIMITS = {
    "open orders": {"max_open_holds": 10},
    "credit limit": {"credit_limit": 10_000},
    "max_unagreed": {"max_unagreed": 10_000},
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_greedy_upstream_leaves_the_other_its_share(name: str) -> None:
    delta = Delta(**LIMITS[name])
    greedy, modest = delta.upstreams
    said = refused(delta.order(greedy, 10))
    assert said == [""] * 5 + ["SHARE_EXCEEDED"] * 5
    assert refused(delta.order(modest, 5)) == [""] * 5
    delta.finish()
    assert refused(delta.order(greedy)) == [""]
    delta.finish()
    check_books(delta.hub)


@pytest.mark.parametrize("name", LIMITS)
def test_a_single_upstream_may_use_it_all(name: str) -> None:
    delta = Delta(upstreams=1, **LIMITS[name])
    said = refused(delta.order(delta.upstreams[0], 11))
    assert said[:10] == [""] * 10
    assert said[10] not in ("", "SHARE_EXCEEDED")


def test_what_an_upstream_has_been_charged_counts_for_ever() -> None:
    """Also after a restart: its cost stands in an account of its own."""
    delta = Delta(credit_limit=100)
    greedy, modest = delta.upstreams
    for _ in range(4):
        assert refused(delta.order(greedy, max_charge=14)) == [""]
        delta.finish()
    assert refused(delta.order(greedy, max_charge=14)) == ["SHARE_EXCEEDED"]
    for wire in [w for w in delta.net.wires if w.owner is delta.hub]:
        delta.net.cut(wire)
    delta.hub.boot()
    for node in (*delta.upstreams, delta.south):
        delta.net.connect(node, delta.hub)
    delta.net.run()
    delta.net.wait(1_000)
    assert refused(delta.order(greedy, max_charge=14)) == ["SHARE_EXCEEDED"]
    for _ in range(4):
        assert refused(delta.order(modest, max_charge=14)) == [""]
        delta.finish()
    assert delta.lane.posted == 80


def test_another_share() -> None:
    delta = Delta(share=(4, 5), max_open_holds=10)
    greedy, modest = delta.upstreams
    assert refused(delta.order(greedy, 10)).count("") == 8
    assert refused(delta.order(modest, 3)).count("") == 2


def test_grants_are_not_raised_beyond_the_share() -> None:
    delta = Delta(max_unagreed=1_000)
    greedy, modest = delta.upstreams
    first = delta.order(greedy, 2, max_charge=900, first_grant=20)
    usage = {"llm.output.token": 4_000}

    def meter(inv: Invocation, fx: Effects) -> None:
        executing.metered(delta.south.world, inv, usage, None, lambda error: None, fx)

    for work in delta.held:
        delta.south.report(work.invocation, meter)
    delta.net.run()
    delta.net.wait(1_000)
    assert delta.lane.unagreed <= 500
    assert refused(delta.order(modest, 1, max_charge=500)) == [""]
    for work in delta.held[2:]:
        echo(delta.south, work)
    delta.net.wait(1_000)
    assert [x.outcome for x in first] == [None, None]


def test_own_consumers_are_not_capped() -> None:
    delta = Delta(max_open_holds=10)
    delta.hub.open_account("alice", 10**9)
    delta.net.run()
    assert [x.refused for x in delta.order(delta.hub, 9)] == [""] * 9
    assert refused(delta.order(delta.upstreams[0], 2)) == ["", "TOO_MANY_ORDERS"]


def test_nothing_of_it_shows_where_there_is_room() -> None:
    delta = Delta()
    made = delta.order(delta.upstreams[0], 20)
    delta.finish()
    assert {x.outcome.state for x in made if x.outcome} == {ts.TASK_STATE_COMPLETED}
