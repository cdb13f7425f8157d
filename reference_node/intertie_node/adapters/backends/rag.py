"""Backend "rag": full-text search (SQLite FTS5, BM25) over a folder of Markdown.

Input `{"query": "…", "limit": 3}`. Output `{"answer": "…", "passages": […]}`, best passage first, each with
`path`, `heading`, `text` and `score`; `answer` is the text of the best, "" where nothing was found, which is
a valid result. Every answered query meters `rag.query` 1.

The words of a query are searched as words: it has no syntax, so none can be misused. Files are read once, at
start; symbolic links are never followed, so nothing outside the folder is read. How files become passages and
the index is in `rag_index`.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from intertie.errors import IntertieError
from intertie_node.adapters.backends import rag_index
from intertie_node.adapters.backends.output import JSON, deliver, read_input
from intertie_node.config import RagTable
from intertie_node.ports import OfferSpec, Run, WorkResult

MAX_QUERY: Final = 1_000
MAX_LIMIT: Final = 10
MAX_WORDS: Final = 32

INPUT_SCHEMA: Final = msgspec.json.encode(
    {
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1, "maxLength": MAX_QUERY},
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 3},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
)
OUTPUT_SCHEMA: Final = msgspec.json.encode(
    {
        "type": "object",
        "properties": {
            "answer": {"type": "string"},
            "passages": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "path": {"type": "string"},
                        "heading": {"type": "string"},
                        "text": {"type": "string"},
                        "score": {"type": "number"},
                    },
                    "required": ["path", "heading", "text", "score"],
                },
            },
        },
        "required": ["answer", "passages"],
    }
)


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The input."""

    query: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_QUERY)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = 3


class Found(msgspec.Struct, frozen=True):
    """A passage with its rank: the higher the score, the better."""

    path: str
    heading: str
    text: str
    score: float


class Answer(msgspec.Struct, frozen=True):
    """The output."""

    answer: str
    passages: list[Found]


class RagBackend:
    """Searches one folder; a backend as in `ports.Backend`."""

    def __init__(self, table: RagTable) -> None:
        self._table = table
        self._database: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    async def start(self) -> Sequence[OfferSpec]:
        """Read the folder and build the index. Raises: IntertieError BACKEND_UNAVAILABLE."""
        table = self._table
        try:
            self._database = await asyncio.to_thread(rag_index.open_index, table)
        except (OSError, sqlite3.Error, rag_index.TooMuchError) as error:
            raise IntertieError(
                "BACKEND_UNAVAILABLE", f"no index of {table.folder}: {error}", backend=table.offer
            ) from error
        return [
            OfferSpec(
                name=table.offer,
                description=table.description or "Finds the passages that answer a question best.",
                tags=tuple(table.tags),
                input_schema=INPUT_SCHEMA,
                output_schema=OUTPUT_SCHEMA,
                features=("idempotent",),
                max_duration_ms=60_000,
            )
        ]

    async def run(self, offer: str, run: Run) -> WorkResult:
        """Answer one query. Raises: RefuseWork INPUT_INVALID, IntertieError BACKEND_UNAVAILABLE."""
        query = read_input(run.input, Query)
        found = await asyncio.to_thread(self._search, query)
        await run.meter("rag.query", 1)
        answer = Answer(found[0].text if found else "", found)
        return await deliver(run, JSON, msgspec.json.encode(answer))

    async def stop(self) -> None:
        """Close the index."""
        await asyncio.to_thread(self._close)

    def _search(self, query: Query) -> list[Found]:
        match = match_expression(query.query)
        with self._lock:
            if self._database is None:
                raise IntertieError("BACKEND_UNAVAILABLE", "the index is closed", backend=self._table.offer)
            if not match:
                return []
            rows = self._database.execute(rag_index.SEARCH, (match, query.limit)).fetchall()
        return [Found(*row) for row in rows]

    def _close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None


def match_expression(query: str) -> str:
    """An FTS5 expression that finds any of the query's words; "" if it has none."""
    words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:MAX_WORDS]
    return " OR ".join(f'"{word}"' for word in words)
