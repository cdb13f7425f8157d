"""Turns msgspec's validation error into one that names the key, what was found and what is expected.

msgspec writes `[...]` where the key of a table was: the key is found by trying the table's keys one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from copy import copy
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from intertie_node.config.values import ConfigError

T = TypeVar("T")
Step = str | int
Toml = Any
"""A value of a decoded TOML file."""
TypeForm = Any
"""A type as an annotation writes it."""
MAX_SHOWN: Final = 60

_LOCATED = re.compile(r"(?P<what>.*?)(?: - at `(?:key` in `)?\$(?P<path>.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<kind>contains unknown|missing required) field `(?P<name>.*)`")


def convert(raw: Mapping[str, Any], kind: type[T], hook: Callable[[type, Any], Any]) -> T:
    """Decode `raw` as `kind`. Raises: ConfigError."""
    try:
        return msgspec.convert(raw, kind, dec_hook=hook)
    except msgspec.ValidationError as error:
        raise _explained(raw, kind, hook, error) from None


def _explained(
    raw: Toml,
    kind: type[Any],
    hook: Callable[[type, Any], Any],
    error: msgspec.ValidationError,
) -> ConfigError:
    what, path = _split(error)
    steps: list[Step] = []
    while path:
        token, path = _first(path)
        if token == "[...]":  # noqa: S105 - not a password
            steps.append(_culprit(raw, kind, hook, steps, str(error)))
        else:
            steps.append(int(token[1:-1]) if token.startswith("[") else token.removeprefix("."))
    return _error(raw, kind, steps, what)


def _split(error: msgspec.ValidationError) -> tuple[str, str]:
    match = _LOCATED.fullmatch(str(error))
    return (match["what"], match["path"] or "") if match else (str(error), "")


def _first(path: str) -> tuple[str, str]:
    match = re.match(r"\[\.\.\.\]|\[\d+\]|\.[^.\[]+", path)
    token = match[0] if match else path
    return token, path[len(token) :]


def _culprit(
    raw: Toml,
    kind: type[Any],
    hook: Callable[[type, Any], Any],
    steps: list[Step],
    wanted: str,
) -> str:
    """The key of the table at `steps` whose value causes the error."""
    table = _at(raw, steps)
    for key, value in table.items():
        try:
            msgspec.convert(_with(raw, steps, {key: value}), kind, dec_hook=hook)
        except msgspec.ValidationError as error:
            if str(error) == wanted:
                return str(key)
    return "…"


def _at(raw: Toml, steps: list[Step]) -> Toml:
    for step in steps:
        raw = raw[step]
    return raw


def _with(raw: Toml, steps: list[Step], value: Toml) -> Toml:
    """A copy of `raw` with `value` at `steps`."""
    if not steps:
        return value
    changed = copy(raw)
    changed[steps[0]] = _with(raw[steps[0]], steps[1:], value)
    return changed


def _error(raw: Toml, kind: type[Any], steps: list[Step], what: str) -> ConfigError:
    if field := _FIELD.fullmatch(what):
        name = field["name"]
        table = _type_at(kind, raw, steps)
        known = _keys(table) or ({"type": Literal[*tags]} if (tags := _tags(table)) else {})
        if field["kind"] == "missing required":
            return ConfigError(_text([*steps, name]), "nothing", _expected(known.get(name), "a value"))
        return ConfigError(
            _text([*steps, name]),
            "an unknown key",
            "one of: " + ", ".join(sorted(known)) if known else "no key",
        )
    expected = re.sub(r", got `.*`$", "", what).removeprefix("Expected ").replace("`", "")
    return ConfigError(_text(steps), _shown(_at(raw, steps)), _expected(_type_at(kind, raw, steps), expected))


def _text(steps: list[Step]) -> str:
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            shown = step if re.fullmatch(r"[\w-]+", step) else f'"{step}"'
            text += f".{shown}" if text else shown
    return text


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def _expected(kind: TypeForm, otherwise: str) -> str:
    """What a type wants, in the words of its description, its choices or `otherwise`."""
    if _origin(kind) is Annotated:
        for meta in get_args(kind)[1:]:
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
        kind = get_args(kind)[0]
    if _origin(kind) is Literal:
        return "one of: " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    for option in (kind, *get_args(kind)):
        if isinstance(words := getattr(option, "EXPECTED", None), str):
            return words
    return otherwise


def _type_at(kind: TypeForm, raw: Toml, steps: list[Step]) -> TypeForm:
    """The declared type at `steps`, None if it cannot be told."""
    for step in steps:
        kind = _resolved(_bare(kind), raw)
        if isinstance(step, int):
            kind = next(iter(get_args(kind)), None)
        elif _origin(kind) is dict:
            kind = get_args(kind)[1]
        elif step == "type" and (tags := _tags(kind)):
            return Literal[*tags]
        else:
            kind = _keys(kind).get(step)
        raw = raw[step]
    return _resolved(kind, raw)


def _origin(kind: TypeForm) -> object:
    """`get_origin`, its result typed so that any type form may be compared with it."""
    origin: object = get_origin(kind)
    return origin


def _bare(kind: TypeForm) -> TypeForm:
    return get_args(kind)[0] if _origin(kind) is Annotated else kind


def _resolved(kind: TypeForm, raw: Toml) -> TypeForm:
    """The member of a union that `raw` is meant to be; other types as they are."""
    if _origin(kind) not in (Union, UnionType):
        return kind
    options = [option for option in get_args(kind) if option is not type(None)]
    if len(options) == 1:
        return options[0]
    tag = raw.get("type") if isinstance(raw, dict) else None
    return next((o for o in options if getattr(o, "__struct_config__", None) and _tag(o) == tag), kind)


def _tag(kind: TypeForm) -> object:
    return kind.__struct_config__.tag


def _tags(kind: TypeForm) -> list[object]:
    """Tags of a union of structs."""
    return [_tag(option) for option in get_args(kind) if hasattr(option, "__struct_config__")]


def _keys(kind: TypeForm) -> dict[str, Any]:
    """Keys of a struct with their types."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {}
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in kind.__struct_fields__}
