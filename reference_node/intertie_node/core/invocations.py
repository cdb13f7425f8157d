"""One invocation at one node: where it came from, where it runs, how far it is (design §9).

A source is who asked (a consumer, or the payer of an order); a sink is who works (this grid, or the
provider of an order placed downstream). A relay is an invocation with orders on both sides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event, InputReply
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof
from intertie.v1.task_pb2 import TASK_STATE_SUBMITTED
from intertie_node.core.effects import Effects
from intertie_node.core.tasks import TASK_TABLE, TERMINAL, TaskSignal


class Spec(Struct, frozen=True, array_like=True, gc=False):
    """What was asked for; copied along the path as the design lists."""

    id: str
    """UUIDv7 text of this hop."""
    caller: str
    """Account name, or "link:<name>:<order seq>"."""
    offer: str
    """"origin-grid/name"."""
    offer_digest: bytes
    nonce: bytes
    input_digest: bytes
    media_type: str
    input: bytes
    max_charge: int
    grant: int
    deadline: int
    created_at: int
    hop_limit: int
    path: tuple[str, ...]
    places: tuple[str, ...]
    actors: tuple[str, ...] = ()
    session: str = ""
    group: str = ""
    digest: bytes = b""
    """Digest over the semantic fields of the consumer's request."""

    @property
    def key(self) -> str:
        """Primary key: the id first, so that keys sort by time, then the caller."""
        return f"{self.id}@{self.caller}"


class End(Struct, frozen=True, gc=False):
    """How the work of an invocation ended, in the terms of the executor's record."""

    state: int
    usage: Mapping[str, int]
    proof: RecordProof | None = None
    problem: Problem | None = None
    record: ExecutionRecord | None = None
    """The proven record, decoded; where it is missing it is read from the proof."""

    @property
    def counted(self) -> Mapping[str, int]:
        """The usage, and what the record counts besides: units that the order below does not price."""
        if self.proof is None:
            return self.usage
        record = self.record or ExecutionRecord.FromString(self.proof.record)
        return {**{line.unit: line.quantity for line in record.usage}, **self.usage}


OrderKey = tuple[str, int, int]
"""(name of the link, payer as ME or THEM, seq of the order)."""


def packed(end: End | None) -> tuple[Any, ...] | None:
    """An end as it stands in a row."""
    if end is None:
        return None
    parts = (end.proof, end.problem)
    return (end.state, dict(end.usage), *(p.SerializeToString() if p is not None else b"" for p in parts))


def unpacked(row: Sequence[Any] | None) -> End | None:
    """The end that a source had noted when its row was written."""
    if row is None:
        return None
    state, usage, proof, error = row
    return End(
        state, usage, RecordProof.FromString(proof) if proof else None, Problem.FromString(error) if error else None
    )


class Source(Protocol):
    """Who asked."""

    @property
    def order(self) -> OrderKey | None:
        """The order that asks, if it came over a link."""

    @property
    def listening(self) -> bool:
        """Whether events reach anybody now."""

    @property
    def claimed(self) -> Mapping[str, int]:
        """Usage that has been charged and can no longer fall, atoms by unit."""

    def deliver(self, world: Any, inv: "Invocation", event: Event, fx: Effects) -> None:
        """Pass an event on."""

    def charge(self, world: Any, inv: "Invocation", usage: Mapping[str, int], fx: Effects) -> None:
        """Claim for work done so far, not final."""

    def finish(self, world: Any, inv: "Invocation", end: End, fx: Effects) -> None:
        """Work has ended: claim finally. Called once."""

    def reject(self, world: Any, inv: "Invocation", problem: Problem, fx: Effects) -> None:
        """No work was done. Called at most once, instead of `finish`."""

    def price(self, world: Any, inv: "Invocation", usage: Mapping[str, int]) -> int:
        """What `usage` costs whoever asked, minor units."""

    def granted(self, world: Any, inv: "Invocation") -> int:
        """How much may be charged now, minor units."""

    def grant_needed(self, world: Any, inv: "Invocation", amount: int, fx: Effects) -> None:
        """Ask for a grant of at least `amount`."""

    def row(self) -> tuple[Any, ...]:
        """What restores this source after a restart."""


class Sink(Protocol):
    """Who works."""

    @property
    def order(self) -> OrderKey | None:
        """The order that was placed for it, if it went over a link."""

    def cancel(self, world: Any, inv: "Invocation", comment: str, fx: Effects) -> None:
        """Ask to stop."""

    def answer(self, world: Any, inv: "Invocation", event: Event, fx: Effects) -> None:
        """Pass an input reply on."""

    def granted(self, world: Any, inv: "Invocation", fx: Effects) -> None:
        """The source may now be charged more."""

    def reopened(self, world: Any, inv: "Invocation", fx: Effects) -> None:
        """A link over which it is asked or asks is open again."""

    def retry(self, world: Any, inv: "Invocation", fx: Effects) -> None:
        """What waited for a grant, or for room to grant, may go on if there is some by now."""

    def resume(self, world: Any, inv: "Invocation", after: int, credit: int, fx: Effects) -> None:
        """Send durable events after a number again."""

    def credit(self, world: Any, inv: "Invocation", size: int, fx: Effects) -> None:
        """`size` more bytes of events may be sent."""

    def row(self) -> tuple[Any, ...]:
        """What restores this sink after a restart."""


class Invocation:
    """The state of one invocation at this node."""

    __slots__ = (
        "asked",
        "ended_at",
        "finished",
        "key",
        "last_event",
        "outcome",
        "reply",
        "reserved",
        "result",
        "sink",
        "source",
        "spec",
        "state",
    )

    def __init__(self, spec: Spec, source: Source, sink: Sink | None = None) -> None:
        self.spec = spec
        self.key = spec.key
        self.source = source
        self.sink = sink
        self.state: int = TASK_STATE_SUBMITTED
        self.last_event = 0
        """Number of the last durable event written here; only the executing grid writes them."""
        self.ended_at = 0
        self.finished = False
        """True once the money part is final here."""
        self.result: Event | None = None
        """The last event, once it is known here."""
        self.outcome: Any = None
        self.asked = 0
        """Number of the last input request."""
        self.reply: InputReply | None = None
        """The first reply to the last request that was answered: said again until the provider has it."""

    @property
    def wants_events(self) -> bool:
        """Whether events should be asked for again after a link has come back."""
        return self.source.listening or (self.result is None and self.outcome is None)

    @property
    def ended(self) -> bool:
        """Whether the task state is terminal."""
        return self.state in TERMINAL

    def signal(self, what: TaskSignal, now: int) -> bool:
        """Move the task state by its table; True if it moved."""
        after = TASK_TABLE[self.state, what]
        if after is None:
            return False
        self.state = after
        if after in TERMINAL:
            self.ended_at = now
        return True
