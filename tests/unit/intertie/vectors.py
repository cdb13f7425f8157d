"""Reads protocol/vectors for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "protocol" / "vectors"
FILES = sorted(FOLDER.glob("*/*.json"))


def load() -> list[tuple[str, dict[str, Any]]]:
    """Return every vector with its area."""
    return [
        (document["area"], vector)
        for path in FILES
        for document in [json.loads(path.read_text(encoding="utf-8"))]
        for vector in document["vectors"]
    ]


def select(area: str, operation: str, validity: str = "valid") -> list[Any]:
    """Return (input, output) parameters of an operation's vectors; fail if there are none."""
    found = [
        pytest.param(vector["input"], vector.get("output"), id=vector["id"])
        for where, vector in load()
        if (where, vector["operation"], vector["validity"]) == (area, operation, validity)
    ]
    assert found, f"no {validity} vectors for {area} {operation}"
    return found
