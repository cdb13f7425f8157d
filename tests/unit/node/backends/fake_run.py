"""A `ports.Run` that records what a backend did."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any


class FakeRun:
    """Records metering, chunks, progress and questions; answers questions with `reply`."""

    def __init__(self, value: object = None, *, raw: bytes | None = None, reply: bytes = b"{}") -> None:
        self.invocation = "01890a5d-ac96-774b-bcce-b302099a8057"
        self.input = json.dumps(value).encode() if raw is None else raw
        self.media_type = "application/json"
        self.deadline = 2**62
        self.reply = reply
        self.usage: Counter[str] = Counter()
        self.metered: list[tuple[str, int]] = []
        self.chunks: list[tuple[bytes, str]] = []
        self.reports: list[tuple[int, int, str]] = []
        self.questions: list[tuple[str, bytes]] = []

    async def meter(self, unit: str, quantity: int) -> None:
        await asyncio.sleep(0)
        self.metered.append((unit, quantity))
        self.usage[unit] += quantity

    async def chunk(self, data: bytes, media_type: str = "text/plain", usage: Mapping[str, int] | None = None) -> None:
        await asyncio.sleep(0)
        assert len(data) <= 16_384
        self.chunks.append((data, media_type))
        self.usage.update(usage or {})

    def progress(self, done: int, total: int = 0, comment: str = "") -> None:
        self.reports.append((done, total, comment))

    async def ask(self, prompt: str, schema: bytes = b"") -> bytes:
        await asyncio.sleep(0)
        self.questions.append((prompt, schema))
        return self.reply

    @property
    def streamed(self) -> bytes:
        return b"".join(data for data, _ in self.chunks)


def told(output: bytes) -> Any:
    return json.loads(output)
