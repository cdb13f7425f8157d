"""Tables between comments: `<!-- state-table: NAME -->`, `<!-- glossary -->` and the like, up to `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rfc_tools.documents import Document

_MARK = re.compile(r"<!-- (state-table: \w+|glossary|roles|areas) -->")
_RULE = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")


@dataclass(frozen=True)
class Table:
    """A Markdown table; cells are stripped texts."""

    name: str
    where: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(document: Document) -> Iterator[Table]:
    """Return the marked tables of a document."""
    name, where = "", ""
    cells: list[tuple[str, ...]] = []
    for line in document.prose:
        mark = _MARK.fullmatch(line.text.strip())
        if mark:
            name, where, cells = mark[1].removeprefix("state-table: "), f"{document.name}:{line.number}", []
        elif name and line.text.strip() == "<!-- end -->":
            yield Table(name, where, cells[0] if cells else (), tuple(cells[1:]))
            name = ""
        elif name and line.text.startswith("|") and not _RULE.fullmatch(line.text.strip()):
            cells.append(tuple(cell.strip() for cell in line.text.strip().strip("|").split("|")))


def lines_of(document: Document, name: str) -> set[int]:
    """Return the numbers of the lines between a mark and its end."""
    found, inside = set(), False
    for line in document.prose:
        mark = _MARK.fullmatch(line.text.strip())
        if mark:
            inside = mark[1] == name
        elif line.text.strip() == "<!-- end -->":
            inside = False
        if inside:
            found.add(line.number)
    return found


def named(documents: list[Document], name: str) -> list[Table]:
    """Return every table of that name."""
    return [table for document in documents for table in tables(document) if table.name == name]
