"""Two peered grids for the bench: north.example, which the consumers use, and south.example, which does the work."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from children import Child, ChildError, memory_mb

from intertie_node.adapters.grpc.tls import make_certificate, to_pem
from intertie_node.services import identity

NORTH: Final = "north.example"
SOUTH: Final = "south.example"
IDLE: Final = "idle.example"
ECHO: Final = "conformance/echo"
RESTARTS: Final = 3
SETTLE_S: Final = 15.0
"""How long both sides may take to agree once nothing runs any more."""

CONFIGURATION: Final = """\
[grid]
name = "{name}"
[listen]
public = "127.0.0.1:{public}"
peer = "127.0.0.1:{peer}"
"""
BACKEND: Final = """\
[[backend]]
type = "conformance"
"""


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class GridProcess(Child):
    """A node with its folder."""

    def __init__(self, folder: Path, name: str, backend: str) -> None:
        super().__init__("node.py", str(folder), errors=folder / "errors.txt")
        self.folder = folder
        self.name = name
        folder.mkdir()
        made = identity.create(folder / "keys", name, make_certificate)
        self.certificate = folder / "certificate.pem"
        self.certificate.write_bytes(to_pem([made.certificate]))
        public, peer = free_port(), free_port()
        self.target = f"127.0.0.1:{public}"
        (folder / "node.toml").write_text(CONFIGURATION.format(name=name, public=public, peer=peer) + backend)


class Grids:
    """Both nodes, running."""

    def __init__(self, north: GridProcess, south: GridProcess) -> None:
        self.north = north
        self.south = south
        self.token = ""

    @property
    def nodes(self) -> dict[str, GridProcess]:
        """By the first label of the name."""
        return {"north": self.north, "south": self.south}

    async def connect(self) -> None:
        """Peer both, and make a consumer. Raises: ChildError."""
        proposal = await self.north.ask("propose", address=self.south.target)
        await self.south.ask("accept", digest=proposal["digest"])
        await self.north.ask("await_offer", ref=f"{SOUTH}/{ECHO}")
        self.token = (await self.north.ask("token", account="bench"))["token"]

    async def commits(self) -> dict[str, int]:
        """Transactions since the start, by node."""
        return {name: (await node.ask("numbers"))["commits"] for name, node in self.nodes.items()}

    async def check_accounts(self, charged: int, charged_over_link: int) -> None:
        """Both sides must come to agree on the sum of the receipts. Raises: ChildError."""
        wanted = {"posted": charged_over_link, "agreed": charged_over_link, "pending": 0, "open": 0}
        deadline = time.monotonic() + SETTLE_S
        while True:
            north, south = await self.north.ask("numbers"), await self.south.ask("numbers")
            found = {
                "north owes": north["links"][SOUTH]["owes"],
                "south is owed": south["links"][NORTH]["owed"],
                "spent, reserved": (north["spent"], north["reserved"]),
            }
            if found == {"north owes": wanted, "south is owed": wanted, "spent, reserved": (charged, 0)}:
                return
            if time.monotonic() > deadline:
                raise ChildError(f"receipts say {charged}, {charged_over_link} of it over the link; found {found}")
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def two_grids(folder: Path) -> AsyncIterator[Grids]:
    """Two nodes, peered. Raises: ChildError."""
    north, south = (GridProcess(folder / name, name, BACKEND) for name in (NORTH, SOUTH))
    async with north, south:
        grids = Grids(north, south)
        await grids.connect()
        yield grids


async def idle_figures(folder: Path) -> dict[str, Any]:
    """Start to serving in seconds (new folder, then restarts) and memory of a node without backends."""
    node = GridProcess(folder / IDLE, IDLE, "")
    starts, memory = [], 0.0
    for _ in range(1 + RESTARTS):
        began = time.perf_counter()
        await node.start()
        starts.append(time.perf_counter() - began)
        try:
            await asyncio.sleep(0.3)
            memory = memory_mb(node.pid)
        finally:
            await node.stop()
    return {"first_start_s": starts[0], "start_s": statistics.median(starts[1:]), "idle_mb": memory}
