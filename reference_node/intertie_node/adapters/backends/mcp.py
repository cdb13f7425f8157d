"""Backend "mcp": tools of an MCP server over stdio (official `mcp` SDK, 2.3 or newer).

Only the tools that the configuration names are offered. `bound` arguments are filled in by the node: they are
absent from the offered schema, and a caller who sends one is refused INPUT_INVALID. A tool whose schema names a
bound argument where it cannot be taken away, or does not compile, is refused at start.

Output: application/json, `{"content": […], "structuredContent": …}` as the server gave them (MCP's
CallToolResult), `structuredContent` only if it gave one. A tool that reports an error completes with
`is_error`. Every result meters `mcp.call` 1, tool errors included. A JSON-RPC error is EXECUTION_FAILED, a
server that is gone BACKEND_UNAVAILABLE, one that does not answer within `timeout_ms` BACKEND_TIMEOUT; none of
them meters anything. Progress is passed on. What the server asks of the node (sampling, elicitation, roots) is
refused.

`captured` is the tool's definition as JSON, type "mcp.tool": every member that was received, in its order,
encoded compactly. A tool is "idempotent" if its annotations say `readOnlyHint` or `idempotentHint`, unless
the configuration says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult

from intertie.errors import IntertieError
from intertie_node.adapters.backends.bound import surviving, without_bound
from intertie_node.adapters.backends.mcp_connection import Connection
from intertie_node.adapters.backends.mcp_session import McpSession
from intertie_node.adapters.backends.output import JSON, deliver, input_invalid, read_input
from intertie_node.adapters.backends.schema import compile_schema
from intertie_node.config import McpTable, McpTool
from intertie_node.ports import OfferSpec, RefuseWork, Run, WorkResult

CAPTURED_TYPE: Final = "mcp.tool"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class McpBackend:
    """The allow-listed tools of one server; a backend as in `ports.Backend`."""

    def __init__(self, table: McpTable) -> None:
        self._table = table
        self._session = McpSession(table)
        self._tools = {tool.offer: (name, tool) for name, tool in table.tools.items()}
        self._schemas: dict[str, object] = {}

    async def start(self) -> Sequence[OfferSpec]:
        """Start the server and read its tools. Raises: IntertieError BACKEND_UNAVAILABLE."""
        try:
            connection = await self._session.connection()
            specs = [self._spec(connection, name, tool) for name, tool in self._table.tools.items()]
        except IntertieError:
            await self._session.stop()
            raise
        self._schemas = {name: connection.definitions[name].get("inputSchema") for name in self._table.tools}
        return specs

    async def run(self, offer: str, run: Run) -> WorkResult:
        """Call one tool. Raises: RefuseWork INPUT_INVALID; IntertieError as the module says."""
        name, tool = self._tools[offer]
        arguments = read_input(run.input, dict[str, Any])
        for bound in tool.bound:
            if bound in arguments:
                raise RefuseWork(input_invalid("this argument is set by the grid", f"$.{bound}", "bound"))
        connection = await self._session.connection()
        if connection.definitions.get(name, {}).get("inputSchema") != self._schemas.get(name):
            raise self._session.unavailable(f"tool {name} is no longer the one that is offered")
        result = await self._call(connection, name, tool, {**arguments, **tool.bound}, run)
        self._session.succeeded()
        await run.meter("mcp.call", 1)
        return await deliver(run, JSON, _output(result), result.is_error)

    async def stop(self) -> None:
        """End the server; it is gone when this returns."""
        await self._session.stop()

    async def _call(
        self, connection: Connection, name: str, tool: McpTool, arguments: Mapping[str, Any], run: Run
    ) -> CallToolResult:
        async def report(progress: float, total: float | None, message: str | None) -> None:
            run.progress(int(progress), int(total or 0), message or "")

        seconds = tool.timeout_ms / 1_000
        try:
            async with asyncio.timeout(seconds):
                return await connection.client.call_tool(
                    name, dict(arguments), read_timeout_seconds=seconds + 60, progress_callback=report
                )
        except TimeoutError:
            connection.suspect()
            raise IntertieError(
                "BACKEND_TIMEOUT",
                f"tool {name} gave no result within {seconds:g} s",
                backend=self._session.name,
            ) from None
        except MCPError as error:
            if connection.ended.is_set():
                raise self._session.unavailable("it ended during the call") from error
            raise IntertieError("EXECUTION_FAILED", f"tool {name}: {error.message}") from error
        except (ValueError, RuntimeError) as error:  # the result breaks MCP or the tool's own output schema
            raise IntertieError("EXECUTION_FAILED", f"tool {name}: bad result: {error}"[:1_000]) from error

    def _spec(self, connection: Connection, name: str, tool: McpTool) -> OfferSpec:
        definition = connection.definitions.get(name)
        if definition is None:
            known = ", ".join(sorted(connection.definitions))
            raise self._session.unavailable(f"it has no tool {name!r}; it has: {known}")
        schema = definition.get("inputSchema")
        if not isinstance(schema, dict):
            raise self._session.unavailable(f"tool {name} has no input schema")
        if unknown := sorted(tool.bound.keys() - schema.get("properties", {}).keys()):
            raise self._session.unavailable(f"tool {name} has no argument {', '.join(unknown)} to bind")
        annotations = definition.get("annotations") or {}
        hinted = bool(annotations.get("readOnlyHint") or annotations.get("idempotentHint"))
        idempotent = hinted if tool.idempotent is None else tool.idempotent
        return OfferSpec(
            name=tool.offer,
            description=tool.description or str(definition.get("description") or ""),
            tags=tuple(tool.tags),
            input_schema=self._callers_schema(schema, name, tool),
            output_schema=_output_schema(definition.get("outputSchema")),
            features=("idempotent",) if idempotent else (),
            max_duration_ms=tool.timeout_ms,
            captured_type=CAPTURED_TYPE,
            captured=msgspec.json.encode(definition),
        )

    def _callers_schema(self, schema: Mapping[str, Any], name: str, tool: McpTool) -> bytes:
        """The input schema without bound arguments. Raises: IntertieError BACKEND_UNAVAILABLE."""
        seen = without_bound(schema, tool.bound)
        for argument, place in surviving(seen, tool.bound):
            raise self._session.unavailable(f"tool {name}: argument {argument} cannot be bound, {place} names it")
        data = msgspec.json.encode(seen)
        try:
            compile_schema(data)
        except IntertieError as error:
            raise self._session.unavailable(f"tool {name}: {error.message}") from error
        return data


def _output_schema(structured: object) -> bytes:
    """Schema of the output as this backend hands it over."""
    properties: dict[str, object] = {"content": {"type": "array", "items": {"type": "object"}}}
    required = ["content"]
    if isinstance(structured, dict) and "$defs" not in structured:
        properties["structuredContent"] = {key: value for key, value in structured.items() if key != "$schema"}
    return msgspec.json.encode({"type": "object", "properties": properties, "required": required})


def _output(result: CallToolResult) -> bytes:
    content = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
    output: dict[str, Any] = {"content": content}
    if result.structured_content is not None:
        output["structuredContent"] = result.structured_content
    return msgspec.json.encode(output)
