"""Who asked: the payer of an order on a link, or a consumer of this grid (design §9)."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from intertie.amounts import charge
from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event, Gap, GrantNeeded, Result
from intertie.v1.invocation_pb2 import InvocationEvent
from intertie.v1.task_pb2 import (
    HOLD_STATE_IN_DOUBT,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_REJECTED,
)
from intertie_node.core.effects import Effects
from intertie_node.core.holds import OPEN, Hold, Prices, lines_of
from intertie_node.core.invocations import End, Invocation, OrderKey, packed
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.core.opening import Phase
from intertie_node.core.outputs import contradicts
from intertie_node.core.receipts import fill_receipt, last_item
from intertie_node.core.sinks import OrderSink, is_last, quantities
from intertie_node.core.tasks import SIGNAL_OF_END, TaskSignal
from intertie_node.core.world import World


class OrderSource:
    """The payer of an order on a link."""

    def __init__(self, link: Link, seq: int, end: End | None = None) -> None:
        self.link = link
        self.seq = seq
        self.order: OrderKey = (link.name, THEM, seq)
        self.end = end
        """How the work ended, while the link may not be written to yet: claimed as soon as it may."""

    def row(self) -> tuple[Any, ...]:
        """What restores this source."""
        return ("order_source", self.link.name, self.seq, packed(self.end))

    @property
    def hold(self) -> Hold | None:
        """The order's hold, None once it is settled and forgotten."""
        return self.link.ledger.holds.get((THEM, self.seq))

    @property
    def listening(self) -> bool:
        """Whether the payer can be reached."""
        return self.link.phase is Phase.OPEN

    def _open(self) -> Hold | None:
        hold = self.hold
        return hold if hold is not None and hold.state is OPEN else None

    @property
    def claimed(self) -> Mapping[str, int]:
        """What the last charge for the order counts, atoms by unit; empty if there is none."""
        hold = self.hold
        return dict(zip(hold.terms.units, hold.claims[-1].quantities, strict=True)) if hold and hold.claims else {}

    def price(self, world: World, inv: Invocation, usage: Mapping[str, int]) -> int:
        """What usage costs under the order's own price lines, minor units."""
        hold = self.hold
        return charge(hold.terms.prices, quantities(hold.terms.units, usage)) if hold else 0

    def granted(self, world: World, inv: Invocation) -> int:
        """The order's grant, minor units; of one raised beyond `max_unagreed` no more than was admitted or charged."""
        hold = self.hold
        if hold is None:
            return 0
        if world.at_stake(self.link) <= self.link.terms.max_unagreed[THEM]:
            return self._seen_grant(hold)
        return min(self._seen_grant(hold), max(hold.grants[0][1], hold.charged))

    def _seen_grant(self, hold: Hold) -> int:
        """The grant that an own entry written now has seen, minor units."""
        return hold.grant_at(self.link.pair.next_seen) if hold.state is OPEN else 0

    def _within(self, hold: Hold, claimed: Sequence[int]) -> int | None:
        """What these quantities cost, minor units; None if that may not be charged as the grant stands."""
        try:
            amount = charge(hold.terms.prices, claimed)
        except IntertieError:
            return None
        return amount if amount <= self._seen_grant(hold) else None

    def deliver(self, world: World, inv: Invocation, event: Event, fx: Effects) -> None:
        """Send an event to the payer."""
        event.order_seq = self.seq
        self.link.say(event)

    def grant_needed(self, world: World, inv: Invocation, amount: int, fx: Effects) -> None:
        """Ask the payer for more."""
        self.deliver(world, inv, Event(at=fx.now, grant_needed=GrantNeeded(amount=amount)), fx)

    def charge(self, world: World, inv: Invocation, usage: Mapping[str, int], fx: Effects) -> None:
        """Claim cumulatively for work done so far."""
        hold = self._open()
        if hold is None or not self.link.can_append:
            return
        before = hold.claims[-1].quantities if hold.claims else ()
        now = quantities(hold.terms.units, usage)
        if tuple(now) != before and any(now) and (amount := self._within(hold, now)) is not None:
            self._claim(world, inv, hold, self._claimed(now, amount), fx)

    def finish(self, world: World, inv: Invocation, end: End, fx: Effects) -> None:
        """Claim finally; nothing is claimed for an order that has expired.

        What a provider further down was granted too much for is this grid's loss (design §9, relay).
        """
        if self._postponed(world, inv, end, fx):
            return
        hold = self._open()
        if hold is not None:
            end = self._claim_finally(world, inv, hold, end, fx)
        inv.signal(SIGNAL_OF_END[end.state], fx.now)
        inv.finished = True
        world.touch(inv)

    def _claim_finally(self, world: World, inv: Invocation, hold: Hold, end: End, fx: Effects) -> End:
        """Claim what the end has used, or no more than before where that was not granted; returns the end claimed."""
        claimed = quantities(hold.terms.units, end.counted if isinstance(inv.sink, OrderSink) else end.usage)
        if end.proof is None:  # nothing would prove more than is claimed before
            self.charge(world, inv, end.usage, fx)
            claimed, _ = hold.claimed
        amount = self._within(hold, claimed)
        if amount is None:
            claimed, amount = hold.claimed
            error = Problem(reason="GRANT_EXHAUSTED", message="The work cost more than was granted.")
            end = End(TASK_STATE_FAILED, dict(zip(hold.terms.units, claimed, strict=True)), None, error)
        entry = self._claimed(claimed, amount)
        body = entry.charge
        body.final, body.state = True, end.state  # type: ignore[assignment]
        if end.proof is not None:
            body.proof.CopyFrom(end.proof)
        if end.problem is not None:
            body.problem.CopyFrom(end.problem)
        self._claim(world, inv, hold, entry, fx)
        return end

    def _claimed(self, claimed: Sequence[int], amount: int) -> pb.Entry:
        entry = pb.Entry(kind=pb.ENTRY_KIND_CHARGE)
        entry.charge.order_seq, entry.charge.amount = self.seq, amount
        entry.charge.quantities.extend(claimed)
        return entry

    def _postponed(self, world: World, inv: Invocation, end: End, fx: Effects) -> bool:
        """Note an end that may not be written yet: it is durable together with what it follows from."""
        self.end = None if self.link.can_append else end
        if self.end is not None:
            inv.signal(SIGNAL_OF_END[end.state], fx.now)
            world.touch(inv)
        return self.end is not None

    def conclude(self, world: World, inv: Invocation, fx: Effects) -> None:
        """The link may be written to: claim, or reject, what had to wait for that."""
        end = self.end
        if end is None:
            return
        if end.state == TASK_STATE_REJECTED:
            self.reject(world, inv, end.problem or Problem(), fx)
        else:
            self.finish(world, inv, end, fx)

    def _claim(self, world: World, inv: Invocation, hold: Hold, entry: pb.Entry, fx: Effects) -> None:
        link, before = self.link, hold.charged
        seq = link.append(entry, fx)
        to, origin = link.accounts, (link.name, ME, seq, inv.key)
        world.books.transfer(fx, to.receivable, to.revenue, hold.charged - before, link.asset, origin)

    def reject(self, world: World, inv: Invocation, problem: Problem, fx: Effects) -> None:
        """Refuse the order: no work was done. After a charge it can only be ended by a final one."""
        hold = self._open()
        if hold is not None and hold.claims:
            usage = dict(zip(hold.terms.units, hold.claims[-1].quantities, strict=True))
            self.finish(world, inv, End(TASK_STATE_FAILED, usage, problem=problem), fx)
            return
        if self._postponed(world, inv, End(TASK_STATE_REJECTED, {}, problem=problem), fx):
            return
        inv.signal(TaskSignal.REJECTED, fx.now) or inv.signal(TaskSignal.FAILED, fx.now)
        inv.finished = True
        world.touch(inv)
        if hold is not None:
            body = pb.Reject(order_seq=self.seq, problem=problem)
            self.link.append(pb.Entry(kind=pb.ENTRY_KIND_REJECT, reject=body), fx)
        self.deliver(
            world,
            inv,
            Event(at=fx.now, result=Result(state=TASK_STATE_REJECTED, problem=problem)),
            fx,
        )


