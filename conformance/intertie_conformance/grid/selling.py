"""The provider of the suite's own grid: admits orders, works, meters against the grant, claims (RFC 0009)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from intertie.v1 import entry_pb2 as pb
from intertie.v1.envelope_pb2 import Payload, Problem
from intertie.v1.event_pb2 import Event
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof
from intertie.v1.task_pb2 import (
    TASK_STATE_CANCELED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TaskState,
)
from intertie_conformance.grid.account import Hold, State
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.work import WORK, ToolError, Unwilling
from intertie_conformance.wire.build import entry, event, size_of
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.identity import Identity
    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.rules import Rules


class Workplace(Protocol):
    """Where an order comes from: a link, or the grid itself."""

    me: Identity
    rules: Rules
    genesis: bytes

    def now(self) -> int:
        """The clock."""
        ...

    def say(self, *events: Event) -> None:
        """Send events."""
        ...

    def has_room(self, hold: Hold) -> bool:
        """Whether no more than max_unagreed is at stake."""
        ...

    def write(self, entry: pb.Entry, data: bytes = b"") -> int:
        """Append an entry."""
        ...

    def flush(self) -> None:
        """Send everything that was gathered."""
        ...


class Job:
    """One order that is being worked on, as the work sees it."""

    def __init__(self, link: Workplace, hold: Hold, offer: Offered, data: bytes) -> None:
        self.link = link
        self.hold = hold
        self.offer = offer
        self.input = data
        self.usage: dict[str, int] = {}
        self.output = bytearray()
        self.events: list[Event] = []
        """Durable events, in order of number."""
        self.sent = 0
        self.credit = 1 << 18
        self.siblings: Callable[[], Sequence[Job]] = list
        """The jobs of the same link."""
        self.started_at = 0
        self.asked = 0
        self.reply: asyncio.Future[bytes] | None = None
        self.task: asyncio.Task[None] | None = None
        self.needs = 0
        """The cumulative amount that work waits for, 0 if it does not."""
        self.moved = asyncio.Event()
        """Set when the grant has risen, or more is agreed."""
        self._early: bytes | None = None

    # -- for the work -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Work starts: from here on the order is no longer rejected."""
        self.started_at = self.link.now()

    async def meter(self, added: Mapping[str, int]) -> None:
        """Count usage; waits for a grant. Raises: Refusal GRANT_EXHAUSTED."""
        usage = dict(self.usage)
        for unit, quantity in added.items():
            usage[unit] = usage.get(unit, 0) + self.link.rules.counts(unit, quantity)
        await self.granted(usage)
        self.usage = usage

    async def granted(self, usage: Mapping[str, int]) -> None:
        """Wait until `usage` fits the grant. Raises: Refusal GRANT_EXHAUSTED if it never will."""
        cost = self.link.rules.price_usage(self.hold, usage)
        if cost > self.hold.order.max_charge:
            raise self.link.rules.exhausted(cost)
        rules, link, hold = self.link.rules, self.link, self.hold
        while not (rules.within_grant(hold, cost) and rules.within_unagreed(hold, cost, link.has_room(hold))):
            self.moved.clear()
            self.claim(self.usage)
            if not rules.within_grant(self.hold, cost) and self.needs != cost:
                self.needs = cost
                self.say_needs()
            self.link.flush()
            await self.moved.wait()
        self.needs = 0

    def say_needs(self) -> None:
        """Ask for a higher grant."""
        for made in self.link.rules.grant_needed(self.needs):
            self.link.say(event(order_seq=self.hold.seq, at=self.link.now(), grant_needed=made))
        self.link.flush()

    async def chunk(self, data: bytes) -> None:
        """Stream a piece of output."""
        await self.meter({"text.output.byte": len(data)})
        self.output += data
        self.emit_pieces("text/plain", self.link.rules.piece(data))
        self.link.flush()

    def emit_pieces(self, media_type: str, data: bytes) -> None:
        """Send data as chunks that every link takes."""
        largest = self.link.rules.largest_piece()
        for start in range(0, len(data), largest):
            piece = Payload(media_type=media_type, data=data[start : start + largest])
            self.emit(event(chunk={"payload": piece}))

    async def ask(self, prompt: str, schema: bytes) -> bytes:
        """Ask for input; returns the reply's bytes."""
        self.asked = self.link.rules.next_request(self.asked)
        self.reply = asyncio.get_running_loop().create_future()
        if self._early is not None:
            self.reply.set_result(self._early)
        self.emit(event(input_request={"request": self.asked, "prompt": prompt, "schema": schema}))
        self.link.flush()
        return await self.reply

    # -- events -----------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Keep a durable event and send what credit allows."""
        event.order_seq, event.at = self.hold.seq, self.link.now()
        event.number = self.link.rules.next_number(len(self.events))
        self.events.append(event)
        self.push()

    def push(self) -> None:
        """Send durable events that are due."""
        rules = self.link.rules
        while self.sent < len(self.events) and rules.may_send(self.credit):
            if rules.held_back(self.credit, self.others()):
                return
            made = self.events[self.sent]
            self.sent += 1
            self.credit -= size_of(made)
            self.link.say(*rules.in_order(made))

    def others(self) -> dict[int, int]:
        """Credit of the link's other orders, by seq."""
        return {job.hold.seq: job.credit for job in self.siblings() if job is not self}

    def heard(self, event: Event) -> None:
        """An event of the payer."""
        kind = event.WhichOneof("body")
        if kind == "resume" and self.link.rules.resumes_events(self):
            self.sent, self.credit = min(event.resume.after_seq, len(self.events)), event.resume.credit
        elif kind == "byte_credit":
            self.credit = self.link.rules.credited(self.credit, event.byte_credit.bytes)
        elif kind == "input_reply":
            self.answered(event)
        self.push()

    def answered(self, event: Event) -> None:
        """The first reply to the latest request counts, while one is awaited."""
        reply = event.input_reply
        if self.reply is None or self.reply.done():
            self._early = self.link.rules.early_reply(reply)
        elif self.link.rules.replies(self.asked, reply):
            self.reply.set_result(reply.payload.data)

    # -- money ------------------------------------------------------------------------------------

    def claim(self, usage: Mapping[str, int], **final: object) -> None:
        """Write a cumulative charge; an unfinished one only if it says something new."""
        hold = self.hold
        quantities = self.link.rules.charge_quantities(hold, usage)
        before = list(hold.claims[-1].quantities) if hold.claims else [0] * len(quantities)
        if hold.state is not State.OPEN or (not final and quantities == before):
            return
        amount = self.link.rules.charge_amount(hold, usage)
        stated = self.link.rules.claimed(quantities, before)
        body = pb.Charge(order_seq=hold.seq, quantities=stated, amount=amount, **final)  # type: ignore[arg-type]
        self.link.write(entry(pb.ENTRY_KIND_CHARGE, charge=body))

    def end(self, state: TaskState.ValueType, output: Payload, problem: Problem | None, is_error: bool = False) -> None:
        """Say the result and claim finally."""
        usage = self.link.rules.end_usage(self.usage, state)
        if not self.link.rules.end_fits(self.hold, usage):
            usage = dict(self.usage)
        self.output += output.data
        if len(output.data) > self.link.rules.largest_piece():
            self.emit_pieces(output.media_type, output.data)
            output = Payload()
        body = {"state": self.link.rules.result_state(state), "output": output, "is_error": is_error}
        for result in self.link.rules.results({**body, "problem": problem}):
            self.emit(event(result=result))
        self.claim(usage, final=True, state=state, proof=self.proof(state, usage), problem=problem)
        self.link.flush()

    def proof(self, state: TaskState.ValueType, usage: Mapping[str, int]) -> RecordProof | None:
        """The signed record of the work."""
        order, me, now, rules = self.hold.order, self.link.me, self.link.now(), self.link.rules
        if not rules.proves(state, rules.charge_amount(self.hold, usage), self.hold.charged):
            return None
        fields: dict[str, object] = {
            "executor": me.fingerprint,
            "nonce": order.nonce,
            "offer_digest": order.offer_digest,
            "input_digest": order.input.digest,
            "output_digest": rules.salt(order.nonce, bytes(self.output)) if self.output else b"",
            "state": state,
            "energy": rules.energy(usage, self.offer.message.energy),
            "place": self.offer.message.place,
            "started_at": self.started_at or now,
            "ended_at": now,
        }
        record = ExecutionRecord(**rules.record(fields))  # type: ignore[arg-type]
        for unit, quantity in rules.record_lines(usage, self.hold.prices):
            record.usage.add(unit=unit, quantity=quantity)
        return rules.prove(record.SerializeToString(deterministic=True), me, now)


