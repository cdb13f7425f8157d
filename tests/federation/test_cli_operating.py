"""What operators of two peered grids see of their nodes and do to them: tables, descriptors, metrics, ends."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from pathlib import Path

import pytest
from aiohttp import ClientSession
from tests.federation.grids import GridProcess, run, until, up
from tests.federation.pair import DELAY, ECHO, Pair

from intertie.descriptors import verify_chain

pytestmark = pytest.mark.asyncio(loop_scope="session")


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


async def test_the_descriptor_leads_to_the_fingerprint(pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "north.json"
    await pair.north.must("descriptor", "export", str(file))
    chain = [base64.b64decode(text) for text in json.loads(file.read_text())["chain"]]
    shown = await pair.north.must("descriptor", "show")
    assert verify_chain(chain).fingerprint.hex() == shown["fingerprint"] == pair.north.fingerprint
    assert pair.north.ready["fingerprint"] == pair.north.fingerprint


async def test_a_suspended_peering_takes_no_orders_until_resumed(pair: Pair) -> None:
    assert (await pair.south.must("peer", "suspend", "north.example"))["state"] == "SUSPENDED"
    refused = await pair.north.call(pair.token, ECHO)
    assert refused.status == 1
    assert (await pair.south.must("peer", "resume", pair.genesis))["state"] == "ACTIVE"
    again = await pair.south.cli("peer", "resume", "north.example")
    assert (again.status, again.problem()["reason"]) == (1, "INVALID_ARGUMENT")
    assert (await pair.north.call(pair.token, ECHO)).status == 0


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


async def test_a_terminal_that_closes_lets_running_work_end(pair: Pair) -> None:
    before = (await pair.south.status())["running"]
    calling = asyncio.create_task(pair.north.call(pair.token, DELAY, {"ms": 1_500}))
    await until(lambda: working(pair.south, before), "work at south")
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
        pair.south.signal(number)
    assert await pair.south.ended() == 0
    ran = await calling
    assert (ran.status, ran.json()["state"], ran.json()["charge"]) == (0, "COMPLETED", "10"), ran
    await pair.south.start()
    await up(pair.north, pair.south)


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
