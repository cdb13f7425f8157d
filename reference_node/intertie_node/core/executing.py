"""Own work: starting, metering against the grant, ending, and the proofs of a batch (design §9)."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from intertie.amounts import INT64_MAX
from intertie.errors import IntertieError, to_problem
from intertie.records import MAX_LINES, prove
from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION
from intertie.v1.envelope_pb2 import Payload, Problem
from intertie.v1.event_pb2 import Event, InputRequest, Progress, Result
from intertie.v1.metering_pb2 import Energy
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_FAILED
from intertie.v1.task_pb2 import TaskState as T
from intertie_node.core.catalog import ORDER_UNIT, KnownOffer
from intertie_node.core.effects import Effects
from intertie_node.core.energy import energy_of
from intertie_node.core.frames import INLINE_BYTES
from intertie_node.core.invocations import End, Invocation
from intertie_node.core.sinks import LocalSink
from intertie_node.core.tasks import SIGNAL_OF_END, TaskSignal
from intertie_node.core.work import StartWork, StopWork
from intertie_node.core.world import World, problem

Done = Callable[[IntertieError | None], None]
IDEMPOTENT = "idempotent"


def begin(world: World, inv: Invocation, fx: Effects) -> None:
    """Start what has been admitted; what has been charged for ran before this node was restored, and is lost."""
    hold = getattr(inv.source, "hold", None)
    if hold is None or not hold.claims:
        start(world, inv, fx)
        return
    sink = inv.sink = LocalSink(inv.spec.nonce, world.settings.event_credit)
    sink.stopping = "CANCELED" if hold.canceled else sink.stopping
    recover(world, inv, fx)


def start(world: World, inv: Invocation, fx: Effects) -> None:
    """Durably mark an invocation as started, and start it after the commit."""
    sink = inv.sink
    if not isinstance(sink, LocalSink):
        sink = inv.sink = LocalSink(inv.spec.nonce, world.settings.event_credit)
    sink.running, sink.started_at = True, fx.now
    inv.signal(TaskSignal.STARTED, fx.now)
    world.touch(inv)
    world.at(inv.spec.deadline, "deadline", inv.key)
    spec = inv.spec
    name = spec.offer.partition("/")[2]
    fx.work.append(StartWork(inv.key, name, spec.input, spec.media_type, spec.deadline))


def recover(world: World, inv: Invocation, fx: Effects) -> None:
    """After a restart: run again only what declares `idempotent` and has neither sent nor claimed anything.

    All else ends: CANCELED if that has been asked meanwhile, else FAILED EXECUTION_LOST, charged for durable usage,
    and for what a restored node has charged and forgotten. Its record proves the output that was sent before.
    """
    sink, offer, claimed = inv.sink, world.catalog.offers.get(inv.spec.offer_digest), inv.source.claimed
    assert isinstance(sink, LocalSink)
    sink.usage |= {unit: max(quantity, sink.usage.get(unit, 0)) for unit, quantity in claimed.items()}
    for data in world.stored_events(inv.key):
        sink.hash(Event.FromString(data).chunk.payload.data)
    if sink.stopping:
        _fail(world, inv, TASK_STATE_CANCELED, problem("CANCELED", "The work was stopped."), fx)
    elif offer is not None and IDEMPOTENT in offer.offer.features and inv.last_event == 0 and not claimed:
        sink.usage = {}
        start(world, inv, fx)
    else:
        lost = problem("EXECUTION_LOST", "The node stopped while this was running, and it may not be run again.")
        _fail(world, inv, TASK_STATE_FAILED, lost, fx)


def metered(
    world: World, inv: Invocation, added: Mapping[str, int], piece: Payload | None, done: Done, fx: Effects
) -> None:
    """A run has used `added` atoms and perhaps made a piece of output; `done` is told when it may go on."""
    sink = inv.sink
    if not isinstance(sink, LocalSink) or inv.ended or sink.stopping:
        fx.reply(done, IntertieError("CANCELED", "The invocation has ended."))
        return

    def act(fx: Effects) -> None:
        if piece is not None:
            sink.chunk(world, inv, piece, fx)
        fx.reply(done, None)

    _within_grant(world, inv, sink, added, act, lambda error, fx: fx.reply(done, error), fx)


def _cost(world: World, inv: Invocation, usage: Mapping[str, int]) -> int:
    """What usage costs whoever asked, minor units; above every limit if it cannot be stated."""
    try:
        return inv.source.price(world, inv, usage)
    except IntertieError:
        return INT64_MAX + 1


def _within_grant(
    world: World,
    inv: Invocation,
    sink: LocalSink,
    added: Mapping[str, int],
    act: Callable[[Effects], None],
    beyond: Callable[[IntertieError, Effects], None],
    fx: Effects,
) -> None:
    """Do `act` if what is `added` fits the grant, wait for a higher grant if it fits the maximum charge, else `beyond`.

    The error is EXECUTION_FAILED for more units than a record has lines, AMOUNT_OVERFLOW or GRANT_EXHAUSTED.
    """
    usage = dict(sink.usage)
    for unit, quantity in added.items():
        usage[unit] = usage.get(unit, 0) + quantity
    if fault := _unstatable(usage):
        beyond(fault, fx)
        return
    amount = _cost(world, inv, usage)
    if amount > inv.spec.max_charge:
        message = f"The work would cost {amount}; the maximum charge is {inv.spec.max_charge}."
        beyond(IntertieError("GRANT_EXHAUSTED", message), fx)
        return
    if amount > inv.source.granted(world, inv):
        sink.held.append((amount, lambda later: _within_grant(world, inv, sink, added, act, beyond, later)))
        world.paused.add(inv.key)
        inv.source.charge(world, inv, sink.usage, fx)
        inv.source.grant_needed(world, inv, amount, fx)
        return
    sink.usage = usage
    if usage:
        world.touch(inv)
    act(fx)


def _unstatable(usage: Mapping[str, int]) -> IntertieError | None:
    """Why no record states this usage, room left for the unit that counts how the order ends; None if one does."""
    if len(usage) + (ORDER_UNIT not in usage) > MAX_LINES:
        return IntertieError("EXECUTION_FAILED", f"The work used more than {MAX_LINES - 1} units.")
    if max(usage.values(), default=0) > INT64_MAX:
        return IntertieError("AMOUNT_OVERFLOW", "More was used than can be counted.")
    return None


def completed(
    world: World, inv: Invocation, output: Payload, is_error: bool, energy: Energy | None, fx: Effects
) -> None:
    """A run has come to its end."""
    sink = inv.sink
    if not isinstance(sink, LocalSink) or inv.ended:
        return

    def act(fx: Effects) -> None:
        rest, event = _stream_large(world, inv, sink, output, fx), Event()
        sink.hash(rest)
        event.result.state, event.result.is_error = TASK_STATE_COMPLETED, is_error
        payload = event.result.output
        payload.media_type, payload.data = output.media_type, rest
        _end(world, inv, sink, event, energy, fx)

    def beyond(error: IntertieError, fx: Effects) -> None:
        _fail(world, inv, TASK_STATE_FAILED, to_problem(error), fx)

    _within_grant(world, inv, sink, {ORDER_UNIT: 1}, act, beyond, fx)


def _stream_large(world: World, inv: Invocation, sink: LocalSink, output: Payload, fx: Effects) -> bytes:
    """Send ahead what a result has no room for; returns the rest."""
    data = output.data
    while len(data) > INLINE_BYTES:
        sink.chunk(world, inv, Payload(media_type=output.media_type, data=data[:INLINE_BYTES]), fx)
        data = data[INLINE_BYTES:]
    return data


def failed(world: World, inv: Invocation, error: Problem, fx: Effects) -> None:
    """A run has failed, or was stopped: CANCELED if that was asked, else FAILED."""
    sink = inv.sink
    if not isinstance(sink, LocalSink) or inv.ended:
        return
    stopped = sink.stopping == "CANCELED" and error.reason == "CANCELED"
    _fail(world, inv, TASK_STATE_CANCELED if stopped else TASK_STATE_FAILED, error, fx)


def refused(world: World, inv: Invocation, error: Problem, fx: Effects) -> None:
    """A backend refuses before any work."""
    if inv.ended:
        return
    inv.source.reject(world, inv, error, fx)
    fx.reply(world.forget, inv)


_END_UNITS = {TASK_STATE_FAILED: "order.failed", TASK_STATE_CANCELED: "order.canceled"}


def _fail(world: World, inv: Invocation, state: T.ValueType, error: Problem, fx: Effects) -> None:
    sink = inv.sink
    assert isinstance(sink, LocalSink)
    offer = world.catalog.offers.get(inv.spec.offer_digest)
    base = {} if offer and offer.offer.charge_on == CHARGE_ON_COMPLETION else dict(sink.usage)
    usage = {**base, _END_UNITS[state]: 1}
    if _cost(world, inv, usage) > inv.source.granted(world, inv):
        usage = base
    sink.usage = usage
    _end(world, inv, sink, Event(result=Result(state=state, problem=error)), None, fx)


def _end(world: World, inv: Invocation, sink: LocalSink, event: Event, energy: Energy | None, fx: Effects) -> None:
    result = event.result
    state = result.state
    inv.signal(SIGNAL_OF_END[state], fx.now)
    sink.emit(world, inv, event, fx)
    sink.running, sink.held = False, []
    world.touch(inv)
    error = result.problem if result.HasField("problem") else None
    world.finished.append((inv, End(state, sink.usage, None, error), energy))


def prove_finished(world: World, fx: Effects) -> None:
    """End of a batch: one signed Merkle root over the records of all work that ended in it, then the claims."""
    finished, world.finished = world.finished, []
    if not finished:
        return
    records = [_record(world, inv, end, energy, fx.now) for inv, end, energy in finished]
    proofs = prove(records, world.fingerprint, fx.now, world.own.key)
    for (inv, end, _), proof in zip(finished, proofs, strict=True):
        inv.source.finish(world, inv, End(end.state, end.usage, proof, end.problem), fx)
        settle_memory(world, inv, fx)


def _record(world: World, inv: Invocation, end: End, energy: Energy | None, now: int) -> bytes:
    sink: Any = inv.sink
    spec, record = inv.spec, ExecutionRecord()
    used = tuple([line for line in sorted(end.usage.items()) if line[1]])
    known = world.catalog.offers.get(spec.offer_digest)
    record.CopyFrom(_alike(known, world.settings.place, used))
    if energy is not None:
        record.energy.CopyFrom(energy)
    record.executor, record.nonce = world.fingerprint, spec.nonce
    record.offer_digest, record.input_digest = spec.offer_digest, spec.input_digest
    record.output_digest, record.state = sink.output_digest, end.state  # type: ignore[assignment]
    record.started_at = sink.started_at or now
    record.ended_at = max(now, sink.started_at)  # the clock may have been set back meanwhile
    return record.SerializeToString(deterministic=True)


@lru_cache(1024)
def _alike(offer: KnownOffer | None, place: str, used: tuple[tuple[str, int], ...]) -> ExecutionRecord:
    """What the records of an offer, or of any withdrawn one, say alike of the same usage: to be copied, not changed."""
    record = ExecutionRecord(energy=energy_of(offer.offer.energy if offer else (), dict(used)))
    record.place = offer.offer.place if offer else place
    for unit, quantity in used:
        record.usage.add(unit=unit, quantity=quantity)
    return record


LINGER_MS = 60_000


def settle_memory(world: World, inv: Invocation, fx: Effects) -> None:
    """Drop an ended invocation from memory now, or after a while if events are still to be sent."""
    sink = inv.sink
    if isinstance(sink, LocalSink) and sink.next <= inv.last_event:
        world.at(fx.now + LINGER_MS, "forget", inv.key)
    elif inv.spec.caller.startswith("link:"):
        fx.reply(world.forget, inv)


def asked(world: World, inv: Invocation, prompt: str, schema: bytes, fx: Effects) -> int:
    """A run asks for input; returns the request's number, 0 if it is too late to ask."""
    sink = inv.sink
    if not isinstance(sink, LocalSink) or inv.ended or sink.stopping:
        return 0
    inv.asked += 1
    inv.signal(TaskSignal.ASKED, fx.now)
    world.touch(inv)
    request = InputRequest(request=inv.asked, prompt=prompt, schema=schema)
    sink.emit(world, inv, Event(input_request=request), fx)
    return inv.asked


def progressed(world: World, inv: Invocation, progress: Progress, fx: Effects) -> None:
    """Ephemeral progress: sent if it can be, kept nowhere."""
    if not inv.ended:
        inv.source.deliver(world, inv, Event(at=fx.now, progress=progress), fx)


def deadline(world: World, inv: Invocation, fx: Effects) -> None:
    """The deadline of own work has passed: stop it; what was metered is claimed."""
    sink = inv.sink
    if not isinstance(sink, LocalSink) or inv.ended:
        return
    sink.stopping = sink.stopping or "DEADLINE_EXCEEDED"
    if sink.running:
        fx.work.append(StopWork(inv.key, "DEADLINE_EXCEEDED"))
    _fail(
        world,
        inv,
        TASK_STATE_FAILED,
        problem("DEADLINE_EXCEEDED", "The deadline passed before the work was done."),
        fx,
    )