class Seller:
    """Orders of all links."""

    def __init__(self, offers: Mapping[bytes, Offered]) -> None:
        self.offers = offers
        self.jobs: dict[tuple[bytes, int], Job] = {}
        """(genesis, seq of the order) → job."""
        self._waiting: list[Job] = []

    def of(self, link: Link) -> list[Job]:
        """Jobs of one link."""
        return [job for job in self.jobs.values() if job.link is link]

    def order(self, link: Link, hold: Hold, data: bytes) -> None:
        """An order has arrived: reject it, let it wait, or start."""
        try:
            offer = link.rules.check_order(link, hold, data, self.offers.get(hold.order.offer_digest))
        except Refusal as refusal:
            self.reject(link, hold, refusal)
            return
        job = self.jobs[link.genesis, hold.seq] = Job(link, hold, offer, data)
        job.credit = link.rules.first_credit(link)
        job.siblings = lambda: self.of(link)
        hold.waits = True
        self._waiting.append(job)
        asyncio.get_running_loop().call_later(self._left(link, hold), self._deadline, job)
        self.admit(link)

    def start(self, link: Workplace, hold: Hold, offer: Offered, data: bytes) -> Job:
        """Work at once: for own consumers."""
        job = self.jobs[link.genesis, hold.seq] = Job(link, hold, offer, data)
        asyncio.get_running_loop().call_later(self._left(link, hold), self._deadline, job)
        job.task = asyncio.create_task(self._run(job))
        return job

    @staticmethod
    def _left(link: Workplace, hold: Hold) -> float:
        """Seconds until an order's deadline is acted upon."""
        return (hold.order.deadline - link.now()) / 1_000 + link.rules.slack_s()

    def reopened(self, link: Link) -> None:
        """The link is open: say again what work waits for."""
        for job in self.jobs.values():
            waits = job.link is link and job.needs and job.hold.state is State.OPEN
            if waits and link.rules.says_needs_again():
                job.say_needs()

    def admit(self, link: Link) -> None:
        """Start what waits and fits."""
        for job in self.jobs.values():
            if job.link is link and job.hold.state is State.OPEN:
                job.moved.set()
        for job in link.rules.by_arrival([job for job in self._waiting if job.link is link]):
            if link.rules.may_start(link, job.hold):
                self._waiting.remove(job)
                job.hold.waits = False
                job.task = asyncio.create_task(self._run(job))

    def reject(self, link: Workplace, hold: Hold, refusal: Refusal) -> None:
        """No work is done."""
        entry = link.rules.reject(hold, refusal.problem())
        if entry is not None and hold.state is State.OPEN:
            link.write(entry)
        for said in link.rules.says_rejected(refusal.problem()):
            said.order_seq = hold.seq
            link.say(said)

    async def _run(self, job: Job) -> None:
        try:
            output = await WORK[job.offer.message.name](job)
            await job.granted({**job.usage, "order": 1})
            job.end(TASK_STATE_COMPLETED, output, None)
        except ToolError as error:
            job.end(job.link.rules.tool_error_state(), error.output, None, is_error=True)
        except Unwilling as refusal:
            self.reject(job.link, job.hold, refusal)
            job.link.flush()
        except Refusal as refusal:
            self._fail(job, refusal)

    def _fail(self, job: Job, why: Refusal) -> None:
        """Work that was begun has failed."""
        if job.link.rules.rejects_begun(job.hold):
            self.reject(job.link, job.hold, why)
            job.link.flush()
        else:
            job.end(TASK_STATE_FAILED, Payload(), why.problem())

    def grant(self, link: Link, order_seq: int) -> None:
        """A grant has risen."""
        job = self.jobs.get((link.genesis, order_seq))
        if job is not None:
            job.moved.set()

    def cancel(self, link: Workplace, order_seq: int) -> None:
        """The payer wants to stop."""
        job = self.jobs.get((link.genesis, order_seq))
        if job is None or job.hold.state is not State.OPEN:
            return
        problem = Refusal("CANCELED", "The work was stopped.")
        if job.task is None:
            self._end_waiting(job, problem, TASK_STATE_CANCELED)
        elif (
            job.link.rules.stops(job.offer.message.name, "cancelable" in job.offer.message.features)
            or job.reply is not None
        ):
            job.task.cancel()
            job.end(job.link.rules.canceled_state(), Payload(), problem.problem())

    def expire(self, link: Link, order_seq: int) -> None:
        """The payer has ended the hold."""
        job = self.jobs.get((link.genesis, order_seq))
        if job is not None and job.task is not None and link.rules.stops_expired():
            job.task.cancel()

    def _deadline(self, job: Job) -> None:
        if job.hold.state is not State.OPEN:
            return
        late = Refusal("DEADLINE_EXCEEDED", "The deadline passed before the work was done.")
        if job.task is None:
            self._end_waiting(job, late, TASK_STATE_FAILED)
            job.link.flush()
        elif job.link.rules.stops_at_deadline():
            job.task.cancel()
            self._fail(job, late)

    def _end_waiting(self, job: Job, why: Refusal, state: TaskState.ValueType) -> None:
        """An order that was not admitted is rejected."""
        self._waiting.remove(job)
        if job.link.rules.rejects_waiting(why):
            self.reject(job.link, job.hold, why)
        else:
            job.end(state, Payload(), why.problem())

    def event(self, link: Link, event: Event) -> None:
        """An event of the payer."""
        job = self.jobs.get((link.genesis, event.order_seq))
        if job is not None:
            job.heard(event)
        elif event.HasField("resume"):
            for gap in link.rules.unknown_order(event.resume.after_seq):
                gap.order_seq = event.order_seq
                link.say(gap)

    def stop(self) -> None:
        """End all work."""
        for job in self.jobs.values():
            if job.task is not None:
                job.task.cancel()
