"""Backends: what does the work of this grid's offers (design §11).

One module a type. A module is imported when a backend of its type is made, so that a node without MCP
tools never loads the MCP SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

from intertie.errors import IntertieError
from intertie_node import config
from intertie_node.ports import Backend

TYPES: Final[Mapping[type, tuple[str, str]]] = {
    config.PythonTable: ("callable", "CallableBackend"),
    config.McpTable: ("mcp", "McpBackend"),
    config.RagTable: ("rag", "RagBackend"),
    config.TextTable: ("text", "TextBackend"),
    config.ConformanceTable: ("conformance", "ConformanceBackend"),
}
"""Table of the configuration → (module, class)."""


def create(table: config.Backend) -> Backend:
    """Make the backend that a table describes; nothing is started yet.

    Raises: IntertieError BACKEND_UNAVAILABLE when the libraries of its type are not installed.
    """
    module, name = TYPES[type(table)]
    try:
        make: Callable[[config.Backend], Backend] = getattr(import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(__name__):
            raise
        raise IntertieError(
            "BACKEND_UNAVAILABLE",
            f"backend type {module!r} needs the package {error.name!r}, which is not installed: "
            f"pip install 'intertie[{module}]'",
            backend=module,
        ) from error
    return make(table)
