"""Grids that break RFC 0009, sections 3.8 to 3.11: an executor's events, input, grants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from intertie.v1.event_pb2 import Event, InputReply
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED, TaskState
from intertie_conformance.grid.account import Hold, State
from intertie_conformance.grid.rules import Rules
from intertie_conformance.grid.selling import Job
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-INV-050", also=("IT-INV-015", "IT-INV-060", "IT-INV-072", "IT-INV-133", "IT-INV-138"))
class LeavesNumbersOut(Rules):
    """Leaves the number 3 out."""

    def next_number(self, count: int) -> int:
        return count + 1 if count < 2 else count + 2


@mutant("IT-INV-052", also=("IT-INV-053", "IT-INV-055", "IT-INV-072"))
class SwapsEvents(Rules):
    """Sends event 3 before event 2."""

    def in_order(self, made: Event) -> Sequence[Event]:
        if made.number == 2 and made.HasField("chunk") and made.order_seq > 1:
            self.__dict__[f"held {made.order_seq}"] = made
            return ()
        held = self.__dict__.pop(f"held {made.order_seq}", None) if made.number == 3 else None
        return (made, held) if held is not None else (made,)


@mutant("IT-INV-053", also=("IT-INV-050",))
class TwoResults(Rules):
    """Says twice how failed work ended."""

    def results(self, body: dict[str, Any]) -> Sequence[dict[str, Any]]:
        return (body, body) if body["state"] == TASK_STATE_FAILED else (body,)


@mutant("IT-INV-054")
class LargePieces(Rules):
    """Puts more than 16,384 bytes into an event."""

    def largest_piece(self) -> int:
        return 20_000


@mutant("IT-INV-055")
class RecordsLess(Rules):
    """Records the digest of nothing for what was streamed."""

    def record(self, fields: dict[str, object]) -> dict[str, object]:
        return {**fields, "output_digest": b"\x12\x20" + bytes(32)}


@mutant("IT-INV-056")
class FailureCompletes(Rules):
    """Names COMPLETED in the result of what has failed."""

    def result_state(self, state: TaskState.ValueType) -> TaskState.ValueType:
        return TASK_STATE_COMPLETED if state == TASK_STATE_FAILED else state


@mutant("IT-INV-042", also=("IT-INV-126",))
class ToolErrorFails(Rules):
    """Ends work FAILED whose tool reports an error."""

    def tool_error_state(self) -> TaskState.ValueType:
        return TASK_STATE_FAILED


@mutant("IT-INV-072")
class ForgetsAtEnd(Rules):
    """Sends stored events again only until the end."""

    def resumes_events(self, job: Job) -> bool:
        return job.hold.state is State.OPEN


@mutant("IT-INV-075")
class SilentOfUnknown(Rules):
    """Says nothing to a resume of an unknown order."""

    def unknown_order(self, after_seq: int) -> Sequence[Event]:
        return ()


@mutant("IT-INV-075")
class GapFromZero(Rules):
    """Begins the gap with the number that the payer has."""

    def unknown_order(self, after_seq: int) -> Sequence[Event]:
        made = super().unknown_order(after_seq)
        made[0].gap.first = after_seq
        return made


@mutant(
    "IT-INV-090",
    also=("IT-INV-005", "IT-INV-016", "IT-INV-091", "IT-INV-092", "IT-INV-136", "IT-INV-141"),
)
class CountsFromTwo(Rules):
    """Gives the first input request the number 2."""

    def next_request(self, asked: int) -> int:
        return asked + 2


@mutant("IT-INV-091")
class AnyReply(Rules):
    """Takes a reply to any request."""

    def replies(self, asked: int, reply: InputReply) -> bool:
        return True


@mutant("IT-INV-092")
class KeepsEarlyReplies(Rules):
    """Keeps a reply that comes before anything was asked."""

    def early_reply(self, reply: InputReply) -> bytes | None:
        return reply.payload.data


@mutant("IT-INV-101", also=("IT-INV-100",))
class NeverAsks(Rules):
    """Waits for a grant without a word."""

    def grant_needed(self, needed: int) -> list[dict[str, int]]:
        return []


@mutant("IT-INV-101")
class AsksOnce(Rules):
    """Does not ask again when the link is open again."""

    def says_needs_again(self) -> bool:
        return False


@mutant("IT-INV-100", also=("IT-INV-101",))
class WorksOnCredit(Rules):
    """Lets work go on beyond the grant, a little."""

    def within_grant(self, hold: Hold, cost: int) -> bool:
        return cost <= hold.granted + 15


@mutant("IT-INV-102")
class FailsOtherwise(Rules):
    """Ends work that costs too much with another reason."""

    def exhausted(self, cost: int) -> Refusal:
        return Refusal("EXECUTION_FAILED", f"The work would cost {cost}.")
