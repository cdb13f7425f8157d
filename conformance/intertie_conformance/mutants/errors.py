"""Grids that break RFC 0012: how refusals travel, and reasons that nobody knows."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from intertie.v1 import invocation_pb2 as iv
from intertie.v1.envelope_pb2 import Problem
from intertie_conformance.grid.buying import Buyer, Purchase
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.invocations import Asked, Run
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.registry import ERRORS
from intertie_conformance.wire import ids
from intertie_conformance.wire.refusal import Refusal


def info_of(status: Status) -> ErrorInfo:
    """The ErrorInfo of an honest status."""
    info = ErrorInfo()
    status.details[0].Unpack(info)
    return info


@mutant("IT-ERR-001", also=("IT-ERR-004",))
class OwnReasons(Rules):
    """Names a reason of its own where work has failed."""

    def told_problem(self, problem: Problem) -> Problem:
        known = problem.reason == "EXECUTION_FAILED"
        return Problem(reason="TOOL_BROKE", message=problem.message) if known else problem


@mutant("IT-ERR-002")
class AllInvalid(Rules):
    """Refuses timeouts with the reason of another rule."""

    def timeout(self, asked: Asked) -> None:
        if asked.wanted.timeout_ms < 0:
            raise Refusal("INVALID_ARGUMENT", "timeout_ms must be positive.")


@mutant("IT-ERR-003")
class StrangeKeys(Rules):
    """Puts a key of its own into the metadata."""

    def refusal_status(self, status: Status) -> Status:
        info = info_of(status)
        info.metadata["hint"] = "see the manual"
        status.details[0].Pack(info)
        return status


@mutant("IT-ERR-004", also=("IT-ERR-031",))
class LongMessages(Rules):
    """Adds long words of its own to a problem."""

    def told_problem(self, problem: Problem) -> Problem:
        made = Problem(reason=problem.reason, message=problem.message + "." * 1_000)
        made.metadata.update(problem.metadata)
        return made


@mutant("IT-ERR-006")
class ShowsInput(Rules):
    """Shows the input that does not fit."""

    def input_fits(self, asked: Asked) -> None:
        try:
            super().input_fits(asked)
        except Refusal as refusal:
            raise Refusal(refusal.reason, f"{refusal.message} {asked.wanted.input.data[:500]!r}") from None


@mutant("IT-ERR-010")
class TwoInfos(Rules):
    """States the reason of what is malformed twice."""

    def refusal_status(self, status: Status) -> Status:
        if status.code == Code.Value("INVALID_ARGUMENT"):
            status.details.add().CopyFrom(status.details[0])
        return status


@mutant("IT-ERR-011")
class OneCode(Rules):
    """Ends every refused call with one code."""

    def refusal_status(self, status: Status) -> Status:
        status.code = Code.Value("FAILED_PRECONDITION")
        return status


@mutant("IT-ERR-012")
class LongStatus(Rules):
    """States metadata of any length."""

    def refusal_status(self, status: Status) -> Status:
        info = info_of(status)
        keys = ERRORS[info.reason].metadata
        if keys:
            info.metadata[keys[0]] = "x" * 300
        status.details[0].Pack(info)
        return status


@mutant("IT-ERR-013")
class SaysWhen(Rules):
    """Adds a RetryInfo."""

    def refusal_status(self, status: Status) -> Status:
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=1)))
        return status


def again(buyer: Buyer, made: Purchase, id: str) -> None:
    """Order the same once more."""
    wanted = iv.Invocation.FromString(made.run.request.SerializeToString())
    wanted.id = id
    asked = Asked(made.run.grid.face, made.run.account, wanted, now_ms())
    asked.find()
    assert asked.route is not None
    buyer.place(Run(made.run.grid, made.run.account, wanted, now_ms()), asked.route, asked.offer)


@mutant("IT-ERR-022", also=("IT-ERR-023", "IT-ERR-030", "IT-ERR-032"))
class SameIdAgain(Rules):
    """Orders again under the id of a rejected order."""

    def after_reject(self, buyer: Buyer, made: Purchase) -> None:
        if not self.__dict__.setdefault(made.run.request.id, 0):
            self.__dict__[made.run.request.id] = 1
            again(buyer, made, made.run.request.id)


@mutant("IT-ERR-023")
class TriesAgain(Rules):
    """Orders again by itself when an order is rejected as temporary."""

    def after_reject(self, buyer: Buyer, made: Purchase) -> None:
        if made.problem in ERRORS and ERRORS[made.problem].retry == "temporary":
            again(buyer, made, ids.make_id(now_ms()))


@mutant("IT-ERR-030", also=("IT-ERR-032",))
class TriesUnknown(Rules):
    """Takes a reason that it does not know for temporary."""

    def after_reject(self, buyer: Buyer, made: Purchase) -> None:
        if made.problem not in ERRORS:
            again(buyer, made, ids.make_id(now_ms()))


@mutant("IT-ERR-031", also=("IT-ERR-030", "IT-ERR-032"))
class HidesUnknown(Rules):
    """Tells a reason that it does not know as one that it knows."""

    def told_problem(self, problem: Problem) -> Problem:
        return problem if problem.reason in ERRORS else Problem(reason="EXECUTION_FAILED", message=problem.message)


@mutant("IT-ERR-032", also=("IT-ERR-030", "IT-ERR-031"))
class ClosesOnUnknown(Rules):
    """Closes the link on a reason that it does not know."""

    def passed_problem(self, problem: Problem) -> Problem:
        if problem.reason not in ERRORS:
            raise Refusal("ENTRY_MALFORMED", "The reason is not known.")
        return problem
