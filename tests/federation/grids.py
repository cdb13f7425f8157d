"""Real grids for tests: `intertie` processes in directories of their own, started, driven and ended by process id.

    async with serving(tmp_path, "north.example") as north, serving(tmp_path, "south.example") as south:
        await peer_up(north, south)
        token = await north.token("alice", 1_000_000)
        async with north.client(token) as client: ...
        await north.must("ledger", "balance")

Every wait has an end. A grid that a test leaves running is killed by its own process id.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from msgspec import Struct
from typer.testing import CliRunner

from intertie.client import Client
from intertie_node.cli.commands import app
from intertie_node.cli.failing import report
from intertie_node.cli.node_client import NodeClient

T = TypeVar("T")
INTERTIE: Final = (sys.executable, "-m", "intertie_node.cli")
READY_S: Final = 40.0
STOP_S: Final = 20.0
COMMAND_S: Final = 40.0
POLL_S: Final = 0.05
AT_ONCE: Final = 2
_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]] = WeakKeyDictionary()
"""Of each event loop, who may run a command: a semaphore that has made somebody wait serves no other loop."""
FAST: Final[Mapping[str, Any]] = {"peering.max_skew_ms": 1000, "relay.tolerated_outage_ms": 1000}
"""Settings that tests of time need shorter than their defaults."""


class Ran(Struct, frozen=True):
    """A command that has ended."""

    arguments: tuple[str, ...]
    status: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    def problem(self) -> Any:
        """The named error that it printed on stderr (with --json): {reason, message, metadata}."""
        return json.loads(self.err.strip().splitlines()[-1])


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what would steer `intertie`."""
    return {key: value for key, value in os.environ.items() if not key.startswith("INTERTIE_")} | more


async def run(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    given: bytes | None = None,
    seconds: float = COMMAND_S,
    command: tuple[str, ...] = INTERTIE,
) -> Ran:
    """Run `intertie` with these arguments, `given` as its standard input; two at a time.

    Raises: TimeoutError after so many seconds; it is then killed.
    """
    async with _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)):
        return await _run((*command, *arguments), env or {}, given, seconds)


async def _run(arguments: tuple[str, ...], env: Mapping[str, str], given: bytes | None, seconds: float) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE if given is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(**env),
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(arguments, process.returncode, out.decode(), err.decode())


def typed(*arguments: str, env: Mapping[str, str] | None = None) -> Ran:
    """Run a command in this process, which is faster; only for commands that do not use an event loop of their own."""
    hidden: dict[str, str | None] = {key: None for key in os.environ if key.startswith("INTERTIE_")}
    result = CliRunner().invoke(app, arguments, env={**hidden, **(env or {})}, standalone_mode=False)
    status, err = result.exit_code or result.return_value or 0, result.stderr  # as `intertie_node.cli` runs it
    if isinstance(result.exception, Exception):
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = report(result.exception, as_json="--json" in arguments)
        err += said.getvalue()
    return Ran(arguments, status, result.stdout, err)


