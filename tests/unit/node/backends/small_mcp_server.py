"""A small MCP server (official SDK, stdio) that behaves well, fails, dies, hangs and lingers on request."""

import asyncio
import os
import signal
import sys
import time

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

server = MCPServer("small")
READ_ONLY = ToolAnnotations(read_only_hint=True)


@server.tool(annotations=READ_ONLY)
def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def read(folder: str, name: str, depth: int = 2) -> str:
    """Says what it was given."""
    return f"{folder}/{name}/{depth}"


@server.tool()
def fails() -> str:
    """Reports an error of its own."""
    raise ToolError("no such thing")


@server.tool()
def pid() -> int:
    """Names its process."""
    return os.getpid()


@server.tool()
def environment() -> list[str]:
    """Names the variables that it sees."""
    return sorted(os.environ)


@server.tool()
def crash() -> str:
    """Dies."""
    os._exit(3)


@server.tool()
async def hang() -> str:
    """Blocks the whole server."""
    time.sleep(600)  # noqa: ASYNC251 - that is the point
    return "never"


@server.tool()
async def slow(seconds: float) -> str:
    """Takes its time; the server goes on."""
    await asyncio.sleep(seconds)
    return "done"


@server.tool()
async def report(ctx: Context) -> str:
    """Reports progress."""
    for done in (1, 2):
        await ctx.report_progress(done, 2, f"step {done}")
    return "reported"


@server.tool()
def big(size: int) -> str:
    """Says a lot."""
    return "x" * size


if __name__ == "__main__":
    print("small server speaks to its log", file=sys.stderr)
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "mute" in sys.argv:
        time.sleep(600)
    server.run("stdio")
    if "stubborn" in sys.argv:
        time.sleep(600)
