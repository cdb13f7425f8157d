"""The judge of a simulated world: what must hold at every step, and what must hold when all has come to rest.

At once: nothing is said or started that is not durable, nobody equivocates, books balance, limits hold, each
invocation ends once, no node stops by itself, honest grids find no fault with each other. At the end
(`verdict`): see `ending`. Each invariant is named in words, which are what a failure prints.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.simulation import ending
from tests.simulation.disk import Disk
from tests.simulation.node import Node

from intertie import envelope
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import CatalogRoot
from intertie.v1.event_pb2 import Event
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED, TaskState
from intertie_node.core.effects import Changes
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.opening import Phase
from intertie_node.core.tasks import TERMINAL
from intertie_node.core.work import GiveInput, StartWork

NO_FAULT = {"SUPERSEDED", "CLOCK", "SILENT_PEER", "NODE_DRAINING"}
"""Reasons for which honest grids may close a stream between them."""
BLAME = {
    "INPUT_INVALID", "RECORD_MISMATCH", "OUTPUT_MISMATCH", "CHARGE_UNPROVEN", "GRANT_INVALID", "ID_INVALID",
    "POLICY_VIOLATION",
}  # fmt: skip
"""Reasons for which work fails only if somebody has done wrong."""
LOST_KEY = "CHARGE_UNPROVEN"
"""What a grid risks that lists a replaced key no longer: records which it proved are not believed (IT-IDN-036)."""
UNTRUE = {"AMOUNT_OVERFLOW"}
"""Reasons that nothing in these worlds gives cause for: every price can be stated on every way."""
NO_MORE = {"CREDIT_LIMIT", "UNAGREED_LIMIT", "TOO_MANY_ORDERS"}


class Violation(AssertionError):  # noqa: N818 - it is a verdict, not a fault of the judge
    """An invariant does not hold."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail


