"""Checks inputs against JSON Schema 2020-12 (design §8).

For schemas of this grid's own offers: their `pattern`s run in Python's regular expressions, so a schema
that a stranger wrote could take very long. A schema may refer only to itself (`$ref` beginning with "#"),
is at most 64 KiB large and 32 levels deep; an input is at most 64 levels deep. `format` is not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from intertie.errors import IntertieError

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA_BYTES: Final = 65_536
MAX_SCHEMA_DEPTH: Final = 32
MAX_INPUT_DEPTH: Final = 64
MAX_SHOWN: Final = 80
CACHED_SCHEMAS: Final = 1_024

_ANYTHING = frozenset({b"", b"{}", b"true"})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def check_input(schema: bytes, data: bytes) -> None:
    """Check `data`, JSON in UTF-8, against `schema`.

    A schema that allows anything (empty, `{}`, `true`) costs nothing: then the input need not be JSON.

    Raises: IntertieError INPUT_INVALID with the JSON path and the rule, INVALID_ARGUMENT for a bad schema.
    """
    if schema in _ANYTHING:
        return
    validator = compile_schema(schema)
    if validator is None:
        return
    value = _decode(data)
    try:
        error = _first_error(validator, value)
    except RecursionError:
        raise _invalid("$", "$ref", "the schema refers to itself without end for this input") from None
    if error is not None:
        raise _invalid(_path(error), str(error.validator), _expectation(error))


@lru_cache(maxsize=CACHED_SCHEMAS)
def compile_schema(schema: bytes) -> Validator | None:
    """The checker for a schema, None if it allows anything; cached by the schema's bytes.

    Raises: IntertieError INVALID_ARGUMENT naming what is wrong with the schema.
    """
    from jsonschema import Draft202012Validator, SchemaError  # loaded when first needed
    from referencing.jsonschema import EMPTY_REGISTRY

    value = _schema_value(schema)
    if value is True or value == {}:
        return None
    for where, reference in references(value):
        if not reference.startswith("#"):
            raise _bad_schema(f'{where} refers to "{reference}"; only references within the schema are followed')
    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        raise _bad_schema(f"{error.json_path}: {error.message[:MAX_SHOWN]}") from None
    _check_references(value)
    # An empty registry resolves what lies within the schema and retrieves nothing.
    return Draft202012Validator(value, registry=EMPTY_REGISTRY)


def _check_references(value: Any) -> None:
    """Check that every reference leads somewhere: one that does not would show only for an input that gets there."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

    resource = DRAFT202012.create_resource(value)
    parts = [(resource, EMPTY_REGISTRY.resolver_with_root(resource))]
    while parts:
        part, resolver = parts.pop()
        parts += [(each, resolver.in_subresource(each)) for each in part.subresources()]
        keywords = part.contents if isinstance(part.contents, dict) else {}
        for reference in [keywords[key] for key in _REFERENCES if key in keywords]:
            try:
                resolver.lookup(reference)
            except Unresolvable:
                raise _bad_schema(f"a reference leads nowhere: {_cut(reference)}") from None


def _schema_value(schema: bytes) -> Any:
    if len(schema) > MAX_SCHEMA_BYTES:
        raise _bad_schema(f"it has {len(schema)} bytes; at most {MAX_SCHEMA_BYTES} are allowed")
    try:
        value = msgspec.json.decode(schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad_schema(f"not JSON: {error}") from None
    if _depth(value, MAX_SCHEMA_DEPTH) > MAX_SCHEMA_DEPTH:
        raise _bad_schema(f"deeper than {MAX_SCHEMA_DEPTH} levels")
    if not isinstance(value, dict | bool):
        raise _bad_schema("neither an object nor true or false")
    if isinstance(value, dict) and str(value.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        raise _bad_schema(f"$schema is {_cut(str(value['$schema']))}; only {DIALECT} is supported")
    return value


def _decode(data: bytes) -> Any:
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        raise _invalid("$", "depth", f"expected at most {MAX_INPUT_DEPTH} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid("$", "json", f"expected JSON in UTF-8: {error}") from None
    if _depth(value, MAX_INPUT_DEPTH) > MAX_INPUT_DEPTH:
        raise _invalid("$", "depth", f"expected at most {MAX_INPUT_DEPTH} levels")
    return value


def _depth(value: object, limit: int) -> int:
    """Levels of nesting, counted up to limit + 1."""
    level, depth = [value], 0
    while level and depth <= limit:
        nested = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in nested for child in (item.values() if isinstance(item, dict) else item)]
        depth += bool(nested)
    return depth


def references(value: object, where: str = "$") -> Iterator[tuple[str, str]]:
    """(JSON path, target) of every reference within a schema."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            if key in _REFERENCES and isinstance(child, str):
                yield f"{where}.{key}", child
            else:
                yield from references(child, f"{where}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from references(child, f"{where}[{index}]")


def _first_error(validator: Validator, value: Any) -> ValidationError | None:
    """The error to show, None if there is none; alternatives are searched only for what failed."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        if validator.is_valid(value):
            return None
        error: ValidationError | None = best_match(validator.iter_errors(value))
        return error
    except Unresolvable as error:
        raise _bad_schema(f"a reference leads nowhere: {error}") from None


_TYPES: Final[Mapping[type, str]] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def _path(error: ValidationError) -> str:
    """JSON path of what is wrong, at most 200 characters."""
    return error.json_path[:200]


def _expectation(error: ValidationError) -> str:
    """What a rule expects, in one line that shows nothing of the input: a problem crosses every hop (IT-ERR-006)."""
    rule, wanted = str(error.validator), error.validator_value
    instance: Any = error.instance
    if rule == "required" and isinstance(wanted, list):
        missing = [name for name in wanted if name not in instance]
        return f"expected the propert{'ies' if len(missing) > 1 else 'y'} {', '.join(map(str, missing))}"
    if rule == "additionalProperties" and isinstance(error.schema, dict):
        known = error.schema.get("properties", {})
        extra = sum(name not in known for name in instance)
        return f"expected only {', '.join(known) or 'an empty object'}; found {extra} more"
    found = f"; found type {_TYPES[type(instance)]}" if rule == "type" else ""
    return f"expected {rule} {_cut(msgspec.json.encode(wanted).decode())}{found}"


def _cut(text: str) -> str:
    text = re.sub(r"[\x00-\x1f\x7f]", "?", text)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def _invalid(path: str, rule: str, message: str) -> IntertieError:
    return IntertieError("INPUT_INVALID", f"{path}: {message}", path=path, rule=rule)


def _bad_schema(message: str) -> IntertieError:
    return IntertieError("INVALID_ARGUMENT", f"input schema: {message}", field="input_schema")
