"""Three `intertie serve` processes: started, awaited, killed and ended by their process ids."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from intertie.errors import IntertieError
from intertie_node.demo.grids import Grid

INTERTIE: Final = (sys.executable, "-m", "intertie_node.cli")
READY_S: Final = 45.0
STOP_S: Final = 12.0
_POLL_S: Final = 0.05
_TAIL_LINES: Final = 12


class Processes:
    """The running nodes; an async context manager that ends whatever still runs, unless `keep`."""

    def __init__(self, command: Sequence[str] = INTERTIE) -> None:
        self._command = command
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.keep = False

    async def __aenter__(self) -> Processes:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.keep:
            return
        try:
            await asyncio.shield(self.stop())
        finally:  # also if a second Ctrl-C cuts the waiting short
            for process in self._running.values():
                process.kill()

    def pid(self, grid: Grid) -> int:
        """Process id of a grid's node."""
        return self._running[grid.name].pid

    def start(self, grid: Grid) -> None:
        """Start a grid's node, in a session of its own so that Ctrl-C reaches only the demo."""
        with grid.log.open("ab") as log:
            self._running[grid.name] = subprocess.Popen(
                [*self._command, "serve", str(grid.folder), "--no-log-json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def ready(self, grid: Grid) -> None:
        """Wait until a grid's node answers on its loopback address, the last that it opens.

        Raises: IntertieError NODE_UNAVAILABLE with the end of its log.
        """
        host, _, port = grid.loopback.rpartition(":")
        loop = asyncio.get_running_loop()
        end = loop.time() + READY_S
        while loop.time() < end and self._running[grid.name].poll() is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return
            await asyncio.sleep(_POLL_S)
        code = self._running[grid.name].poll()
        state = "does not answer" if code is None else f"ended with status {code}"
        raise IntertieError("NODE_UNAVAILABLE", f"The node of {grid.name} {state}:\n{_tail(grid)}")

    def check(self, grids: Sequence[Grid]) -> None:
        """Raises: IntertieError NODE_UNAVAILABLE if a node has ended by itself."""
        for grid in grids:
            code = self._running[grid.name].poll()
            if code is not None:
                message = f"The node of {grid.name} ended with status {code}:\n{_tail(grid)}"
                raise IntertieError("NODE_UNAVAILABLE", message)

    def kill(self, grid: Grid) -> int:
        """End a node without warning (SIGKILL); returns the process id that it had."""
        process = self._running[grid.name]
        process.kill()
        process.wait()
        return process.pid

    async def stop(self) -> None:
        """Ask every node to end, wait, and kill what does not."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(asyncio.to_thread(_end, process) for process in self._running.values()))


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(grid: Grid) -> str:
    try:
        lines = grid.log.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_TAIL_LINES:])
