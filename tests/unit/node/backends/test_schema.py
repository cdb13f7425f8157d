from __future__ import annotations

import json
import socket

import pytest

from intertie.errors import IntertieError
from intertie_node.adapters.backends.schema import check_input, compile_schema

SCHEMA = json.dumps(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1},
            "limit": {"type": "integer", "minimum": 1, "maximum": 10},
            "where": {"type": "array", "items": {"$ref": "#/$defs/place"}},
        },
        "required": ["query"],
        "additionalProperties": False,
        "$defs": {"place": {"enum": ["DE", "FR"]}},
    }
).encode()


def refusal(schema: bytes, data: bytes) -> IntertieError:
    with pytest.raises(IntertieError) as caught:
        check_input(schema, data)
    return caught.value


@pytest.mark.parametrize("schema", [b"", b"{}", b"true", b" { } "])
@pytest.mark.parametrize("data", [b"", b"\xff\x00", b"{"])
def test_a_schema_that_allows_anything_reads_nothing(schema: bytes, data: bytes) -> None:
    check_input(schema, data)


@pytest.mark.parametrize(
    "data", [b'{"query":"a"}', b'{"query":"a","limit":10,"where":["DE"]}', '{"query":"ü"}'.encode()]
)
def test_good_inputs(data: bytes) -> None:
    check_input(SCHEMA, data)


@pytest.mark.parametrize(
    ("data", "path", "rule", "words"),
    [
        (b"{}", "$", "required", "expected the property query"),
        (b'{"query":""}', "$.query", "minLength", "expected minLength 1"),
        (b'{"query":3}', "$.query", "type", 'expected type "string"; found type integer'),
        (b'{"query":"a","limit":11}', "$.limit", "maximum", "expected maximum 10"),
        (b'{"query":"a","limit":1.5}', "$.limit", "type", 'expected type "integer"; found type number'),
        (b'{"query":"a","where":["DE","XX"]}', "$.where[1]", "enum", 'expected enum ["DE","FR"]'),
        (
            b'{"query":"a","limits":1}',
            "$",
            "additionalProperties",
            "expected only query, limit, where; found 1 more",
        ),
        (b"[]", "$", "type", 'expected type "object"'),
        (b"{", "$", "json", "expected JSON in UTF-8"),
        (b"", "$", "json", "expected JSON in UTF-8"),
        (b'"\xff"', "$", "json", "expected JSON in UTF-8"),
        (b'{"query":NaN}', "$", "json", "expected JSON"),
        (b"[" * 100_000, "$", "depth", "at most 64 levels"),
        (b"[" * 65 + b"]" * 65, "$", "depth", "at most 64 levels"),
    ],
)
def test_bad_inputs_name_path_and_expectation(data: bytes, path: str, rule: str, words: str) -> None:
    error = refusal(SCHEMA, data)
    assert error.reason == "INPUT_INVALID"
    assert error.metadata == {"path": path, "rule": rule}
    assert words in error.message


@pytest.mark.parametrize(
    "data",
    [b'{"query":4711}', b'{"query":"a","limit":4711}', b'{"query":"a","where":["4711"]}', b'{"query":"a","4711":1}'],
)
def test_messages_show_nothing_of_the_input(data: bytes) -> None:
    error = refusal(SCHEMA, data)
    assert "4711" not in error.message + "".join(error.metadata.values())


def test_messages_stay_short_and_clean() -> None:
    error = refusal(SCHEMA, json.dumps({"query": ["\x1b[31m" + "x" * 10_000]}).encode())
    assert len(error.message) < 300
    assert "\x1b" not in error.message


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (b'{"$ref": "http://127.0.0.1:1/s.json"}', "only references within"),
        (b'{"properties": {"a": {"$ref": "file:///etc/passwd"}}}', "$.properties.a.$ref refers to"),
        (b'{"$dynamicRef": "other.json#a"}', "only references within"),
        (b'{"type": "nothing"}', "$.type"),
        (b'{"properties": {"a": {"pattern": "(?<x>1)"}}}', "is not a 'regex'"),
        (b'{"patternProperties": {"[": {}}}', "is not a 'regex'"),
        (b'{"properties": {"a": {"items": {"$ref": "#/$defs/none"}}}}', "leads nowhere"),
        (b"[]", "neither an object"),
        (b"{", "not JSON"),
        (b'{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}', "only https"),
        (b'{"$schema": 7}', "$schema"),
        (b'{"not":' * 40 + b"{}" + b"}" * 40, "deeper than 32"),
        (b'{"description": "' + b"x" * 70_000 + b'"}', "at most 65536"),
    ],
)
def test_bad_schemas_are_named(schema: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)  # nothing is ever fetched
    error = refusal(schema, b"{}")
    assert error.reason == "INVALID_ARGUMENT"
    assert words in error.message


def test_a_reference_that_leads_nowhere() -> None:
    error = refusal(b'{"$ref": "#/$defs/none"}', b"{}")
    assert (error.reason, "leads nowhere" in error.message) == ("INVALID_ARGUMENT", True)


def test_a_schema_that_refers_to_itself_without_end() -> None:
    assert refusal(b'{"$ref": "#"}', b"{}").metadata["rule"] == "$ref"


def test_false_allows_nothing() -> None:
    assert refusal(b"false", b"{}").reason == "INPUT_INVALID"


def test_a_property_called_ref_is_not_a_reference() -> None:
    check_input(b'{"properties": {"$ref": {"type": "string"}}}', b'{"$ref": "http://x"}')


def test_large_integers_are_exact() -> None:
    check_input(b'{"type": "integer", "maximum": 9223372036854775807}', b"9223372036854775807")
    assert refusal(b'{"maximum": 9223372036854775806}', b"9223372036854775807").metadata["rule"] == "maximum"


def test_compiled_schemas_are_kept() -> None:
    assert compile_schema(SCHEMA) is compile_schema(bytes(bytearray(SCHEMA)))
