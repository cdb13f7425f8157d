"""A node's process: from its start, through signals, to its end."""

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Any, Final

import msgspec

from intertie_node.app import Node
from intertie_node.cli.directory import load_config
from intertie_node.services import interpreter

log = logging.getLogger(__name__)
ABORT_S: Final = 5.0


def run(folder: Path, *, as_json: bool) -> None:
    """Serve until a signal. Raises: what kept the node from serving."""
    interpreter.tune()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(folder, as_json))


def _loop_factory() -> Any:
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


async def _serve(folder: Path, as_json: bool) -> None:
    stop = _stop_on_signals()
    node = Node(load_config(folder), folder)
    try:
        await node.start()
        interpreter.settled()
        _announce(node, as_json)
        await _until(stop, node)
    except BaseException:
        await _abort(node)
        raise
    log.info("stopping: running work may end first")
    await node.stop()
    log.info("stopped")


def _stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM, SIGINT or SIGHUP sets; the second SIGTERM or SIGINT ends the process.

    A terminal that closes may send SIGHUP more than once; who ignores it, as nohup does, goes on ignoring it.
    """
    stop, asked, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def heard(number: int) -> None:
        if asked.is_set():
            log.warning("second signal: ending at once")
            os._exit(128 + number)
        asked.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard, int(number))
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    return stop


async def _until(stop: asyncio.Event, node: Node) -> None:
    """Wait for the signal. Raises: what made the node fail before it."""
    stopping, failing = asyncio.create_task(stop.wait()), asyncio.create_task(node.wait())
    await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if failing.done():
        failing.result()
    failing.cancel()


async def _abort(node: Node) -> None:
    """Close after a failure as well as can be."""
    try:
        await asyncio.wait_for(node.stop(0), ABORT_S)
    except Exception:
        log.warning("not everything could be closed", exc_info=True)


def _announce(node: Node, as_json: bool) -> None:
    listen = node.config.listen
    hosts = {"public": listen.public, "peer": listen.peer, "loopback": listen.loopback, "http": listen.http}
    addresses = {
        name: f"{str(hosts[name]).rpartition(':')[0]}:{port}" for name, port in node.ports.items() if hosts.get(name)
    }
    fingerprint = node.world.fingerprint.hex()
    if as_json:
        ready = {
            "event": "serving",
            "grid": node.config.grid.name,
            **addresses,
            "fingerprint": fingerprint,
            "pid": os.getpid(),
            "dir": str(node.folder),
        }
        print(msgspec.json.encode(ready).decode(), flush=True)
        return
    ports = " ".join(f"{name}={address}" for name, address in addresses.items())
    print(f"serving {node.config.grid.name} {ports} fingerprint={fingerprint}", flush=True)
