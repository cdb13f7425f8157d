"""Verdicts, and how a check comes to one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NoReturn


class Verdict(Enum):
    """What is said of one check."""

    PASS = "PASS"  # noqa: S105 - a verdict
    """The right outcome was observed."""
    FAIL = "FAIL"
    """Another outcome was observed, or none within the bound."""
    NON_STRICT = "NON-STRICT"
    """A SHOULD is not kept."""
    NOT_APPLICABLE = "NOT-APPLICABLE"
    """What the requirement is about was probed and is honestly absent."""
    HARNESS_ERROR = "HARNESS-ERROR"
    """The suite itself went wrong: nothing is said of the target."""


class Failed(Exception):
    """The target did something else than it should."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected = expected
        self.got = got


class Slip(Exception):
    """The suite itself has done something wrong, perhaps for being late: nothing is said of the target."""


class Absent(Exception):
    """What the requirement is about is honestly absent in the target."""


class Bound(Failed):
    """Nothing happened within the bound."""


def fail(expected: str, got: object) -> NoReturn:
    """End a check as failed."""
    raise Failed(expected, str(got))


@dataclass
class Line:
    """One line of a wire trace: seconds since the check began, who, what; payloads and keys left out."""

    at: float
    who: str
    what: str


@dataclass
class Outcome:
    """The verdict of one check."""

    id: str
    check: str
    verdict: Verdict
    expected: str = ""
    got: str = ""
    seen: list[str] = field(default_factory=list)
    """What was observed."""
    trace: list[Line] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""
    """Why a failure was expected."""
    late: float = 0.0
    """The longest time, in seconds, that the suite itself was late during the check."""
    first: Outcome | None = None
    """What the first try came to, where the check was tried once more."""

    @property
    def is_red(self) -> bool:
        """Whether it counts against the target (or the suite)."""
        return self.verdict in (Verdict.FAIL, Verdict.HARNESS_ERROR)
