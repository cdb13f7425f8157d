"""Three grids in processes of their own, north, hub and south; hub relays. Started, killed, restarted, asked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.federation import node_main
from tests.federation.backends import JOURNAL
from tests.federation.traffic import Caller

from intertie.client import Client
from intertie_node.adapters.grpc.tls import make_certificate
from intertie_node.app import DATABASE
from intertie_node.services import identity

T = TypeVar("T")
NODES: Final = ("north", "hub", "south")
PATIENCE_S: Final = 25.0
"""How long anything may take before a test gives up on it."""
BUDGET: Final = 10**12
CRASHED: Final = 86
"""Exit status at a planted crash point."""

_COMMON: Final = """\
[grid]
name = "{name}.example"

[listen]
public = "127.0.0.1:{ports[0]}"
peer = "127.0.0.1:{ports[1]}"
loopback = "127.0.0.1:{ports[2]}"

[relay]
allow = {relay}
markup = "{markup}/10"
fee = 3
tolerated_outage_ms = 100

[peering]
max_skew_ms = 1000

[[backend]]
type = "conformance"
"""
_OFFER: Final = """
[[backend]]
type = "python"
offer = "{offer}"
target = "{file}:{function}"
features = {features}
prices = {{ {prices} }}
"""
_PRICES: Final = 'order = 10, "order.failed" = 2, "order.canceled" = 5'
_OFFERS: Final[tuple[tuple[str, str, list[str], str], ...]] = (
    ("once", "once", ["idempotent", "cancelable"], _PRICES),
    ("plain", "plain", ["cancelable"], _PRICES),
    ("stream", "stream", ["streaming"], _PRICES + ', "text.output.byte" = "3/2"'),
    ("metered", "metered", ["idempotent"], _PRICES + ', "sim.step" = 1'),
    ("broken", "broken", [], _PRICES),
    ("spoilt-by-hub", "plain", [], _PRICES),
    ("spoilt-by-south", "plain", [], _PRICES),
)
PLANTS: Final = {"hub": ["spoil:spoilt-by-hub"], "south": ["spoil:spoilt-by-south"], "north": []}
"""What hub and south are dishonest about, and nothing else."""


def context() -> ForkServerContext:
    """Where nodes are forked from: a process that has imported everything and started nothing."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.federation.node_main", "intertie_node.adapters.backends.conformance"])
    return found


async def until(what: str, test: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE_S) -> T:
    """Return the first true value of `test`. Raises: TimeoutError naming `what`."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError):
            if value := await test():
                return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.03)


class NodeProcess:
    """One grid's node."""

    def __init__(self, folder: Path, name: str, ports: Sequence[int], journal: Path) -> None:
        self.folder = folder
        self.name = name
        self.ports = ports
        self.markup = 11
        self.plants: list[str] = list(PLANTS[name])
        self.starts = 0
        self.crash = ""
        """Crash point of the last start."""
        self._journal = journal
        self._process: ForkServerProcess | None = None
        folder.mkdir(parents=True)
        identity.create(folder / "keys", f"{name}.example", make_certificate)
        self.configure()

    def configure(self) -> None:
        """Write the configuration; takes effect with the next start."""
        relay = str(self.name == "hub").lower()
        text = _COMMON.format(name=self.name, ports=self.ports, relay=relay, markup=self.markup)
        file = Path(__file__).with_name("backends.py")
        for offer, function, features, prices in _OFFERS:
            text += _OFFER.format(
                offer=offer, file=file, function=function, features=json.dumps(features), prices=prices
            )
        (self.folder / node_main.CONFIG).write_text(text)

    @property
    def database(self) -> Path:
        """The node's database."""
        return self.folder / DATABASE

    @property
    def code(self) -> int | None:
        """How the process ended; None while it runs."""
        return self._process.exitcode if self._process else None

    def start(self, crash: str = "") -> None:
        """Start the process, with a crash point "point:kind:count" or none."""
        assert self._process is None or self.code is not None, f"{self.name} runs"
        (self.folder / node_main.SOCKET).unlink(missing_ok=True)
        environment = {"INTERTIE_TEST_BUILD": "1", "INTERTIE_CRASH": crash, JOURNAL: str(self._journal)}
        arguments = (str(self.folder), environment, self.plants)
        self._process = context().Process(target=node_main.run, args=arguments, daemon=True)
        self._process.start()
        self.crash = crash
        self.starts += 1

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Ask the node. Raises: OSError if it does not answer, RuntimeError if it refuses."""
        reader, writer = await asyncio.open_unix_connection(self.folder / node_main.SOCKET)
        try:
            writer.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            answer = json.loads(await asyncio.wait_for(reader.readline(), PATIENCE_S) or b"x")
        finally:
            writer.close()
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {do}: {answer['error']}")
        return answer["ok"]

    async def ready(self) -> None:
        """Wait until the node answers. Raises: TimeoutError, AssertionError if it has ended by itself."""

        async def answers() -> bool:
            self.check()
            return self.code == CRASHED or await self.ask("status")

        await until(f"{self.name} answers", answers)

    async def crashed(self, seconds: float = PATIENCE_S) -> None:
        """Wait until the process has ended at its crash point. Raises: TimeoutError, AssertionError."""

        async def ended() -> bool:
            self.check()
            return self.code == CRASHED

        await until(f"{self.name} reaches its crash point {self.crash}", ended, seconds)

    def kill(self) -> None:
        """End the process without warning."""
        if self._process is not None and self.code is None:
            assert self._process.pid
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.join(PATIENCE_S)
        assert self._process is None or self.code is not None

    def check(self) -> None:
        """Raises: AssertionError if the node has stopped by itself."""
        assert self.code in (None, CRASHED, -signal.SIGKILL), self.tail(f"{self.name} ended with {self.code}")

    def tail(self, message: str) -> str:
        """The message with the end of the node's log."""
        lines = (self.folder / node_main.LOG).read_text("utf-8", "replace").splitlines()
        return "\n".join([message, *lines[-40:]])


