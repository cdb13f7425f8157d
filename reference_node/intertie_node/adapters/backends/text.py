"""Backend "text": streams a long text, the same for the same input.

Input, all optional: `topic` (what it is about), `text` (repeated up to the length), `length` (bytes of UTF-8,
default 2000), `chunk_bytes` (default 256), `delay_ms` (pause before each chunk but the first, default 0).

Without `text` the answer is put together from the paragraphs of the configured folder, those that hold most
words of the topic first, repeated as needed; without a folder from the configured text. It is cut at a
character, so that it may be up to 3 bytes shorter than `length`, as may each chunk than `chunk_bytes`.

Each chunk is text/plain and meters `text.output.byte` by its own number of bytes: who receives the chunks can
recompute the sum.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Annotated, Final

import msgspec

from intertie.errors import IntertieError
from intertie_node.adapters.backends import rag_index
from intertie_node.adapters.backends.output import CHUNK_BYTES, input_invalid, read_input
from intertie_node.config import RagTable, TextTable
from intertie_node.ports import OfferSpec, RefuseWork, Run, WorkResult

MAX_TOPIC: Final = 500
MAX_TEXT: Final = 65_536
MAX_PARAGRAPHS: Final = 10_000
DEFAULT_LENGTH: Final = 2_000
MIN_CHUNK: Final = 4
"""Bytes: the longest character."""


class TextInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The input."""

    topic: Annotated[str, msgspec.Meta(max_length=MAX_TOPIC)] = ""
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""
    length: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_LENGTH
    chunk_bytes: Annotated[int, msgspec.Meta(ge=MIN_CHUNK, le=CHUNK_BYTES)] = 256
    delay_ms: Annotated[int, msgspec.Meta(ge=0)] = 0


class TextBackend:
    """Streams text; a backend as in `ports.Backend`."""

    def __init__(self, table: TextTable) -> None:
        self._table = table
        self._paragraphs: list[str] = []

    async def start(self) -> Sequence[OfferSpec]:
        """Read the folder. Raises: IntertieError BACKEND_UNAVAILABLE."""
        table = self._table
        try:
            self._paragraphs = await asyncio.to_thread(_paragraphs, table)
        except (OSError, rag_index.TooMuchError) as error:
            raise IntertieError("BACKEND_UNAVAILABLE", str(error), backend=table.offer) from error
        if not any(paragraph.strip() for paragraph in self._paragraphs):
            raise IntertieError("BACKEND_UNAVAILABLE", "there is no text to tell", backend=table.offer)
        return [
            OfferSpec(
                name=table.offer,
                kind="agent",
                description=table.description or "Streams a long text, piece by piece.",
                tags=tuple(table.tags),
                input_schema=_input_schema(table),
                features=("streaming", "idempotent", "cancelable"),
            )
        ]

    async def run(self, offer: str, run: Run) -> WorkResult:
        """Stream one answer. Raises: RefuseWork INPUT_INVALID."""
        wanted = read_input(run.input, TextInput)
        self._check_limits(wanted)
        data = await asyncio.to_thread(self._answer, wanted)
        sent = 0
        for piece in cut(data, wanted.chunk_bytes):
            if sent and wanted.delay_ms:
                await asyncio.sleep(wanted.delay_ms / 1_000)
            await run.chunk(piece, "text/plain", {"text.output.byte": len(piece)})
            sent += len(piece)
            run.progress(sent, len(data))
        return WorkResult()

    async def stop(self) -> None:
        """Nothing is held."""

    def _answer(self, wanted: TextInput) -> bytes:
        source = [wanted.text] if wanted.text else rank(self._paragraphs, wanted.topic)
        return fill(source, wanted.length)

    def _check_limits(self, wanted: TextInput) -> None:
        for name, limit in (("length", self._table.max_length), ("delay_ms", self._table.max_delay_ms)):
            if getattr(wanted, name) > limit:
                raise RefuseWork(input_invalid(f"expected at most {limit}", f"$.{name}", "maximum"))


def rank(paragraphs: list[str], topic: str) -> list[str]:
    """Paragraphs that hold most of the topic's words first, else in their order."""
    words = set(re.findall(r"\w+", topic.lower()))
    if not words:
        return paragraphs
    return sorted(paragraphs, key=lambda text: -len(words & set(re.findall(r"\w+", text.lower()))))


def fill(source: list[str], length: int) -> bytes:
    """The texts of `source`, not all empty, joined and repeated up to `length` bytes, cut at a character."""
    data = bytearray()
    for text in cycle(source):
        data += text.encode()
        if len(data) > length:
            break
    return bytes(data[: _boundary(data, length)])


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Pieces of at most `size` bytes that end at characters."""
    start = 0
    while start < len(data):
        end = _boundary(data, start + size)
        yield data[start:end]
        start = end


def _boundary(data: bytes | bytearray, end: int) -> int:
    """The last position ≤ `end` at which a character of UTF-8 begins, or the end of the data."""
    if end >= len(data):
        return len(data)
    while data[end] & 0xC0 == 0x80:
        end -= 1
    return end


def _paragraphs(table: TextTable) -> list[str]:
    if table.folder is None:
        return [table.text]
    files = RagTable(offer=table.offer, folder=table.folder)
    found: list[str] = []
    for file in rag_index.list_files(files):
        text = rag_index.read_text(table.folder, file.path, files.max_file_bytes)
        found += [f"{piece}\n\n" for _, section in rag_index.passages(text) for piece in section.split("\n\n")]
        if len(found) >= MAX_PARAGRAPHS:
            break
    return found[:MAX_PARAGRAPHS]


def _input_schema(table: TextTable) -> bytes:
    numbers = {
        "length": (1, table.max_length, min(DEFAULT_LENGTH, table.max_length)),
        "chunk_bytes": (MIN_CHUNK, CHUNK_BYTES, 256),
        "delay_ms": (0, table.max_delay_ms, 0),
    }
    properties: dict[str, object] = {
        "topic": {"type": "string", "maxLength": MAX_TOPIC},
        "text": {"type": "string", "maxLength": MAX_TEXT},
    }
    for name, (low, high, default) in numbers.items():
        properties[name] = {"type": "integer", "minimum": low, "maximum": high, "default": default}
    return msgspec.json.encode({"type": "object", "properties": properties, "additionalProperties": False})
