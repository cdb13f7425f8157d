"""Applications of simulated grids: they call, read slowly or not at all, answer, cancel, retry, and never lose an id.

A call outlives its grid's crashes: after a boot the application subscribes again from the last event that it
has seen, and asks again under the same id if the grid knows nothing. What it is told is judged here, where it
is told: one outcome a call, durable events in order, the output that the work makes.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tests.simulation.node import PROBE, Node
from tests.simulation.plan import CALM_MS
from tests.simulation.runs import expected, script

from intertie.errors import IntertieError
from intertie.ids import make_uuid7
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.event_pb2 import Event, InputReply
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED, TaskState
from intertie_node.core import buying, consuming, selling
from intertie_node.core.effects import Effects
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.peering import PeeringState

PROBE_MS = 7_000
TEMPORARY = {"OFFER_UNKNOWN", "NO_ROUTE", "PEER_UNAVAILABLE", "UNAGREED_LIMIT", "TOO_MANY_ORDERS", "NODE_DRAINING"}
"""Refusals after which an application asks again, under the same id: nothing is kept of a refusal."""
RETRY_MS, MAX_TRIES = 600, 4


class Listener:
    """One subscription (`ports.Subscription`)."""

    def __init__(self, call: Call, life: int, after: int = 0) -> None:
        self.call = call
        self.life = life
        self.next = after + 1
        self.last = after
        """Number of the last durable event that this subscription was told."""
        self.closed = False

    def push(self, item: iv.InvocationEvent) -> None:
        """Take an event, the outcome or a refusal."""
        if not self.closed and self.call.node.life == self.life:
            self.call.told(self, item)


class Call:
    """One invocation as its application sees it."""

    def __init__(self, consumers: Consumers, node: Node, account: str, request: iv.Invocation, args: Any) -> None:
        self.consumers = consumers
        self.node = node
        self.account = account
        self.request = request
        self.args = args
        self.seen = 0
        """Number of the last durable event."""
        self.output: list[bytes] = []
        self.outcome: iv.Outcome | None = None
        self.refused = ""
        self.tries = 0
        self._replied: set[int] = set()

    @property
    def key(self) -> str:
        """Key of the invocation at its grid."""
        return f"{self.request.id}@{self.account}"

    @property
    def over(self) -> bool:
        """Whether the application has its answer."""
        return self.outcome is not None or bool(self.refused)

    def invoke(self) -> None:
        """Ask, or ask again."""
        self.node.consumers.invoke(self.account, self.request, Listener(self, self.node.life))

    def subscribe(self) -> None:
        """Listen again from the last event seen."""
        listener = Listener(self, self.node.life, self.seen)
        self.node.consumers.subscribe(self.account, self.request.id, self.seen, listener)

    # -- being told -------------------------------------------------------------------------------

    def told(self, listener: Listener, item: iv.InvocationEvent) -> None:
        """The grid says something."""
        if item.HasField("outcome"):
            listener.closed = True
            self._ended(item.outcome)
        elif item.HasField("refused"):
            listener.closed = True
            self._refused(item.refused.reason)
        else:
            self._event(listener, item.event)

    def _refused(self, reason: str) -> None:
        self.consumers.sim.judge.reason(self, reason)
        if reason == "NOT_FOUND" and not self.over:
            self.invoke()
        elif reason in TEMPORARY and self.tries < MAX_TRIES and not self.over:
            self.tries += 1
            self.node.after(RETRY_MS, self.invoke)
        elif not self.over:
            self.refused = reason
            self.node.sim.note(self.node, f"refused {self.request.id[:13]} {reason}")

    def _event(self, listener: Listener, event: Event) -> None:
        if event.number:
            self.consumers.sim.judge.event_in_order(self, listener.last, event)
            listener.last = event.number
            if event.number <= self.seen:
                return
            self.seen = event.number
        if event.HasField("chunk"):
            self.output.append(event.chunk.payload.data)
        if event.HasField("input_request"):
            self._asked(event.input_request.request)
        size, reading = event.ByteSize(), self.args["reading"]
        if event.number and reading >= 0:
            node = self.node
            node.after(reading, lambda: node.consumers.consumed(self.account, self.request.id, size))

    def _asked(self, number: int) -> None:
        delay = self.args["answer"]
        if delay < 0:
            return
        reply = InputReply(request=number)
        reply.payload.data = b'"yes"'

        def answer() -> None:
            inv = self.node.world.invocations.get(self.key)
            if inv is not None:
                self.node.submit(lambda fx: _quietly(lambda: consuming.send_input(self.node.world, inv, reply, fx)))

        self.node.after(delay, answer)
        if number not in self._replied:
            self._replied.add(number)
            self.node.after(delay + 900, answer)

    def _ended(self, outcome: iv.Outcome) -> None:
        self.consumers.sim.judge.outcome(self, outcome)
        if self.outcome is None:
            state = TaskState.Name(outcome.state)
            self.node.sim.note(self.node, f"outcome {self.request.id[:13]} {state} {outcome.problem.reason}")
        self.outcome = outcome

    @property
    def whole_output(self) -> bool:
        """Whether everything that the work makes has arrived, if it was completed as it should be."""
        outcome = self.outcome
        if (
            self.args["end"] == "deaf"
            or outcome is None
            or outcome.state != TASK_STATE_COMPLETED
            or outcome.problem.reason == "EVENTS_GONE"
        ):
            return True
        return b"".join(self.output) + outcome.output.data == expected(self.args)


def _quietly(act: Any) -> None:
    """Do what an application asks; a named refusal is its own business."""
    try:
        act()
    except IntertieError:
        return


class Consumers:
    """All applications of a world."""

    def __init__(self, sim: Any) -> None:
        self.sim = sim
        self.calls: dict[int, Call] = {}
        """By number of the operation."""
        self.probes: list[Call] = []
        self._ids = 0
        self._rng = Random(f"ids {sim.plan.seed}")

    def schedule(self) -> None:
        """Have every operation of the plan happen at its time."""
        for item in self.sim.plan.ops:
            self.sim.at(item.at, lambda item=item: getattr(self, "_" + item.kind)(**item.args))

    def booted(self, node: Node) -> None:
        """A grid has come up: those who wait there listen again."""
        for call in [*self.calls.values(), *self.probes]:
            if call.node is node and not call.over:
                node.after(20, call.subscribe)

    def _request(self, node: Node, args: Any) -> iv.Invocation:
        self._ids += 1
        clock = int(self.sim.start + self.sim.now) + node.plan.skew  # only the node's jumps
        number = make_uuid7(clock, self._ids.to_bytes(4, "big") + self._rng.randbytes(6))
        target = self.sim.grids[args["target"]].identity.grid
        request = iv.Invocation(
            id=number,
            offer=f"{target}/{args['offer']}",
            max_charge=args["max"],
            first_grant=args["grant"],
            timeout_ms=args["timeout"],
        )
        request.input.data = script(args)
        return request

    # -- operations -------------------------------------------------------------------------------

    def _call(self, **args: Any) -> None:
        node = self.sim.grids[args["grid"]]
        call = Call(self, node, f"a{args['account']}", self._request(node, args), args)
        self.calls[args["number"]] = call
        if node.alive:
            call.invoke()
        # else it is asked for at the boot

    def _cancel(self, call: int) -> None:
        found = self.calls.get(call)
        if found is not None and found.node.alive:
            node, key = found.node, found.key

            def step(fx: Effects) -> None:
                inv = node.world.invocations.get(key)
                if inv is not None:
                    consuming.cancel(node.world, inv, "no longer needed", fx)

            node.submit(step)

    def _again(self, call: int) -> None:
        """The same id with the same body: the same reply."""
        found = self.calls.get(call)
        if found is not None and found.node.alive and not found.refused:
            node = found.node
            node.consumers.invoke(found.account, found.request, Listener(found, node.life, found.seen))

    def _anew(self, call: int) -> None:
        """The same work again under another id: another call."""
        found = self.calls.get(call)
        if found is not None and found.node.alive:
            again = Call(self, found.node, found.account, self._request(found.node, found.args), found.args)
            self.calls[3_000_000 + self._ids] = again
            again.invoke()

    def _withdraw(self, grid: int) -> None:
        """An operator takes back whatever its grid refuses."""
        node = self.sim.grids[grid]
        for link in node.world.links.values() if node.alive else ():
            for hold in [hold for hold in link.ledger.holds.values() if hold.payer == ME and hold.refused]:
                node.submit(_withdrawing(link, hold))

    def _conflict(self, call: int) -> None:
        """The same id with another body: refused, and without effect."""
        found = self.calls.get(call)
        if found is None or not found.node.alive or found.refused or not self.sim.judge.accepted(found):
            return
        other = iv.Invocation()
        other.CopyFrom(found.request)
        other.max_charge += 1
        node = found.node
        node.consumers.invoke(found.account, other, _Conflicting(found, node.life))

    def _credit(self, call: int, share: float) -> None:
        """The operator of the provider takes back part of what was charged."""
        found = self.calls.get(call)
        if found is None:
            return
        for node in self.sim.nodes:
            for link in node.world.links.values() if node.alive else ():
                hold = next((h for (p, _), h in link.ledger.holds.items() if p == THEM and _of(h, found)), None)
                if hold is not None and hold.posted:
                    amount = max(1, int(hold.posted * share))
                    node.submit(_crediting(node, link, hold.seq, amount))
                    return

    def _calm(self, link: int, way: int) -> None:
        """A call over a link whose grids nothing ails: it must be served at once, whatever others suffer."""
        peering = self.sim.plan.peerings[link]
        payer, provider = (peering.a, peering.b)[way], (peering.b, peering.a)[way]
        call = self._plain_call(payer, provider, 2_000_000 + self._ids, CALM_MS)
        call.tries = MAX_TRIES
        self.calls[2_000_000 + self._ids] = call
        self.sim.after(CALM_MS, lambda: self.sim.judge.calm(call))

    def _plain_call(self, payer: int, provider: int, number: int, timeout: int) -> Call:
        args = {
            "number": number, "grid": payer, "target": provider, "offer": "echo", "pieces": 0, "tokens": 0,
            "pause": 0, "end": "done", "max": 200, "grant": 0, "timeout": timeout, "answer": -1, "reading": 0,
        }  # fmt: skip
        node = self.sim.grids[payer]
        call = Call(self, node, PROBE, self._request(node, args), args)
        call.invoke()
        return call

    # -- probes -----------------------------------------------------------------------------------

    def probe(self) -> None:
        """When all is healed, every honest grid calls each honest neighbour once."""
        for number, peering in enumerate(self.sim.plan.peerings):
            for a, b in ((peering.a, peering.b), (peering.b, peering.a)):
                payer, provider = self.sim.grids[a], self.sim.grids[b]
                if not (isinstance(payer, Node) and isinstance(provider, Node)):
                    continue
                name = self.sim.genesis[number].hex()
                if PeeringState.TERMINATED in (payer.desk.states[name], provider.desk.states[name]):
                    continue
                self.probes.append(self._plain_call(a, b, 1_000_000 + number, PROBE_MS))

    def check_probes(self) -> None:
        """Each probe was served, or there is a limit that says why not."""
        for call in self.probes:
            self.sim.judge.probed(call)


class _Conflicting(Listener):
    """Must be refused with ID_CONFLICT."""

    def push(self, item: iv.InvocationEvent) -> None:
        if self.call.node.life == self.life:
            self.call.consumers.sim.judge.conflict(self.call, item)


def _of(hold: Any, call: Call) -> bool:
    return bool(hold.terms.id == call.request.id)


def _withdrawing(link: Any, hold: Any) -> Any:
    def step(fx: Effects) -> None:
        for claim in [claim for claim in hold.claims if claim.refused]:
            _quietly(lambda claim=claim: buying.withdraw(link, claim.seq, fx) and None)  # type: ignore[misc]

    return step


def _crediting(node: Node, link: Any, seq: int, amount: int) -> Any:
    def step(fx: Effects) -> None:
        _quietly(lambda: selling.credit(node.world, link, seq, amount, "goodwill", fx) and None)

    return step
