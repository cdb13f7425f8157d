"""One running MCP server: a child process and its session (official SDK, stdio).

The SDK wants a session opened and closed by one task: `_own` is that task. It is never cancelled by asyncio,
which could leave the process behind, but through an anyio scope, from which the SDK shields its closing: it
closes the server's stdin, waits 2 s, then ends its whole process group (SIGTERM, 2 s later SIGKILL).
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, TextIO

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.message import SessionMessage
from mcp.types import Implementation, ListToolsRequest, PaginatedRequestParams
from pydantic import BaseModel, ConfigDict, Field

from intertie_node.config import McpTable

ALIVE_TIMEOUT: Final = 2.0
"""Seconds that a server under suspicion has to name its tools."""
MAX_PAGES: Final = 100
MAX_LOG_LINE: Final = 500

_log = logging.getLogger(__name__)


class ToolPage(BaseModel):
    """A page of tools/list, each tool as the JSON object that was received."""

    model_config = ConfigDict(extra="ignore")

    tools: list[dict[str, Any]]
    next_cursor: str | None = Field(default=None, alias="nextCursor")


class Connection:
    """One process and its session."""

    def __init__(self, name: str, table: McpTable) -> None:
        self._name = name
        self._table = table
        self._scope = anyio.CancelScope()
        self._wake = asyncio.Event()
        self._ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._owner: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()
        """The server has closed its output, or is being ended."""
        self.definitions: dict[str, dict[str, Any]] = {}
        """Definitions of its tools by name, as received."""

    @property
    def client(self) -> Client:
        """The SDK's client; calls may be made from any task."""
        return self._ready.result()

    @property
    def gone(self) -> bool:
        """The process has ended."""
        return self._owner is None or self._owner.done()

    async def open(self) -> None:
        """Start the process, shake hands, read the tools. Raises: whatever went wrong."""
        self._owner = asyncio.create_task(self._own(), name=f"mcp-{self._name}")
        await asyncio.shield(self._ready)

    def end(self) -> None:
        """Begin to end the process."""
        self.ended.set()
        self._scope.cancel()

    async def close(self) -> None:
        """End the process and wait until it is gone."""
        self.end()
        if self._owner is not None:
            await asyncio.shield(self._owner)

    def suspect(self) -> None:
        """A call timed out: find out whether the server still answers, and end it if not."""
        self._wake.set()

    def lost(self) -> None:
        """The server closed its output."""
        self.ended.set()
        self._wake.set()

    async def _own(self) -> None:
        """Open the session, wait for its end, close it: all in this one task."""
        seconds = self._table.start_timeout_ms / 1_000
        error: Exception = TimeoutError(f"no handshake within {seconds:g} s")
        try:
            with self._scope:
                self._scope.deadline = anyio.current_time() + seconds
                async with self._transport_log() as log, self._client(log) as client:
                    self.definitions = await read_definitions(client)
                    self._scope.deadline = math.inf
                    self._ready.set_result(client)
                    await self._until_over(client)
        except Exception as raised:
            error = raised
            _log.warning("MCP server %s: %s", self._name, in_words(error))
        finally:
            self.ended.set()
            if not self._ready.done():
                self._ready.set_exception(error)
                self._ready.exception()  # looked at: nobody may be waiting any more

    async def _until_over(self, client: Client) -> None:
        while not self.ended.is_set():
            await self._wake.wait()
            self._wake.clear()
            if not self.ended.is_set() and not await _is_alive(client):
                _log.warning("MCP server %s hangs and is ended", self._name)
                self.ended.set()

    def _client(self, log: TextIO) -> Client:
        return Client(
            self._transport(log),
            read_timeout_seconds=self._table.start_timeout_ms / 1_000,
            client_info=Implementation(name="intertie", version="1"),
            cache=None,
        )

    @asynccontextmanager
    async def _transport(self, log: TextIO) -> AsyncGenerator[tuple[Watched, Any]]:
        """The SDK's stdio transport, its reading end watched for the server's death."""
        async with stdio_client(parameters(self._table), log) as (read, write):
            yield Watched(read, self), write

    @asynccontextmanager
    async def _transport_log(self) -> AsyncGenerator[TextIO]:
        """A pipe for the server's stderr; its lines go to the log."""
        loop = asyncio.get_running_loop()
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader(limit=65_536)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
        )
        task = asyncio.create_task(_log_lines(self._name, reader))
        try:
            with os.fdopen(theirs, "w") as log:
                yield log
        finally:
            transport.close()
            task.cancel()


class Watched:
    """A read stream that tells its connection when it has ended."""

    def __init__(self, stream: Any, connection: Connection) -> None:
        self._stream = stream
        self._connection = connection

    async def receive(self) -> SessionMessage | Exception:
        """The next message."""
        try:
            message: SessionMessage | Exception = await self._stream.receive()
        except Exception:
            self._connection.lost()
            raise
        return message

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            message: SessionMessage | Exception = await self._stream.__anext__()
        except (StopAsyncIteration, Exception):
            self._connection.lost()
            raise
        return message

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        handled: bool | None = await self._stream.__aexit__(kind, error, trace)
        return handled


def parameters(table: McpTable) -> StdioServerParameters:
    """How the server is started; its environment holds the SDK's six variables and those that `env` names."""
    beside = os.path.dirname(sys.executable)
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), beside))
    program = shutil.which(table.command[0], path=path) or table.command[0]
    allowed = {name: os.environ[name] for name in table.env if name in os.environ}
    return StdioServerParameters(command=program, args=table.command[1:], env=allowed, cwd=table.cwd)


async def read_definitions(client: Client) -> dict[str, dict[str, Any]]:
    """Every tool's definition by name, nothing that was received left out."""
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        request = ListToolsRequest(params=PaginatedRequestParams(cursor=cursor))
        page = await client.session.send_request(request, ToolPage)
        found |= {str(tool.get("name")): tool for tool in page.tools}
        cursor = page.next_cursor
        if not cursor:
            return found
    raise RuntimeError(f"its list of tools has more than {MAX_PAGES} pages")


async def _is_alive(client: Client) -> bool:
    with suppress(Exception):
        async with asyncio.timeout(ALIVE_TIMEOUT):
            await client.session.send_request(ListToolsRequest(params=PaginatedRequestParams()), ToolPage)
            return True
    return False


async def _log_lines(name: str, reader: asyncio.StreamReader) -> None:
    while True:
        try:
            line = await reader.readline()
        except ValueError:  # longer than the reader's limit: what was read is dropped
            continue
        if not line:
            return
        _log.info("MCP server %s: %s", name, line.decode("utf-8", "replace").rstrip()[:MAX_LOG_LINE])


def in_words(error: BaseException) -> str:
    """An error in one line; the first of a group."""
    members: Sequence[BaseException] = getattr(error, "exceptions", ())
    if members:
        return in_words(members[0])
    return f"{type(error).__name__}: {error}"[:MAX_LOG_LINE]
