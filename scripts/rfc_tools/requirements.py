"""Requirements in RFC texts (RFC 0001): one list item each, and the faults that their form can have.

- **IT-LNK-007** (node) The receiver MUST close the link with `CLOCK` when …
  - Not observable: why no check from outside can see it.
  - Vectors: `links-plain`, `links-replay-*`
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from rfc_tools.documents import Document, anchor_of, standard

ROLES = (
    "node",
    "payer",
    "provider",
    "relay",
    "origin",
    "executor",
    "acceptor",
    "dialler",
    "consumer",
    "verifier",
    "implementer",
)
AREAS = {
    "PRC": 1,
    "ARC": 2,
    "ENC": 3,
    "IDN": 4,
    "LNK": 5,
    "PEE": 6,
    "LOG": 7,
    "CAT": 8,
    "INV": 9,
    "MTR": 10,
    "RLY": 11,
    "ERR": 12,
    "VER": 13,
    "CNF": 14,
    "SEC": 15,
}
"""Area of an id → number of the RFC that it belongs to."""
LEVEL = re.compile(
    r"\b(MUST NOT|MUST|SHALL NOT|SHALL|REQUIRED|SHOULD NOT|SHOULD|NOT RECOMMENDED|RECOMMENDED|MAY|OPTIONAL)\b"
)
_ITEM = re.compile(r"- \*\*(IT-[A-Z]{3}-\d{3})\*\* \(([a-z]+)\) (.+)")
_NOTE = re.compile(r"  - (Not observable|Vectors): (.+)")
_LOOKS_LIKE = re.compile(r"\*\*IT-")
_CODE = re.compile(r"`[^`]*`")


@dataclass
class Requirement:
    """One requirement as it stands in a text."""

    id: str
    role: str
    sentence: str
    rfc: int
    file: str
    section: str
    line: int
    unobservable: str = ""
    """Why no check can see it; "" if one can."""
    vectors: list[str] = field(default_factory=list)
    """Ids of vectors that show it, or patterns with "*"."""

    @property
    def levels(self) -> list[str]:
        """The BCP 14 words of the sentence, code left out."""
        return LEVEL.findall(_CODE.sub("", self.sentence))

    @property
    def level(self) -> str:
        """The first BCP 14 word, "" if there is none."""
        return next(iter(self.levels), "")

    @property
    def anchor(self) -> str:
        """The anchor of the section."""
        return anchor_of(self.section)

    @property
    def testable(self) -> bool:
        """Whether a check from outside can be broken by a node that breaks this."""
        return self.level not in ("MAY", "OPTIONAL") and not self.unobservable


def extract(documents: list[Document]) -> list[Requirement]:
    """Return the requirements of the documents in order of text."""
    return [found for document in standard(documents) for found in _extract(document)]


def _extract(document: Document) -> Iterator[Requirement]:
    current: Requirement | None = None
    for line in document.prose:
        item, note = _ITEM.fullmatch(line.text), _NOTE.fullmatch(line.text)
        if item:
            if current:
                yield current
            current = Requirement(
                item[1], item[2], item[3].strip(), document.number, document.name, line.section, line.number
            )
        elif current and note:
            _annotate(current, note[1], note[2].strip())
        elif current and line.text.startswith("    ") and current.unobservable:
            current.unobservable += " " + line.text.strip()
        elif current and line.text.startswith("  ") and not line.text.lstrip().startswith("- "):
            current.sentence += " " + line.text.strip()
        elif current:
            yield current
            current = None
    if current:
        yield current


def _annotate(requirement: Requirement, name: str, value: str) -> None:
    if name == "Vectors":
        requirement.vectors += re.findall(r"`([^`]+)`", value)
    else:
        requirement.unobservable = value


def faults(documents: list[Document]) -> list[str]:
    """What is wrong with the form of requirements: ids, areas, roles, levels, sentences."""
    found = extract(documents)
    return [
        *_duplicates(found),
        *(f"{r.file}:{r.line}: {r.id}: {fault}" for r in found for fault in _form(r)),
        *_unread(documents, found),
    ]


def _duplicates(found: list[Requirement]) -> Iterator[str]:
    first: dict[str, Requirement] = {}
    for requirement in found:
        known = first.setdefault(requirement.id, requirement)
        if known is not requirement:
            where = f"{known.file}:{known.line}"
            yield f"{requirement.file}:{requirement.line}: {requirement.id} stands at {where} already"


def _form(requirement: Requirement) -> Iterator[str]:
    plain = _CODE.sub("`x`", requirement.sentence)
    rules = (
        (AREAS.get(requirement.id[3:6]) == requirement.rfc, "its area is not that of this RFC"),
        (requirement.role in ROLES, f"no role is called {requirement.role}"),
        (len(requirement.levels) == 1, f"a sentence has one BCP 14 word, not {len(requirement.levels)}"),
        (plain.endswith("."), "the sentence does not end with a full stop"),
        (not re.search(r"(?<!e\.g)(?<!i\.e)[.!?] ", plain), "it is more than one sentence"),
        (bool(requirement.section), "it stands in no section"),
    )
    return (fault for holds, fault in rules if not holds)


def _unread(documents: list[Document], found: list[Requirement]) -> Iterator[str]:
    """Lines that look like a requirement and were not read as one."""
    known = {(r.file, r.line) for r in found}
    for document in standard(documents):
        for line in document.prose:
            if _LOOKS_LIKE.search(line.text) and (document.name, line.number) not in known:
                yield f"{document.name}:{line.number}: not of the form `- **IT-AAA-000** (role) Sentence.`"


def stray_levels(documents: list[Document]) -> list[str]:
    """BCP 14 words outside requirement sentences; in code spans and fenced blocks they are words like others."""
    found = []
    for document in standard(documents):
        taken = _requirement_lines(document)
        for line in document.prose:
            word = LEVEL.search(_CODE.sub("", line.text))
            if word and line.number not in taken:
                found.append(f"{document.name}:{line.number}: {word[1]} outside a requirement sentence")
    return found


def _requirement_lines(document: Document) -> set[int]:
    taken, inside = set(), False
    for line in document.prose:
        if _ITEM.fullmatch(line.text):
            inside = True
        elif not (inside and line.text.startswith("  ") and not line.text.lstrip().startswith("- ")):
            inside = False
        if inside:
            taken.add(line.number)
    return taken
