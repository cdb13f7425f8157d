"""No trace reaches who types: bad JSON, closed and full streams, Ctrl-C, and questions that get no answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import pytest
import pytest_asyncio
from msgspec import Struct
from tests.federation.grids import INTERTIE, GridProcess, Ran, clean_environment, run, serving, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASK, DELAY, ECHO = ("conformance/ask", "conformance/delay", "conformance/echo")
MAX = ("--max-charge", "1000")


class Alone(Struct):
    """A grid without peers; alice buys its own offers."""

    grid: GridProcess
    token: str

    @property
    def env(self) -> dict[str, str]:
        return {"INTERTIE_DIR": str(self.grid.folder), "INTERTIE_TOKEN": self.token}

    async def typed(self, *arguments: str, given: bytes | None = None) -> Ran:
        return await run(*arguments, env=self.env, given=given)

    def started(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*INTERTIE, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(**self.env),
        )

    async def state(self, id: str) -> str:
        return str((await self.grid.get(f"/v1/invocations/{id}"))["items"][0]["state"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Alone]:
    async with serving(tmp_path_factory.mktemp("traces"), "alone.example") as grid:
        yield Alone(grid, await grid.token("alice", 1_000_000))
        await grid.stop()


@pytest.mark.parametrize("given", [b"\xff", b'"\xff"', b"[" * 5_000 + b"]" * 5_000, b""])
async def test_what_is_no_json_is_wrong_usage(alone: Alone, given: bytes) -> None:
    ran = await alone.typed("call", ECHO, *MAX, "--input", "-", given=given)
    assert (ran.status, "--input" in ran.err, "Traceback" in ran.err) == (2, True, False)


async def test_a_bad_reply_is_not_blamed_on_the_input(alone: Alone) -> None:
    ran = await alone.typed("call", ASK, *MAX, "--reply", "text")
    assert (ran.status, "--reply" in ran.err, "--input" in ran.err) == (2, True, False)


async def test_text_that_is_not_utf8_is_named(alone: Alone) -> None:
    ran = await alone.typed("call", os.fsdecode(b"\xff"), *MAX)
    assert (ran.status, ran.err.split(":")[1]) == (1, " INVALID_ARGUMENT")
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    ["offers list", "peer list", "token list", "invocations list", "ledger balance", f"call {ECHO} --max-charge 100"],
)
async def test_a_closed_or_full_output_prints_no_trace(alone: Alone, arguments: str) -> None:
    for redirected, status in ((">&-", 0), (">/dev/full", 1), ("2>&- >&- <&-", 0)):
        shell = ("/bin/sh", "-c", f'exec "$@" {redirected}', "sh", *INTERTIE)
        ran = await run(*arguments.split(), env=alone.env, command=shell)
        assert (ran.status, "Traceback" in ran.err) == (status, False), (redirected, ran)
        assert status == 0 or "No space left" in ran.err


@pytest.mark.parametrize("seconds", [0.06, 0.1, 0.15, 0.25, 0.4])
async def test_ctrl_c_prints_no_trace(alone: Alone, seconds: float) -> None:
    code = "import os, signal, threading; threading.Timer({}, os.kill, (os.getpid(), signal.SIGINT)).start()\n{}"
    program = code.format(seconds, "from intertie_node.cli import main; main()")
    arguments = ("call", DELAY, *MAX, "--input", '{"ms": 5000}')
    ran = await run(*arguments, env=alone.env, command=(sys.executable, "-c", program))
    assert (ran.status, "Traceback" in ran.err) == (130, False), ran


async def test_ctrl_c_in_a_call_stops_the_work(alone: Alone) -> None:
    calling = alone.started("call", DELAY, *MAX, "--input", '{"ms": 60000}')

    async def working() -> list[str]:
        page = await alone.grid.get("/v1/invocations", states="WORKING")
        return [each["id"] for each in page["items"]]

    found = await until(working, "work")
    calling.send_signal(signal.SIGINT)
    _, err = await asyncio.to_thread(calling.communicate, timeout=20)
    assert (calling.returncode, found[0] in err, "asked to stop" in err) == (130, True, True)
    assert await alone.state(found[0]) == "CANCELED"


async def test_work_whose_question_is_not_answered_is_stopped(alone: Alone) -> None:
    ran = await alone.typed("call", ASK, *MAX, "--stream", "--json")
    assert (ran.status, ran.problem()["reason"]) == (1, "INPUT_INVALID")
    assert await alone.state(ran.problem()["metadata"]["id"]) == "CANCELED"


async def test_a_call_that_cannot_answer_says_what_was_asked(alone: Alone) -> None:
    ran = await alone.typed("call", ASK, *MAX, "--timeout", "1", "--json")
    assert (ran.status, ran.problem()["reason"]) == (1, "DEADLINE_EXCEEDED")
    assert "--reply" in ran.problem()["message"]
    assert "input, please" in ran.problem()["message"]


@pytest.mark.parametrize(
    ("keys", "status", "said"),
    [(b'not json\n\n{"a":1}\n', 0, '{"a":1}'), (b"\x04", 1, "none was typed"), (b"\x03", 130, "asked to stop")],
)
async def test_a_terminal_is_asked_until_it_answers(alone: Alone, keys: bytes, status: int, said: str) -> None:
    ours, theirs = pty.openpty()
    with contextlib.ExitStack() as closing:
        closing.callback(os.close, ours)
        asking = alone.started("call", ASK, *MAX, "--stream", stdin=theirs)
        closing.callback(os.close, theirs)
        err = await asyncio.to_thread(_until_asked, asking.stderr)
        asking.send_signal(signal.SIGINT) if keys == b"\x03" else os.write(ours, keys)
        out, more = await asyncio.to_thread(asking.communicate, timeout=20)
    assert asking.returncode == status, err + more
    assert said in out + more
    assert "Traceback" not in more
    assert more.count("not JSON") == (2 if status == 0 else 0)


def _until_asked(stream: IO[str] | None) -> str:
    assert stream is not None
    seen, end = "", time.monotonic() + 20
    while not seen.endswith("(JSON): ") and time.monotonic() < end:
        seen += stream.read(1)
    return seen


async def test_a_missing_module_is_named(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['typer'] = None; from intertie_node.cli import main; main()"
    ran = await run("status", command=(sys.executable, "-c", blocked))
    assert (ran.status, "pip install" in ran.err) == (1, True)
