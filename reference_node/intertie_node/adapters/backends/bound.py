"""Bound arguments leave a tool's schema: the node fills them in, so that every call has them.

An object without them fits what `without_bound` returns if and only if it fits the tool's schema together with
them, as far as their own values fit; what cannot be taken away so is named by `surviving`. Only what judges the
arguments themselves is looked at: a property of an argument may have any name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from intertie_node.adapters.backends.schema import references

Names = Collection[str]
_MANY: Final = ("allOf", "anyOf", "oneOf")
_ONE: Final = ("if", "then", "else", "not")
_DEPENDENT: Final = ("required", "dependentRequired")


def without_bound(schema: Mapping[str, Any], bound: Names) -> dict[str, Any]:
    """The schema that callers see: without bound arguments, and in the one dialect that offers have."""
    seen: dict[str, Any] = _leave({key: value for key, value in schema.items() if key != "$schema"}, bound, True)
    return seen


def surviving(schema: Mapping[str, Any], bound: Names) -> Iterator[tuple[str, str]]:
    """(argument, place) of bound arguments that are still named by what `without_bound` has returned."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

    resolver = EMPTY_REGISTRY.resolver_with_root(DRAFT202012.create_resource(dict(schema)))

    def target(reference: str) -> object:
        try:
            return resolver.lookup(reference).contents
        except (Unresolvable, ValueError):
            return None

    for where, reference in references(schema):
        if target(reference) is None:
            yield from ((name, where) for name in bound if name in reference.split("/"))
    yield from _mentions(schema, "$", bound, target, set())


def _leave(schema: Any, bound: Names, certain: bool) -> Any:
    """`certain` says that the schema has to hold, so that a rule about a bound argument's value may be left out."""
    if not isinstance(schema, dict):
        return schema
    kept = {key: _RULES[key](value, bound, certain) if key in _RULES else value for key, value in schema.items()}
    needed = schema.get("dependentRequired")
    if isinstance(needed, dict):
        more = [name for argument in bound for name in needed.get(argument, ()) if name not in bound]
        kept["required"] = list(dict.fromkeys([*kept.get("required", ()), *more]))
    return {key: value for key, value in kept.items() if value or key not in _DEPENDENT}


def _others(value: Any, bound: Names, certain: bool = True) -> Any:
    """A list or an object without the bound names; everything else as it is."""
    if isinstance(value, list):
        return [name for name in value if name not in bound]
    return {name: one for name, one in value.items() if name not in bound} if isinstance(value, dict) else value


def _properties(value: Any, bound: Names, certain: bool) -> Any:
    return _others(value, bound) if certain else value


def _dependents(value: Any, bound: Names, certain: bool) -> Any:
    left = _others(value, bound)
    return {name: _others(needed, bound) for name, needed in left.items()} if isinstance(left, dict) else left


def _examples(value: Any, bound: Names, certain: bool) -> Any:
    return [_default(example, bound, certain) for example in value] if isinstance(value, list) else value


def _default(value: Any, bound: Names, certain: bool) -> Any:
    return _others(value, bound) if isinstance(value, dict) else value


def _count(value: Any, bound: Names, certain: bool) -> Any:
    return max(0, value - len(bound)) if isinstance(value, int) else value


def _all(value: Any, bound: Names, certain: bool) -> Any:
    return [_leave(each, bound, certain) for each in value] if isinstance(value, list) else value


def _some(value: Any, bound: Names, certain: bool) -> Any:
    return _all(value, bound, False)


def _one(value: Any, bound: Names, certain: bool) -> Any:
    return _leave(value, bound, False)


def _each(value: Any, bound: Names, certain: bool) -> Any:
    return {key: _leave(one, bound, False) for key, one in value.items()} if isinstance(value, dict) else value


_RULES: Mapping[str, Callable[[Any, Names, bool], Any]] = {
    "required": _others,
    "properties": _properties,
    "dependentRequired": _dependents,
    "examples": _examples,
    "default": _default,
    "minProperties": _count,
    "maxProperties": _count,
    "allOf": _all,
    "anyOf": _some,
    "oneOf": _some,
    "dependentSchemas": _each,
    **dict.fromkeys(_ONE, _one),
}
"""Keyword → what becomes of its value: (value, bound names, whether its schema has to hold)."""


def _in_keys(value: Any, name: str) -> bool:
    return isinstance(value, dict | list) and name in value


def _in_dependents(value: Any, name: str) -> bool:
    return _in_keys(value, name) or (isinstance(value, dict) and any(_in_keys(each, name) for each in value.values()))


def _in_object(value: Any, name: str) -> bool:
    return isinstance(value, dict) and name in value


def _in_objects(value: Any, name: str) -> bool:
    return isinstance(value, list) and any(_in_object(each, name) for each in value)


def _in_names(value: Any, name: str) -> bool:
    return isinstance(value, dict) and (_in_keys(value.get("enum"), name) or value.get("const") == name)


_NAMED: Mapping[str, Callable[[Any, str], bool]] = {
    "required": _in_keys,
    "properties": _in_keys,
    "dependentSchemas": _in_keys,
    "dependentRequired": _in_dependents,
    "examples": _in_objects,
    "enum": _in_objects,
    "default": _in_object,
    "const": _in_object,
    "propertyNames": _in_names,
}
"""Keyword → whether its value names an argument."""


def _mentions(
    schema: object, where: str, bound: Names, target: Callable[[str], object], seen: set[int]
) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, dict) or id(schema) in seen:
        return
    seen.add(id(schema))
    for key in schema.keys() & _NAMED.keys():
        yield from ((name, f"{where}.{key}") for name in bound if _NAMED[key](schema[key], name))
    for place, part in _parts(schema, target):
        yield from _mentions(part, place if place.startswith("#") else f"{where}.{place}", bound, target, seen)


def _parts(schema: Mapping[str, Any], target: Callable[[str], object]) -> Iterator[tuple[str, object]]:
    """(place, schema) of what judges the same object."""
    for key in _MANY:
        each = schema.get(key)
        yield from ((f"{key}[{n}]", part) for n, part in enumerate(each if isinstance(each, list) else ()))
    yield from ((key, schema[key]) for key in _ONE if key in schema)
    dependent = schema.get("dependentSchemas")
    if isinstance(dependent, dict):
        yield from ((f"dependentSchemas.{key}", part) for key, part in dependent.items())
    for key in ("$ref", "$dynamicRef"):
        if isinstance(schema.get(key), str):
            yield schema[key], target(schema[key])
