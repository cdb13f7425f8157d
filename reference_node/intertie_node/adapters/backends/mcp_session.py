"""The MCP server of a backend: started when needed, replaced when it dies.

A server that closes its output is noticed at once and replaced when next needed: at once the first time, then
after 0.5 s, 1 s, … at most 30 s, until a call succeeds again. A call within that pause fails with
BACKEND_UNAVAILABLE. One whose call timed out is asked for its tools, and if that hangs too it is ended.
"""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import Final

from intertie.errors import IntertieError
from intertie_node.adapters.backends.mcp_connection import Connection, in_words
from intertie_node.config import McpTable

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0


class McpSession:
    """A server that is started when needed and replaced when it dies."""

    def __init__(self, table: McpTable) -> None:
        self.name = table.name or os.path.basename(table.command[0])
        self._table = table
        self._connection: Connection | None = None
        self._all: list[Connection] = []
        """Every connection whose process may still be there."""
        self._opening = asyncio.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._stopped = False

    async def connection(self) -> Connection:
        """The living connection, made now if there is none. Raises: IntertieError BACKEND_UNAVAILABLE."""
        async with self._opening:
            if self._stopped:
                raise self.unavailable("it is stopped")
            if self._connection is not None:
                if not self._connection.ended.is_set():
                    return self._connection
                self._connection = None
                self._count_failure()
            self._all = [old for old in self._all if not old.gone]
            if (wait := self._not_before - monotonic()) > 0:
                raise self.unavailable(f"it died; it is started again in {wait:.1f} s at the earliest")
            return await self._open()

    async def stop(self) -> None:
        """End the server and wait until it is gone (about 7 s at the longest)."""
        self._stopped = True
        for connection in self._all:
            connection.end()
        for connection in self._all:
            await connection.close()

    def succeeded(self) -> None:
        """A call had a result: the next death is a first one again."""
        self._failures = 0

    def unavailable(self, why: str) -> IntertieError:
        """BACKEND_UNAVAILABLE naming this server."""
        return IntertieError("BACKEND_UNAVAILABLE", f"MCP server {self.name}: {why}", backend=self.name)

    async def _open(self) -> Connection:
        connection = Connection(self.name, self._table)
        self._all.append(connection)
        try:
            await connection.open()
        except asyncio.CancelledError:  # of the caller, who shall not wait for the process to end
            connection.end()
            raise
        except Exception as error:
            self._count_failure()
            raise self.unavailable(f"it does not start: {in_words(error)}") from error
        self._connection = connection
        return connection

    def _count_failure(self) -> None:
        pause = FIRST_PAUSE * 2 ** (self._failures - 1) if self._failures else 0.0
        self._not_before = monotonic() + min(pause, LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 16)
