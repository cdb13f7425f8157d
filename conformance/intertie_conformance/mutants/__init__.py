"""The kill matrix's targets: the suite's own honest grid with one rule overridden each. See conformance/README.md.

A mutant names the requirement that it breaks; the check of that requirement must turn red against it.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from intertie_conformance.grid.rules import Rules
from intertie_conformance.registry import requirements


@dataclass(frozen=True)
class Mutant:
    """One broken grid."""

    requirement: str
    rules: type[Rules]
    also: frozenset[str]
    """Other requirements that this override breaks as well, so that their checks turn red (IT-LOG-*: an area)."""

    @property
    def name(self) -> str:
        """Module and class."""
        return f"{self.rules.__module__.rpartition('.')[2]}.{self.rules.__name__}"

    @property
    def about(self) -> str:
        """The first line of its docstring."""
        return (self.rules.__doc__ or "").strip().partition("\n")[0]

    @property
    def override(self) -> str:
        """The rule that it overrides."""
        return overridden(self.rules)[0]


_MUTANTS: dict[str, Mutant] = {}


def overridden(rules: type[Rules]) -> list[str]:
    """Names of what a class overrides of the honest rules."""
    return [name for name in vars(rules) if not name.startswith("__") and hasattr(Rules, name)]


def mutant(requirement: str, *, also: tuple[str, ...] = ()) -> Callable[[type[Rules]], type[Rules]]:
    """Register a mutant. Raises: ValueError for an unknown id, no docstring, or not exactly one override."""

    def register(rules: type[Rules]) -> type[Rules]:
        named = [name for name in also if not name.endswith("*")]
        unknown = [name for name in (requirement, *named) if name not in requirements()]
        if unknown or not rules.__doc__ or len(overridden(rules)) != 1 or not issubclass(rules, Rules):
            raise ValueError(f"{rules.__name__}: {unknown or 'one override and a docstring are expected'}")
        made = Mutant(requirement, rules, frozenset(also))
        if made.name in _MUTANTS:
            raise ValueError(f"{made.name} is taken")
        _MUTANTS[made.name] = made
        return rules

    return register


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """Every mutant, in order of requirement."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return tuple(sorted(_MUTANTS.values(), key=lambda made: (made.requirement, made.name)))


def rule_names() -> list[str]:
    """Every rule of the honest grid, by name."""
    return [name for name, _ in inspect.getmembers(Rules, inspect.isfunction) if not name.startswith("_")]
