"""Grids that break RFC 0009, sections 3.8 and 3.14: Call, Invoke, Subscribe and Stream."""

from __future__ import annotations

from collections.abc import Sequence

from intertie.v1 import invocation_pb2 as iv
from intertie.v1.event_pb2 import Event
from intertie.v1.task_pb2 import TASK_STATE_FAILED, TASK_STATE_REJECTED
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-INV-060")
class LeavesFirstOut(Rules):
    """Begins one event too late while the invocation runs."""

    def first_shown(self, after_seq: int) -> int:
        return after_seq + 2 if after_seq else 1


@mutant("IT-INV-060", also=("IT-INV-133",))
class RepeatsLast(Rules):
    """Sends the event that a subscription names again, after the end."""

    def first_shown_late(self, after_seq: int) -> int:
        return max(1, after_seq)


@mutant("IT-INV-133")
class AllAfterEnd(Rules):
    """Sends everything again to whoever subscribes far behind the end."""

    def first_shown_late(self, after_seq: int) -> int:
        return after_seq + 1 if after_seq < 100 else 1


@mutant("IT-INV-062")
class ShowsResult(Rules):
    """Passes the result of what was rejected on as an event."""

    def shown(self, event: Event) -> bool:
        return super().shown(event) or event.result.state == TASK_STATE_REJECTED


@mutant("IT-INV-062")
class ShowsOrder(Rules):
    """Leaves order_seq in the events of consumers."""

    def as_shown(self, event: Event) -> Event:
        return event


@mutant("IT-INV-081")
class NegativeCredit(Rules):
    """Takes negative credit off the window."""

    def stream_credited(self, window: int, added: int) -> int:
        return window + added


@mutant("IT-INV-120")
class TwoOutcomes(Rules):
    """Reports the outcome of what has failed twice."""

    def outcomes(self, outcome: iv.Outcome) -> Sequence[iv.Outcome]:
        return (outcome, outcome) if outcome.state == TASK_STATE_FAILED else (outcome,)


@mutant("IT-INV-130")
class GathersAll(Rules):
    """Gathers output of any size for Call."""

    def gathered_size(self, size: int) -> None:
        return


@mutant("IT-INV-131", also=("IT-INV-120", "IT-INV-133"))
class EndsBadly(Rules):
    """Ends the call with a status after the outcome."""

    def told_all(self) -> None:
        raise Refusal("CANCELED", "Done.")


@mutant("IT-INV-132", also=("IT-INV-005",))
class NothingToTell(Rules):
    """Ends a subscription of an unknown invocation with OK."""

    def unknown_subscription(self) -> None:
        return


@mutant("IT-INV-135")
class AnyStreamFrame(Rules):
    """Takes frames of any length on Stream."""

    def stream_frame(self, size: int) -> None:
        return


@mutant("IT-INV-136")
class CancelsFirst(Rules):
    """Takes cancels and inputs before invocations."""

    def stream_order(self) -> tuple[str, ...]:
        return ("cancels", "inputs", "invocations", "subscriptions", "credits")


@mutant("IT-INV-136")
class CreditsFirst(Rules):
    """Takes credits before subscriptions."""

    def stream_order(self) -> tuple[str, ...]:
        return ("invocations", "credits", "subscriptions", "inputs", "cancels")


@mutant("IT-INV-137")
class RefusesTwice(Rules):
    """Says twice that an invocation is refused."""

    def stream_refused(self, items: list[iv.InvocationEvent]) -> list[iv.InvocationEvent]:
        return items * 2


@mutant("IT-INV-138")
class LongFrames(Rules):
    """Puts all that waits into one frame."""

    def own_stream_frame(self) -> int:
        return 1 << 24


@mutant("IT-INV-139", also=("IT-INV-120", "IT-INV-137"))
class NeverEnds(Rules):
    """Keeps a Stream open when everything has been told."""

    def stream_ends(self) -> bool:
        return False


@mutant("IT-INV-140", also=("IT-INV-006", "IT-INV-022", "IT-INV-137", "IT-INV-139"))
class RefusalEndsAll(Rules):
    """Ends the Stream on which something is refused."""

    def refusal_ends_stream(self) -> bool:
        return True


@mutant("IT-INV-140")
class OneWindow(Rules):
    """Has one window for all invocations of a Stream."""

    def shares_window(self) -> bool:
        return True
