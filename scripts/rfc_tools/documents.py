"""RFC files as documents: front matter, headings with their anchors, lines with what they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "rfcs"
_NAME = re.compile(r"(\d{4})-[a-z0-9-]+\.md")
_HEADING = re.compile(r"(#{1,6}) (.+?) *")
_FENCE = re.compile(r" *(```+|~~~+)(.*)")
TEMPLATE = 0


@dataclass(frozen=True)
class Line:
    """One line of a document."""

    number: int
    """From 1."""
    text: str
    section: str
    """Text of the nearest heading above, "" before the first."""
    fence: str | None
    """Info string of the fenced block that the line stands in (or opens, or closes); None outside."""


@dataclass(frozen=True)
class Document:
    """One RFC."""

    name: str
    """File name, e.g. "0005-link.md"."""
    text: str

    @property
    def number(self) -> int:
        """The RFC's number, from the file name."""
        return int(self.name[:4])

    @cached_property
    def front(self) -> dict[str, str]:
        """The front matter: `key: value` lines between two lines of three dashes; empty if there is none."""
        head, found, _ = self.text.removeprefix("---\n").partition("\n---\n")
        if not found or not self.text.startswith("---\n"):
            return {}
        pairs = (line.partition(":") for line in head.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Every line after the front matter."""
        return tuple(self._lines())

    def _lines(self) -> Iterator[Line]:
        section, fence, closing = "", None, ""
        skip = self.text.find("\n---\n") + 5 if self.front else 0
        first = self.text[:skip].count("\n") + 1
        for number, text in enumerate(self.text[skip:].splitlines(), start=first):
            mark = _FENCE.fullmatch(text)
            if fence is None and mark:
                fence, closing = mark[2].strip(), mark[1]
                yield Line(number, text, section, fence)
                continue
            heading = _HEADING.fullmatch(text) if fence is None else None
            section = heading[2] if heading else section
            yield Line(number, text, section, fence)
            if fence is not None and mark and mark[1].startswith(closing) and not mark[2].strip():
                fence = None

    @cached_property
    def prose(self) -> tuple[Line, ...]:
        """The lines outside fenced blocks."""
        return tuple(line for line in self.lines if line.fence is None)

    @cached_property
    def anchors(self) -> frozenset[str]:
        """Anchors that forges give to the headings."""
        seen: dict[str, int] = {}
        found = []
        for line in self.prose:
            heading = _HEADING.fullmatch(line.text)
            if heading:
                slug = anchor_of(heading[2])
                count = seen[slug] = seen.get(slug, -1) + 1
                found.append(f"{slug}-{count}" if count else slug)
        return frozenset(found)


def anchor_of(heading: str) -> str:
    """The anchor of a heading as forges make it: lower case, punctuation dropped, spaces as dashes."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def load(folder: Path = FOLDER) -> list[Document]:
    """Return the RFCs of a folder in order of number."""
    files = sorted(path for path in folder.glob("*.md") if _NAME.fullmatch(path.name))
    return [Document(path.name, path.read_text(encoding="utf-8")) for path in files]


def standard(documents: list[Document]) -> list[Document]:
    """Return the documents without the template, whose examples state nothing."""
    return [document for document in documents if document.number != TEMPLATE]
