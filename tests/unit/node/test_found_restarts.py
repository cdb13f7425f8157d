"""What simulated worlds have found of starting again, each at the smallest depth that shows it.

`tests/simulation/FOUND.md` says what, why and which rule changed.
"""

from __future__ import annotations

import copy

from tests.kit.sim_node import Listener
from tests.kit.small_worlds import desk_of, hostile, served_by, silent

from intertie.v1.envelope_pb2 import Payload
from intertie_node.core import executing
from intertie_node.core.ledger import ME


def test_a_peer_s_odd_order_id_does_not_keep_the_node_from_starting() -> None:
    net, node, rogue = hostile()
    node.backends["echo"] = silent
    offer = node.own_offer("echo")
    rogue.buy(offer, id="x" * 36)
    net.run()
    assert "ID_INVALID" in rogue.rejected().values()
    node.boot()
    desk_of(node)


def test_a_restored_provider_claims_no_less_than_it_had_charged() -> None:
    net, north, south = served_by("slow", silent)
    listener = north.invoke("south.example/slow", first_grant=5)
    net.run()
    key = next(iter(south.world.invocations))
    older = copy.deepcopy(south.store)
    for tokens in (30, 1_000):
        usage = {"llm.output.token": tokens}
        south.report(
            key, lambda inv, fx, usage=usage: executing.metered(south.world, inv, usage, None, lambda error: None, fx)
        )
    net.run()
    hold = north.link(south).ledger.holds[ME, max(seq for _, seq in north.link(south).ledger.holds)]
    assert hold.charged == 3
    for wire in [w for w in net.wires if w.owner is north]:
        net.cut(wire)
    south.store = older
    south.boot()
    net.connect(north, south)
    net.run()
    assert listener.outcome is not None
    assert listener.outcome.problem.reason == "EXECUTION_LOST"
    assert listener.outcome.receipt.charge == 3


def test_a_result_that_never_comes_after_a_restart_is_said_to_be_gone() -> None:
    net, north, south = served_by("echo", silent)
    listener = north.invoke("south.example/echo", timeout_ms=1_000)
    net.run()
    key = next(iter(south.world.invocations))
    inv = south.world.invocations[key]
    deliver = inv.source.deliver
    inv.source.deliver = lambda *args: None  # type: ignore[method-assign]
    south.report(key, lambda inv, fx: executing.completed(south.world, inv, Payload(data=b"."), False, None, fx))
    net.run()
    assert listener.outcome is None
    assert deliver is not None
    for wire in [w for w in net.wires if w.owner is north]:
        net.cut(wire)
    north.boot()
    again = Listener(listener.request)
    desk_of(north).subscribe("alice", listener.request.id, 0, again)
    net.wait(6_000)
    assert again.outcome is not None
    assert again.outcome.problem.reason == "EVENTS_GONE"
    assert again.outcome.receipt.charge == 10
