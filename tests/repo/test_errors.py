"""Every error that the sources make names its reason and its metadata as the registry has them (RFC 0012)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from intertie.registry import ERRORS

ROOT = Path(__file__).parents[2]
FOLDERS = ("protocol/intertie", "reference_node/intertie_node")
MAKERS = {"IntertieError", "problem"}
"""Called with the reason first; keywords are metadata. `encoding.parse` has the reason fourth and names `field`."""


def sources() -> list[Path]:
    files = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in files if "v1" not in path.parts and path.name != "encoding.py")


def faults(tree: ast.Module) -> Iterator[str]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in MAKERS and call.args:
            yield from _made(call, call.args[0], {each.arg for each in call.keywords})
        elif name == "parse" and len(call.args) > 3:
            yield from _made(call, call.args[3], {"field"})
        elif name == "Problem":
            fields = {each.arg: each.value for each in call.keywords}
            told = fields.get("metadata")
            keys = {getattr(key, "value", None) for key in told.keys} if isinstance(told, ast.Dict) else set()
            if "reason" in fields:
                yield from _made(call, fields["reason"], keys)


def _made(call: ast.Call, reason: ast.expr, keys: set[str | None]) -> Iterator[str]:
    where = f"line {call.lineno}"
    reasons = [reason.body, reason.orelse] if isinstance(reason, ast.IfExp) else [reason]
    for each in reasons:
        if not isinstance(each, ast.Constant):
            if keys:
                yield f"{where}: {sorted(map(str, keys))} for a reason that is not written here"
        elif each.value not in ERRORS:
            yield f"{where}: {each.value} is not registered"
        else:
            unknown = keys - set(ERRORS[each.value].metadata)
            if unknown:
                yield f"{where}: {each.value} with {sorted(map(str, unknown))}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_errors_name_registered_reasons_and_metadata(path: Path) -> None:
    assert list(faults(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_what_is_not_registered_is_found() -> None:
    code = """
IntertieError("NOT_FOUND", "text", id="1")
IntertieError("ID_CONFLICT", "text", id="1")
errors.IntertieError("NO_SUCH_REASON", "text")
problem("CANCELED" if x else "NO_ROUTE", "text", grid="a")
Problem(reason="EVENTS_GONE", message="text", metadata={"nothing": "1"})
IntertieError(reason, "text", **values)
IntertieError(reason, "text")
"""
    found = [fault.partition(":")[0] for fault in faults(ast.parse(code))]
    assert found == ["line 2", "line 4", "line 5", "line 5", "line 6", "line 7"]
