"""What an application does wrong is told by a reason of the registry, or as a TypeError that names the option."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.intertie.scripted_node import TOKEN, Node, serving

from intertie.client import Client, new_id
from intertie.client.requests import make_invocation, make_payload
from intertie.errors import IntertieError


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "'max_charge' is missing"),
        ({"timeout": 1.0}, "'max_charge' is missing"),
        ({"max_charge": 1, "timout": 1.0}, "'timout'"),
        ({"maxcharge": 1}, "'maxcharge'"),
    ],
)
async def test_an_option_misspelt_or_missing_is_a_type_error(options: dict[str, Any], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        make_invocation("echo", **options)
    async with serving(Node()) as client:
        with pytest.raises(TypeError, match=named):
            await client.call("echo", **options)


@pytest.mark.parametrize(
    "value", [float("nan"), [1, {"deep": float("-inf")}], {"a": None, "b": float("inf")}, nested(100_000)]
)
def test_an_input_without_json_is_refused(value: Any) -> None:
    with pytest.raises(IntertieError) as caught:
        make_payload(value)
    assert caught.value.reason == "INPUT_INVALID"


def test_null_and_its_like_are_sent() -> None:
    assert make_payload({"a": None, "b": "null", "nan": 1.5}).data == b'{"a":null,"b":"null","nan":1.5}'
    assert make_payload(float("1e308")).data == b"1e308"


async def test_arguments_out_of_range_are_named() -> None:
    unknown: Any = "foo"
    async with serving(Node()) as client:
        asked = {
            "kind": anext(client.search(kind=unknown)),
            "states": anext(client.list(unknown)),
            "request": client.send_input(new_id(), -1, {}),
        }
        for field, question in asked.items():
            with pytest.raises(IntertieError) as caught:
                await question
            assert (caught.value.reason, caught.value.metadata) == ("INVALID_ARGUMENT", {"field": field})
        with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
            client.subscribe(new_id(), after_seq=-1)
        with pytest.raises(IntertieError, match="'UNSPECIFIED', not one of AGENT, TOOL"):
            await anext(client.search(kind="UNSPECIFIED"))  # type: ignore[arg-type]


async def test_a_client_that_is_not_open_is_a_node_unavailable() -> None:
    async with serving(Node()) as closed:
        stream = closed.stream()
    for client in (closed, Client("127.0.0.1:1", TOKEN, insecure=True)):
        for question in (
            client.account,
            lambda client=client: client.call("echo", max_charge=1),
            lambda client=client: anext(client.invoke("echo", max_charge=1)),
            lambda client=client: anext(client.search()),
        ):
            with pytest.raises(IntertieError, match="NODE_UNAVAILABLE: The client is not open"):
                await question()
        for begin in (client.watch, client.stream, lambda client=client: client.subscribe(new_id())):
            with pytest.raises(IntertieError, match="NODE_UNAVAILABLE: The client is not open"):
                begin()
    with pytest.raises(IntertieError, match="NODE_UNAVAILABLE: The stream is not open"):
        await stream.call("echo", max_charge=1)
