"""The one exception of the protocol and its wire form, `Problem` (design §5 rule 5).

A reason is a row of `registry/errors.toml`. How a reason becomes a gRPC status or an HTTP answer is the
adapters' matter; the row says which code to use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from intertie.registry import ERRORS, ErrorRow
from intertie.v1.envelope_pb2 import Problem

MAX_REASON_CHARACTERS: Final = 64
MAX_MESSAGE_CHARACTERS: Final = 1024
MAX_METADATA: Final = 16
"""Most entries of a problem's metadata."""
MAX_KEY_CHARACTERS: Final = 64
MAX_VALUE_CHARACTERS: Final = 256


class IntertieError(Exception):
    """A named refusal.

    `message` is one sentence for people: what was wrong, where, and what to do. `metadata` are the
    machine-readable details, text by text. A reason that is not in the registry raises KeyError.
    """

    reason: str
    message: str
    metadata: dict[str, str]

    def __init__(self, reason: str, message: str, /, **metadata: str) -> None:
        self._row: ErrorRow = ERRORS[reason]
        super().__init__(reason, message)
        self.reason = reason
        self.message = message
        self.metadata = metadata

    @property
    def row(self) -> ErrorRow:
        """The registry's row of the reason; that of INTERNAL for an unregistered reason from the wire."""
        return self._row

    def __str__(self) -> str:
        details = ", ".join(f"{key}={value}" for key, value in self.metadata.items())
        return f"{self.reason}: {self.message}" + (f" [{details}]" if details else "")


def to_problem(error: IntertieError) -> Problem:
    """Return the wire form of `error`, cut as `trimmed` cuts: it fits an entry and an event with room to spare."""
    return _cut(error.reason, error.message, error.metadata)


def trimmed(told: Problem) -> Problem:
    """Return a problem that another grid has told, cut to what may be passed on (RFC 0011, section 3.9).

    The reason has at most 64 characters, the message 1,024; of the metadata the first 16 entries by key stay, keys
    of 64 and values of 256 characters.
    """
    return _cut(told.reason, told.message, told.metadata)


def _cut(reason: str, message: str, metadata: Mapping[str, str]) -> Problem:
    kept = sorted(metadata.items())[:MAX_METADATA]
    return Problem(
        reason=reason[:MAX_REASON_CHARACTERS],
        message=message[:MAX_MESSAGE_CHARACTERS],
        metadata={key[:MAX_KEY_CHARACTERS]: value[:MAX_VALUE_CHARACTERS] for key, value in kept},
    )


def from_problem(problem: Problem) -> IntertieError:
    """Return the error that `problem` states.

    A reason that this version does not know keeps its text and is treated as INTERNAL: a newer peer may
    name reasons that this registry lacks, and whoever handles the error must still see what was said.
    """
    known = problem.reason in ERRORS
    error = IntertieError(problem.reason if known else "INTERNAL", problem.message[:MAX_MESSAGE_CHARACTERS])
    error.reason = problem.reason
    error.metadata = dict(problem.metadata)
    return error
