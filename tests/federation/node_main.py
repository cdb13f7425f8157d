"""The process of one node in the federation tests: serves until SIGTERM, and answers on a socket of its own.

It is forked from a server that has imported everything and started nothing, so that a hundred restarts take
seconds; what then runs is the node as `intertie serve` runs it.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.federation.plants import plant

from intertie.errors import IntertieError
from intertie_node import config
from intertie_node.app import Node
from intertie_node.core import buying, selling
from intertie_node.core.peering import PeeringAct
from intertie_node.core.world import World
from intertie_node.services.peerings import Offered
from intertie_node.services.waiting import durable

CONFIG, SOCKET, LOG = "intertie.toml", "test.sock", "node.log"
FAILED = 70
"""Exit status of a node that stopped by itself."""


def run(folder: str, environment: Mapping[str, str], plants: Sequence[str]) -> None:
    """Serve the grid of `folder` (target of a process)."""
    os.environ.update(environment)
    out = os.open(Path(folder) / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    for name in plants:
        plant(name)
    print(f"--- {os.getpid()} {environment.get('INTERTIE_CRASH', '')}", flush=True)
    try:
        asyncio.run(_serve(Path(folder)))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FAILED)
    os._exit(0)


async def _serve(folder: Path) -> None:
    node = Node(config.load(folder / CONFIG), folder)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await node.start()
    path = folder / SOCKET
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(Desk(node).talk, path)
    failed = asyncio.create_task(node.wait())
    ended = asyncio.create_task(stop.wait())
    await asyncio.wait([failed, ended], return_when=asyncio.FIRST_COMPLETED)
    server.close()
    if failed.done():
        failed.result()
    failed.cancel()
    await node.stop()


class Desk:
    """Answers the test."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._acts: dict[str, Callable[..., Awaitable[Any]]] = {
            "status": self._status,
            "propose": self._propose,
            "accept": self._accept,
            "token": self._token,
            "credit": self._credit,
            "withdraw": self._withdraw,
        }

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question."""
        with contextlib.suppress(OSError):
            asked = json.loads(await reader.readline())
            try:
                answer = {"ok": await self._acts[asked.pop("do")](**asked)}
            except IntertieError as error:
                answer = {"error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
            writer.close()

    @property
    def _world(self) -> World:
        return self._node.world

    async def _status(self) -> Any:
        world = self._world
        return {
            "links": {link.peer.grid: link.phase.value for link in world.links.values()},
            "offers": [offer.ref for offer in world.catalog.all() if world.catalog.in_reach(offer)],
            "busy": sum(not inv.ended for inv in world.invocations.values()),
            "closed": self._node.links.closed,
        }

    async def _propose(self, address: str, terms: dict[str, Any]) -> Any:
        return (await self._node.peerings.offer_peering(address, None, Offered(**terms))).digest.hex()

    async def _accept(self, digest: str) -> Any:
        key = bytes.fromhex(digest)
        while key not in self._node.peerings.proposals:  # noqa: ASYNC110 - the node tells nobody
            await asyncio.sleep(0.02)
        return (await self._node.peerings.decide(key, PeeringAct.ACCEPT)).state.name

    async def _token(self, account: str, budget: int) -> Any:
        return await self._node.create_token(account, budget)

    async def _credit(self, link: str, order: int, amount: int) -> Any:
        found = self._world.links[link]
        return await durable(
            self._node.engine.submit, lambda fx: selling.credit(self._world, found, order, amount, "", fx)
        )

    async def _withdraw(self, link: str, entry: int) -> Any:
        found = self._world.links[link]
        return await durable(self._node.engine.submit, lambda fx: buying.withdraw(found, entry, fx))
