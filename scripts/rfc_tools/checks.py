"""Every check of the RFCs, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rfc_tools import coverage, examples, glossary, index, ledger, links, requirements, states
from rfc_tools.documents import Document

Check = Callable[[list[Document]], list[str]]
CHECKS: Mapping[str, Check] = {
    "front matter": index.faults,
    "form of requirements": requirements.faults,
    "BCP 14 words": requirements.stray_levels,
    "links": links.faults,
    "examples": examples.faults,
    "vectors": coverage.faults,
    "state tables": states.faults,
    "words of the glossary": glossary.faults,
    "roles and areas": glossary.lists,
    "retired ids": lambda documents: ledger.reused(ledger.load(), requirements.extract(documents)),
}


def run(documents: list[Document]) -> list[str]:
    """Return what every check finds."""
    return [fault for check in CHECKS.values() for fault in check(documents)]
