"""The load generator of `make bench` counts nothing that is not a paid, right echo by the right grid."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.bench.load import INPUT, Meter, WrongOutcomeError, checked_charge

from intertie.v1.invocation_pb2 import Outcome
from intertie.v1.task_pb2 import HoldState, TaskState


def paid_echo() -> Outcome:
    outcome = Outcome(state=TaskState.TASK_STATE_COMPLETED)
    outcome.output.data = INPUT
    outcome.receipt.charge, outcome.receipt.executed_by = 10, "south.example"
    outcome.receipt.hold = HoldState.HOLD_STATE_CHARGED
    return outcome


def test_a_paid_echo_is_counted_with_its_charge() -> None:
    assert checked_charge(paid_echo(), "south.example") == 10


@pytest.mark.parametrize(
    "spoil",
    [
        lambda o: setattr(o, "state", TaskState.TASK_STATE_FAILED),
        lambda o: setattr(o, "is_error", True),
        lambda o: setattr(o.output, "data", INPUT[1:]),
        lambda o: setattr(o.receipt, "charge", 0),
        lambda o: setattr(o.receipt, "executed_by", "north.example"),
        lambda o: setattr(o.receipt, "hold", HoldState.HOLD_STATE_OPEN),
    ],
)
def test_any_other_outcome_is_refused(spoil: Callable[[Outcome], None]) -> None:
    outcome = paid_echo()
    spoil(outcome)
    with pytest.raises(WrongOutcomeError):
        checked_charge(outcome, "south.example")


def test_no_more_calls_begin_than_allowed() -> None:
    meter = Meter(seconds=60, calls=2)
    assert [meter.begin() for _ in range(3)] == [True, True, False]
