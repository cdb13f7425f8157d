"""What happens during an invocation, typed, and the check that no durable event is missing or doubled."""

from __future__ import annotations

from msgspec import Struct

from intertie.client.results import CallResult
from intertie.errors import IntertieError, from_problem
from intertie.v1.event_pb2 import Event
from intertie.v1.event_pb2 import Gap as GapMessage
from intertie.v1.task_pb2 import TaskState


class StateChanged(Struct, frozen=True):
    """The invocation entered a state that is not terminal, e.g. WORKING."""

    number: int
    at: int
    """Milliseconds since the Unix epoch, by the executor's clock."""
    state: str


class Progress(Struct, frozen=True):
    """Work done so far, of `total` in all; a total of 0 is unknown. Not durable: it may be missed."""

    at: int
    done: int
    total: int
    comment: str


class Chunk(Struct, frozen=True):
    """A piece of output; all pieces in order are the output."""

    number: int
    at: int
    data: bytes
    media_type: str


class InputRequested(Struct, frozen=True):
    """Input is needed: answer with `Client.send_input(id, request, …)`."""

    number: int
    at: int
    request: int
    prompt: str
    schema: bytes
    """JSON Schema of the reply, UTF-8; may be empty."""


class Gap(Struct, frozen=True):
    """The node says that events `first` to `last` are gone and why; what follows comes after them.

    `last` is 0 if it is not known how many are missing: then nothing follows but the end.
    """

    first: int
    last: int
    error: IntertieError


class Ended(Struct, frozen=True):
    """The end: nothing follows."""

    result: CallResult


InvocationItem = StateChanged | Progress | Chunk | InputRequested | Gap | Ended


class Cursor:
    """How far the durable events 1, 2, 3, … of one invocation have been received."""

    __slots__ = ("_gone", "received")

    received: int
    """Number of the last one."""

    def __init__(self, received: int = 0) -> None:
        self.received = received
        self._gone = False
        """Whether it was said that nobody knows how many more there were."""

    def accept(self, event: Event) -> bool:
        """Return whether `event` is new; false for one that was received before.

        Ephemeral events are always new. Raises EVENTS_GONE if numbers are left out without a stated gap,
        FRAME_MALFORMED for a gap that is none.
        """
        number = event.number
        if number == self.received + 1:
            self.received = number
            return True
        if number > self.received:
            first, last = str(self.received + 1), str(number - 1)
            raise IntertieError("EVENTS_GONE", "The node left out events and did not say so.", first=first, last=last)
        if number:
            return False
        return self._skip(event.gap) if event.HasField("gap") else True

    def _skip(self, gap: GapMessage) -> bool:
        if gap.last == 0 < gap.first:
            known, self._gone = self._gone, True
            return not known
        if not 0 < gap.first <= gap.last:
            raise IntertieError("FRAME_MALFORMED", "The node stated a gap without extent.", field="gap")
        if gap.last <= self.received:
            return False
        self.received = gap.last
        return True


def decode(event: Event) -> InvocationItem | None:
    """Return what `event` says; None if it says nothing to consumers or nothing that this version knows."""
    kind = event.WhichOneof("body")
    if kind == "chunk":
        payload = event.chunk.payload
        return Chunk(event.number, event.at, payload.data, payload.media_type)
    if kind == "progress":
        progress = event.progress
        return Progress(event.at, progress.done, progress.total, progress.comment)
    if kind == "state_change":
        return _state_changed(event)
    if kind == "input_request":
        asked = event.input_request
        return InputRequested(event.number, event.at, asked.request, asked.prompt, asked.schema)
    if kind == "gap":
        return Gap(event.gap.first, event.gap.last, from_problem(event.gap.problem))
    return None


def _state_changed(event: Event) -> StateChanged | None:
    state = event.state_change.state
    if state not in TaskState.values():
        return None
    return StateChanged(event.number, event.at, TaskState.Name(state).removeprefix("TASK_STATE_"))
