"""The glossary of RFC 0002: words that are not used for its terms, and lists that have to equal the tool's."""

from __future__ import annotations

import re

from rfc_tools.documents import Document, standard
from rfc_tools.requirements import AREAS, ROLES
from rfc_tools.tables import lines_of, named

MAPPINGS = 16
"""This RFC names the concepts of other protocols by their own words."""
_CODE = re.compile(r"`[^`]*`")


def forbidden(documents: list[Document]) -> dict[str, str]:
    """Return word → the term that is to be used instead."""
    return {
        word.strip(): row[0]
        for table in named(documents, "glossary")
        for row in table.rows
        for word in row[2].split(",")
        if word.strip()
    }


def faults(documents: list[Document]) -> list[str]:
    """Words in RFCs that the glossary forbids; code, blocks and the glossary itself are left out."""
    words = forbidden(documents)
    if not words:
        return ["no glossary stands in the RFCs"] if documents else []
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})s?\b", re.IGNORECASE)
    found = []
    for document in standard(documents):
        own = lines_of(document, "glossary")
        for line in document.prose:
            word = pattern.search(_CODE.sub("", line.text))
            if word and line.number not in own and document.number != MAPPINGS:
                found.append(f"{document.name}:{line.number}: {word[1]}: say {words[word[1].lower()]}")
    return found


def lists(documents: list[Document]) -> list[str]:
    """The tables of roles and areas in RFC 0001 against those that requirements are read by."""
    wanted: dict[str, set[tuple[str, ...]]] = {
        "roles": {(role,) for role in ROLES},
        "areas": {(area, f"{number:04d}") for area, number in AREAS.items()},
    }
    found = []
    for name, rows in wanted.items():
        width = len(next(iter(rows)))
        shown = {row[:width] for table in named(documents, name) for row in table.rows}
        if shown != rows:
            found.append(f"RFC 0001: the table of {name} differs in {sorted(shown ^ rows)}")
    return found
