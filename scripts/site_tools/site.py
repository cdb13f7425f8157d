"""All pages of the site, and where each is written."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rfc_tools import documents
from rfc_tools.documents import ROOT, Document
from rfc_tools.requirements import AREAS
from rfc_tools.tables import Table, named

from site_tools import markdown, matrix, protos

TEMPLATES: Final = Path(__file__).parent / "templates"
REGISTRIES: Final = {
    "errors": "Reasons why something is refused",
    "units": "What is metered",
    "assets": "What is owed",
    "limits": "Limits of the wire",
    "features": "Features",
}
STATES: Final = {
    "Peering": "PEERING_TABLE",
    "Opening of a link": "OPENING_TABLE",
    "Holds": "HOLD_TABLE",
    "Task states": "TASK_TABLE",
}


def write(folder: Path) -> list[Path]:
    """Write every page into `folder`, replacing what is there; returns the pages, the front page first."""
    pages = _pages()
    if folder.exists():
        shutil.rmtree(folder)
    written = []
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _pages() -> dict[str, str]:
    loader = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    read = documents.load()
    lines = matrix.load()
    listed = [_entry(rfc) for rfc in read if rfc.number != documents.TEMPLATE]

    def page(template: str, title: str, root: str = "", **values: Any) -> str:
        return loader.get_template(f"{template}.html").render(title=title, root=root, rfcs=listed, **values)

    return {
        "index.html": page("index", "Intertie", figures=_figures(lines)),
        "rfcs/index.html": page("rfcs", "RFCs", "../"),
        **{
            f"rfcs/{Path(rfc.name).stem}.html": page("rfc", _title(rfc), "../", **_rfc(rfc))
            for rfc in read
            if rfc.number != documents.TEMPLATE
        },
        "requirements.html": page("requirements", "Requirements", groups=_groups(lines), figures=_figures(lines)),
        "registries.html": page("registries", "Registries", registries=_registries()),
        "protos.html": page("protos", "Messages", files=protos.load()),
        "glossary.html": page("glossary", "Glossary", table=_table(named(read, "glossary")[0])),
        "states.html": page("states", "State tables", tables=_states(read)),
    }


def _title(rfc: Document) -> str:
    return f"RFC {rfc.number:04d}: {rfc.front['title']}"


def _entry(rfc: Document) -> dict[str, str]:
    abstract = rfc.text.partition("## 1. Abstract")[2].strip().partition("\n\n")[0]
    return {
        "number": f"{rfc.number:04d}",
        "title": rfc.front["title"],
        "page": Path(rfc.name).stem,
        "abstract": markdown.sentence(" ".join(abstract.split())),
    }


def _rfc(rfc: Document) -> dict[str, Any]:
    body = rfc.text.removeprefix("---\n").partition("\n---\n")[2]
    contents = [(text, anchor, level) for level, text, anchor in markdown.headings(body) if level in (2, 3)]
    return {"front": rfc.front, "body": markdown.html(body), "contents": contents}


def _groups(lines: list[matrix.Line]) -> list[tuple[str, str, list[matrix.Line]]]:
    """(area, page, requirements) in order of RFC."""
    areas = sorted(AREAS, key=lambda area: AREAS[area])
    chosen = {area: [line for line in lines if line.id.split("-")[1] == area] for area in areas}
    return [(area, found[0].page, found) for area, found in chosen.items() if found]


def _figures(lines: list[matrix.Line]) -> dict[str, int]:
    binding = [line for line in lines if line.level in matrix.BINDING]
    standing = [line.standing for line in binding]
    return {
        "total": len(lines),
        "binding": len(binding),
        "testable": len(binding) - standing.count("unseen"),
        **{name: standing.count(name) for name in ("killed", "checked", "unseen", "open")},
    }


def _registries() -> list[dict[str, Any]]:
    out = []
    for name, about in REGISTRIES.items():
        rows = tomllib.loads((ROOT / f"protocol/registry/{name}.toml").read_text(encoding="utf-8"))
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        out.append({"name": name, "about": about, "columns": columns, "rows": rows})
    return out


def _table(table: Table) -> dict[str, Any]:
    rows = [[markdown.sentence(cell) for cell in row] for row in table.rows]
    return {"columns": table.columns, "rows": rows}


def _states(read: list[Document]) -> list[dict[str, Any]]:
    return [
        {"name": title, "rfc": table.where.partition(".md")[0], **_table(table)}
        for title, name in STATES.items()
        for table in named(read, name)
    ]
