"""Executors that break RFC 0010, sections 3.1 to 3.3: what is counted, what it costs, the grant."""

from __future__ import annotations

from collections.abc import Mapping

from intertie.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED, TaskState
from intertie_conformance.grid.account import Hold
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant


@mutant(
    "IT-MTR-001",
    also=(
        "IT-MTR-020",
        "IT-MTR-022",
    ),
)
class CountsTwice(Rules):
    """Counts every streamed byte twice."""

    def counts(self, unit: str, quantity: int) -> int:
        return 2 * quantity if unit == "text.output.byte" else quantity


@mutant(
    "IT-MTR-002",
    also=(
        "IT-MTR-014",
        "IT-MTR-020",
        "IT-MTR-022",
    ),
)
class Increments(Rules):
    """States in a charge what has come since the one before."""

    def claimed(self, quantities: list[int], before: list[int]) -> list[int]:
        return [now - then for now, then in zip(quantities, before, strict=True)]


@mutant("IT-MTR-004", also=("IT-MTR-005", "IT-MTR-024"))
class FailedOrder(Rules):
    """Counts order for work that failed."""

    def end_usage(self, usage: Mapping[str, int], state: TaskState.ValueType) -> dict[str, int]:
        return super().end_usage(usage, TASK_STATE_COMPLETED if state == TASK_STATE_FAILED else state)


@mutant(
    "IT-MTR-005",
    also=(
        "IT-MTR-024",
        "IT-MTR-060",
    ),
)
class FailedTwice(Rules):
    """Counts order.failed twice."""

    def end_usage(self, usage: Mapping[str, int], state: TaskState.ValueType) -> dict[str, int]:
        made = super().end_usage(usage, state)
        return {unit: 2 if unit == "order.failed" else quantity for unit, quantity in made.items()}


@mutant("IT-MTR-006", also=("IT-MTR-024", "IT-MTR-005"))
class FailedIsCanceled(Rules):
    """Counts order.canceled for work that failed."""

    def end_usage(self, usage: Mapping[str, int], state: TaskState.ValueType) -> dict[str, int]:
        made = super().end_usage(usage, state)
        return {"order.canceled" if unit == "order.failed" else unit: quantity for unit, quantity in made.items()}


@mutant(
    "IT-MTR-011",
    also=(
        "IT-MTR-001",
        "IT-MTR-002",
        "IT-MTR-014",
        "IT-MTR-060",
        "IT-MTR-025",
        "IT-MTR-030",
        "IT-MTR-031",
        "IT-MTR-033",
        "IT-MTR-040",
        "IT-MTR-041",
        "IT-MTR-050",
        "IT-MTR-051",
    ),
)
class RoundsTheSum(Rules):
    """Rounds up the sum of the lines once, instead of each line."""

    def charge_amount(self, hold: Hold, usage: Mapping[str, int]) -> int:
        exact = sum((usage.get(unit, 0) * num / den for unit, num, den in hold.prices), start=0.0)
        return int(exact)


@mutant("IT-MTR-014", also=("IT-MTR-011",))
class WholeSteps(Rules):
    """Counts each step of at least five tokens, however few there are."""

    def counts(self, unit: str, quantity: int) -> int:
        return max(quantity, 5) if unit == "llm.output.token" else quantity


@mutant("IT-MTR-020", also=("IT-MTR-002", "IT-MTR-014", "IT-MTR-022"))
class BeyondGrant(Rules):
    """Works on when the grant is used up."""

    def within_grant(self, hold: Hold, cost: int) -> bool:
        return True


@mutant("IT-MTR-022", also=("IT-MTR-002", "IT-MTR-014", "IT-MTR-020"))
class FirstGrantOnly(Rules):
    """Does not go on when a grant rises."""

    def within_grant(self, hold: Hold, cost: int) -> bool:
        return cost <= hold.grants[0][1]


@mutant("IT-MTR-024", also=("IT-MTR-060",))
class FeeBeyondGrant(Rules):
    """Charges the outcome unit although it does not fit the grant."""

    def end_fits(self, hold: Hold, usage: Mapping[str, int]) -> bool:
        return True
