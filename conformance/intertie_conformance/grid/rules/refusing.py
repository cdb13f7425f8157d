"""How refusals travel (RFC 0012)."""

from __future__ import annotations

from google.rpc.status_pb2 import Status

from intertie.v1.envelope_pb2 import Problem


class RefusingRules:
    """Statuses and problems."""

    def refusal_status(self, status: Status) -> Status:
        """The status of a refused call."""
        return status

    def told_problem(self, problem: Problem) -> Problem:
        """The problem of an outcome."""
        return problem
