"""Vectors that requirements name: each is there, and what bytes can break is shown from both sides."""

from __future__ import annotations

from fnmatch import fnmatchcase

from rfc_tools.documents import Document
from rfc_tools.examples import all_vectors
from rfc_tools.requirements import Requirement, extract

REFUSED = ("ENC", "IDN", "PEE", "LNK", "LOG")
"""Areas in which whatever vectors show has something to refuse."""


def named(requirement: Requirement, pattern: str) -> list[str]:
    """Return the ids of the vectors that a pattern of a requirement means."""
    return [name for name in all_vectors() if fnmatchcase(name, pattern)]


def faults(documents: list[Document]) -> list[str]:
    """Patterns that mean no vector."""
    return [
        f"{requirement.file}:{requirement.line}: {requirement.id}: no vector is called {pattern}"
        for requirement in extract(documents)
        for pattern in requirement.vectors
        if not named(requirement, pattern)
    ]


def unnamed(documents: list[Document]) -> list[str]:
    """Vectors that no requirement names."""
    used = {name for found in extract(documents) for pattern in found.vectors for name in named(found, pattern)}
    return sorted(all_vectors().keys() - used)


def one_sided(documents: list[Document]) -> list[str]:
    """Requirements on bytes that name vectors of one validity alone."""
    sides: dict[str, set[str]] = {}
    for requirement in extract(documents):
        names = [name for pattern in requirement.vectors for name in named(requirement, pattern)]
        if names and requirement.id[3:6] in REFUSED:
            sides[requirement.id] = {str(all_vectors()[name]["validity"]) for name in names}
    return [f"{name} has {' and '.join(kinds)} vectors only" for name, kinds in sides.items() if len(kinds) < 2]