class Trio:
    """North, hub and south, peered in a row; a consumer at north."""

    def __init__(self) -> None:
        # A short path: the nodes' sockets are within.
        self.folder = Path(tempfile.mkdtemp(prefix="tie-"))
        self.journal = self.folder / "journal"
        ports = _free_ports(9)
        self.nodes = {
            name: NodeProcess(self.folder / name, name, ports[3 * index : 3 * index + 3], self.journal)
            for index, name in enumerate(NODES)
        }
        self.north, self.hub, self.south = (self.nodes[name] for name in NODES)
        self.token = ""
        self.calls: dict[str, str] = {}
        """Id of every call that was made → its offer; its outcome's state once the consumer has seen it."""

    async def start(self, crash: str = "") -> None:
        """Start and peer all three; with a crash point, each ends there once and is started again."""
        for node in self.nodes.values():
            node.start(crash)
        for node in self.nodes.values():
            await node.ready()
        self.token = await self.north.ask("token", account="alice", budget=BUDGET)
        await self._peer(self.north, self.hub, 2600)
        await self._peer(self.hub, self.south, 1000)
        if crash:
            for node in self.nodes.values():
                await node.crashed()
                node.start()
        await self.connected()

    @staticmethod
    async def _peer(one: NodeProcess, other: NodeProcess, claim_window_ms: int) -> None:
        terms = {
            "asset": "XTS",
            "scale": 6,
            "our_credit_limit": 10**12,
            "their_credit_limit": 10**12,
            "our_max_unagreed": 10**12,
            "their_max_unagreed": 10**12,
            "claim_window_ms": claim_window_ms,
            "max_skew_ms": 1000,
            "max_open_holds": 4096,
            "max_hold_ms": 86_400_000,
        }
        digest = await one.ask("propose", address=f"127.0.0.1:{other.ports[0]}", terms=terms)
        await asyncio.wait_for(other.ask("accept", digest=digest), PATIENCE_S)

    async def connected(self) -> None:
        """Wait until all links are open and north knows what south offers."""

        async def ready() -> bool:
            for node in self.nodes.values():
                node.check()
            said = await asyncio.gather(*(node.ask("status") for node in self.nodes.values()))
            phases = [phase for status in said for phase in status["links"].values()]
            known = {"south.example/once", "hub.example/once"} <= set(said[0]["offers"])
            return phases == ["open"] * 4 and known

        for node in self.nodes.values():
            await node.ready()
        try:
            await until("all links are open", ready)
        except TimeoutError as error:
            said = [await node.ask("status") for node in self.nodes.values()]
            raise AssertionError("\n".join([str(error), *map(str, said), logs_of(self.nodes.values())])) from None

    def client(self) -> Caller:
        """A consumer of north."""
        return Caller(Client(f"127.0.0.1:{self.north.ports[2]}", self.token, insecure=True))

    def kill(self) -> None:
        """End all processes."""
        for node in self.nodes.values():
            node.kill()

    def remove(self) -> None:
        """End all processes and remove their folders."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def logs_of(nodes: Iterable[NodeProcess]) -> str:
    """The ends of all logs, for a failure's message."""
    return "\n".join(node.tail(f"== {node.name}") for node in nodes)


_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw"))
_candidates: Final = itertools.count(10_000 + _WORKER % 10 * 2_000 + os.getpid() % 16 * 120)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, that no other trio is given, and that the system gives out to nobody."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            candidate = next(_candidates)
            made = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                made.bind(("127.0.0.1", candidate))
                found.append(candidate)
        return found
