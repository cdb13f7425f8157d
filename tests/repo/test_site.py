"""The generated site: every link leads somewhere, every id is there, places of the code exist."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.repo.test_repository import ROOT

SCRIPTS = ROOT / "scripts"


class Page(HTMLParser):
    """Ids and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name == "href" and value:
                self.links.append(value)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    import sys

    sys.path.insert(0, str(SCRIPTS))
    try:
        from site_tools import site

        written = site.write(tmp_path_factory.mktemp("site") / "site")
    finally:
        sys.path.remove(str(SCRIPTS))
    return {path: Page(path.read_text(encoding="utf-8")) for path in written}


def test_every_link_leads_to_a_page_and_an_id(pages: dict[Path, Page]) -> None:
    ids = {path.resolve(): set(page.ids) for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match(r"https?:", target):
                continue
            wanted = (path.parent / target).resolve() if target else path.resolve()
            if wanted not in ids or (anchor and anchor not in ids[wanted]):
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_ids_of_a_page_are_unique(pages: dict[Path, Page]) -> None:
    repeated = {path.name: {i for i in page.ids if page.ids.count(i) > 1} for path, page in pages.items()}
    assert {name: found for name, found in repeated.items() if found} == {}


def test_every_requirement_has_a_row_and_an_anchor_in_its_rfc(pages: dict[Path, Page]) -> None:
    rows = json.loads((ROOT / "protocol/registry/requirements.json").read_text(encoding="utf-8"))["requirements"]
    by_name = {path.stem: set(page.ids) for path, page in pages.items()}
    assert rows
    for row in rows:
        assert row["id"] in by_name["requirements"], row["id"]
        assert row["id"] in by_name[Path(row["file"]).stem], row["id"]


def test_every_section_with_requirements_has_a_place_in_the_code() -> None:
    import tomllib

    places = tomllib.loads((ROOT / "reference_node/places.toml").read_text(encoding="utf-8"))
    rows = json.loads((ROOT / "protocol/registry/requirements.json").read_text(encoding="utf-8"))["requirements"]
    wanted = {(str(row["rfc"]), row["section"].partition(" ")[0]) for row in rows}
    have = {(rfc, section) for rfc, sections in places.items() for section in sections}
    assert have == wanted
    assert [
        f for sections in places.values() for files in sections.values() for f in files if not (ROOT / f).exists()
    ] == []
