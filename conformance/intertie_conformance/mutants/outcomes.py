"""Grids that break RFC 0009, section 3.13: outcomes of orders."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event
from intertie.v1.task_pb2 import HOLD_STATE_OPEN, TASK_STATE_FAILED
from intertie_conformance.grid.buying import Purchase
from intertie_conformance.grid.invocations import Run
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-INV-121", also=("IT-INV-127", "IT-INV-128"))
class CompletesOnCharge(Rules):
    """Reports COMPLETED once the final charge is known."""

    def complete(self, charge: pb.Charge | None, result: Event | None) -> bool:
        return charge is not None


@mutant("IT-INV-167")
class RejectedAnyhow(Rules):
    """Ends REJECTED what is rejected while it asks for input."""

    def ended(self, state: int, final: int) -> int:
        return final


@mutant("IT-INV-167")
class OwnProblem(Rules):
    """Tells a reject in words of its own."""

    def passed_problem(self, problem: Problem) -> Problem:
        return Problem(reason=problem.reason, message="The order was rejected.")


@mutant("IT-INV-122", also=("IT-INV-123", "IT-INV-124"))
class NoDoubt(Rules):
    """States an open hold beside OUTCOME_UNKNOWN."""

    def doubts(self, run: Run, made: Purchase, problem: Problem) -> None:
        run.end(TASK_STATE_FAILED, problem, hold=HOLD_STATE_OPEN, path=made.path)


@mutant("IT-INV-122", also=("IT-INV-123", "IT-INV-124"))
class WaitsForExpire(Rules):
    """Says nothing until the hold has ended."""

    def doubts(self, run: Run, made: Purchase, problem: Problem) -> None:
        return


@mutant("IT-INV-123")
class ChangesItsMind(Rules):
    """Replaces the state that it has reported."""

    def corrects(self, run: Run, outcome: iv.Outcome, state: int, problem: Problem | None) -> None:
        super().corrects(run, outcome, state, problem)
        run.state = state


@mutant("IT-INV-123")
class NeverCorrects(Rules):
    """Leaves the receipt as it was reported."""

    def corrects(self, run: Run, outcome: iv.Outcome, state: int, problem: Problem | None) -> None:
        return


@mutant("IT-INV-124")
class ReleasesInDoubt(Rules):
    """Releases the budget when nothing is known."""

    def doubts(self, run: Run, made: Purchase, problem: Problem) -> None:
        super().doubts(run, made, problem)
        self.settles(run.account, run, 0)


@mutant("IT-INV-125")
class AsksThePeer(Rules):
    """Answers a repeated request only while the link is open."""

    def repeats(self, run: Run) -> None:
        if isinstance(run.sink, Purchase) and not run.sink.link.is_open:
            raise Refusal("PEER_UNAVAILABLE", "The link is down.")


@mutant("IT-INV-127")
class NeverAsksAgain(Rules):
    """Waits for a result without asking."""

    def asks_again(self, made: Purchase) -> None:
        return


@mutant("IT-INV-128")
class FailsWithoutResult(Rules):
    """Reports FAILED when the result does not come."""

    def without_result(self, charge: pb.Charge) -> tuple[int, Problem]:
        return TASK_STATE_FAILED, super().without_result(charge)[1]
