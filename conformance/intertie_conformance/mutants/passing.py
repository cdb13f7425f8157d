"""Grids that break RFC 0011, sections 3.7 to 3.9: charges, ends, cancels, problems."""

from __future__ import annotations

from collections.abc import Mapping

from intertie.v1.envelope_pb2 import Problem
from intertie.v1.record_pb2 import RecordProof
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_FAILED, TaskState
from intertie_conformance.grid.account import Hold
from intertie_conformance.grid.link import Link, Phase
from intertie_conformance.grid.relaying import Passed
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import amounts, relays
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-RLY-061", also=("IT-RLY-065", "IT-RLY-071"))
class OneMore(Rules):
    """Counts one call more than it was charged for."""

    def passed_quantities(self, hold: Hold, usage: Mapping[str, int]) -> list[int]:
        made = {**usage, "mcp.call": usage["mcp.call"] + 1} if usage.get("mcp.call") else usage
        return super().passed_quantities(hold, made)


@mutant("IT-RLY-062")
class ReencodesRecords(Rules):
    """Writes the record anew and leaves out what it does not know."""

    def passed_proof(self, proof: RecordProof) -> RecordProof:
        made = RecordProof()
        made.CopyFrom(proof)
        made.record = proof.record + b"\x98\x06\x00"
        return made


@mutant("IT-RLY-062")
class NoPath(Rules):
    """Leaves the path out."""

    def passed_proof(self, proof: RecordProof) -> RecordProof:
        return RecordProof(record=proof.record, root=proof.root, index=proof.index)


@mutant("IT-RLY-063", also=("IT-RLY-080",))
class CanceledIsFailed(Rules):
    """Says FAILED of what was canceled."""

    def passed_state(self, state: TaskState.ValueType) -> TaskState.ValueType:
        return TASK_STATE_FAILED if state == TASK_STATE_CANCELED else state


@mutant("IT-RLY-063")
class FailedIsDone(Rules):
    """Says COMPLETED of what failed."""

    def passed_state(self, state: TaskState.ValueType) -> TaskState.ValueType:
        return TASK_STATE_COMPLETED if state == TASK_STATE_FAILED else state


@mutant("IT-RLY-064", also=("IT-RLY-065",))
class BelievesAll(Rules):
    """Charges by whatever the executor claims."""

    def verifies_passed(self) -> bool:
        return False


@mutant("IT-RLY-065", also=("IT-RLY-064",))
class RefusesNothing(Rules):
    """Fails the order and agrees to the charge that it does not believe."""

    def refuses_passed(self, refusal: Refusal) -> str | None:
        return None


@mutant("IT-RLY-061")
class FreeOfItsFee(Rules):
    """Counts nothing for a line that the downstream order does not have."""

    def counted(self, proof: RecordProof) -> Mapping[str, int]:
        return {}


@mutant("IT-RLY-065")
class ForgetsPartials(Rules):
    """Ends with no more than nothing what was partly charged."""

    def usage_kept(self, hold: Hold) -> Mapping[str, int]:
        return {}


@mutant("IT-RLY-066", also=("IT-RLY-003", "IT-RLY-070", "IT-RLY-090", "IT-RLY-091"))
class FailsRejected(Rules):
    """Charges nothing, finally, for what was rejected."""

    def rejects_above(self, passed: Passed) -> bool:
        return False


@mutant("IT-RLY-067")
class DeadlineInstead(Rules):
    """Says that the deadline was missed."""

    def lost(self) -> tuple[TaskState.ValueType, str]:
        return TASK_STATE_FAILED, "DEADLINE_EXCEEDED"


@mutant("IT-RLY-067")
class CanceledInstead(Rules):
    """Says that the order was canceled."""

    def lost(self) -> tuple[TaskState.ValueType, str]:
        return TASK_STATE_CANCELED, "OUTCOME_UNKNOWN"


@mutant("IT-RLY-068", also=("IT-RLY-069",))
class ChargesBeyond(Rules):
    """Charges what it costs, granted or not."""

    def costs_too_much(self, passed: Passed, cost: int) -> bool:
        return False


@mutant("IT-RLY-069")
class RefusesLosses(Rules):
    """Refuses what it cannot charge on."""

    def refuses_lost(self, passed: Passed) -> bool:
        claims = passed.below.claims
        quantities = claims[-1].quantities if claims else ()
        usage = {unit: n for (unit, _, _), n in zip(passed.below.prices, quantities, strict=False)}
        cost = amounts.charge(passed.hold.prices, self.passed_quantities(passed.hold, usage))
        return cost > passed.hold.granted


@mutant("IT-RLY-070")
class ForgetsEnds(Rules):
    """Says how an order ended only to a payer who listens."""

    def keeps_end(self, passed: Passed) -> bool:
        return False


@mutant("IT-RLY-071", also=("IT-RLY-001",))
class OnlyTheEnd(Rules):
    """Claims at the end alone."""

    def passes_partial(self, passed: Passed, cost: int) -> bool:
        return False


@mutant("IT-RLY-080")
class CancelsEachTime(Rules):
    """Passes every cancel on."""

    def passes_cancel(self, passed: Passed) -> bool:
        return True


@mutant("IT-RLY-080", also=("IT-RLY-082",))
class NeverCancels(Rules):
    """Passes no cancel on."""

    def passes_cancel(self, passed: Passed) -> bool:
        return False


@mutant("IT-RLY-080")
class CancelsNowOrNever(Rules):
    """Forgets a cancel that it cannot say now."""

    def keeps_cancel(self, link: Link) -> bool:
        return link.phase is Phase.OPEN


@mutant("IT-RLY-082", also=("IT-RLY-080",))
class EndsAtOnce(Rules):
    """Rejects upstream what is canceled."""

    def ends_at_cancel(self) -> bool:
        return True


@mutant("IT-RLY-090", also=("IT-RLY-091",))
class KnownReasons(Rules):
    """Says EXECUTION_FAILED for reasons that it does not know."""

    def relayed_problem(self, problem: Problem) -> Problem:
        made = relays.cut(problem)
        made.reason = made.reason if made.reason == "PERMISSION_DENIED" else "EXECUTION_FAILED"
        return made


@mutant("IT-RLY-091")
class WholeProblems(Rules):
    """Passes problems of any size on."""

    def relayed_problem(self, problem: Problem) -> Problem:
        return problem
