"""The executor's events and how its work ends (RFC 0009, sections 3.6 to 3.12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event, InputReply
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_REJECTED, TaskState
from intertie_conformance.registry import LIMITS
from intertie_conformance.wire.build import event
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.selling import Job


class ExecutingRules:
    """What is said of work, and when it stops."""

    # -- events -----------------------------------------------------------------------------------

    def next_number(self, count: int) -> int:
        """The number of the next durable event after so many."""
        return count + 1

    def in_order(self, made: Event) -> Sequence[Event]:
        """What is sent when an event is due: that event."""
        return (made,)

    def largest_piece(self) -> int:
        """Most payload bytes of one event."""
        return LIMITS["inline_bytes"].minimum

    def piece(self, data: bytes) -> bytes:
        """The payload of one chunk."""
        return data

    def results(self, body: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """The last event: one result."""
        return (body,)

    def result_state(self, state: TaskState.ValueType) -> TaskState.ValueType:
        """The state that a result names: that of the claim."""
        return state

    def resumes_events(self, job: Job) -> bool:
        """Whether stored events are sent again, also after the end."""
        return True

    def unknown_order(self, after_seq: int) -> Sequence[Event]:
        """What is said to a resume of an unknown order."""
        gone = Refusal("EVENTS_GONE", "Nothing is known of this order.")
        return (event(gap={"first": after_seq + 1, "last": 0, "problem": gone.problem()}),)

    # -- input ------------------------------------------------------------------------------------

    def next_request(self, asked: int) -> int:
        """The number of the next input request."""
        return asked + 1

    def replies(self, asked: int, reply: InputReply) -> bool:
        """Whether a reply is one to the latest request."""
        return reply.request == asked

    def early_reply(self, reply: InputReply) -> bytes | None:
        """What is kept of a reply that nobody waits for: nothing."""
        return None

    # -- waiting ----------------------------------------------------------------------------------

    def by_arrival(self, jobs: list[Job]) -> list[Job]:
        """Waiting orders as they are admitted."""
        return jobs

    def rejects_waiting(self, why: Refusal) -> bool:
        """Whether an order that was never admitted ends by a reject."""
        return True

    def says_rejected(self, problem: Problem) -> Sequence[Event]:
        """What is said beside a reject."""
        return (event(result={"state": TASK_STATE_REJECTED, "problem": problem}),)

    def says_needs_again(self) -> bool:
        """Whether grant_needed is repeated when the link is open again."""
        return True

    # -- ends -------------------------------------------------------------------------------------

    def tool_error_state(self) -> TaskState.ValueType:
        """How work ends whose tool reports an error."""
        return TASK_STATE_COMPLETED

    def canceled_state(self) -> TaskState.ValueType:
        """How work ends that is stopped on request."""
        return TASK_STATE_CANCELED

    def stops_at_deadline(self) -> bool:
        """Whether work ends at its deadline."""
        return True

    def stops_expired(self) -> bool:
        """Whether work ends when its order has expired."""
        return True

    def exhausted(self, cost: int) -> Refusal:
        """Why work ends that can never be paid for."""
        return Refusal("GRANT_EXHAUSTED", f"The work would cost {cost}.")
