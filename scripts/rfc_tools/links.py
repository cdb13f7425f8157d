"""Links and mentions in RFCs: each leads to a file, an anchor or a section that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rfc_tools.documents import FOLDER, Document, Line

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SECTION = re.compile(r"\bRFC (\d{4})(?:\]\([^)]*\))?,? sections? (\d+(?:\.\d+)*)")
_OWN = re.compile(r"\b[Ss]ections? (\d+(?:\.\d+)*)")
_ID = re.compile(r"\bIT-[A-Z]{3}-\d{3}\b")
_HEADING = re.compile(r"#+ (\d+(?:\.\d+)*)\.? .*")
_CODE = re.compile(r"`[^`]*`")


def faults(documents: list[Document]) -> list[str]:
    """Dead relative links, anchors, sections and ids."""
    by_name = {document.name: document for document in documents}
    ids = {found for document in documents for line in document.prose for found in _defined(line)}
    return [
        f"{document.name}:{line.number}: {fault}"
        for document in documents
        for line in document.prose
        for fault in _faults(document, line, by_name, ids)
    ]


def _defined(line: Line) -> list[str]:
    return re.findall(r"^- \*\*(IT-[A-Z]{3}-\d{3})\*\*", line.text)


def _faults(document: Document, line: Line, by_name: dict[str, Document], ids: set[str]) -> Iterator[str]:
    text = _CODE.sub("", line.text)
    for target in _LINK.findall(text):
        if "://" not in target and not _leads(document, target, by_name):
            yield f"the link {target} leads nowhere"
    for number, section in _SECTION.findall(text):
        other = [found for found in by_name.values() if found.number == int(number)]
        if other and section not in _sections(other[0]):
            yield f"RFC {number} has no section {section}"
    for section in _OWN.findall(_SECTION.sub("", text)):
        if section not in _sections(document):
            yield f"this RFC has no section {section}"
    if document.number:
        for name in _ID.findall(text):
            if name not in ids and not name.startswith("IT-AAA"):
                yield f"{name} stands nowhere"


def _leads(document: Document, target: str, by_name: dict[str, Document]) -> bool:
    file, _, anchor = target.partition("#")
    found = by_name.get(file) if file else document
    if found is None:
        return bool(file) and not anchor and (FOLDER / file).exists()
    return not anchor or anchor in found.anchors


def _sections(document: Document) -> set[str]:
    matches = (_HEADING.fullmatch(line.text) for line in document.prose)
    return {match[1] for match in matches if match}
