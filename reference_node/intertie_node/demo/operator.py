"""What the three operators type: `intertie init`, `peer`, `token`, `ledger export`, `ledger verify`.

Each is a process of its own, as on an operator's terminal; with `--json` it answers with one object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from intertie.errors import IntertieError
from intertie_node.demo.grids import Grid
from intertie_node.demo.processes import INTERTIE

TIMEOUT_S: Final = 60.0


class Ran(Struct, frozen=True):
    """A command that has ended."""

    status: int
    out: bytes
    err: str

    def json(self) -> Any:
        """The object that it printed. Raises: IntertieError INTERNAL if it is none."""
        try:
            return msgspec.json.decode(self.out)
        except msgspec.DecodeError:
            raise IntertieError("INTERNAL", f"The command printed no JSON: {self.err or self.out!r}") from None


async def run(*arguments: str, command: Sequence[str] = INTERTIE) -> Ran:
    """Run `intertie` with these arguments. Raises: IntertieError DEADLINE_EXCEEDED."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError:
        message = f"intertie {' '.join(arguments[:2])} took longer than {TIMEOUT_S:g} s."
        raise IntertieError("DEADLINE_EXCEEDED", message) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(process.returncode or 0, out, err.decode("utf-8", "replace").strip())


async def _must(*arguments: str) -> Ran:
    ran = await run(*arguments)
    if ran.status:
        said = ran.err or ran.out.decode("utf-8", "replace").strip()
        raise IntertieError("INTERNAL", f"intertie {' '.join(arguments)} ended with status {ran.status}: {said}")
    return ran


async def initialise(grid: Grid) -> str:
    """Make keys, certificate and a first configuration; returns the grid's fingerprint."""
    made = await _must("init", str(grid.folder), "--grid", grid.name, "--json")
    return str(made.json()["fingerprint"])


async def peer(proposer: Grid, acceptor: Grid, fingerprints: Mapping[str, str]) -> None:
    """One operator proposes a peering, the other accepts it; each gives the other's fingerprint."""
    theirs = ("--fingerprint", fingerprints[acceptor.name], "--dir", str(proposer.folder), "--json")
    await _must("peer", "propose", acceptor.public, *theirs)
    ours = ("--fingerprint", fingerprints[proposer.name], "--dir", str(acceptor.folder), "--json")
    await _must("peer", "accept", proposer.name, *ours)


async def make_token(grid: Grid, account: str, budget: int) -> str:
    """Make a consumer's token with a budget in minor units."""
    options = ("--budget", str(budget), "--dir", str(grid.folder), "--json")
    return str((await _must("token", "create", account, *options)).json()["token"])


async def export(grid: Grid, other: Grid, out: Path) -> None:
    """Export both logs of the link with another grid, as `grid` has them."""
    await _must("ledger", "export", other.name, "--out", str(out), "--dir", str(grid.folder), "--json")


async def verify(file: Path) -> Ran:
    """Verify an exported link in a process that is given nothing but the file."""
    return await run("ledger", "verify", str(file), "--json")
