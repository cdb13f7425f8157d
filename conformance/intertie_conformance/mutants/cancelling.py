"""Grids that break RFC 0009, sections 3.7, 3.10 and 3.12: states, replies, stopping."""

from __future__ import annotations

from intertie.v1 import invocation_pb2 as iv
from intertie.v1.task_pb2 import TASK_STATE_AUTH_REQUIRED, TASK_STATE_CANCELED, TASK_STATE_FAILED, TaskState
from intertie_conformance.grid.invocations import Run
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-INV-040")
class AsksForAuthority(Rules):
    """Is in AUTH_REQUIRED while it asks for input."""

    def moved(self, state: int, signal: str) -> int:
        return TASK_STATE_AUTH_REQUIRED if signal == "asked" else super().moved(state, signal)


@mutant("IT-INV-041", also=("IT-INV-110",))
class CancelsTheEnded(Rules):
    """Makes CANCELED what has ended."""

    def cancel_ended(self, run: Run) -> None:
        run.state = TASK_STATE_CANCELED


@mutant("IT-INV-093")
class NumberFirst(Rules):
    """Looks at a reply's request before its size."""

    def check_reply(self, run: Run, wanted: iv.SendInputRequest) -> None:
        self.reply_asked(run, wanted)
        self.reply_size(wanted)


@mutant("IT-INV-093", also=("IT-INV-041",))
class AnyRequest(Rules):
    """Takes replies to requests that were never made."""

    def reply_asked(self, run: Run, wanted: iv.SendInputRequest) -> None:
        return


@mutant("IT-INV-110", also=("IT-INV-041",))
class CancelsOnce(Rules):
    """Refuses a second cancel, and one after the end."""

    def cancel_ended(self, run: Run) -> None:
        raise Refusal("INVALID_ARGUMENT", "It has ended.")


@mutant("IT-INV-115")
class StopsAlone(Rules):
    """Stops what was called when its consumer hangs up."""

    def goes_on(self, run: Run) -> bool:
        return False


@mutant("IT-INV-112", also=("IT-INV-007", "IT-INV-040", "IT-INV-110", "IT-INV-136"))
class CancelFails(Rules):
    """Ends work FAILED that is stopped on request."""

    def canceled_state(self) -> TaskState.ValueType:
        return TASK_STATE_FAILED


@mutant("IT-INV-114", also=("IT-INV-166",))
class WorksOn(Rules):
    """Works on after the deadline."""

    def stops_at_deadline(self) -> bool:
        return False


@mutant("IT-INV-116")
class WorksForExpired(Rules):
    """Works on for an order that has expired."""

    def stops_expired(self) -> bool:
        return False


@mutant("IT-INV-093")
class AnyReplyId(Rules):
    """Takes replies with ids that make their event too large for a link."""

    def reply_event(self, wanted: iv.SendInputRequest) -> None:
        return
