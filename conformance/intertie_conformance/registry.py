"""Registries and requirements as data: read from the installed package or from a checkout, never through code."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final


def folder() -> Traversable:
    """Where the registry's files are."""
    packaged = files("intertie") / "_registry"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "protocol" / "registry"


@cache
def table(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((folder() / f"{name}.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Limit:
    """A limit of the wire."""

    minimum: int
    default: int
    maximum: int


@dataclass(frozen=True)
class ErrorRow:
    """A reason."""

    grpc_code: str
    http_status: int
    retry: str
    fault: str
    metadata: tuple[str, ...]


LIMITS: Final[Mapping[str, Limit]] = {
    name: Limit(row["minimum"], row["default"], row["maximum"]) for name, row in table("limits").items()
}
ERRORS: Final[Mapping[str, ErrorRow]] = {
    name: ErrorRow(row["grpc_code"], row["http_status"], row["retry"], row["fault"], tuple(row.get("metadata", ())))
    for name, row in table("errors").items()
}


@dataclass(frozen=True)
class Requirement:
    """One sentence of an RFC with an id."""

    id: str
    level: str
    """"MUST", "MUST NOT", "SHOULD", …"""
    role: str
    place: str
    """RFC and section."""
    sentence: str
    """Verbatim."""
    testable: bool
    reason: str
    """Why no check can see it from outside; "" if one can."""

    @property
    def area(self) -> str:
        """The three letters of its area."""
        return self.id.split("-")[1]

    @property
    def is_must(self) -> bool:
        """Whether breaking it is a failure; otherwise it is not strict."""
        return self.level in ("MUST", "MUST NOT")


@cache
def requirements() -> Mapping[str, Requirement]:
    """All requirements by id."""
    return {row["id"]: _requirement(row) for row in _read()["requirements"]}


@cache
def version() -> str:
    """Version of the requirement set; every verdict names it."""
    return str(_read()["version"])


@cache
def _read() -> dict[str, Any]:
    raw: dict[str, Any] = json.loads((folder() / "requirements.json").read_text(encoding="utf-8"))
    return raw


def _requirement(row: dict[str, Any]) -> Requirement:
    return Requirement(
        id=row["id"],
        level=row["level"],
        role=row["role"],
        place=f"RFC {row['rfc']:04d}, {row['section']}",
        sentence=row["sentence"],
        testable=row["testable"],
        reason=row.get("reason", ""),
    )
