"""The registries of the standard as typed, read-only tables (design §4, §5 rule 5).

The data are `registry/*.toml`: beside the package in a checkout, inside it as `_registry` in a wheel. They
are read once, at import; a row that does not fit its type raises `msgspec.ValidationError` there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeVar

import msgspec

Retry = Literal["final", "temporary", "relative"]
Fault = Literal["caller", "provider", "peer", "node", "nobody"]
UnitKind = Literal["outcome", "count", "token", "byte", "time"]
GrpcCode = Literal[
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


class ErrorRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reason why something is refused."""

    name: str
    grpc_code: GrpcCode
    http_status: int
    retry: Retry
    fault: Fault
    metadata: tuple[str, ...]
    description: str

    @property
    def reason(self) -> str:
        """The row's name, as it stands in `Problem.reason`."""
        return self.name


class UnitRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A unit of metering: what a quantity of 1 means and how quantities arise."""

    name: str
    kind: UnitKind
    atom: str
    counting: str
    recomputable: bool


class AssetRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is owed; an amount of 1 is 10^-scale of it."""

    name: str
    scale: int
    description: str


class LimitRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A limit of the wire in `unit`s: minimum ≤ default ≤ maximum; all equal if it is fixed."""

    name: str
    minimum: int
    default: int
    maximum: int
    unit: str
    description: str


class FeatureRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named feature of links or of offers."""

    name: str
    where: Literal["link", "offer"]
    status: Literal["stable", "planned"]
    description: str


Row = TypeVar("Row", ErrorRow, UnitRow, AssetRow, LimitRow, FeatureRow)


def _folder() -> Traversable:
    """Return where the registry's files are: inside the package, or beside it in a checkout."""
    packaged = files("intertie") / "_registry"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "registry"


def _load(table: str, row: type[Row]) -> Mapping[str, Row]:
    """Read `<table>.toml`: one TOML table a row, named by its key."""
    raw = tomllib.loads((_folder() / f"{table}.toml").read_text(encoding="utf-8"))
    named = {name: {"name": name, **fields} for name, fields in raw.items()}
    return MappingProxyType(msgspec.convert(named, dict[str, row]))  # type: ignore[valid-type]


ERRORS: Final = _load("errors", ErrorRow)
UNITS: Final = _load("units", UnitRow)
ASSETS: Final = _load("assets", AssetRow)
LIMITS: Final = _load("limits", LimitRow)
FEATURES: Final = _load("features", FeatureRow)
LINK_FEATURES: Final = frozenset(
    name for name, row in FEATURES.items() if row.where == "link" and row.status == "stable"
)
"""What every node of this version does on links."""
