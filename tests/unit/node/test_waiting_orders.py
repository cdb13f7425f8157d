"""Orders that wait for room under `max_unagreed` (IT-INV-161)."""

from __future__ import annotations

from tests.kit.network import Network
from tests.kit.rogue import K
from tests.kit.sim_node import SimNode
from tests.unit.node.test_misdeeds import MAL

from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Payload
from intertie_node.core import executing
from intertie_node.core.work import StartWork


def finish(node: SimNode, work: StartWork) -> None:
    """Have the work end."""
    output = Payload(media_type="application/json", data=b"{}")
    node.report(work.invocation, lambda inv, fx: executing.completed(node.world, inv, output, False, None, fx))


def test_orders_that_wait_hold_up_none_before_them() -> None:
    """Of three that have room one by one, but no two together, each runs once the one before is paid for."""
    net = Network()
    node = net.add("north.example")
    net.peer(MAL, node, max_unagreed=1_000)
    net.start()
    rogue = net.rogue(node, MAL)
    net.dial(rogue, node)
    rogue.open()
    net.run()
    started: list[StartWork] = []
    node.backends["echo"] = lambda _, work: started.append(work)
    for _ in range(3):
        order = rogue.order(node.own_offer("echo"), max_charge=600, grant=600)
        rogue.say(inputs=[lk.OrderInput(order_seq=rogue.write(K.ENTRY_KIND_ORDER, order=order), data=b"{}")])
        net.run()
    for number in range(3):
        assert len(started) == number + 1
        finish(node, started[number])
        net.run()
    assert rogue.rejected() == {}
