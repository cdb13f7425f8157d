"""What the ledger of two peered grids says to their operators: charges, credits, exports that prove them, logs."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.federation.grids import INTERTIE, run, until
from tests.federation.pair import ECHO, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
