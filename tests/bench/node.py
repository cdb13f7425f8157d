"""One node in a process of its own, as `intertie serve` runs it, with a line of JSON for each question of the bench.

    python node.py FOLDER      FOLDER holds node.toml and keys/

Says `{"ready": true, …}` once it serves, then answers the commands of `Desk` from standard input; ends with it.
"""

import asyncio
import cProfile
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from intertie.errors import IntertieError
from intertie_node import config
from intertie_node.app import Node
from intertie_node.core.ledger import ME, THEM, Lane
from intertie_node.core.peering import PeeringAct
from intertie_node.services import interpreter
from intertie_node.services.peerings import Offered

PLENTY = 10**15
POLL_S = 0.02
PATIENCE_S = 15.0


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - the node has no event for it
            await asyncio.sleep(POLL_S)


class Desk:
    """Commands: {"do": name of a method, …its arguments} → its result."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._profile: cProfile.Profile | None = None

    async def propose(self, address: str) -> dict[str, Any]:
        """Propose a peering with ample limits to the grid at a public address."""
        offered = Offered(
            asset="XTS", scale=6, our_credit_limit=PLENTY, their_credit_limit=PLENTY, our_max_unagreed=PLENTY,
            their_max_unagreed=PLENTY, claim_window_ms=60_000, max_skew_ms=2_000, max_open_holds=4_096,
            max_hold_ms=86_400_000,
        )  # fmt: skip
        proposal = await self._node.peerings.offer_peering(address, None, offered)
        return {"digest": proposal.digest.hex()}

    async def accept(self, digest: str) -> dict[str, Any]:
        """Accept a proposal once it has come."""
        wanted, peerings = bytes.fromhex(digest), self._node.peerings
        await _until(lambda: wanted in peerings.proposals)
        await peerings.decide(wanted, PeeringAct.ACCEPT)
        return {}

    async def await_offer(self, ref: str) -> dict[str, Any]:
        """Wait until an offer is in the catalog."""
        await _until(lambda: self._knows(ref))
        return {}

    def _knows(self, ref: str) -> bool:
        try:
            self._node.world.catalog.find(ref)
        except IntertieError:
            return False
        return True

    async def token(self, account: str) -> dict[str, Any]:
        """A new consumer with an ample budget."""
        return {"token": await self._node.create_token(account, PLENTY)}

    async def numbers(self) -> dict[str, Any]:
        """Commits and steps since the start, what consumers have spent, and the lanes of every link."""
        world, engine = self._node.world, self._node.engine
        return {
            "commits": engine.commits,
            "steps": engine.steps,
            "spent": sum(a.spent for a in world.books.accounts.values()),
            "reserved": sum(a.reserved for a in world.books.accounts.values()),
            "links": {
                link.peer.grid: {"owes": _lane(link.ledger.lanes[ME]), "owed": _lane(link.ledger.lanes[THEM])}
                for link in world.links.values()
            },
        }

    async def profile(self, path: str) -> dict[str, Any]:
        """Start to profile the processor time of the event loop's thread, or stop and write a file for pstats."""
        if self._profile is None:
            self._profile = cProfile.Profile(time.thread_time)
            self._profile.enable()
        else:
            self._profile.disable()
            self._profile.dump_stats(path)
            self._profile = None
        return {}


def _lane(lane: Lane) -> dict[str, int]:
    return {"posted": lane.posted, "agreed": lane.agreed, "pending": lane.pending, "open": lane.open}


async def _answer(desk: Desk, reader: asyncio.StreamReader) -> None:
    while line := await reader.readline():
        command = json.loads(line)
        act: Callable[..., Awaitable[dict[str, Any]]] = getattr(desk, command.pop("do"))
        try:
            answer = await act(**command)
        except (IntertieError, TimeoutError) as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


async def serve(folder: Path) -> None:
    """Serve until standard input is closed. Raises: what stopped the node."""
    node = Node(config.load(folder / "node.toml"), folder)
    await node.start()
    interpreter.settled()
    try:
        print(json.dumps({"ready": True, "ports": node.ports}), flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        tasks = {asyncio.create_task(_answer(Desk(node), reader)), asyncio.create_task(node.wait())}
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        for task in done:
            task.result()
    finally:
        await node.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    interpreter.tune()
    uvloop.run(serve(Path(sys.argv[1])))
