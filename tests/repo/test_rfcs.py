"""The RFCs are sound, and each of their checks finds what it is there for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rfc_tools import (
    checks,
    coverage,
    documents,
    examples,
    glossary,
    index,
    ledger,
    links,
    registry_tables,
    requirements,
    states,
)
from rfc_tools.documents import Document
from rfc_tools.requirements import Requirement

RFCS = documents.load()
FOUND = requirements.extract(RFCS)


def changed(name: str, old: str, new: str, count: int = 1) -> list[Document]:
    """The RFCs with one text changed; the change has to hit."""
    made = []
    for document in RFCS:
        if document.name.startswith(name):
            assert old in document.text, f"{name} does not hold {old!r}"
            document = Document(document.name, document.text.replace(old, new, count))
        made.append(document)
    return made


def one(body: str, number: int = 5) -> list[Document]:
    """One RFC of one section."""
    front = f"---\nnumber: {number:04d}\ntitle: T\nstatus: draft\ndate: 2026-01-01\nrequires:\n---\n"
    return [Document(f"{number:04d}-test.md", f"{front}\n## 3.1 Section\n\n{body}\n")]


@pytest.mark.parametrize("name", checks.CHECKS)
def test_the_rfcs_pass(name: str) -> None:
    assert RFCS
    assert checks.CHECKS[name](RFCS) == []


def test_what_is_generated_is_fresh() -> None:
    for document in RFCS:
        assert examples.fill(registry_tables.fill(document.text)) == document.text, document.name
    assert index.PATH.read_text(encoding="utf-8") == index.render(RFCS)
    known = ledger.load()
    assert ledger.updated(known, FOUND, False, "2026-01-01").text() == ledger.PATH.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("- **IT-LNK-001** (node) A MUST b.\n- **IT-LNK-001** (node) A MUST c.", "stands at"),
        ("- **IT-LOG-001** (node) A node MUST b.", "area is not that of this RFC"),
        ("- **IT-XYZ-001** (node) A node MUST b.", "area is not that of this RFC"),
        ("- **IT-LNK-001** (wizard) A wizard MUST b.", "no role is called wizard"),
        ("- **IT-LNK-001** (node) A node does b.", "one BCP 14 word, not 0"),
        ("- **IT-LNK-001** (node) A node MUST b and MAY c.", "one BCP 14 word, not 2"),
        ("- **IT-LNK-001** (node) A node MUST b", "does not end with a full stop"),
        ("- **IT-LNK-001** (node) A node MUST b. It is so.", "more than one sentence"),
        ("**IT-LNK-001** (node) A node MUST b.", "not of the form"),
        ("- **IT-LNK-1** (node) A node MUST b.", "not of the form"),
    ],
)
def test_form_of_requirements(body: str, fault: str) -> None:
    assert any(fault in found for found in requirements.faults(one(body)))


def test_a_requirement_is_read_whole() -> None:
    body = (
        "- **IT-LNK-001** (node) A receiver MUST refuse `MAY` and\n  go on.\n"
        "  - Not observable: nobody\n    looks.\n  - Vectors: `a-b`, `c-*`\n- **IT-LNK-002** (dialler) A MAY b."
    )
    first, second = requirements.extract(one(body))
    assert requirements.faults(one(body)) == []
    assert (first.sentence, first.level, first.role) == (
        "A receiver MUST refuse `MAY` and go on.",
        "MUST",
        "node",
    )
    assert (first.testable, first.unobservable, first.vectors) == (False, "nobody looks.", ["a-b", "c-*"])
    assert (second.section, second.testable, second.role) == ("3.1 Section", False, "dialler")


@pytest.mark.parametrize("word", ["MUST", "MUST NOT", "SHALL", "SHOULD NOT", "RECOMMENDED", "MAY", "OPTIONAL"])
def test_levels_outside_requirements(word: str) -> None:
    assert len(requirements.stray_levels(one(f"A node {word} do b."))) == 1
    assert len(requirements.stray_levels(one(f"| a node {word} |"))) == 1
    assert len(requirements.stray_levels(one(f"- **IT-LNK-001** (node) A node MUST b.\n\nIt {word}."))) == 1
    assert requirements.stray_levels(one(f"A `{word}` in code, and must, may.\n\n```text\n{word}\n```")) == []


def reworded(found: list[Requirement], **values: str) -> list[Requirement]:
    """The requirements with the first one changed."""
    first = found[0]
    made = Requirement(first.id, first.role, first.sentence, first.rfc, first.file, first.section, first.line)
    for name, value in values.items():
        setattr(made, name, value)
    return [made, *found[1:]]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: reworded(found, sentence="A node MUST do something else."),
        lambda found: reworded(found, sentence=found[0].sentence.replace(found[0].level, "SHOULD")),
        lambda found: reworded(found, role="verifier"),
        lambda found: found[1:],
    ],
    ids=["sentence", "level", "role", "vanished"],
)
def test_rewording_and_vanishing_need_a_new_version(change: Callable[[list[Requirement]], list[Requirement]]) -> None:
    old = ledger.updated(ledger.Ledger(1, {}, {}), FOUND, False, "2026-01-01")
    assert ledger.differences(old, FOUND) == []
    with pytest.raises(ledger.UnbumpedError):
        ledger.updated(old, change(FOUND), False, "2026-01-02")
    new = ledger.updated(old, change(FOUND), True, "2026-01-02")
    assert new.version == 2
    row = new.requirements.get(FOUND[0].id) or new.retired[FOUND[0].id]
    assert row.get("changed", 2) == 2


def test_a_retired_id_never_returns() -> None:
    old = ledger.updated(ledger.Ledger(1, {}, {}), FOUND, False, "2026-01-01")
    new = ledger.updated(old, FOUND[1:], True, "2026-01-02")
    assert new.retired[FOUND[0].id]["date"] == "2026-01-02"
    assert ledger.reused(new, FOUND[1:]) == []
    assert len(ledger.reused(new, FOUND)) == 1
    assert ledger.updated(new, FOUND[1:], False, "2026-01-03").retired == new.retired


def test_an_added_id_needs_no_new_version() -> None:
    old = ledger.updated(ledger.Ledger(3, {}, {}), FOUND[1:], False, "2026-01-01")
    assert ledger.updated(old, FOUND, False, "2026-01-02").version == 3


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("[x](0003-encodign.md)", "leads nowhere"),
        ("[x](0003-encoding.md#39-nothing)", "leads nowhere"),
        ("[x](#nothing)", "leads nowhere"),
        ("[RFC 0003](0003-encoding.md), section 9.9", "RFC 0003 has no section 9.9"),
        ("as section 7.7 says", "no section 7.7"),
        ("as IT-LNK-999 says", "IT-LNK-999 stands nowhere"),
    ],
)
def test_dead_links(body: str, fault: str) -> None:
    broken = [rfc for rfc in RFCS if rfc.number != 99] + one(body, 99)
    assert [found for found in links.faults(broken) if fault in found]


def test_anchors_are_those_of_forges() -> None:
    text = "## 3.1 The `Open`, twice\n\n## A b\n\n## A b\n\n[x](#31-the-open-twice) [y](#a-b-1)\n"
    assert links.faults([Document("0099-test.md", text)]) == []


def test_an_example_that_differs_is_found() -> None:
    broken = changed("0003", '"amount": "1"', '"amount": "2"')
    assert examples.faults(broken)
    assert examples.faults(one('```json vectors/ids/ids.json ids-parse-upper\n{"id": "x"}\n```'))
    assert examples.faults(one("```json vectors/ids/ids.json ids-parse-nothing\n{}\n```"))


def test_an_example_that_does_not_decode_is_found() -> None:
    with pytest.raises(KeyError):
        examples.fill("```vector ids/ids.json#ids-nothing\n```\n")
    with pytest.raises(Exception, match="Error parsing"):
        examples.fill("```vector envelopes/envelopes.json#envelopes-unseal-garbage input.envelope Envelope\n```\n")


@pytest.mark.parametrize(
    ("rfc", "old", "new"),
    [
        ("0007", "| OPEN | raise grant |", "| OPEN | late grant |"),
        ("0005", "nothing → opening | check the Open", "nothing → open | check the Open"),
        ("0006", "| ACTIVE | – | – | – | SUSPENDED |", "| ACTIVE | – | – | – | TERMINATED |"),
        (
            "0007",
            "| EXPIRED | void ORDER_ENDED | void ORDER_ENDED |",
            "| ENDED | void ORDER_ENDED | void ORDER_ENDED |",
        ),
        ("0007", "<!-- state-table: HOLD_TABLE -->", "<!-- state table: HOLD_TABLE -->"),
    ],
)
def test_a_state_table_that_differs_is_found(rfc: str, old: str, new: str) -> None:
    assert states.faults(changed(rfc, old, new))


def test_words_that_the_glossary_forbids_are_found() -> None:
    words = glossary.forbidden(RFCS)
    assert len(words) > 40
    for word in words:
        texts = [RFCS[2], *one(f"So the {word} is sent.", 99)]
        assert [found for found in glossary.faults(texts) if "0099" in found], word
    assert glossary.faults([RFCS[2], *one("A `broker` in code.", 99)]) == []


def test_lists_of_roles_and_areas_are_those_of_the_tool() -> None:
    assert glossary.lists(changed("0001", "| relay | a node", "| relais | a node"))
    assert glossary.lists(changed("0001", "| LOG | 0007 |", "| LOG | 0008 |"))


def test_a_vector_that_is_not_there_is_found() -> None:
    assert coverage.faults(one("- **IT-LNK-001** (node) A MUST b.\n  - Vectors: `links-nothing-*`"))


def test_what_bytes_can_break_is_shown_from_both_sides() -> None:
    assert coverage.one_sided(RFCS) == []
    assert coverage.one_sided(one("- **IT-LNK-001** (node) A MUST b.\n  - Vectors: `links-plain`"))


def test_a_registry_table_follows_the_registry() -> None:
    text = "<!-- registry:limits frame_bytes -->\n| stale |\n<!-- /registry -->\n"
    filled = registry_tables.fill(text)
    assert re.search(r"\| `frame_bytes` \| 65536 \| 262144 \| 262144 \| bytes \|", filled)
    assert registry_tables.fill(filled) == filled
    with pytest.raises(KeyError):
        registry_tables.fill("<!-- registry:limits nothing -->\n<!-- /registry -->\n")


@pytest.mark.parametrize(
    ("old", "new"), [("number: 0005", "number: 0006"), ("status: draft", "status: done"), ("title:", "name:")]
)
def test_front_matter(old: str, new: str) -> None:
    assert index.faults(changed("0005", old, new))


def test_the_index_names_every_rfc() -> None:
    page = index.render(RFCS)
    assert all(f"]({document.name})" in page for document in RFCS)
    assert Path(index.PATH).name == "README.md"
