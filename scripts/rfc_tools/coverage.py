"""Vectors that requirements name: each is there, and what bytes can break is shown from both sides."""

from __future__ import annotations

from fnmatch import fnmatchcase

from rfc_tools.documents import Document
from rfc_tools.examples import all_vectors
from rfc_tools.requirements import Requirement, extract


def named(requirement: Requirement, pattern: str) -> list[str]:
    """Return the ids of the vectors that a pattern of a requirement means."""
    return [name for name in all_vectors() if fnmatchcase(name, pattern)]


def faults(documents: list[Document]) -> list[str]:
    """Patterns without a vector, and vectors that no requirement names."""
    found, used = [], set()
    for requirement in extract(documents):
        for pattern in requirement.vectors:
            names = named(requirement, pattern)
            used |= set(names)
            if not names:
                found.append(f"{requirement.file}:{requirement.line}: {requirement.id}: no vector is called {pattern}")
    return found


def one_sided(documents: list[Document]) -> list[str]:
    """Requirements that name vectors of one validity alone."""
    sides: dict[str, set[str]] = {}
    for requirement in extract(documents):
        names = [name for pattern in requirement.vectors for name in named(requirement, pattern)]
        if names:
            sides[requirement.id] = {str(all_vectors()[name]["validity"]) for name in names}
    return [f"{name} has {' and '.join(kinds)} vectors only" for name, kinds in sides.items() if len(kinds) < 2]