class Judge:
    """Watches one world."""

    def __init__(self, sim: Any) -> None:
        self.sim = sim
        self._said: dict[tuple[int, int], dict[int, bytes]] = {}
        """(peering, author) → seq → entry bytes that an honest author has sent."""
        self._roots: dict[tuple[int, int], tuple[int, bytes]] = {}
        """(peering, grid) → version and payload of the own root that it told last."""
        self._ended: dict[tuple[int, str], int] = {}
        """(grid, invocation) → its terminal state."""
        self._started: set[tuple[int, str]] = set()
        self._given: set[tuple[int, int, str, int]] = set()

    def check(self, holds: bool, invariant: str, detail: str) -> None:
        """Raise unless an invariant holds."""
        if not holds:
            raise Violation(invariant, f"at {self.sim.now:.1f} ms: {detail}")

    def stopped(self, node: Node, error: BaseException) -> None:
        """A step or a boot has raised."""
        if not isinstance(error, Violation):
            raise Violation("an honest node never stops by itself", f"{node.identity.grid}: {error!r}") from error

    # -- saying and writing -----------------------------------------------------------------------

    def said(self, end: Any, frame: lk.Frame) -> tuple[int, ...]:
        """An honest grid sends a frame; returns the kinds of its own entries."""
        node, stream = end.owner, end.stream
        link = self.sim.genesis[stream.link].hex()
        if frame.HasField("signature"):
            self._durable(node, link, frame.signature)
        if frame.HasField("close"):
            self._closed(node, end, frame.close)
        for item in frame.advertisements:
            if len(item.route.path) == 1:
                self._rooted(node, stream.link, item.route.root)
        kinds = []
        log = self._said.setdefault((stream.link, node.index), {})
        for seq, data in enumerate(frame.entries, frame.first_seq):
            entry = pb.Entry.FromString(data)
            kinds.append(entry.kind)
            self._refused(node, entry.refuse.rule)
            if log.setdefault(seq, data) != data:
                self._equivocated(end, seq)
                log[seq] = data
        return tuple(kinds)

    def _durable(self, node: Node, link: str, signature: lk.HeadSignature) -> None:
        mine, theirs = node.disk.log(link, ME), node.disk.log(link, THEM)
        held = (
            len(mine) >= signature.seq
            and len(theirs) >= signature.acked
            and (not signature.seq or mine[signature.seq - 1][4] == signature.head)
            and (not signature.acked or theirs[signature.acked - 1][4] == signature.acked_head)
        )
        durable = f"durable are {len(mine)}, {len(theirs)}"
        told = f"{node.identity.grid} signs seqs {signature.seq}, {signature.acked}; {durable}"
        self.check(held, "nothing is said that is not durable", told)

    def _equivocated(self, end: Any, seq: int) -> None:
        """Two entries at one seq: a fault, unless the peer has said that it holds neither."""
        peer = lk.Open.FromString(end.other.opened)
        told = f"{end.owner.identity.grid} sends a second entry {seq}; the peer's Open names {peer.other.seq}"
        self.check(bool(end.other.opened) and peer.other.seq < seq, "an honest grid never equivocates", told)

    def _refused(self, node: Node, rule: str) -> None:
        """Where all grids are honest and none was put back, no claim is refused for its proof."""
        nodes, grids = self.sim.nodes, self.sim.grids
        lawful = len(nodes) < len(grids) or any(each.restored for each in nodes) or self._lost_key(rule)
        told = f"{node.identity.grid} refuses a claim: {rule}"
        self.check(rule not in BLAME or lawful, "honest grids find no fault with each other", told)

    def _lost_key(self, reason: str) -> bool:
        return reason == LOST_KEY and any(fault.kind == "rotate" for fault in self.sim.plan.faults)

    def _rooted(self, node: Node, link: int, sealed: bytes) -> None:
        """A grid tells its own root: another one than before has a higher version (IT-CAT-032).

        On one link: what is told late on another one may have been made before.
        """
        payload = envelope.peek_unverified(sealed)[1]
        version, before = CatalogRoot.FromString(payload).version, self._roots.get((link, node.index))
        rises = before is None or payload == before[1] or version > before[0]
        told = f"{node.identity.grid} tells root {version} after {before and before[0]}"
        self.check(rises or node.restored, "the roots of a grid have rising versions", told)
        self._roots[link, node.index] = version, payload

    def _closed(self, node: Node, end: Any, close: Any) -> None:
        peer = end.other.owner
        both_restored = node.restored and getattr(peer, "restored", False)
        told = f"{node.identity.grid} closes with {close.reason}: {close.message}"
        fine = close.reason in NO_FAULT or not isinstance(peer, Node) or both_restored
        self.check(fine, "honest grids find no fault with each other", told)

    def restored(self, node: Node, copy: Disk) -> None:
        """A node loses what it has written since a copy."""
        for seen in (self._started, self._ended):
            for key in [key for key in seen if key[0] == node.index]:
                seen.discard(key) if isinstance(seen, set) else seen.pop(key)  # type: ignore[attr-defined]

    def computed(self, node: Node, changed: Iterable[str]) -> None:
        """A batch was computed that changes some links: limits hold, amounts are no debts of nobody."""
        self._waiting(node)
        name = node.identity.grid
        for link in map(node.world.links.__getitem__, changed):
            terms = link.terms
            for payer, lane in enumerate(link.ledger.lanes):
                self._summed(name, link, payer, lane)
                sound = lane.posted >= 0 and lane.pending >= 0 and lane.granted >= lane.earned and lane.open >= 0
                self.check(sound, "no amount falls below zero", f"{name}: {lane}")
                if payer == THEM:
                    unpaid = lane.posted - lane.agreed
                    most, limit = terms.max_unagreed[payer], terms.credit_limit[payer]
                    told = f"{name} has delivered {unpaid} that is not agreed of at most {most}"
                    self.check(unpaid <= most, "a provider's loss stays within max_unagreed", told)
                    told = f"{name} is owed {lane.posted} of at most {limit}"
                    self.check(lane.posted <= limit, "a provider's loss stays within the credit limit", told)
                elif not node.restored:
                    told = f"{name}: {lane} of {terms.credit_limit[ME]}, {terms.max_unagreed[ME]}"
                    kept = lane.gross <= terms.credit_limit[ME] and lane.unagreed <= terms.max_unagreed[ME]
                    self.check(kept, "a payer promises no more than was agreed", told)

    def _summed(self, name: str, link: Any, payer: int, lane: Any) -> None:
        """What a lane keeps is what its open holds add up to."""
        holds = [hold for (side, _), hold in link.ledger.holds.items() if side == payer and not hold.ended_seq]
        summed = (
            len(holds),
            sum(hold.terms.max_charge - hold.charged for hold in holds),
            sum(hold.grants[-1][1] for hold in holds),
            sum(hold.charged for hold in holds),
        )
        told = f"{name} payer {payer}: {lane}, holds {summed}"
        kept = (lane.open, lane.pending, lane.granted, lane.earned)
        self.check(kept == summed, "a lane is the sum of its holds", told)

    def _waiting(self, node: Node) -> None:
        """When a batch has been computed, the first order that waits on an open link has no room."""
        for name, queue in node.world.waiting.items():
            link = node.world.links[name]
            waiting = [self._granted(link, inv) for inv in queue if not inv.ended]
            stake, most = link.ledger.lanes[THEM].unagreed - sum(waiting[1:]), link.terms.max_unagreed[THEM]
            fits = link.phase is Phase.OPEN and bool(waiting) and stake <= most
            told = f"{node.identity.grid} {name}: {stake} of {most}"
            self.check(not fits, "an order waits only while there is no room", told)

    def _granted(self, link: Any, inv: Any) -> int:
        """The grant of an order that waits, while its hold is open."""
        hold = link.ledger.holds.get((THEM, inv.source.order[2]))
        return hold.grants[-1][1] if hold is not None and not hold.ended_seq else 0

    def committed(self, node: Node, changes: Changes) -> None:
        """A batch has become durable."""
        if "balances" in changes.puts or "transfers" in changes.appends:
            rows = node.disk.tables["balances"].values()
            debits, credits_ = sum(row[2] for row in rows), sum(row[3] for row in rows)
            self.check(debits == credits_, "debits equal credits", f"{node.identity.grid}: {debits}, {credits_}")
        for row in changes.puts.get("accounts", {}).values():
            if row is not None and not node.restored:
                sound = row[3] >= 0 and row[4] >= 0 and row[3] + row[4] <= row[2]
                self.check(sound, "no consumer spends beyond its budget", f"{node.identity.grid}: {row}")
        for row in changes.puts.get("invocations", {}).values():
            if row is not None:
                self._moved(node, row[0], row[4])

    def _moved(self, node: Node, key: str, state: int) -> None:
        before = self._ended.get((node.index, key))
        told = f"{node.identity.grid} {key}: {before} and then {state}"
        self.check(before in (None, state), "an invocation ends once on a node", told)
        if state in TERMINAL:
            self._ended[node.index, key] = state

    def started(self, node: Node, work: StartWork) -> None:
        """Work is being started."""
        key, name = work.invocation, node.identity.grid
        row = node.disk.row("invocations", (key,))
        self.check(row is not None, "no work without a durable invocation", f"{name} starts {key}")
        assert row is not None
        _, _, caller = key.partition("@")
        if caller.startswith("link:"):
            _, link, seq = caller.split(":")
            order = node.disk.entries(link, THEM, int(seq) - 1, int(seq), 0)
            durable = order and pb.Entry.FromString(order[0][1]).kind == pb.ENTRY_KIND_ORDER
            self.check(bool(durable), "no work without a durable order", f"{name} starts {key}")
        again = (node.index, key) in self._started and work.offer != "echo"
        self.check(not again, "only idempotent work runs twice", f"{name} starts {key} again")
        self._started.add((node.index, key))

    def metered(self, node: Node, key: str, usage: dict[str, int]) -> None:
        """A run may go on: what it has used by now is granted."""
        inv = node.world.invocations.get(key)
        hold = getattr(inv.source, "hold", None) if inv is not None else None
        if hold is not None and not hold.ended_seq:
            prices = zip(hold.terms.units, hold.terms.prices, strict=True)
            cost = sum(-(-usage.get(unit, 0) * num // den) for unit, (num, den) in prices)
            told = f"{node.identity.grid} {key}: {cost} of {hold.grants[-1][1]}"
            self.check(cost <= hold.grants[-1][1], "no work beyond its grant", told)

    def given(self, node: Node, key: str, work: GiveInput) -> None:
        """A run is given a reply."""
        once = (node.index, node.life, key, work.request)
        told = f"{node.identity.grid} {key} request {work.request}"
        self.check(once not in self._given, "a reply is given once", told)
        self._given.add(once)

    # -- consumers --------------------------------------------------------------------------------

    def event_in_order(self, call: Any, last: int, event: Event) -> None:
        """A durable event reaches an application."""
        lost = any(node.restored for node in self.sim.nodes)
        told = f"{call.key}: event {event.number} after {last}"
        self.check(event.number == last + 1 or lost, "durable events come in order, each once", told)

    def reason(self, call: Any, reason: str) -> None:
        """An application is told why its call was refused, or has not succeeded."""
        self.check(reason not in UNTRUE, "a reason that is told is true", f"{call.key}: {reason}")

    def outcome(self, call: Any, outcome: iv.Outcome) -> None:
        """An application is told how its call has ended."""
        self.reason(call, outcome.problem.reason)
        lost = call.node.restored
        before = call.outcome
        state = TaskState.Name(outcome.state)
        if before is not None:
            same = before.state == outcome.state and before.output == outcome.output
            self.check(same or lost, "the same id has the same reply", f"{call.key}: {state} after another")
        honest = isinstance(self.sim.grids[call.args["target"]], Node)
        lawful = any(node.restored for node in self.sim.nodes) or self._lost_key(outcome.problem.reason)
        blamed = outcome.problem.reason in BLAME and honest and not lawful
        self.check(not blamed, "honest grids find no fault with each other's work", f"{call.key}: {outcome.problem}")
        told = f"{call.key} is charged {outcome.receipt.charge} of {call.request.max_charge}"
        self.check(outcome.receipt.charge <= call.request.max_charge, "no call costs more than its maximum", told)
        self.check(outcome.state in TERMINAL, "an outcome is an end", f"{call.key}: {state}")

    def accepted(self, call: Any) -> bool:
        """Whether a call's grid has durably taken it."""
        return not call.node.restored and call.node.disk.row("invocations", (call.key,)) is not None

    def conflict(self, call: Any, item: iv.InvocationEvent) -> None:
        """The answer to a known id with another body."""
        told = f"{call.key}: {item}"
        fine = item.refused.reason == "ID_CONFLICT" or call.node.restored
        self.check(fine, "the same id with another body has no effect", told)

    def probed(self, call: Any) -> None:
        """A call between healed neighbours must have been served, unless a limit says why not."""
        served = call.outcome is not None and call.outcome.state == TASK_STATE_COMPLETED
        reason = call.refused or (call.outcome.problem.reason if call.outcome is not None else "no answer")
        told = f"{call.node.identity.grid} calls {call.request.offer}: {reason}"
        fine = served or (reason in NO_MORE and ending.no_room(self.sim, call))
        self.check(fine, "a healed grid serves its neighbours", told)

    def calm(self, call: Any) -> None:
        """A call between grids whom nothing ails has been served, or refused for want of room."""
        served = call.outcome is not None and call.outcome.state == TASK_STATE_COMPLETED
        reason = call.refused or (call.outcome.problem.reason if call.outcome is not None else "no answer")
        told = f"{call.node.identity.grid} calls {call.request.offer}: {reason}"
        self.check(served or reason in NO_MORE, "unrelated links are never blocked", told)

    # -- the end ----------------------------------------------------------------------------------

    def at_rest(self) -> bool:
        """Whether nothing is open any more between honest grids."""
        return ending.at_rest(self.sim)

    def verdict(self) -> None:
        """Everything that must hold when the world has come to rest."""
        ending.verdict(self)
