"""The play: build three grids, let the agent work, export both links, have the files verified, judge."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from intertie.client import Client
from intertie.errors import IntertieError
from intertie_node.demo import grids, library, operator, repository
from intertie_node.demo.agent import Agent, Audience, Work
from intertie_node.demo.exports import Export, Line, Names, read_log, read_report
from intertie_node.demo.grids import HUB, NORTH, PEERINGS, SOUTH, Grid
from intertie_node.demo.processes import Processes
from intertie_node.demo.tampering import Tampered, tamper
from intertie_node.demo.verdict import LINKS, Books, Check, judge

BUDGET: Final = 250_000
"""Minor units: a quarter of one XTS."""
ACCOUNT: Final = "agent"
CATALOG_S: Final = 20.0
SETTLING_S: Final = 10.0
PROGRAMS: Final = ("git", "mcp-server-git", "mcp-server-time")


class Performance(Struct):
    """Everything that happened."""

    folder: Path
    grids: Mapping[str, Grid]
    fingerprints: Mapping[str, str]
    token: str
    pids: Mapping[str, int]
    work: Work
    books: Books
    logs: Mapping[tuple[str, str], list[Line]]
    """Link → both logs, as hub exported them."""
    checks: list[Check]
    tampered: Tampered | None
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether everything that must hold does."""
        return all(check.ok for check in self.checks)


async def perform(audience: Audience, *, keep: bool = False, tampering: bool = False) -> Performance:
    """Play it all. Nothing is left behind, unless `keep`: then grids and folder stay.

    Raises: IntertieError, naming what did not work.
    """
    check_programs()
    folder = Path(tempfile.mkdtemp(prefix="intertie-demo-"))
    try:
        async with Processes() as processes:
            performance = await _Play(audience, folder, processes).run(tampering)
            processes.keep = keep
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return performance


def check_programs() -> None:
    """Raises: IntertieError BACKEND_UNAVAILABLE naming what must be installed first."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), os.path.dirname(sys.executable)))
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if importlib.util.find_spec("mcp") is None:
        missing.append("mcp")
    if missing:
        names = ", ".join(missing)
        raise IntertieError(
            "BACKEND_UNAVAILABLE", f"The demo needs {names}: pip install 'intertie[node,mcp,demo]', and git."
        )


class _Play:
    def __init__(self, audience: Audience, folder: Path, processes: Processes) -> None:
        self._audience = audience
        self._folder = folder
        self._processes = processes
        self._grids = grids.lay_out(folder)
        self._fingerprints: dict[str, str] = {}

    async def run(self, tampering: bool) -> Performance:
        started = time.monotonic()
        await self._build()
        token = await operator.make_token(self._grids[NORTH], ACCOUNT, BUDGET)
        async with Client(self._grids[NORTH].loopback, token, insecure=True) as client:
            offers = await self._catalog(client)
            work = await Agent(client, self._audience, self._break_hub).run()
        books = await self._settle()
        names = Names({bytes.fromhex(value): grid for grid, value in self._fingerprints.items()}, offers)
        logs = {link: read_log(self._hubs(books, link), names) for link in LINKS}
        tampered = None
        if tampering:
            books, tampered = await self._tamper(books)
        self._processes.check(list(self._grids.values()))
        return Performance(
            folder=self._folder,
            grids=self._grids,
            fingerprints=self._fingerprints,
            token=token,
            pids={name: self._processes.pid(grid) for name, grid in self._grids.items()},
            work=work,
            books=books,
            logs=logs,
            checks=judge(books, work),
            tampered=tampered,
            seconds=time.monotonic() - started,
        )

    async def _build(self) -> None:
        self._audience.status("making keys and certificates of three grids")
        repo, files = self._folder / "repository", self._folder / "library"
        served, files_served = await asyncio.gather(
            asyncio.to_thread(repository.prepare, repo), asyncio.to_thread(library.prepare, files)
        )
        made = await asyncio.gather(*(operator.initialise(grid) for grid in self._grids.values()))
        self._fingerprints = dict(zip(self._grids, made, strict=True))
        for grid in self._grids.values():
            grids.write_config(grid, repo, files)
        self._audience.status("starting three nodes and peering them")
        for grid in self._grids.values():
            self._processes.start(grid)
        await asyncio.gather(*(self._join(*peering) for peering in PEERINGS))
        self._audience.told(
            "Start three grids",
            "One process each, with its own keys, certificate and database.\n"
            f"{SOUTH} serves {served.origin} through mcp-server-git, the time through mcp-server-time, and a "
            f"library of {len(files_served)} documents about the protocol.",
        )
        terms = " and ".join(f"{a} with {b}" for a, b in PEERINGS)
        self._audience.told("Peer them", f"{terms}, each on terms that both have signed.")

    async def _join(self, proposer: str, acceptor: str) -> None:
        """Wait for two nodes, then let their operators peer them."""
        for name in (proposer, acceptor):
            await self._processes.ready(self._grids[name])
        await operator.peer(self._grids[proposer], self._grids[acceptor], self._fingerprints)

    async def _catalog(self, client: Client) -> dict[bytes, str]:
        """Wait until south's offers can be ordered from north; returns all that north knows, by digest."""
        self._audience.status(f"waiting until {NORTH} has learnt from {HUB} what {SOUTH} offers")
        loop = asyncio.get_running_loop()
        end = loop.time() + CATALOG_S
        while loop.time() < end:
            offers = [offer async for offer in client.search(origin=SOUTH)]
            if offers and all(offer.prices for offer in offers):
                return {offer.digest: offer.ref for offer in offers}
            await asyncio.sleep(0.05)
        raise IntertieError("NO_ROUTE", f"{NORTH} learnt of no offer of {SOUTH} within {CATALOG_S:g} s.")

    async def _break_hub(self) -> str:
        """Kill the grid in the middle, without warning, and start it again on the same data."""
        hub, began = self._grids[HUB], time.monotonic()
        pid = self._processes.kill(hub)
        self._processes.start(hub)
        await self._processes.ready(hub)
        return f"{HUB} (process {pid}) was killed with SIGKILL and served again {time.monotonic() - began:.1f} s later."

    async def _settle(self) -> Books:
        """Export both links from both ends and verify the files, until all that was charged is signed for."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SETTLING_S
        while True:
            self._audience.status("exporting both links from both ends, and verifying the files")
            pairs = [pair for link in LINKS for pair in (link, link[::-1])]
            books = Books(await asyncio.gather(*(self._export(by, other) for by, other in pairs)))
            if books.is_settled or loop.time() > end:
                return books
            await asyncio.sleep(0.3)

    async def _export(self, by: str, other: str) -> Export:
        file = self._folder / f"{by.partition('.')[0]}-{other.partition('.')[0]}.intertie"
        await operator.export(self._grids[by], self._grids[other], file)
        return await _verified(by, other, file)

    async def _tamper(self, books: Books) -> tuple[Books, Tampered]:
        """Change a byte of hub's file on north and have it verified again."""
        self._audience.status("changing one byte of one file")
        victim = self._hubs(books, LINKS[0])
        changed = tamper(victim.file)
        again = await _verified(victim.by, victim.other, victim.file)
        return Books([again if export is victim else export for export in books.exports]), changed

    @staticmethod
    def _hubs(books: Books, link: tuple[str, str]) -> Export:
        return next(export for export in books.of_link(*link) if export.by == HUB)


async def _verified(by: str, other: str, file: Path) -> Export:
    ran = await operator.verify(file)
    return Export(by, other, file, ran.status, read_report(ran))
