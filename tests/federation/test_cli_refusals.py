"""What is typed wrongly at one of two peered grids: every refusal has its name or status 2, and says the way out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.federation.grids import GridProcess, Ran, run, serving, typed, until
from tests.federation.pair import DELAY, ECHO, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_wrong_inputs_are_named(pair: Pair) -> None:
    north, call = pair.north, ("call", ECHO, "--input", "{}", "--max-charge")
    consumer: list[tuple[str, Coroutine[Any, Any, Ran]]] = [
        ("UNAUTHENTICATED", north.cli(*call, "100", token="wrong")),
        ("BUDGET_EXCEEDED", north.cli(*call, "5000001", token=pair.token)),
        ("OFFER_UNKNOWN", north.call(pair.token, "south.example/nothing")),
        ("INPUT_INVALID", north.call(pair.token, DELAY, {"ms": "long"})),
        ("ID_INVALID", north.cli(*call, "100", "--id", "x", token=pair.token)),
        ("INVALID_ARGUMENT", north.cli("offers", "list", "--after", "x", token=pair.token)),
        ("INVALID_ARGUMENT", north.cli("invocations", "list", "--after", "x", token=pair.token)),
    ]
    missing = str(north.folder / "missing")
    operator = [
        ("NOT_FOUND", ("ledger", "log", "nobody.example")),
        ("INVALID_ARGUMENT", ("ledger", "log", "south.example", "--after", "x")),
        ("NOT_FOUND", ("ledger", "export", "nobody.example", "--out", missing)),
        ("INVALID_ARGUMENT", ("ledger", "verify", missing)),
        ("NOT_FOUND", ("peer", "accept", "nobody.example", "--yes")),
        ("NOT_FOUND", ("peer", "refuse", "nobody.example")),
        ("NOT_FOUND", ("peer", "withdraw", "nobody.example")),
        ("NOT_FOUND", ("peer", "suspend", "nobody.example")),
        ("INVALID_ARGUMENT", ("peer", "propose", "nowhere", "--yes")),
        ("PEER_UNAVAILABLE", ("peer", "propose", "127.0.0.1:1", "--yes")),
        ("DESCRIPTOR_INVALID", ("peer", "propose", pair.south.public, "--fingerprint", "1220ab")),
        ("INVALID_ARGUMENT", ("peer", "propose", north.public, "--yes")),
        ("AMOUNT_INVALID", ("peer", "propose", pair.south.public, "--yes", "--our-credit-limit", str(10**20))),
        ("NOT_FOUND", ("ledger", "credit", "south.example/999", "--amount", "1")),
        ("AMOUNT_INVALID", ("ledger", "credit", "south.example/1", "--amount", str(2**63))),
        ("NOT_FOUND", ("invocations", "show", "01a20000-0000-7000-8000-000000000000")),
        ("INVALID_ARGUMENT", ("invocations", "list", "--state", "ASLEEP")),
        ("INVALID_ARGUMENT", ("token", "create", "alice", "--budget", "5")),
        ("INVALID_ARGUMENT", ("token", "create", "no good", "--budget", "5")),
        ("NOT_FOUND", ("token", "revoke", "nobody")),
        ("NODE_UNAVAILABLE", ("status", "--dir", str(north.folder.parent))),
        ("NOT_FOUND", ("status", "--dir", missing)),
    ]
    ran = await asyncio.gather(*(asked for _, asked in consumer))
    ran += [typed(*arguments, "--json", env={"INTERTIE_DIR": str(north.folder)}) for _, arguments in operator]
    assert [(each.arguments, each.err) for each in ran if each.status != 1] == []
    found = [(each.problem()["reason"], each.arguments) for each in ran]
    reasons = [reason for reason, _ in (*consumer, *operator)]
    assert found == [(reason, each.arguments) for reason, each in zip(reasons, ran, strict=True)]
    assert not (north.folder / "missing").exists()


async def test_wrong_usage_has_status_2(pair: Pair) -> None:
    operator = {"INTERTIE_DIR": str(pair.north.folder)}
    consumer = {**operator, "INTERTIE_TOKEN": pair.token}
    wrong = [
        typed("call", ECHO, "--max-charge", "1", "--nonsense", env=consumer),
        typed("call", ECHO, "--input", "{", "--max-charge", "1", env=consumer),
        typed("call", ECHO, "--input", "{}", env=consumer),
        typed("call", ECHO, "--input", "{}", "--max-charge", "-1", env=consumer),
        typed("call", ECHO, "--input", "{}", "--max-charge", "1", env=operator),
        typed("call", ECHO, "--max-charge", "1", env={"INTERTIE_TOKEN": pair.token}),
        typed("invocations", "list", "--account", "alice", env=consumer),
        typed("invocations", "list", "-n", "0", env=operator),
        typed("peer", "terminate", "south.example", env=operator),
        typed("peer", "list"),
        await pair.north.cli("peer", "propose", pair.south.public),
        await run("nonsense"),
    ]
    assert [(ran.arguments, ran.status) for ran in wrong if ran.status != 2] == []
    assert all(ran.err for ran in wrong)


async def test_wrong_usage_is_json_where_json_is_asked_for(pair: Pair) -> None:
    wrong = await asyncio.gather(
        run("peer", "list", "--json", "--nonsense"),
        run("call", ECHO, "--json"),
        pair.north.cli("peer", "terminate", "south.example"),
    )
    told = ("--nonsense", "--max-charge", "--yes")
    for ran, word in zip(wrong, told, strict=True):
        assert (ran.status, ran.out) == (2, "")
        assert json.loads(ran.err)["reason"] == "INVALID_ARGUMENT"
        assert word in json.loads(ran.err)["message"]


async def test_a_directory_has_one_node(pair: Pair) -> None:
    second = await run("serve", str(pair.north.folder), "--json")
    assert (second.status, second.problem()["reason"]) == (1, "NODE_UNAVAILABLE")
    assert str(pair.north.pid) in second.problem()["message"]
    assert (await pair.north.status())["state"] == "serving"
    nowhere = await run("serve", str(pair.north.folder.parent), "--json")
    assert (nowhere.status, nowhere.problem()["reason"]) == (1, "NOT_FOUND")


async def test_an_own_suspension_is_named_with_the_way_back(pair: Pair) -> None:
    assert (await pair.north.must("peer", "suspend", "south.example"))["state"] == "SUSPENDED"
    refused = await pair.north.call(pair.token, ECHO)
    assert (refused.status, refused.problem()["reason"]) == (1, "PEER_UNAVAILABLE")
    assert "intertie peer resume south.example" in refused.problem()["message"]
    assert (await pair.north.must("peer", "resume", "south.example"))["state"] == "ACTIVE"
    assert (await pair.north.call(pair.token, ECHO)).status == 0


async def test_an_own_proposal_is_named_as_own(pair: Pair, tmp_path: Path) -> None:
    async with serving(tmp_path, "west.example") as west:
        made = await pair.north.must("peer", "propose", west.public, "--yes")
        for arguments in (("accept", "west.example", "--yes"), ("refuse", made["digest"][:12])):
            ran = await pair.north.cli("peer", *arguments)
            assert (ran.status, ran.problem()["reason"]) == (1, "INVALID_ARGUMENT")
            assert "the operator of west.example accepts or refuses it" in ran.problem()["message"]
        await until(lambda: _waits(west), "the proposal at west")
        theirs = await west.cli("peer", "withdraw", "north.example")
        assert (theirs.status, theirs.problem()["reason"]) == (1, "INVALID_ARGUMENT")
        assert "north.example's" in theirs.problem()["message"]
        assert (await pair.north.must("peer", "withdraw", "west.example"))["state"] == "WITHDRAWN"
        assert (await pair.north.must("peer", "list"))["proposals"] == []
        again = await pair.north.cli("peer", "withdraw", made["digest"][:12])
        assert (again.status, again.problem()["reason"]) == (1, "INVALID_ARGUMENT")
        await west.stop()


async def _waits(grid: GridProcess) -> bool:
    return bool((await grid.must("peer", "list"))["proposals"])
