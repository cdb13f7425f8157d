"""Invocations of the suite's own grid's consumers: accounts, what each invocation has said, how it ends (RFC 0009)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import task_pb2 as tk
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event, InputReply
from intertie.v1.metering_pb2 import UsageLine
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof
from intertie_conformance.grid.catalog import ASSET, Offered
from intertie_conformance.grid.home import Home
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.routes import Route
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.node import Grid
    from intertie_conformance.wire.amounts import Price

BUDGET: Final = 1_000_000_000
TOKEN: Final = "conformance"  # noqa: S105 - a name that both ends of one process know
OTHER_TOKEN: Final = "conformance-other"  # noqa: S105


@dataclass
class Account:
    """A consumer."""

    name: str
    budget: int = BUDGET
    reserved: int = 0
    spent: int = 0


class Sink(Protocol):
    """Who works for an invocation: the grid itself, or a peer."""

    def cancel(self) -> None:
        """Ask to stop."""
        ...

    def reply(self, reply: InputReply) -> None:
        """Answer an input request."""
        ...


class Run:
    """One invocation of a consumer."""

    def __init__(self, grid: Grid, account: Account, request: iv.Invocation, now: int) -> None:
        self.grid = grid
        self.account = account
        self.request = request
        self.created_at = now
        self.deadline = now + (request.timeout_ms or 60_000)
        self.ended_at = 0
        self.state: int = tk.TASK_STATE_SUBMITTED
        self.events: list[Event] = []
        """Durable events, in order, and gaps."""
        self.last = 0
        """Number of the last durable event."""
        self.asked = 0
        """The latest input request."""
        self.outcome: iv.Outcome | None = None
        self.reserved = 0
        self.stopping = False
        self.repeated = False
        """Whether the same request has come again."""
        self.sink: Sink
        self.changed = asyncio.Event()

    def notify(self) -> None:
        """Wake whoever waits."""
        self.changed.set()
        self.changed = asyncio.Event()

    def signal(self, name: str) -> None:
        """Something that ends nothing has happened."""
        self.state = self.grid.rules.moved(self.state, name)

    def event(self, event: Event) -> None:
        """A durable event, the next one, or a gap."""
        rules = self.grid.rules
        self.last = max(self.last, event.number, event.gap.last)
        if event.HasField("input_request"):
            self.asked = event.input_request.request
            self.signal("asked")
        elif self.state == tk.TASK_STATE_INPUT_REQUIRED and event.number and not event.HasField("result"):
            self.signal("replied")
        if rules.shown(event):
            self.events.append(rules.as_shown(event))
            self.notify()

    def end(
        self,
        state: int,
        problem: Problem | None = None,
        result: Event | None = None,
        charge: int = 0,
        usage: Sequence[tuple[str, int]] = (),
        proof: RecordProof | None = None,
        hold: int = 0,
        path: Sequence[str] = (),
    ) -> None:
        """Report the outcome; after one was reported, only its receipt is corrected."""
        rules = self.grid.rules
        outcome = iv.Outcome(id=self.request.id)
        outcome.receipt.CopyFrom(rules.receipt(self._receipt(charge, usage, proof, hold, path)))
        if self.outcome is not None:
            rules.corrects(self, outcome, state, problem)
            self.notify()
            return
        self.state = rules.ended(self.state, state)
        outcome.state = self.state  # type: ignore[assignment]
        if result is not None:
            outcome.output.CopyFrom(result.result.output)
            outcome.is_error = result.result.is_error
        if problem is not None and problem.reason:
            outcome.problem.CopyFrom(rules.told_problem(problem))
        self.outcome, self.ended_at = outcome, now_ms()
        self.notify()

    def _receipt(
        self, charge: int, usage: Sequence[tuple[str, int]], proof: RecordProof | None, hold: int, path: Sequence[str]
    ) -> iv.Receipt:
        asset, scale = self.grid.rules.receipt_asset(*ASSET)
        made = iv.Receipt(charge=charge, asset=asset, scale=scale, hold=hold)  # type: ignore[arg-type]
        made.usage.extend(UsageLine(unit=unit, quantity=quantity) for unit, quantity in usage)
        made.path.extend(path or [self.grid.me.grid])
        if proof is not None and proof.record:
            record = ExecutionRecord.FromString(proof.record)
            made.energy.CopyFrom(record.energy)
            made.place = record.place
            made.executed_by = self.grid.name_of(record.executor)
            made.proof.CopyFrom(proof)
        return made

    def status(self) -> iv.InvocationStatus:
        """As it stands."""
        made = iv.InvocationStatus(
            id=self.request.id,
            offer=self.request.offer,
            state=self.state,  # type: ignore[arg-type]
            created_at=self.created_at,
            ended_at=self.ended_at,
            reserved=self.reserved,
        )
        if self.outcome is not None:
            made.receipt.CopyFrom(self.outcome.receipt)
            if self.outcome.HasField("problem"):
                made.problem.CopyFrom(self.outcome.problem)
        return made


class Asked:
    """A request for a new invocation, as the checks see it."""

    def __init__(self, face: Face, account: Account, wanted: iv.Invocation, now: int) -> None:
        self.face = face
        self.account = account
        self.wanted = wanted
        self.now = now
        self.route: Route | None = None
        self.offer: Offered

    def find(self) -> None:
        """Find the offer, own or a peer's. Raises: Refusal OFFER_UNKNOWN."""
        self.route, self.offer = self.face.find(self.wanted.offer)

    @property
    def link(self) -> Link | None:
        """Where it would be ordered."""
        return self.route.link if self.route is not None else None

    @property
    def grant(self) -> int:
        """The first grant of the order."""
        return self.wanted.first_grant or self.wanted.max_charge

    @property
    def prices(self) -> list[Price]:
        """What the consumer pays."""
        if self.route is None:
            return self.offer.prices
        return self.route.priced(self.offer)