class Subscriber(Protocol):
    """Where events of a consumer's invocation go; called after the commit."""

    next: int
    """Number of the next durable event that it wants."""

    def push(self, item: InvocationEvent) -> None:
        """Take an event or the outcome, which is the last item."""
        ...


class ConsumerSource:
    """A consumer of this grid, with a budget."""

    order = None
    claimed: Mapping[str, int] = {}
    """A consumer's budget moves at the end alone."""

    def __init__(self, account: str, prices: Prices, grant: int, reserved: int) -> None:
        self.account = account
        self.prices = prices
        self.grant = grant
        self.reserved = reserved
        """Still reserved of the budget, minor units."""
        self.charged = 0
        self.subscribers: list[Subscriber] = []
        self.end: End | None = None

    def row(self) -> tuple[Any, ...]:
        """What restores this source."""
        return ("consumer", self.account, self.prices, self.grant, self.reserved, self.charged, packed(self.end))

    def price(self, world: World, inv: Invocation, usage: Mapping[str, int]) -> int:
        """What usage costs the consumer, minor units."""
        lines = lines_of(self.prices)
        return charge(lines.prices, quantities(lines.units, usage))

    def granted(self, world: World, inv: Invocation) -> int:
        """How much may be charged now, minor units."""
        return self.grant

    def grant_needed(self, world: World, inv: Invocation, amount: int, fx: Effects) -> None:
        """Raise the grant: doubling, at least to what is asked, at most to the maximum charge."""
        self.grant = min(inv.spec.max_charge, max(amount, 2 * self.grant))
        world.touch(inv)
        if inv.sink:
            inv.sink.granted(world, inv, fx)

    def charge(self, world: World, inv: Invocation, usage: Mapping[str, int], fx: Effects) -> None:
        """Note what has been charged so far; the budget moves at the end."""
        self.charged = self.price(world, inv, usage)
        world.touch(inv)

    def deliver(self, world: World, inv: Invocation, event: Event, fx: Effects) -> None:
        """Push an event to those subscribers whose turn it is; keep the result."""
        number, is_result = event.number, event.HasField("result")
        if is_result and inv.result is None:
            inv.result = event
            inv.last_event = max(inv.last_event, number)
        item = None
        for subscriber in self.subscribers:
            if number in (0, subscriber.next) and not is_result:
                item = item or InvocationEvent(id=inv.spec.id, event=event)
                fx.reply(subscriber.push, item)
            if number == subscriber.next:
                subscriber.next += 1
            elif event.gap.first <= subscriber.next <= event.gap.last:
                subscriber.next = event.gap.last + 1
        last = is_result or is_last(inv, event)
        if last and inv.outcome is not None:
            self._tell(inv, InvocationEvent(id=inv.spec.id, outcome=inv.outcome), fx)
        elif last:
            inv.result = inv.result or event
            self.conclude(world, inv, fx)

    def _tell(self, inv: Invocation, last: InvocationEvent, fx: Effects) -> None:
        for subscriber in self.subscribers:
            fx.reply(subscriber.push, last)
        self.subscribers = []

    @property
    def listening(self) -> bool:
        """Whether anybody waits for events."""
        return bool(self.subscribers)

    def finish(self, world: World, inv: Invocation, end: End, fx: Effects) -> None:
        """Settle the budget; the outcome follows when the output is known too."""
        amount = self.price(world, inv, end.usage)
        inv.signal(SIGNAL_OF_END[end.state], fx.now)
        self._amend(world, inv, end, amount, fx)
        self._settle(world, inv, amount, fx)
        self.end = end
        inv.finished = True
        world.touch(inv)
        self.conclude(world, inv, fx)

    def reject(self, world: World, inv: Invocation, problem: Problem, fx: Effects) -> None:
        """Nothing was done: release the budget and say why."""
        if inv.finished:
            return
        inv.signal(TaskSignal.REJECTED, fx.now) or inv.signal(TaskSignal.FAILED, fx.now)
        self._settle(world, inv, 0, fx)
        self.end = End(inv.state, {}, problem=problem)
        self._amend(world, inv, self.end, 0, fx)
        inv.finished = True
        world.touch(inv)
        self.conclude(world, inv, fx)

    def _amend(self, world: World, inv: Invocation, end: End, amount: int, fx: Effects) -> None:
        """The end of what was reported as unknown is known: the receipt says it, and nothing more is to be told."""
        if inv.outcome is not None:
            inv.outcome.receipt.Clear()
            fill_receipt(inv.outcome.receipt, world, inv, end, amount)
            fx.reply(world.forget, inv)

    def unknown(self, world: World, inv: Invocation, problem: Problem, fx: Effects) -> None:
        """The deadline has passed and nothing more is known: report it; the hold goes on by itself."""
        if inv.finished and inv.outcome is None and inv.result is None:
            inv.result = Event(gap=Gap(problem=Problem(reason="EVENTS_GONE", message="The result was never sent.")))
            self.conclude(world, inv, fx)
        if inv.outcome is not None or not inv.signal(TaskSignal.FAILED, fx.now):
            return
        last = last_item(inv)
        last.outcome.problem.CopyFrom(problem)
        fill_receipt(last.outcome.receipt, world, inv, End(inv.state, {}), 0)
        last.outcome.receipt.hold = HOLD_STATE_IN_DOUBT
        self._report(world, inv, last, fx)

    def _settle(self, world: World, inv: Invocation, amount: int, fx: Effects) -> None:
        world.books.release(self.account, self.reserved, amount)
        self.reserved, self.charged = 0, amount
        origin = ("", ME, 0, inv.key)
        world.books.transfer(fx, f"consumer/{self.account}", "sales", amount, world.settings.asset, origin)

    def conclude(self, world: World, inv: Invocation, fx: Effects) -> None:
        """Report the outcome once money and, for COMPLETED, output are known."""
        end = self.end
        if not inv.finished or end is None or inv.outcome is not None:
            return
        if end.state == TASK_STATE_COMPLETED and inv.result is None:
            return
        last = last_item(inv)
        outcome = last.outcome
        fill_receipt(outcome.receipt, world, inv, end, self.charged)
        if end.problem is not None:
            outcome.problem.CopyFrom(end.problem)
        if inv.result is not None and contradicts(inv, end):
            outcome.problem.reason = "OUTPUT_MISMATCH"
            outcome.problem.message = "The output that was delivered is not the one that the execution record proves."
        elif inv.result is not None and inv.result.HasField("result"):
            outcome.output.CopyFrom(inv.result.result.output)
            outcome.is_error = inv.result.result.is_error
        elif inv.result is not None:
            outcome.problem.CopyFrom(inv.result.gap.problem)
        self._report(world, inv, last, fx)

    def _report(self, world: World, inv: Invocation, last: InvocationEvent, fx: Effects) -> None:
        inv.outcome = last.outcome
        world.touch(inv)
        self._tell(inv, last, fx)
        if inv.finished:
            self.end = None  # the outcome says it all
            fx.reply(world.forget, inv)
