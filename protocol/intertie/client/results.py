"""How an invocation ended: a thin, lazy view of the `Outcome` message (design §9)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from intertie.amounts import format_amount
from intertie.errors import IntertieError, from_problem
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.invocation_pb2 import Outcome
from intertie.v1.metering_pb2 import EnergyMethod
from intertie.v1.record_pb2 import RecordProof
from intertie.v1.task_pb2 import HoldState, TaskState

_TERMINAL: Final = {
    TaskState.TASK_STATE_COMPLETED: "COMPLETED",
    TaskState.TASK_STATE_FAILED: "FAILED",
    TaskState.TASK_STATE_CANCELED: "CANCELED",
    TaskState.TASK_STATE_REJECTED: "REJECTED",
}
_METHODS: Final = {
    EnergyMethod.ENERGY_METHOD_MEASURED: "measured",
    EnergyMethod.ENERGY_METHOD_ATTRIBUTED: "attributed",
    EnergyMethod.ENERGY_METHOD_ESTIMATED: "estimated",
}
_BAD: Final = (TaskState.TASK_STATE_FAILED, TaskState.TASK_STATE_REJECTED)


class EnergyReading(Struct, frozen=True):
    """Energy that is known: millijoules with bounds, how they became known and what is inside the figure."""

    method: str
    millijoules: int
    lower: int
    upper: int
    boundary: str


class InvocationError(IntertieError):
    """An invocation that was refused, failed, or whose end could not be learned.

    `id` is the invocation's id, by which it can be asked for again. `result` is how it ended, with what it
    cost; None if that is not known or nothing was started.
    """

    id: str
    result: CallResult | None

    @classmethod
    def of(cls, error: IntertieError, id: str, result: CallResult | None = None) -> InvocationError:
        """Return `error` as the error of the invocation `id`."""
        known = cls(error.row.reason, error.message)
        known.reason, known.metadata, known.id, known.result = error.reason, error.metadata, id, result
        return known


class CallResult:
    """How an invocation ended and what it cost. Holds the message received; reads it when asked."""

    __slots__ = ("_output", "outcome")

    outcome: Outcome
    """The message itself."""

    def __init__(self, outcome: Outcome, output: bytes | None = None) -> None:
        self.outcome = outcome
        self._output = output

    def __repr__(self) -> str:
        return f"CallResult(id={self.id!r}, state={self.state!r}, charge={self.charge}, bytes={len(self.output)})"

    @property
    def id(self) -> str:
        """The invocation."""
        return self.outcome.id

    @property
    def state(self) -> str:
        """COMPLETED, FAILED, CANCELED or REJECTED."""
        return _TERMINAL[self.outcome.state]

    @property
    def output(self) -> bytes:
        """The output; empty where there is none, or where it was streamed as chunks and not gathered."""
        return self.outcome.output.data if self._output is None else self._output

    @property
    def media_type(self) -> str:
        """What the output's bytes are."""
        return self.outcome.output.media_type

    @property
    def text(self) -> str:
        """The output as text; what is not UTF-8 is replaced."""
        return self.output.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the output's JSON value; raises msgspec.DecodeError if it is none."""
        return msgspec.json.decode(self.output)

    @property
    def is_error(self) -> bool:
        """Whether the tool itself reports an error, which is no failure of the protocol."""
        return self.outcome.is_error

    @property
    def problem(self) -> IntertieError | None:
        """Why it failed or was rejected."""
        return from_problem(self.outcome.problem) if self.outcome.HasField("problem") else None

    @property
    def charge(self) -> int:
        """Minor units charged to the account."""
        return self.outcome.receipt.charge

    @property
    def asset(self) -> str:
        """The asset of the charge."""
        return self.outcome.receipt.asset

    @property
    def scale(self) -> int:
        """Decimal digits of one minor unit."""
        return self.outcome.receipt.scale

    @property
    def price(self) -> str:
        """The charge for people, e.g. "0.0125 EUR"; raises AMOUNT_INVALID for a scale above 9."""
        return f"{format_amount(self.charge, self.scale)} {self.asset}"

    @property
    def usage(self) -> dict[str, int]:
        """Atoms used, by unit."""
        return {line.unit: line.quantity for line in self.outcome.receipt.usage}

    @property
    def energy(self) -> EnergyReading | None:
        """Energy spent; None if it is not known, which is not the same as nothing."""
        energy = self.outcome.receipt.energy
        method = _METHODS.get(energy.method)
        if method is None:
            return None
        return EnergyReading(method, energy.millijoules, energy.lower, energy.upper, energy.boundary)

    @property
    def executed_by(self) -> str:
        """Name of the grid that executed; empty if none did."""
        return self.outcome.receipt.executed_by

    @property
    def place(self) -> str:
        """ISO 3166 code of the place of execution; empty if not stated."""
        return self.outcome.receipt.place

    @property
    def path(self) -> tuple[str, ...]:
        """Grid names from the consumer's grid to the executor."""
        return tuple(self.outcome.receipt.path)

    @property
    def proof(self) -> RecordProof | None:
        """The executor's record with its proof, not verified here."""
        receipt = self.outcome.receipt
        return receipt.proof if receipt.HasField("proof") else None

    @property
    def hold(self) -> str:
        """State of the hold, e.g. CHARGED or IN_DOUBT; UNSPECIFIED if there was none or it is not known."""
        number = self.outcome.receipt.hold
        return HoldState.Name(number).removeprefix("HOLD_STATE_") if number in HoldState.values() else "UNSPECIFIED"


def check_outcome(outcome: Outcome, id: str) -> Outcome:
    """Return `outcome` if it ends the invocation `id`; raise FRAME_MALFORMED if it does not."""
    if outcome.id != id or outcome.state not in _TERMINAL:
        raise IntertieError("FRAME_MALFORMED", "The node answered with an outcome that ends nothing.", field="outcome")
    return outcome


def conclude(result: CallResult, check: bool) -> CallResult:
    """Return `result`; if `check` and it is FAILED or REJECTED, raise the InvocationError of its problem."""
    if not check or result.outcome.state not in _BAD:
        return result
    problem = result.outcome.problem if result.outcome.HasField("problem") else Problem(reason="EXECUTION_FAILED")
    raise InvocationError.of(from_problem(problem), result.id, result)
