"""Bound arguments leave a schema where they can, and are named where they cannot."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import msgspec
import pytest
from tests.unit.node.backends.test_mcp import running, table

from intertie.errors import IntertieError
from intertie_node.adapters.backends.bound import surviving, without_bound
from intertie_node.adapters.backends.mcp_session import McpSession
from intertie_node.adapters.backends.schema import check_input
from intertie_node.config import McpTool

BOUND = {"repo": "/srv/x"}
TEXT = {"type": "string"}


def fits(schema: object, value: object) -> bool:
    try:
        check_input(msgspec.json.encode(schema), msgspec.json.encode(value))
    except IntertieError as error:
        assert error.reason == "INPUT_INVALID", error
        return False
    return True


def tool(**keywords: Any) -> dict[str, Any]:
    properties = {"repo": TEXT, "a": TEXT, "b": TEXT}
    return {"type": "object", "properties": properties, "additionalProperties": False, **keywords}


LEAVES: dict[str, dict[str, Any]] = {
    "required": tool(required=["repo", "a"]),
    "required alone": tool(required=["repo"]),
    "asked for by another": tool(dependentRequired={"a": ["repo", "b"]}),
    "asks for another": tool(dependentRequired={"repo": ["a"]}),
    "asks for another beside required": tool(required=["b"], dependentRequired={"repo": ["a"], "a": ["b"]}),
    "required of all": tool(allOf=[{"required": ["repo"]}, {"properties": {"repo": TEXT}, "required": ["a"]}]),
    "required of any": tool(anyOf=[{"required": ["repo", "a"]}, {"required": ["b"]}]),
    "required of one": tool(oneOf=[{"required": ["repo", "a"]}, {"required": ["repo", "b"]}]),
    "required of none": tool(**{"not": {"required": ["repo", "a"]}}),
    "required if": tool(
        **{"if": {"required": ["repo", "a"]}, "then": {"required": ["b"]}, "else": {"not": {"required": ["b"]}}}
    ),
    "required where another is": tool(dependentSchemas={"a": {"required": ["repo", "b"]}}),
    "shown": tool(examples=[{"repo": "/srv/secret", "a": ""}], default={"repo": "/srv/secret"}),
    "counted": tool(minProperties=2),
    "counted at most": tool(maxProperties=2),
    "of an argument": tool(
        properties={"repo": TEXT, "a": {"properties": {"repo": TEXT}, "required": ["repo"]}, "b": {}}
    ),
}


@pytest.mark.parametrize("name", LEAVES)
def test_what_fits_without_is_what_fits_with_the_bound_argument(name: str) -> None:
    schema = LEAVES[name]
    seen = without_bound(schema, BOUND)
    assert list(surviving(seen, BOUND)) == []
    assert "secret" not in str(seen)
    answers = set()
    for names in (chosen for size in range(3) for chosen in combinations("ab", size)):
        for value in ("", {"repo": ""}, {}):
            given = dict.fromkeys(names, value)
            assert fits(seen, given) == fits(schema, {**given, **BOUND}), given
            answers.add(fits(seen, given))
    assert True in answers
    assert not fits(seen, BOUND)


STAYS: dict[str, tuple[dict[str, Any], str]] = {
    "a reference to it": (
        tool(properties={"repo": TEXT, "a": {"$ref": "#/properties/repo"}}),
        "$.properties.a.$ref",
    ),
    "a value of it": (
        tool(anyOf=[{"properties": {"repo": {"const": "/"}}}, {"required": ["a"]}]),
        "$.anyOf[0].properties",
    ),
    "whole objects": (tool(enum=[{"repo": "/srv/x"}]), "$.enum"),
    "one whole object": (tool(const={"repo": "/srv/x"}), "$.const"),
    "a schema that depends on it": (tool(dependentSchemas={"repo": {"required": ["a"]}}), "$.dependentSchemas"),
    "a definition": (
        tool(allOf=[{"$ref": "#/$defs/base"}], **{"$defs": {"base": {"required": ["repo"]}}}),
        "#/$defs/base.required",
    ),
    "an anchor": (
        tool(anyOf=[{"$ref": "#base"}], **{"$defs": {"x": {"$anchor": "base", "required": ["repo"]}}}),
        "#base.required",
    ),
    "a list of names": (tool(propertyNames={"enum": ["repo", "a"]}), "$.propertyNames"),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_cannot_be_taken_away_is_named(name: str) -> None:
    schema, place = STAYS[name]
    assert list(surviving(without_bound(schema, BOUND), BOUND)) == [("repo", place)]


SERVED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "bound": (STAYS["a definition"][0], BOUND, "tool read: argument repo cannot be bound, #/.defs/base.required names"),
    "a reference": (tool(items={"$ref": "#/$defs/no"}), {}, "tool read: .*leads nowhere: #/.defs/no"),
    "a pattern": (tool(properties={"a": {"pattern": "(?<year>[0-9]+)"}}), {}, "tool read: .*properties.a.pattern"),
    "a type": (tool(properties={"a": {"type": "text"}}), {}, "tool read: .*properties.a.type"),
}


@pytest.mark.parametrize("name", SERVED)
async def test_a_tool_whose_schema_cannot_be_offered_is_refused_at_start(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema, bound, why = SERVED[name]
    honest = McpSession.connection

    async def connection(session: McpSession) -> Any:
        made = await honest(session)
        made.definitions["read"] = {**made.definitions["read"], "inputSchema": schema}
        return made

    monkeypatch.setattr(McpSession, "connection", connection)
    with pytest.raises(IntertieError, match=f"BACKEND_UNAVAILABLE.*{why}"):
        async with running(table(tools={"read": McpTool(offer="small/read", bound=bound)})):
            pass
