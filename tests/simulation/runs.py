"""Simulated backends: scripts that work, pause, ask, and end well, badly, twice, late or never.

The script stands in the input of the order, so that every hop carries it and a run depends on nothing else.
What a run does reaches the core through the same steps as a real run's (`services.runner`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from intertie.errors import IntertieError
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Progress
from intertie_node.core import executing
from intertie_node.core.effects import Effects
from intertie_node.core.invocations import Invocation
from intertie_node.core.work import GiveInput, StartWork, StopWork
from intertie_node.core.world import problem

TOKEN = "llm.output.token"
LATE_MS = 3_000
"""How long after a stop a deaf backend answers all the same."""
PRICES: Mapping[str, dict[str, tuple[int, int]]] = {
    "echo": {"order": (10, 1), TOKEN: (1, 10)},
    "stream": {"order": (5, 1), TOKEN: (1, 3), "order.canceled": (3, 1), "order.failed": (2, 1)},
    "ask": {"order": (20, 1), TOKEN: (1, 10)},
    "whole": {"order": (50, 1), TOKEN: (1, 7)},
}
"""Offers of every honest grid; `whole` is charged on completion, `echo` is idempotent."""


def script(args: Mapping[str, Any]) -> bytes:
    """The input that makes a backend behave as an operation says."""
    named = ("number", "offer", "pieces", "tokens", "pause", "end")
    return json.dumps({name: args[name] for name in named}, sort_keys=True).encode()


def piece(number: int, index: int) -> bytes:
    """Output piece `index` of operation `number`."""
    return f"<{number}.{index}>".encode()


def expected(args: Mapping[str, Any]) -> bytes:
    """The whole output of an operation that is completed."""
    return b"".join(piece(args["number"], n) for n in range(args["pieces"])) + b"."


def steps_of(said: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """What a backend does, one after the other."""
    if said["end"] == "refuse":
        yield ("sleep", said["pause"])
        yield ("refuse",)
        return
    if said["offer"] == "ask":
        yield ("ask",)
    for index in range(said["pieces"]):
        yield ("sleep", said["pause"])
        yield ("piece", piece(said["number"], index), said["tokens"])
    yield ("sleep", said["pause"])
    yield (said["end"],)


class Run:
    """One running invocation."""

    def __init__(self, node: Any, work: StartWork, over: Callable[[str], None]) -> None:
        self.node = node
        self.key = work.invocation
        self._over = over
        said = json.loads(work.input)
        self.deaf = said["end"] == "deaf"
        self._steps = steps_of(said)
        self._asking = False
        self._used = self._asked_for = 0
        """Tokens that the node has let the run use, and those that it is asked for now."""
        self.ended = False

    def advance(self) -> None:
        """Take the next step of the script."""
        if not self.ended:
            name, *args = next(self._steps)
            getattr(self, "_" + name)(*args)

    def _step(self, act: Callable[[Invocation, Effects], None]) -> None:
        def run(fx: Effects) -> None:
            inv = self.node.grid.by_key(self.key)
            if inv is not None:
                act(inv, fx)
            else:
                fx.reply(self._forgotten, None)

        self.node.submit(run)

    def _forgotten(self, _: None) -> None:
        self.finish()

    def finish(self) -> None:
        """Nothing more comes from this run."""
        self.ended = True
        self._over(self.key)

    def stop(self, work: StopWork) -> None:
        """The run is cancelled; a deaf one goes on."""
        if self.deaf:
            self.node.after(LATE_MS, self._done)
        elif not self.ended:
            self.finish()
            told = problem(work.reason, "The work was stopped.")
            self._step(lambda inv, fx: executing.failed(self.node.world, inv, told, fx))

    def give(self, work: GiveInput) -> None:
        """An input reply has come."""
        self.node.sim.judge.given(self.node, self.key, work)
        if self._asking:
            self._asking = False
            self.advance()

    # -- steps ------------------------------------------------------------------------------------

    def _sleep(self, ms: int) -> None:
        if ms:
            self._step(lambda inv, fx: executing.progressed(self.node.world, inv, Progress(done=1), fx))
        self.node.after(ms, self.advance)

    def _piece(self, data: bytes, tokens: int) -> None:
        payload = Payload(media_type="text/plain", data=data)
        self._asked_for = tokens
        self._step(lambda inv, fx: executing.metered(self.node.world, inv, {TOKEN: tokens}, payload, self._metered, fx))

    def _metered(self, error: IntertieError | None) -> None:
        if self.ended:
            return
        if error is None:
            self._used += self._asked_for
            self.node.sim.judge.metered(self.node, self.key, {TOKEN: self._used})
            self.advance()
        elif not self.deaf:
            self.finish()
            told = problem(error.reason, error.message)
            self._step(lambda inv, fx: executing.failed(self.node.world, inv, told, fx))

    def _ask(self) -> None:
        self._asking = True
        self._step(lambda inv, fx: executing.asked(self.node.world, inv, "more?", b"", fx) and None)

    def _complete(self) -> None:
        output = Payload(media_type="text/plain", data=b".")
        self._step(lambda inv, fx: executing.completed(self.node.world, inv, output, False, None, fx))

    def _done(self) -> None:
        self.finish()
        self._complete()

    def _twice(self) -> None:
        self._done()
        self._complete()
        self.node.after(200, self._complete)

    def _fail(self) -> None:
        self.finish()
        told = problem("EXECUTION_FAILED", "The backend failed.")
        self._step(lambda inv, fx: executing.failed(self.node.world, inv, told, fx))

    def _die(self) -> None:
        self._fail()
        self._complete()

    def _refuse(self) -> None:
        self.finish()
        told = problem("NODE_BUSY", "The backend takes no work now.")
        self._step(lambda inv, fx: executing.refused(self.node.world, inv, told, fx))

    def _hang(self) -> None:
        """Nothing more, until it is stopped."""

    def _deaf(self) -> None:
        """Nothing more, even if it is stopped; an answer long after that."""
