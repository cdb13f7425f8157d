"""As much of JSON Schema 2020-12 as the conformance offers use: where a value does not fit, and by which keyword."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple


class Fault(NamedTuple):
    """What does not fit."""

    path: str
    rule: str


MAX_LEVELS: Final = 64
_KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value == int(value),
}
_RULES: Final[tuple[tuple[str, Callable[[Any, Any], bool]], ...]] = (
    ("enum", lambda value, allowed: value in allowed),
    ("minimum", lambda value, least: value >= least),
    ("maximum", lambda value, most: value <= most),
    ("maxLength", lambda value, most: len(value) <= most),
    ("required", lambda value, names: set(names) <= set(value)),
)


def read(schema: bytes, data: bytes) -> tuple[Any, Fault | None]:
    """The value of an input, and what does not fit. Without a schema everything does, JSON or not."""
    rules = json.loads(schema or b"{}")
    if rules in ({}, True):
        return None, None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None, Fault("$", "json")
    if _levels(value) > MAX_LEVELS:
        return None, Fault("$", "depth")
    return value, fault(rules, value, "$")


def _levels(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_levels, items), default=0) if isinstance(value, dict | list) else 0


def fault(schema: Mapping[str, Any], value: Any, path: str) -> Fault | None:
    """The first thing that does not fit."""
    kind = schema.get("type")
    if kind is not None and not _KINDS[kind](value):
        return Fault(path, "type")
    for name, fits in _RULES:
        if name in schema and not fits(value, schema[name]):
            return Fault(path, name)
    return _members(schema, value, path) if isinstance(value, dict) else None


def _members(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Fault | None:
    known = schema.get("properties", {})
    if schema.get("additionalProperties") is False and not set(value) <= set(known):
        return Fault(path, "additionalProperties")
    found = (fault(known[name], item, f"{path}.{name}") for name, item in value.items() if name in known)
    return next((bad for bad in found if bad is not None), None)


def references(schema: bytes) -> list[str]:
    """Addresses to which the top of a schema refers."""
    value = json.loads(schema or b"{}")
    return [str(value[key]) for key in ("$schema", "$ref") if isinstance(value, dict) and "//" in str(value.get(key))]