async def until(look: Callable[[], T | Awaitable[T]], what: str, seconds: float = 20.0) -> T:
    """Wait until `look` finds something true and return it. Raises: AssertionError naming `what`."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        found = look()
        value: T = await found if isinstance(found, Awaitable) else found
        if value:
            return value
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"{what}: not within {seconds:g} s, last seen {value!r}")
        await asyncio.sleep(POLL_S)


class GridProcess:
    """A grid in a directory of its own, and its node's process while it runs."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.fingerprint = ""
        self.public, self.peer, self.loopback, self.http = (f"127.0.0.1:{port}" for port in free_ports(4))
        self.log = folder.with_name(f"{folder.name}.log")
        """What the node has written to stderr, of all its starts."""
        self.ready: dict[str, Any] = {}
        """The line by which the node said that it serves."""
        self.process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        return f"GridProcess({self.name})"

    # -- configuration ----------------------------------------------------------------------------

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "intertie.toml"

    async def init(self, settings: Mapping[str, Any] | None = None, extra: str = "") -> None:
        """Run `intertie init`, then change settings ("table.key" → value) and append TOML text."""
        addresses = ("--public", self.public, "--peer", self.peer, "--loopback", self.loopback, "--http", self.http)
        made = await run("init", str(self.folder), "--grid", self.name, *addresses, "--json")
        assert made.status == 0, made
        self.fingerprint = made.json()["fingerprint"]
        self.configure({**FAST, **(settings or {})}, extra)

    def configure(self, settings: Mapping[str, Any], extra: str = "") -> None:
        """Change settings that the file has, and append text."""
        lines, table, left = [], "", dict(settings)
        for line in self.config.read_text().splitlines():
            if header := re.match(r"\[([a-z.]+)\]", line):
                table = header[1]
            key = f"{table}.{line.partition('=')[0].strip()}"
            lines.append(f"{key.rpartition('.')[2]} = {json.dumps(left.pop(key))}" if key in left else line)
        assert not left, f"the configuration has no {left}"
        self.config.write_text("\n".join([*lines, extra, ""]))

    # -- process ----------------------------------------------------------------------------------

    async def start(self, *, env: Mapping[str, str] | None = None, seconds: float = READY_S) -> None:
        """Start the node and wait until it serves. Raises: AssertionError with its log if it does not."""
        assert self.process is None or self.process.returncode is not None, f"{self} runs"
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *INTERTIE,
                "serve",
                str(self.folder),
                "--json",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=clean_environment(**(env or {})),
                start_new_session=True,
            )
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = await self.process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            await self.kill()
            raise AssertionError(f"{self} does not serve:\n{self.tail()}")
        self.ready = json.loads(line)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.returncode is None

    @property
    def pid(self) -> int:
        """Process id of the node that was started last."""
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the node."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self, seconds: float = STOP_S) -> int:
        """Wait for the process and return its status. Raises: AssertionError; it is then killed."""
        assert self.process is not None
        try:
            async with asyncio.timeout(seconds):
                return await self.process.wait()
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"{self} does not end:\n{self.tail()}") from None

    async def stop(self, seconds: float = STOP_S) -> None:
        """End the node by SIGTERM; it must end well."""
        if self.running:
            self.signal(signal.SIGTERM)
            status = await self.ended(seconds)
            assert status == 0, f"{self} ended with status {status}:\n{self.tail()}"

    async def kill(self) -> None:
        """End the node without warning."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    async def restart(self, *, killed: bool = False) -> None:
        """End the node, gracefully or not, and start it again."""
        await (self.kill() if killed else self.stop())
        await self.start()

    def tail(self, lines: int = 30) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    # -- commands ---------------------------------------------------------------------------------

    async def cli(
        self, *arguments: str, token: str = "", given: bytes | None = None, seconds: float = COMMAND_S
    ) -> Ran:
        """Run a command for this grid, with --json; with a token as that consumer, else as its operator."""
        env = {"INTERTIE_DIR": str(self.folder), **({"INTERTIE_TOKEN": token} if token else {})}
        return await run(*arguments, "--json", env=env, given=given)

    async def must(
        self, *arguments: str, token: str = "", given: bytes | None = None, seconds: float = COMMAND_S
    ) -> Any:
        """As `cli`, but it must succeed; returns the JSON that it printed."""
        ran = await self.cli(*arguments, token=token, given=given)
        assert ran.status == 0, f"{ran}\n{self.tail()}"
        return ran.json()

    async def token(self, account: str, budget: int) -> str:
        """Make an account; returns its token."""
        made = await self.must("token", "create", account, "--budget", str(budget))
        return str(made["token"])

    def client(self, token: str) -> Client:
        """A client at the loopback port."""
        return Client(self.loopback, token, insecure=True)

    async def call(self, token: str, offer: str, given: Any = None, *options: str, max_charge: int = 100_000) -> Ran:
        """Run `intertie call`."""
        arguments = ("call", offer, "--max-charge", str(max_charge), "--input", json.dumps(given or {}), *options)
        return await self.cli(*arguments, token=token)

    # -- the admin socket, without a process of its own -----------------------------------------------

    async def get(self, path: str, **query: Any) -> Any:
        """What the operator API answers. Raises: IntertieError."""
        return await asyncio.to_thread(NodeClient(self.folder).get, path, Any, **query)

    async def status(self) -> dict[str, Any]:
        """How the node is, as `intertie status` shows it."""
        return dict(await self.get("/v1/status"))

    async def link_with(self, other: GridProcess) -> dict[str, Any]:
        """The peering with another grid as `intertie peer list` shows it; {} if there is none."""
        page = await self.get("/v1/peerings", limit=500)
        return next((peering for peering in page["items"] if peering["grid"] == other.name), {})

    async def balances(self) -> dict[str, int]:
        """Debits less credits by kind of account ("payable", "sales", …) in its one asset; they must be balanced."""
        (trial,) = (await self.get("/v1/balances"))["items"]
        sums = [sum(int(each[side]) for each in trial["accounts"]) for side in ("debits", "credits")]
        assert trial["balanced"] is True
        assert sums == [int(trial["debits"]), int(trial["credits"])]
        assert sums[0] == sums[1]
        found: dict[str, int] = {}
        for each in trial["accounts"]:
            kind = each["account"].partition("/")[0]
            found[kind] = found.get(kind, 0) + int(each["debits"]) - int(each["credits"])
        return found

    async def offers(self) -> dict[str, Any]:
        """The catalog by reference; at most 100 offers."""
        page = await self.get("/v1/offers", limit=100)
        return {offer["ref"]: offer for offer in page["items"]}


@contextlib.asynccontextmanager
async def serving(
    folder: Path, name: str, settings: Mapping[str, Any] | None = None, extra: str = ""
) -> AsyncIterator[GridProcess]:
    """A grid in `folder/<first label of name>` whose node serves; it is killed at the end if it still runs."""
    grid = GridProcess(folder / name.partition(".")[0], name)
    await grid.init(settings, extra)
    try:
        await grid.start()
        yield grid
    finally:
        await grid.kill()


async def peer_up(proposer: GridProcess, acceptor: GridProcess) -> str:
    """Peer two serving grids; returns the genesis once the link is open and each knows the other's offers."""
    await proposer.must("peer", "propose", acceptor.public, "--fingerprint", acceptor.fingerprint)

    async def proposed() -> bool:
        found = await acceptor.get("/v1/proposals", limit=500)
        return any(proposal["grid"] == proposer.name for proposal in found["items"])

    await until(proposed, f"the proposal of {proposer} at {acceptor}")
    await acceptor.must("peer", "accept", proposer.name, "--fingerprint", proposer.fingerprint)
    for one, other in ((proposer, acceptor), (acceptor, proposer)):
        await up(one, other)
    return str((await proposer.link_with(acceptor))["genesis"])


async def up(one: GridProcess, other: GridProcess) -> None:
    """Wait until `one` has an open link with `other` and knows the way to its offers."""

    async def is_open() -> bool:
        return (await one.link_with(other)).get("link") == "open"

    async def knows() -> bool:
        return any(ref.startswith(f"{other.name}/") and offer["prices"] for ref, offer in (await one.offers()).items())

    await until(is_open, f"the link of {one} with {other}")
    await until(knows, f"the offers of {other} at {one}")
