"""What an operator types before there is a peer: help, init, check, and starts that must fail by name."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.federation.grids import GridProcess, run, serving, typed

HEAVY = ("grpc", "google.protobuf", "aiohttp", "sqlalchemy", "cryptography", "prometheus_client", "rich.table")


async def test_help_loads_nothing_heavy() -> None:
    code = "import sys, intertie_node.cli.commands; print([m for m in sys.argv[1:] if m in sys.modules])"
    loaded = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, timeout=30
    )
    assert loaded.stdout.strip() == "[]", loaded


@pytest.mark.parametrize("group", ["", "descriptor", "peer", "token", "offers", "invocations", "ledger"])
async def test_every_command_has_help_with_an_example(group: str) -> None:
    commands = {
        "": ["init", "check", "serve", "status", "call"],
        "descriptor": ["show", "export"],
        "peer": ["propose", "accept", "refuse", "list", "suspend", "resume", "terminate"],
        "token": ["create", "list", "revoke"],
        "offers": ["list", "search", "show"],
        "invocations": ["list", "show", "cancel"],
        "ledger": ["balance", "log", "export", "verify"],
    }[group]
    within = [group] if group else []
    assert typed(*within, "--help").status == 0
    pages = [typed(*within, name, "--help") for name in commands]
    assert [page.arguments for page in pages if page.status or "Example: intertie" not in page.out] == []


async def test_init_overwrites_nothing_and_names_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    assert (await run("init", str(folder), "--grid", "one.example")).status == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = await run("init", str(folder), "--grid", "two.example", "--json")
    assert (again.status, again.problem()["reason"]) == (1, "INVALID_ARGUMENT")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    for bad in (["--grid", "Not A Name"], ["--grid", "ok.example", "--public", "nowhere"]):
        refused = await run("init", str(tmp_path / "bad"), *bad, "--json")
        assert (refused.status, refused.problem()["reason"]) == (1, "INVALID_ARGUMENT")
        assert not (tmp_path / "bad").exists()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "keys").iterdir())


async def test_check_finds_open_keys_taken_ports_and_a_running_node(tmp_path: Path) -> None:
    async with serving(tmp_path, "checked.example") as grid:
        busy = await run("check", str(grid.folder), "--json")
        (lock,) = [each["problem"] for each in busy.json()["checks"] if each["problem"]]
        assert (busy.status, str(grid.pid) in lock) == (1, True)
        await grid.stop()
        (grid.folder / "keys" / "root.pem").chmod(0o644)
        with socket.create_server(("127.0.0.1", int(grid.public.rpartition(":")[2]))):
            ran = await run("check", str(grid.folder), "--json")
        wrong = [each["check"] for each in ran.json()["checks"] if each["problem"]]
        assert (ran.status, wrong) == (1, [f"mode of {grid.folder}/keys/root.pem", f"public port {grid.public}"])
        (grid.folder / "keys" / "root.pem").chmod(0o600)
        assert (await run("check", str(grid.folder))).status == 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [('[peering]\nmax_skew_ms = "x"', "peering.max_skew_ms"), ("[nonsense]", "nonsense"), ("= 1", "TOML")],
)
async def test_serve_names_the_key_that_is_wrong(tmp_path: Path, settings: str, named: str) -> None:
    grid = GridProcess(tmp_path / "grid", "wrong.example")
    await grid.init()
    grid.config.write_text(f'[grid]\nname = "wrong.example"\n{settings}\n')
    ran = await run("serve", str(grid.folder), "--json")
    assert ran.status == 1
    assert ran.problem()["reason"] == "INVALID_ARGUMENT"
    assert named in ran.problem()["message"]
    assert str(grid.config) in ran.problem()["message"]


async def test_serve_refuses_a_newer_schema(tmp_path: Path) -> None:
    async with serving(tmp_path, "newer.example") as grid:
        await grid.stop()
        with closing(sqlite3.connect(grid.folder / "node.sqlite3")) as database:
            database.execute("PRAGMA user_version = 99")
        ran = await run("serve", str(grid.folder), "--json")
        assert (ran.status, ran.problem()["reason"]) == (1, "NODE_UNAVAILABLE")
        assert "99" in ran.problem()["message"]
        checked = await run("check", str(grid.folder), "--json")
        assert checked.status == 1
        assert [each["check"] for each in checked.json()["checks"] if each["problem"]] == ["database"]


async def test_serve_on_a_taken_port_ends_and_frees_its_directory(tmp_path: Path) -> None:
    grid = GridProcess(tmp_path / "grid", "taken.example")
    await grid.init()
    with socket.create_server(("127.0.0.1", int(grid.public.rpartition(":")[2]))):
        ran = await run("serve", str(grid.folder), "--json")
    assert (ran.status, ran.problem()["reason"]) == (1, "INVALID_ARGUMENT")
    assert grid.public in ran.problem()["message"]
    assert not (grid.folder / "admin.sock").exists()
    await grid.start()
    await grid.stop()
