"""What an operator types before there is a peer: help, init, check, and starts that must fail by name."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
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
        "peer": ["propose", "accept", "refuse", "withdraw", "list", "suspend", "resume", "terminate"],
        "token": ["create", "list", "revoke"],
        "offers": ["list", "search", "show"],
        "invocations": ["list", "show", "cancel"],
        "ledger": ["balance", "log", "export", "verify"],
    }[group]
    within = [group] if group else []
    assert "Example: intertie" in typed(*within, "--help").out
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
        assert (busy.status, busy.json()["checks"][-1]["check"]) == (0, f"node, process {grid.pid}")
        with socket.socket(socket.AF_UNIX) as held:
            held.bind(str(tmp_path / "s"))
            (tmp_path / "s").replace(grid.folder / "admin.sock")
            deaf = await run("check", str(grid.folder), "--json")
        assert (deaf.status, "does not answer" in deaf.out) == (1, True)
        await grid.stop()
        (grid.folder / "keys" / "root.pem").chmod(0o644)
        with socket.create_server(("127.0.0.1", int(grid.public.rpartition(":")[2]))):
            ran = await run("check", str(grid.folder), "--json")
        wrong = [each["check"] for each in ran.json()["checks"] if each["problem"]]
        assert (ran.status, wrong) == (1, [f"mode of {grid.folder}/keys/root.pem", f"public port {grid.public}"])
        (grid.folder / "keys" / "root.pem").chmod(0o600)
        assert (await run("check", str(grid.folder))).status == 0


async def test_check_makes_no_file_and_changes_none(tmp_path: Path) -> None:
    grid = GridProcess(tmp_path / "grid", "looked.example")
    await grid.init()

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in grid.folder.rglob("*") if path.is_file()}

    for _ in range(2):
        before = files()
        assert (await run("check", str(grid.folder))).status == 0
        assert files() == before
        await grid.start()
        await grid.stop()
    (grid.folder / "node.sqlite3").write_bytes(b"no database" * 1_000)
    ran = await run("check", str(grid.folder), "--json")
    assert (ran.status, "node.sqlite3" in ran.out) == (1, True), ran


async def test_the_version_is_told() -> None:
    ran = typed("--version")
    assert (ran.status, ran.out) == (0, f"intertie {version('intertie')}\n")


async def test_keys_that_are_lost_are_named_with_a_way_on(tmp_path: Path) -> None:
    grid = GridProcess(tmp_path / "grid", "lost.example")
    await grid.init()
    secret = (grid.folder / "keys" / "secret").read_bytes()
    for found in (b"", b"ab", secret + b"\n"):
        (grid.folder / "keys" / "secret").write_bytes(found)
        for command in ("check", "serve"):
            ran = await run(command, str(grid.folder), "--json")
            assert (ran.status, f"{len(found)} bytes" in ran.out + ran.err) == (1, True), ran
    for name in ("secret", "root.pem"):
        (grid.folder / "keys" / name).unlink()
    ran = await run("serve", str(grid.folder), "--json")
    assert (ran.status, ran.problem()["reason"]) == (1, "NOT_FOUND")
    said = ran.problem()["message"]
    assert [word in said for word in ("root.pem, secret", "backup", "another directory")] == [True] * 3
    again = await run("init", str(grid.folder), "--grid", "lost.example", "--json")
    assert "another directory" in again.problem()["message"]


@pytest.mark.parametrize("text", ["", "."])
async def test_an_empty_name_is_wrong_usage(tmp_path: Path, text: str) -> None:
    where = ("--dir", str(tmp_path))
    for command in ("ledger log", "ledger export", "peer suspend", "peer refuse", "token revoke", "invocations show"):
        out = ("-o", str(tmp_path / "file")) if command == "ledger export" else ()
        ran = typed(*command.split(), text, *out, *where)
        assert (ran.status, "is no name and no id" in ran.err) == (2, True), ran


async def test_a_node_that_is_down_is_named_with_a_way_on(tmp_path: Path) -> None:
    grid = GridProcess(tmp_path / "grid", "down.example")
    await grid.init()
    call = ("call", "conformance/echo", "--max-charge", "9")
    ran = await grid.cli(*call, token="any")
    assert (ran.status, ran.problem()["reason"]) == (1, "NODE_UNAVAILABLE")
    assert f"intertie serve {grid.folder}" in ran.problem()["message"]
    elsewhere = await grid.cli(*call, "--target", grid.loopback, token="any")
    assert f"No node answers at {grid.loopback}" in elsewhere.problem()["message"]


async def test_an_input_that_no_message_holds_is_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b'"' + b"x" * 20_000_000 + b'"')
    env = {"INTERTIE_TOKEN": "any", "INTERTIE_TARGET": "127.0.0.1:1"}
    ran = await run("call", "a/b", "--max-charge", "9", "--input", f"@{file}", "--json", env=env)
    assert (ran.status, ran.problem()["reason"]) == (1, "INPUT_TOO_LARGE")


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
