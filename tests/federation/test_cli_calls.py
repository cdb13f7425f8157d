"""What consumers type, against real processes of two peered grids: calls, what they answer and cost, and lists."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.federation.grids import until
from tests.federation.pair import DELAY, ECHO, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_stream_is_told_event_by_event_and_a_question_is_answered(pair: Pair) -> None:
    offer = "south.example/conformance/stream"
    ran = await pair.north.call(pair.token, offer, {"chunks": 3, "bytes": 10}, "--stream")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["event"] for event in events if event["event"] != "state"] == ["chunk"] * 3 + ["ended"]
    assert "".join(event["output"] for event in events if event["event"] == "chunk") == "abcdefghijklmnopqrstuvwxyzabcd"
    assert events[-1]["charge"] == "13"
    asked = await pair.north.call(pair.token, "south.example/conformance/ask", {}, "--reply", '{"x": 7}')
    assert json.loads(asked.out.splitlines()[-1])["output"] == {"x": 7}
    silent = await pair.north.call(pair.token, "south.example/conformance/ask", {}, "--stream")
    assert (silent.status, silent.problem()["reason"]) == (1, "INPUT_INVALID")


async def test_input_comes_from_files_and_standard_input(pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"from": "file"}')
    options = ("--max-charge", "100")
    named = await pair.north.must("call", ECHO, "--input", f"@{file}", *options, token=pair.token)
    piped = await pair.north.must("call", ECHO, "--input", "-", *options, token=pair.token, given=b"[1, 2]")
    assert (named["output"], piped["output"]) == ({"from": "file"}, [1, 2])


async def test_the_same_id_is_the_same_invocation(pair: Pair) -> None:
    first = (await pair.north.call(pair.token, ECHO, {"n": 1})).json()
    again = (await pair.north.call(pair.token, ECHO, {"n": 1}, "--id", first["id"])).json()
    other = await pair.north.call(pair.token, ECHO, {"n": 2}, "--id", first["id"])
    assert again == first
    assert (other.status, other.problem()["reason"]) == (1, "ID_CONFLICT")


async def test_a_tool_that_fails_costs_what_failure_costs(pair: Pair) -> None:
    ran = await pair.north.call(pair.token, "south.example/conformance/fail", {"message": "no tide"})
    result = ran.json()
    assert (ran.status, result["state"], result["charge"]) == (1, "FAILED", "2")
    assert result["problem"] == ran.problem()
    assert ran.problem()["reason"] == "EXECUTION_FAILED"


async def test_lists_are_paged_and_scoped(pair: Pair) -> None:
    bob = await pair.north.token("bob", 1_000)
    done = (await pair.north.call(bob, ECHO, {"who": "bob"}, max_charge=100)).json()
    own = await pair.north.must("invocations", "list", token=bob)
    assert [each["id"] for each in own["items"]] == [done["id"]]
    every = await pair.north.get("/v1/invocations", limit=500)
    assert {each["caller"] for each in every["items"]} >= {"alice", "bob"}
    first = await pair.north.get("/v1/invocations", limit=2)
    second = await pair.north.must("invocations", "list", "-n", "2", "--after", first["next"])
    assert first["items"] + second["items"] == every["items"][:4]
    mine = await pair.north.must("invocations", "list", "--account", "bob", "--state", "completed")
    assert [each["charge"] for each in mine["items"]] == ["10"]
    orders = await pair.south.get("/v1/invocations", limit=1)
    assert (orders["items"][0]["caller"], orders["items"][0]["is_order"]) == ("north.example", True)
    await pair.north.call(bob, ECHO, {"who": "bob"}, max_charge=100)
    newest = await pair.north.must("invocations", "list", "-n", "1", token=bob)
    oldest = await pair.north.must("invocations", "list", "-n", "9", "--after", newest["next"], token=bob)
    assert (oldest["items"], oldest["next"]) == (own["items"], "")
    assert newest["items"][0]["id"] > done["id"]
    foreign = await pair.north.cli("invocations", "show", every["items"][-1]["id"], token=bob)
    assert (foreign.status, foreign.problem()["reason"]) == (1, "NOT_FOUND")


async def test_an_operator_stops_an_invocation(pair: Pair) -> None:
    calling = asyncio.create_task(pair.north.call(pair.token, DELAY, {"ms": 60_000}))

    async def running() -> list[Any]:
        found = await pair.south.get("/v1/invocations", states="WORKING")
        return list(found["items"])

    (order,) = await until(running, "work at south")
    stopped = await pair.south.must("invocations", "cancel", order["id"])
    assert stopped["items"][0]["id"] == order["id"]
    ran = await calling
    assert (ran.status, ran.json()["state"], ran.json()["charge"]) == (1, "CANCELED", "5")


async def test_a_revoked_token_is_worthless_and_may_be_renewed(pair: Pair) -> None:
    old = await pair.north.token("carol", 1_000)
    assert (await pair.north.call(old, ECHO, {}, max_charge=100)).status == 0
    assert (await pair.north.must("token", "revoke", "carol"))["revoked_at"] > 0
    refused = await pair.north.call(old, ECHO, {}, max_charge=100)
    assert (refused.status, refused.problem()["reason"]) == (1, "UNAUTHENTICATED")
    little = await pair.north.cli("token", "create", "carol", "--budget", "9")
    assert (little.status, little.problem()["reason"]) == (1, "INVALID_ARGUMENT")
    new = await pair.north.token("carol", 500)
    assert (await pair.north.call(old, ECHO, {}, max_charge=100)).problem()["reason"] == "UNAUTHENTICATED"
    assert (await pair.north.call(new, ECHO, {}, max_charge=100)).status == 0
    accounts = {each["account"]: each for each in (await pair.north.must("token", "list"))["items"]}
    assert (accounts["carol"]["spent"], accounts["carol"]["left"]) == ("20", "480")


async def test_offers_are_paged_for_operators_and_consumers_alike(pair: Pair) -> None:
    whole = await pair.north.must("offers", "list", "-n", "500")
    for token in ("", pair.token):
        pages = [await pair.north.must("offers", "list", "-n", "5", token=token)]
        while after := pages[-1]["next"]:
            pages.append(await pair.north.must("offers", "list", "-n", "5", "--after", after, token=token))
        assert [len(page["items"]) for page in pages[:-1]] == [5] * (len(pages) - 1)
        assert [item for page in pages for item in page["items"]] == whole["items"]
    assert len(whole["items"]) > 10