class Face:
    """All invocations of all accounts."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.accounts: Mapping[str, Account] = {
            f"Bearer {TOKEN}": Account("one"),
            f"Bearer {OTHER_TOKEN}": Account("two"),
        }
        self.runs: dict[tuple[str, str], Run] = {}
        self._refused: dict[tuple[str, str], Refusal] = {}
        self.own = {f"{grid.me.grid}/{offer.message.name}": offer for offer in grid.offers}

    def find(self, ref: str) -> tuple[Route | None, Offered]:
        """The offer of a reference. Raises: Refusal OFFER_UNKNOWN."""
        return self.grid.buyer.routes.find(ref, now_ms())

    def run(self, account: Account, id: str) -> Run:
        """A known invocation of an account. Raises: Refusal NOT_FOUND."""
        run = self.grid.rules.known(account, id, self.runs)
        if run is None:
            raise Refusal("NOT_FOUND", "No invocation of this account has this id.")
        return run

    def start(self, account: Account, wanted: iv.Invocation) -> Run:
        """Start, or join what was started. Raises: Refusal."""
        rules = self.grid.rules
        run = rules.known(account, wanted.id, self.runs)
        if run is not None:
            rules.same(run.request, wanted)
            rules.repeats(run)
            run.repeated = True
            return run
        key = (account.name, wanted.id)
        if key in self._refused and not rules.forgets_refused():
            raise self._refused[key]
        try:
            return self._new(account, wanted)
        except Refusal as refusal:
            self._refused[key] = refusal
            raise

    def _new(self, account: Account, wanted: iv.Invocation) -> Run:
        rules, now = self.grid.rules, now_ms()
        asked = Asked(self, account, wanted, now)
        for name in rules.new_checks():
            getattr(rules, name)(asked)
        run = self.runs[account.name, wanted.id] = Run(self.grid, account, wanted, now)
        run.reserved = rules.reserves(account, wanted.max_charge)
        account.reserved += run.reserved
        if asked.route is None:
            run.sink = Home(self.grid, run, asked.offer)
        else:
            run.sink = self.grid.buyer.place(run, asked.route, asked.offer)
        run.signal("started")
        return run

    def cancel(self, account: Account, wanted: iv.CancelRequest) -> Run:
        """Stop. Raises: Refusal NOT_FOUND."""
        run = self.run(account, wanted.id)
        if run.outcome is not None:
            self.grid.rules.cancel_ended(run)
        elif self.grid.rules.cancels_order(run):
            run.stopping = True
            run.sink.cancel()
        return run

    def reply(self, account: Account, wanted: iv.SendInputRequest) -> None:
        """Answer an input request. Raises: Refusal."""
        run = self.run(account, wanted.id)
        self.grid.rules.check_reply(run, wanted)
        if self.grid.rules.passes_reply(run, wanted):
            run.sink.reply(wanted.reply)
