"""What simulated worlds have found of orders that wait for room, each at the smallest depth that shows it.

`tests/simulation/FOUND.md` says what, why and which rule changed.
"""

from __future__ import annotations

from typing import Any

from tests.kit.rogue import K
from tests.kit.small_worlds import MAL
from tests.unit.node.test_misdeeds import Scene

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_node.core.ledger import THEM


class Unsigned:
    """A payer who orders and signs for nothing that it has been charged."""

    def __init__(self) -> None:
        self.scene = Scene(max_unagreed=250).opened()
        self.rogue, self.node, self.net = self.scene.rogue, self.scene.node, self.scene.net
        self.rogue.answers = False
        theirs = self.rogue.pair.logs[THEM]
        self._seen, self._head = theirs.seq, theirs.head

    def buy(self, grant: int, **changes: Any) -> int:
        order = self.rogue.order(self.scene.offer, max_charge=250, grant=grant, **changes)
        seq = self.rogue.write(K.ENTRY_KIND_ORDER, seen=self._seen, order=order)
        made = self.rogue.signature(acked=self._seen, acked_head=self._head, total=0)
        self.rogue.say(made, inputs=[lk.OrderInput(order_seq=seq, data=b"{}")])
        self.net.run()
        return seq

    @property
    def waiting(self) -> int:
        return len(self.node.world.waiting[self.node.link(MAL).name])

    def posted(self, seq: int) -> int:
        hold = self.node.link(MAL).ledger.find(THEM, seq)
        assert hold is not None
        return hold.posted


def test_an_order_is_admitted_when_the_one_before_it_gives_up_waiting() -> None:
    """Room comes from the own reject alone."""
    payer = Unsigned()
    served, large, small = payer.buy(10), payer.buy(250, deadline=payer.net.now + 2_000), payer.buy(100)
    assert payer.posted(served) == 10
    assert payer.waiting == 2
    payer.net.wait(3_000)
    assert payer.rogue.rejected() == {large: "DEADLINE_EXCEEDED"}
    assert not payer.waiting
    assert payer.posted(small) == 10


def test_an_order_is_admitted_when_the_one_before_it_is_rejected_after_its_wait() -> None:
    """What was set aside for the first one is free for the second one at once."""
    payer = Unsigned()
    served, large, small = payer.buy(10), payer.buy(250, policy=pb.Policy(places=["XX"])), payer.buy(100)
    assert payer.posted(served) == 10
    assert payer.waiting == 2
    payer.rogue.say()
    payer.net.run()
    assert payer.rogue.rejected() == {large: "POLICY_VIOLATION"}
    assert not payer.waiting
    assert payer.posted(small) == 10
