"""What operators and consumers type, against real processes of two peered grids."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from msgspec import Struct
from tests.federation.grids import INTERTIE, GridProcess, Ran, peer_up, run, serving, typed, until, up

from intertie.descriptors import verify_chain

pytestmark = pytest.mark.asyncio(loop_scope="module")
ECHO = "south.example/conformance/echo"
DELAY = "south.example/conformance/delay"


class Pair(Struct):
    """Two grids with a link; alice buys at north."""

    north: GridProcess
    south: GridProcess
    genesis: str
    token: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("cli")
    async with serving(folder, "north.example") as north, serving(folder, "south.example") as south:
        genesis = await peer_up(north, south)
        yield Pair(north, south, genesis, await north.token("alice", 5_000_000))
        await asyncio.gather(north.stop(), south.stop())


# -- two grids ----------------------------------------------------------------------------------------


async def test_a_call_is_charged_in_both_books_and_the_export_proves_it(pair: Pair, tmp_path: Path) -> None:
    before = await asyncio.gather(pair.north.balances(), pair.south.balances())
    ran = await pair.north.call(pair.token, ECHO, {"tide": "high"})
    assert ran.status == 0, ran
    result = ran.json()
    assert (result["state"], result["output"]) == ("COMPLETED", {"tide": "high"})
    assert (result["charge"], result["asset"], result["price"]) == ("10", "XTS", "0.000010 XTS")
    assert (result["executed_by"], result["path"]) == ("south.example", ["north.example", "south.example"])
    north, south = await asyncio.gather(pair.north.balances(), pair.south.balances())
    (trial,) = (await pair.north.must("ledger", "balance"))["items"]
    assert trial == (await pair.north.get("/v1/balances"))["items"][0]
    assert north["payable"] - before[0].get("payable", 0) == -10
    assert north["consumer"] - before[0].get("consumer", 0) == 10
    assert south["receivable"] - before[1].get("receivable", 0) == 10
    assert -north["payable"] == south["receivable"]
    for grid, other in ((pair.north, "south.example"), (pair.south, "north.example")):
        file = tmp_path / f"{grid.name}.intertie"
        written = await grid.must("ledger", "export", other, "--out", str(file))
        assert written["bytes"] == file.stat().st_size
        report = (await run("ledger", "verify", str(file), "--json")).json()
        assert (report["ok"], report["genesis"], report["exporter"]) == (True, pair.genesis, grid.fingerprint)
        assert [lane["agreed"] for lane in report["lanes"]] == [str(south["receivable"]), "0"]
        assert report["proofs"]["faulty"] == []
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    damaged = await run("ledger", "verify", str(file), "--json")
    assert (damaged.status, damaged.json()["ok"]) == (1, False)


async def test_an_export_replaces_only_an_export(pair: Pair, tmp_path: Path) -> None:
    file, other, twice = tmp_path / "link", tmp_path / "intertie.toml", ("ledger", "export", "south.example", "-o")
    for _ in range(2):
        await pair.north.must(*twice, str(file))
    other.write_text("[grid]")
    for out, said in ((str(other), "--force"), (str(tmp_path), "a directory"), ("/dev/null", "a special file")):
        refused = await pair.north.cli(*twice, out)
        assert (refused.status, refused.problem()["reason"]) == (1, "INVALID_ARGUMENT")
        assert said in refused.problem()["message"]
    assert other.read_text() == "[grid]"
    await pair.north.must(*twice, str(other), "--force")
    assert (await pair.north.cli(*twice, "")).status == (await pair.north.cli(*twice, "-")).status == 2
    assert sorted(os.listdir(tmp_path)) == ["intertie.toml", "link"]
    piped = ("/bin/sh", "-c", '"$@" -o - | "$0" -m intertie_node.cli ledger verify /dev/stdin', sys.executable)
    env = {"INTERTIE_DIR": str(pair.north.folder)}
    ran = await run("ledger", "export", "south.example", env=env, command=(*piped, *INTERTIE))
    assert (ran.status, "verified:" in ran.out) == (0, True), ran
    dashed = await run("ledger", "verify", "-", given=file.read_bytes())
    assert (dashed.status, "verified:" in dashed.out) == (0, True), dashed


async def test_a_descriptor_is_written_to_standard_output(pair: Pair, tmp_path: Path) -> None:
    env = {"INTERTIE_DIR": str(pair.north.folder)}
    ran = await run("descriptor", "export", "-", env=env)
    assert (ran.status, ran.json()["grid"]) == (0, "north.example")
    file = tmp_path / "chain.json"
    for _ in range(2):
        assert (await run("descriptor", "export", str(file), env=env)).status == 0
    assert json.loads(file.read_text()) == ran.json()
    file.write_text("mine")
    assert (await run("descriptor", "export", str(file), env=env)).status == 1
    assert file.read_text() == "mine"


async def test_a_credit_goes_back_to_the_budget(pair: Pair) -> None:
    async def owing() -> list[dict[str, int]]:
        return [{k: n for k, n in (await grid.balances()).items() if n} for grid in (pair.north, pair.south)]

    before = await owing()
    made = (await pair.north.call(pair.token, ECHO, {"n": 3})).json()
    given = await pair.south.must("ledger", "credit", made["id"], "--amount", "4")
    assert (given["peer"], given["amount"], given["left"]) == ("north.example", "4", "6")

    async def returned() -> bool:
        shown = await pair.north.must("invocations", "show", made["id"])
        return bool(shown["items"][0]["charge"] == "6")

    await until(returned, "north has its money back")
    named = f"north.example/{given['order_seq']}"
    again = await pair.south.must("ledger", "credit", named, "--amount", "6", "--comment", "all of it")
    assert again["left"] == "0"

    async def whole() -> bool:
        return await owing() == before

    await until(whole, "both books are as before")
    for order, reason in (
        (named, "CREDIT_INVALID"),
        ("north.example/x", "INVALID_ARGUMENT"),
        ("nobody/1", "NOT_FOUND"),
    ):
        refused = await pair.south.cli("ledger", "credit", order, "--amount", "1")
        assert (refused.status, refused.problem()["reason"]) == (1, reason)
    own = await pair.north.cli("ledger", "credit", made["id"], "--amount", "1")
    assert own.problem()["reason"] == "INVALID_ARGUMENT"
    nothing = await pair.north.cli("ledger", "withdraw", "south.example/1")
    assert nothing.problem()["reason"] == "WITHDRAW_INVALID"


async def test_tables_for_people(pair: Pair) -> None:
    env = {"INTERTIE_DIR": str(pair.north.folder)}
    shown = await asyncio.gather(
        run("peer", "list", env=env),
        run("offers", "search", "echo", env=env),
        run("ledger", "balance", env=env),
        run("ledger", "log", "south.example", "--last", "-n", "3", env=env),
        run("token", "list", env=env),
        run("status", env=env),
        run("call", ECHO, "--input", '{"a":1}', "--max-charge", "100", env={**env, "INTERTIE_TOKEN": pair.token}),
    )
    words = ("ACTIVE", ECHO, "balanced", "south.example", "alice", "1 of 1 up", '{"a":1}')
    for ran, word in zip(shown, words, strict=True):
        assert ran.status == 0, ran
        assert word in ran.out
    assert "0.000010 XTS; done by south.example" in shown[-1].err


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


async def test_wrong_inputs_are_named(pair: Pair) -> None:
    north, call = pair.north, ("call", ECHO, "--input", "{}", "--max-charge")
    consumer: list[tuple[str, Coroutine[Any, Any, Ran]]] = [
        ("UNAUTHENTICATED", north.cli(*call, "100", token="wrong")),
        ("BUDGET_EXCEEDED", north.cli(*call, "5000001", token=pair.token)),
        ("OFFER_UNKNOWN", north.call(pair.token, "south.example/nothing")),
        ("INPUT_INVALID", north.call(pair.token, DELAY, {"ms": "long"})),
        ("ID_INVALID", north.cli(*call, "100", "--id", "x", token=pair.token)),
    ]
    missing = str(north.folder / "missing")
    operator = [
        ("NOT_FOUND", ("ledger", "log", "nobody.example")),
        ("INVALID_ARGUMENT", ("ledger", "log", "south.example", "--after", "x")),
        ("NOT_FOUND", ("ledger", "export", "nobody.example", "--out", missing)),
        ("INVALID_ARGUMENT", ("ledger", "verify", missing)),
        ("NOT_FOUND", ("peer", "accept", "nobody.example", "--yes")),
        ("NOT_FOUND", ("peer", "refuse", "nobody.example")),
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


async def test_a_directory_has_one_node(pair: Pair) -> None:
    second = await run("serve", str(pair.north.folder), "--json")
    assert (second.status, second.problem()["reason"]) == (1, "NODE_UNAVAILABLE")
    assert str(pair.north.pid) in second.problem()["message"]
    assert (await pair.north.status())["state"] == "serving"
    nowhere = await run("serve", str(pair.north.folder.parent), "--json")
    assert (nowhere.status, nowhere.problem()["reason"]) == (1, "NOT_FOUND")


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
        typed("offers", "list", "--after", "x", env=consumer),
        typed("invocations", "list", "--account", "alice", env=consumer),
        typed("invocations", "list", "-n", "0", env=operator),
        typed("peer", "terminate", "south.example", env=operator),
        typed("peer", "list"),
        await pair.north.cli("peer", "propose", pair.south.public),
        await run("nonsense"),
    ]
    assert [(ran.arguments, ran.status) for ran in wrong if ran.status != 2] == []
    assert all(ran.err for ran in wrong)


async def test_pages_of_a_log_are_whole_and_in_order(pair: Pair) -> None:
    entries: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await pair.north.get(f"/v1/peerings/{pair.genesis[:12]}/log", limit=3, after=after)
        entries += page["items"]
        after = page["next"]
        if not after:
            break
    told = {"north.example": 0, "south.example": 0}
    for entry in entries:
        other = "south.example" if entry["writer"] == "north.example" else "north.example"
        assert entry["seq"] == told[entry["writer"]] + 1
        assert entry["seen"] <= told[other]
        told[entry["writer"]] = entry["seq"]
    link = await pair.north.link_with(pair.south)
    assert told == {"north.example": link["own_entries"], "south.example": link["their_entries"]}
    last = await pair.north.must("ledger", "log", "south.example", "--last", "-n", "4")
    assert last == {"items": entries[-4:], "next": ""}
    orders = [entry for entry in entries if entry["kind"] == "order"]
    assert {entry["body"]["max_charge"] for entry in orders} >= {"100000"}


async def test_lists_are_paged_and_scoped(pair: Pair) -> None:
    bob = await pair.north.token("bob", 1_000)
    done = (await pair.north.call(bob, ECHO, {"who": "bob"}, max_charge=100)).json()
    own = await pair.north.must("invocations", "list", token=bob)
    assert [each["id"] for each in own["items"]] == [done["id"]]
    every = await pair.north.get("/v1/invocations", limit=500)
    assert {each["caller"] for each in every["items"]} == {"alice", "bob"}
    first = await pair.north.get("/v1/invocations", limit=2)
    second = await pair.north.must("invocations", "list", "-n", "2", "--after", first["next"])
    assert first["items"] + second["items"] == every["items"][:4]
    mine = await pair.north.must("invocations", "list", "--account", "bob", "--state", "completed")
    assert [each["charge"] for each in mine["items"]] == ["10"]
    orders = await pair.south.get("/v1/invocations", limit=1)
    assert (orders["items"][0]["caller"], orders["items"][0]["is_order"]) == ("north.example", True)
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


async def test_a_suspended_peering_takes_no_orders_until_resumed(pair: Pair) -> None:
    assert (await pair.south.must("peer", "suspend", "north.example"))["state"] == "SUSPENDED"
    refused = await pair.north.call(pair.token, ECHO)
    assert refused.status == 1
    assert (await pair.south.must("peer", "resume", pair.genesis))["state"] == "ACTIVE"
    again = await pair.south.cli("peer", "resume", "north.example")
    assert (again.status, again.problem()["reason"]) == (1, "INVALID_ARGUMENT")
    assert (await pair.north.call(pair.token, ECHO)).status == 0


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
        await west.stop()


async def test_metrics_and_health(pair: Pair) -> None:
    async with ClientSession() as session:
        async with session.get(f"http://{pair.north.http}/metrics") as answer:
            text = await answer.text()
        async with session.get(f"http://{pair.north.http}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "serving\n")
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    labels = f'genesis="{pair.genesis[:12]}",peer="south.example"'
    assert lines[f'intertie_link_up{{asset="XTS",{labels}}}'] == "1.0"
    owed = (await pair.north.link_with(pair.south))["we_owe"]
    assert float(lines[f'intertie_lane_agreed{{asset="XTS",debtor="us",{labels}}}']) == int(owed["agreed"]) > 0
    assert float(lines["intertie_commits_total"]) > 0
    assert float(lines["process_resident_memory_bytes"]) > 1_000_000


async def test_the_descriptor_leads_to_the_fingerprint(pair: Pair, tmp_path: Path) -> None:

    file = tmp_path / "north.json"
    await pair.north.must("descriptor", "export", str(file))
    chain = [base64.b64decode(text) for text in json.loads(file.read_text())["chain"]]
    shown = await pair.north.must("descriptor", "show")
    assert verify_chain(chain).fingerprint.hex() == shown["fingerprint"] == pair.north.fingerprint
    assert pair.north.ready["fingerprint"] == pair.north.fingerprint


# -- ending -------------------------------------------------------------------------------------------


async def working(grid: GridProcess, above: int) -> bool:
    return (await grid.status())["running"] > above


async def test_sigterm_lets_running_work_end(pair: Pair) -> None:
    before = (await pair.south.status())["running"]
    calling = asyncio.create_task(pair.north.call(pair.token, DELAY, {"ms": 3_000}))
    await until(lambda: working(pair.south, before), "work at south")
    pair.south.signal(signal.SIGTERM)
    assert await pair.south.ended() == 0
    ran = await calling
    assert (ran.status, ran.json()["state"], ran.json()["charge"]) == (0, "COMPLETED", "10"), ran
    assert not (pair.south.folder / "admin.sock").exists()
    await pair.south.start()
    await up(pair.north, pair.south)
    assert (await pair.north.call(pair.token, ECHO)).status == 0


async def test_a_second_sigterm_ends_at_once_and_the_next_start_does_the_work(pair: Pair) -> None:
    before = (await pair.south.status())["running"]
    calling = asyncio.create_task(pair.north.call(pair.token, DELAY, {"ms": 5_000}))
    await until(lambda: working(pair.south, before), "work at south")
    pair.south.signal(signal.SIGTERM)

    async def draining() -> bool:
        return (await pair.south.status())["state"] == "draining"

    await until(draining, "draining")
    pair.south.signal(signal.SIGTERM)
    assert await pair.south.ended(2.0) == 128 + signal.SIGTERM
    assert (pair.south.folder / "admin.sock").exists()
    await pair.south.start()
    assert (pair.south.folder / "admin.sock").stat().st_mode & 0o777 == 0o600
    ran = await calling
    assert (ran.status, ran.json()["state"], ran.json()["charge"]) == (0, "COMPLETED", "10"), ran


async def test_a_killed_node_comes_back_with_its_books(pair: Pair) -> None:
    before = await pair.north.balances()
    await pair.north.restart(killed=True)
    await up(pair.north, pair.south)
    assert await pair.north.balances() == before
    assert (await pair.north.call(pair.token, ECHO)).status == 0
    assert -(await pair.north.balances())["payable"] == (await pair.south.balances())["receivable"]
