"""Tables of registry rows, rendered into RFCs between two comments:

    <!-- registry:limits frame_bytes, inline_bytes -->
    <!-- /registry -->

Without names every row of the registry is shown.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from rfc_tools.documents import ROOT

_BLOCK = re.compile(r"(<!-- registry:([a-z]+)((?: [^>]*?)?) -->\n).*?(<!-- /registry -->)", re.DOTALL)
COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "errors": (
        ("reason", "name"),
        ("gRPC code", "grpc_code"),
        ("HTTP", "http_status"),
        ("retry", "retry"),
        ("fault", "fault"),
        ("metadata", "metadata"),
        ("meaning", "description"),
    ),
    "units": (
        ("unit", "name"),
        ("kind", "kind"),
        ("atom", "atom"),
        ("counting rule", "counting"),
        ("recomputable", "recomputable"),
    ),
    "assets": (("asset", "name"), ("scale", "scale"), ("meaning", "description")),
    "limits": (
        ("limit", "name"),
        ("minimum", "minimum"),
        ("default", "default"),
        ("maximum", "maximum"),
        ("unit", "unit"),
        ("meaning", "description"),
    ),
    "features": (("feature", "name"), ("where", "where"), ("status", "status"), ("meaning", "description")),
}
"""Registry → (column title, field)."""
_CODE = ("name", "grpc_code", "metadata")


def fill(text: str) -> str:
    """Return a document's text with every registry table as the registry says it.

    Raises KeyError for a registry or row that does not exist.
    """
    return _BLOCK.sub(lambda found: found[1] + _table(found[2], found[3]) + found[4], text)


def _table(registry: str, names: str) -> str:
    rows = tomllib.loads((ROOT / "protocol" / "registry" / f"{registry}.toml").read_text(encoding="utf-8"))
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(rows)
    columns = COLUMNS[registry]
    lines = [[title for title, _ in columns], ["---"] * len(columns)]
    for name in wanted:
        row = {"name": name, **rows[name]}
        lines.append([_cell(field, row[field]) for _, field in columns])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    values = value if isinstance(value, list) else [value]
    return ", ".join(f"`{item}`" if field in _CODE else str(item) for item in values)
