"""Child processes that speak lines of JSON, and what the system knows of processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final, Self

HERE: Final = Path(__file__).resolve().parent
TICKS: Final = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 20.0
TAIL_BYTES: Final = 4_000


class ChildError(Exception):
    """A child process has failed or is silent."""


class Child:
    """A Python program of this folder as a process of its own; a context manager that ends it."""

    def __init__(self, program: str, *arguments: str, errors: Path) -> None:
        self._command = (sys.executable, str(HERE / program), *arguments)
        self._errors = errors
        self._name = program
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process; there is one between start and stop."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    async def start(self) -> dict[str, Any]:
        """Start it and return its first line. Raises: ChildError."""
        with self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors
            )
        try:
            return await self.line(START_TIMEOUT_S)
        except BaseException:
            await self.stop()
            raise

    async def ask(self, do: str, timeout_s: float = 30.0, **arguments: object) -> dict[str, Any]:
        """Send a command and return the answer. Raises: ChildError."""
        self.say(json.dumps({"do": do, **arguments}))
        return await self.line(timeout_s)

    def say(self, line: str) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def line(self, timeout_s: float) -> dict[str, Any]:
        """The next line that it says. Raises: ChildError."""
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), timeout_s)
        except TimeoutError:
            raise self._failed(f"said nothing for {timeout_s:.0f} s") from None
        if not line:
            raise self._failed("has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._failed(answer["error"])
        return answer

    def _failed(self, what: str) -> ChildError:
        tail = self._errors.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return ChildError(f"{self._name} {what}\n{tail}")

    async def stop(self) -> None:
        """End it: in peace if it listens, by force if it does not."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def cpu_s(pid: int) -> float:
    """Processor time of a process with all its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_s() -> float:
    """Processor time of the whole machine that was not idle, in seconds."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def memory_mb(pid: int) -> float:
    """Resident memory of a process in megabytes (10^6)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    resident = next(line for line in lines if line.startswith("VmRSS:"))
    return int(resident.split()[1]) * 1024 / 1e6
