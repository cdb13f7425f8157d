"""All checks, one module an area. See conformance/README.md for how to add one.

A check is an async function of a `Stage`. It passes only by what it has observed: each `expect…` of the stage and its
roles notes what was seen, and a check that ends without having seen anything is a HARNESS-ERROR.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final

from intertie_conformance.registry import requirements

if TYPE_CHECKING:
    from intertie_conformance.stage import Stage

Act = Callable[["Stage"], Awaitable[None]]
ROLES: Final = frozenset({"stranger", "consumer", "honest peer", "hostile peer", "executor", "verifier"})


@dataclass(frozen=True)
class Check:
    """One registered check."""

    id: str
    name: str
    act: Act
    role: str
    """Which role of the suite it plays."""
    refusal: bool
    """Whether the right outcome is that the target refuses something: never earned by a target that says yes to all."""
    waits_s: float
    """Seconds, about, for which it waits for real time to pass, 0 if it does not; the longest are begun first."""
    consumer: bool
    """Whether it needs the target's consumer face."""
    long: bool = False
    """Whether it takes longer than a run may: only on demand."""
    alone: bool = False
    """Whether it burdens the target so that nothing runs beside it."""

    @property
    def slow(self) -> bool:
        """Whether it waits for real time to pass."""
        return self.waits_s > 0

    @property
    def about(self) -> str:
        """The first line of its docstring."""
        return (self.act.__doc__ or "").strip().partition("\n")[0]


_CHECKS: dict[str, Check] = {}


def check(
    requirement: str,
    *,
    role: str,
    refusal: bool = False,
    waits_s: float = 0.0,
    consumer: bool = False,
    long: bool = False,
    alone: bool = False,
) -> Callable[[Act], Act]:
    """Register a check of a requirement. Raises: ValueError for an unknown id or role, or a name that is taken."""

    def register(act: Act) -> Act:
        name = f"{act.__module__.rpartition('.')[2]}.{getattr(act, '__name__', '?')}"
        if requirement not in requirements():
            raise ValueError(f"{name}: there is no requirement {requirement}")
        if role not in ROLES or name in _CHECKS or not act.__doc__:
            raise ValueError(f"{name}: its role is unknown, its name taken, or its docstring missing")
        _CHECKS[name] = Check(requirement, name, act, role, refusal, waits_s, consumer, long, alone)
        return act

    return register


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check, in order of id."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return tuple(sorted(_CHECKS.values(), key=lambda found: (found.id, found.name)))
