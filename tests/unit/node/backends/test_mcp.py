from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.unit.node.backends.fake_run import FakeRun, told

from intertie.errors import IntertieError
from intertie_node.adapters.backends import create
from intertie_node.adapters.backends.schema import check_input
from intertie_node.config import McpTable, McpTool
from intertie_node.ports import Backend, OfferSpec, RefuseWork, WorkResult

SERVER = str(Path(__file__).with_name("small_mcp_server.py"))
Started = Callable[..., Awaitable[tuple[Backend, dict[str, OfferSpec]]]]


def table(*names: str, arguments: tuple[str, ...] = (), **fields: object) -> McpTable:
    timeout = fields.pop("timeout_ms", 20_000)
    tools = {name: McpTool(offer=f"small/{name}", timeout_ms=timeout) for name in names}  # type: ignore[arg-type]
    fields.setdefault("tools", tools)
    return McpTable(command=[sys.executable, SERVER, *arguments], name="small", **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def running(config: McpTable) -> AsyncIterator[tuple[Backend, dict[str, OfferSpec]]]:
    backend = create(config)
    try:
        yield backend, {spec.name: spec for spec in await backend.start()}
    finally:
        await backend.stop()


async def call(backend: Backend, tool: str, **arguments: object) -> WorkResult:
    return await backend.run(f"small/{tool}", FakeRun(arguments))


async def pid_of(backend: Backend) -> int:
    number: int = told((await call(backend, "pid")).output)["structuredContent"]["result"]
    return number


def is_gone(pid: int) -> bool:
    """The process has ended; also true of one that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def children_of_this_process() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


async def test_a_tool_becomes_an_offer_and_does_work() -> None:
    async with running(table("add")) as (backend, specs):
        assert list(specs) == ["small/add"]
        spec = specs["small/add"]
        assert (spec.kind, spec.description, spec.features) == ("tool", "Adds two numbers.", ("idempotent",))
        assert spec.max_duration_ms == 20_000
        assert told(spec.input_schema)["required"] == ["a"]
        run = FakeRun({"a": 2, "b": 3})
        result = await backend.run("small/add", run)
        assert result.media_type == "application/json"
        assert told(result.output) == {
            "content": [{"type": "text", "text": "5"}],
            "structuredContent": {"result": 5},
        }
        check_input(spec.output_schema, result.output)
        assert run.metered == [("mcp.call", 1)]


async def test_the_definition_is_captured_as_received() -> None:
    async with running(table("add")) as (_, specs):
        captured = told(specs["small/add"].captured)
        assert specs["small/add"].captured_type == "mcp.tool"
        assert captured["name"] == "add"
        assert captured["annotations"] == {"readOnlyHint": True}
        assert set(captured["inputSchema"]["properties"]) == {"a", "b"}
        assert "outputSchema" in captured


async def test_bound_arguments_leave_the_schema_and_are_filled_in() -> None:
    tools = {"read": McpTool(offer="small/read", bound={"folder": "/safe"}, idempotent=True)}
    async with running(table(tools=tools)) as (backend, specs):
        schema = told(specs["small/read"].input_schema)
        assert (set(schema["properties"]), schema["required"]) == ({"name", "depth"}, ["name"])
        assert specs["small/read"].features == ("idempotent",)
        assert "folder" in told(specs["small/read"].captured)["inputSchema"]["properties"]
        result = await call(backend, "read", name="n")
        assert told(result.output)["structuredContent"] == {"result": "/safe/n/2"}
        run = FakeRun({"name": "n", "folder": "/etc"})
        with pytest.raises(RefuseWork) as refused:
            await backend.run("small/read", run)
        assert (refused.value.error.reason, refused.value.error.metadata["path"]) == (
            "INPUT_INVALID",
            "$.folder",
        )
        assert run.metered == []


async def test_a_tools_error_is_not_a_failure() -> None:
    async with running(table("fails", "add")) as (backend, _):
        run = FakeRun({})
        result = await backend.run("small/fails", run)
        assert result.is_error
        assert "no such thing" in told(result.output)["content"][0]["text"]
        assert run.usage == {"mcp.call": 1}
        assert (await call(backend, "add", a="many")).is_error


async def test_progress_and_large_results() -> None:
    async with running(table("report", "big")) as (backend, _):
        run = FakeRun({})
        await backend.run("small/report", run)
        assert run.reports == [(1, 2, "step 1"), (2, 2, "step 2")]
        run = FakeRun({"size": 50_000})
        result = await backend.run("small/big", run)
        assert result.output == b""
        assert told(run.streamed)["structuredContent"] == {"result": "x" * 50_000}


async def test_the_environment_is_an_allow_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERTIE_SECRET", "1")
    monkeypatch.setenv("INTERTIE_WANTED", "1")
    async with running(table("environment", env=["INTERTIE_WANTED", "INTERTIE_ABSENT"])) as (backend, _):
        seen = told((await call(backend, "environment")).output)["structuredContent"]["result"]
    assert "INTERTIE_WANTED" in seen
    plain = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LC_CTYPE", "PWD"}
    assert set(seen) - plain == {"INTERTIE_WANTED"}


async def test_a_server_that_dies_during_a_call_is_replaced() -> None:
    async with running(table("crash", "pid")) as (backend, _):
        first = await pid_of(backend)
        run = FakeRun({})
        with pytest.raises(IntertieError, match="BACKEND_UNAVAILABLE"):
            await backend.run("small/crash", run)
        assert run.metered == []
        assert await pid_of(backend) != first


async def test_a_server_killed_mid_call_fails_its_calls_and_no_other() -> None:
    async with running(table("slow", "pid")) as (one, _), running(table("slow", "pid")) as (other, _):
        doomed = asyncio.create_task(call(one, "slow", seconds=30))
        spared = asyncio.create_task(call(other, "slow", seconds=0.5))
        await asyncio.sleep(0.2)
        os.kill(await pid_of(one), signal.SIGKILL)
        with pytest.raises(IntertieError, match="BACKEND_UNAVAILABLE"):
            await asyncio.wait_for(doomed, 5)
        assert not (await spared).is_error
        assert await pid_of(one) > 0


async def test_a_server_that_died_idle_does_not_fail_the_next_call() -> None:
    async with running(table("pid")) as (backend, _):
        first = await pid_of(backend)
        os.kill(first, signal.SIGKILL)
        await asyncio.sleep(0.3)
        assert await pid_of(backend) != first


async def test_a_server_that_dies_again_and_again_is_paused() -> None:
    async with running(table("crash", "pid")) as (backend, _):
        for _ in range(2):
            with pytest.raises(IntertieError, match="during the call"):
                await call(backend, "crash")
        with pytest.raises(IntertieError, match="started again in"):
            await call(backend, "pid")
        await asyncio.sleep(0.6)
        assert await pid_of(backend) > 0


async def test_a_slow_call_times_out_and_the_server_stays() -> None:
    async with running(table("slow", "pid", timeout_ms=1_000)) as (backend, _):
        first = await pid_of(backend)
        run = FakeRun({"seconds": 30})
        with pytest.raises(IntertieError, match="BACKEND_TIMEOUT"):
            await backend.run("small/slow", run)
        assert run.metered == []
        await asyncio.sleep(0.3)
        assert await pid_of(backend) == first


async def test_a_hanging_server_is_ended_and_replaced() -> None:
    async with running(table("hang", "pid", timeout_ms=2_000)) as (backend, _):
        first = await pid_of(backend)
        with pytest.raises(IntertieError, match="BACKEND_TIMEOUT"):
            await call(backend, "hang")
        async with asyncio.timeout(20):
            while not is_gone(first):  # noqa: ASYNC110 - another process ends
                await asyncio.sleep(0.1)
        assert await pid_of(backend) != first


async def test_cancel_is_prompt_and_leaves_the_server() -> None:
    async with running(table("slow", "pid")) as (backend, _):
        first = await pid_of(backend)
        work = asyncio.create_task(call(backend, "slow", seconds=30))
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert time.monotonic() - begun < 1
        assert await pid_of(backend) == first


async def test_calls_run_side_by_side() -> None:
    async with running(table("slow")) as (backend, _):
        begun = time.monotonic()
        await asyncio.gather(*(call(backend, "slow", seconds=0.5) for _ in range(10)))
        assert time.monotonic() - begun < 3


@pytest.mark.parametrize("arguments", [(), ("stubborn",)])
async def test_no_process_outlives_stop(arguments: tuple[str, ...]) -> None:
    async with running(table("pid", "slow", arguments=arguments)) as (backend, _):
        pid = await pid_of(backend)
        work = asyncio.create_task(call(backend, "slow", seconds=30))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(15):
            await backend.stop()
        assert is_gone(pid)
        with pytest.raises(IntertieError, match="BACKEND_UNAVAILABLE"):
            await work
        with pytest.raises(IntertieError, match=r"BACKEND_UNAVAILABLE.*stopped"):
            await call(backend, "pid")
        await backend.stop()


async def test_a_server_that_never_shakes_hands() -> None:
    begun = time.monotonic()
    with pytest.raises(IntertieError, match=r"BACKEND_UNAVAILABLE.*no handshake within 1 s"):
        async with running(table("pid", arguments=("mute",), start_timeout_ms=1_000)):
            pass
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (table("add", "nothing"), "no tool 'nothing'; it has: add, "),
        (table(tools={"add": McpTool(offer="x", bound={"c": 1})}), "no argument c to bind"),
        (McpTable(command=["/no/such/program"], tools={"a": McpTool(offer="a")}), "does not start"),
        (McpTable(command=["false"], tools={"a": McpTool(offer="a")}), "does not start"),
    ],
)
async def test_what_cannot_be_offered(config: McpTable, why: str) -> None:
    with pytest.raises(IntertieError, match=f"BACKEND_UNAVAILABLE.*{why}"):
        async with running(config):
            pass


async def test_the_servers_words_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "intertie_node"):
        async with running(table("pid")) as (backend, _):
            await pid_of(backend)
    assert "MCP server small: small server speaks to its log" in caplog.text


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "a.txt").write_text("hello\n")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "first words")):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    return folder


async def test_git_server(repository: Path) -> None:
    pytest.importorskip("mcp_server_git")
    bound = {"repo_path": str(repository)}
    tools = {
        name: McpTool(offer=f"git/{name[4:]}", bound=bound)
        for name in ("git_log", "git_show", "git_status", "git_diff")
    }
    config = McpTable(command=["mcp-server-git", "--repository", str(repository)], tools=tools)
    async with running(config) as (backend, specs):
        assert set(specs) == {"git/log", "git/show", "git/status", "git/diff"}
        for spec in specs.values():
            assert "repo_path" not in told(spec.input_schema)["properties"]
            assert spec.features == ("idempotent",)
        check_input(specs["git/show"].input_schema, b'{"revision": "HEAD"}')
        log = await backend.run("git/log", FakeRun({"max_count": 5}))
        assert "first words" in log.output.decode()
        shown = await backend.run("git/show", FakeRun({"revision": "HEAD"}))
        assert "+hello" in shown.output.decode()
        status = await backend.run("git/status", FakeRun({}))
        assert "clean" in status.output.decode()
        wrong = await backend.run("git/show", FakeRun({"revision": "no-such"}))
        assert wrong.is_error


async def test_time_server() -> None:
    pytest.importorskip("mcp_server_time")
    tools = {"convert_time": McpTool(offer="time/convert"), "get_current_time": McpTool(offer="time/now")}
    async with running(McpTable(command=["mcp-server-time"], tools=tools)) as (backend, specs):
        assert set(specs) == {"time/convert", "time/now"}
        question = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        result = await backend.run("time/convert", FakeRun(question))
        assert "21:00" in result.output.decode()


async def test_a_start_that_is_given_up_leaves_no_process() -> None:
    others = children_of_this_process()
    backend = create(table("pid", arguments=("mute",)))
    start = asyncio.create_task(backend.start())
    await asyncio.sleep(0.5)
    children = [child for child in children_of_this_process() if child not in others]
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await backend.stop()
    assert children
    for _ in range(100):
        if all(is_gone(child) for child in children):
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{children} outlive the start that was given up")
