"""An input reply is not lost with a link or with the node that took it; it counts once (design §9, RFC 0009 §3.10)."""

from __future__ import annotations

import msgspec
import pytest
from tests.kit.line import ECHO, Line
from tests.kit.sim_node import Listener, SimNode

from intertie.v1 import task_pb2 as ts
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import InputReply
from intertie_node.core import consuming, executing
from intertie_node.core.effects import Effects
from intertie_node.core.invocations import Invocation
from intertie_node.core.work import StartWork
from intertie_node.core.world import StoredInvocation


class Questions(Line):
    """south's work asks once and ends when it is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.south.backends["echo"] = self.ask
        self.listener = self.north.invoke(ECHO, timeout_ms=60_000)
        self.net.run()
        assert self.state() == ts.TASK_STATE_INPUT_REQUIRED

    def ask(self, node: SimNode, work: StartWork) -> None:
        node.report(work.invocation, self.question)

    def question(self, inv: Invocation, fx: Effects) -> None:
        executing.asked(self.south.world, inv, "how many?", b"", fx)

    @property
    def inv(self) -> Invocation:
        inv = self.north.grid.by_key(f"{self.listener.request.id}@alice")
        assert inv is not None
        return inv

    def state(self) -> int:
        return self.inv.state

    def reply(self, data: bytes, request: int = 1) -> None:
        message = InputReply(request=request, payload=Payload(data=data))
        self.north.submit(lambda fx: consuming.send_input(self.north.world, self.inv, message, fx))
        self.net.run()

    @property
    def given(self) -> list[bytes]:
        return [work.data for work in self.south.given]

    def finish(self) -> Listener:
        output = Payload(data=b"done")
        for key in list(self.south.working):
            self.south.report(key, lambda inv, fx: executing.completed(self.south.world, inv, output, False, None, fx))
        self.net.run()
        self.net.wait(1_000)
        return self.listener


@pytest.mark.parametrize("link", ["first", "second"])
def test_a_reply_waits_until_the_link_is_open(link: str) -> None:
    line = Questions()
    ends = (line.north, line.hub) if link == "first" else (line.hub, line.south)
    line.cut(*ends)
    line.reply(b"7")
    assert (line.state(), line.given) == (ts.TASK_STATE_WORKING, [])
    line.connect(*ends)
    assert line.given == [b"7"]
    assert line.state() == ts.TASK_STATE_WORKING
    outcome = line.finish().outcome
    assert outcome is not None and outcome.state == ts.TASK_STATE_COMPLETED


def test_a_reply_outlives_the_node_that_took_it() -> None:
    line = Questions()
    line.cut(line.north, line.hub)
    line.reply(b"7")
    line.restart(line.north)
    assert line.given == []
    line.connect(line.north, line.hub)
    assert line.given == [b"7"]
    assert line.state() == ts.TASK_STATE_WORKING, "the question came again, and was answered before"
    assert stored(line.north).reply
    line.finish()
    assert line.north.store.all_rows("invocations")[-1][4] == ts.TASK_STATE_COMPLETED
    assert not stored(line.north).reply, "inputs are dropped at the end"


def stored(node: SimNode) -> StoredInvocation:
    """The last invocation's row."""
    return msgspec.msgpack.decode(node.store.all_rows("invocations")[-1][8], type=StoredInvocation)


def test_a_relay_that_restarts_gets_the_reply_again() -> None:
    line = Questions()
    line.cut(line.hub, line.south)
    line.reply(b"7")
    line.restart(line.hub)
    line.connect(line.hub, line.south)
    line.connect(line.north, line.hub)
    assert line.given == [b"7"]


def test_the_first_reply_counts_however_often_links_come_and_go() -> None:
    line = Questions()
    line.cut(line.north, line.hub)
    line.reply(b"7")
    line.reply(b"8")
    line.connect(line.north, line.hub)
    for _ in range(2):
        line.cut(line.hub, line.south)
        line.connect(line.hub, line.south)
    line.reply(b"9")
    assert line.given == [b"7"]
    line.south.report(next(iter(line.south.working)), line.question)
    line.net.run()
    assert line.state() == ts.TASK_STATE_INPUT_REQUIRED
    line.cut(line.north, line.hub)
    line.reply(b"late", 1)
    line.reply(b"10", 2)
    line.connect(line.north, line.hub)
    assert line.given == [b"7", b"10"]
