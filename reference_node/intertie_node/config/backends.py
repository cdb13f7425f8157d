"""Tables `[[backend]]`: what the grid offers, for how much, and where the work is done.

Each table is tagged by `type`. What money and policy need to know of an offer is `Terms`; `offer_terms`
gives them by offer name. What the work itself needs is the rest of the table, read by the adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from intertie_node.config.values import INT64_MAX, Rational

Amount = Annotated[int, Meta(ge=0, le=INT64_MAX, description="a whole number, 0 to 2^63-1")]
Milliseconds = Annotated[int, Meta(ge=1, le=604_800_000, description="milliseconds, 1 to 604800000")]
OfferName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9._/-]{1,128}$",
        description='an offer name: 1 to 128 lower-case letters, digits, ".", "-", "_", "/"',
    ),
]
Tag = Annotated[
    str, Meta(pattern=r"^[a-z0-9._-]{1,64}$", description="a tag: 1 to 64 lower-case letters, digits, . - _")
]
Place = Annotated[
    str,
    Meta(
        pattern=r"^([A-Z]{2}(-[A-Z0-9]{1,3})?)?$",
        description='an ISO 3166 code like "DE" or "DE-BY", or "" if not stated',
    ),
]
EnvironmentName = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="the name of an environment variable")
]


class EnergyTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Energy per atom of a unit, in millijoules: lower ≤ millijoules ≤ upper."""

    millijoules: Amount
    lower: Amount
    upper: Amount
    method: Literal["measured", "attributed", "estimated"]
    boundary: str


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Price, place and policy of one offer."""

    prices: dict[str, Rational] = {}
    """Minor units per atom, by unit."""
    charge_on: Literal["usage", "completion"] = "usage"
    energy: dict[str, EnergyTable] = {}
    """Energy per atom, by unit; a unit that is absent is unknown."""
    place: Place | None = None
    """None: that of the grid."""
    data_policy: Annotated[str, Meta(max_length=64, description="at most 64 characters")] = ""
    tags: Annotated[list[Tag], Meta(max_length=32)] = []


class OfferTable(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backend that makes one offer."""

    offer: OfferName
    description: Annotated[str, Meta(max_length=4_096, description="at most 4096 characters")] = ""
    """Empty: the backend's own."""


class PythonTable(OfferTable, frozen=True, tag_field="type", tag="python"):
    """A Python callable: adapters/backends/callable.py."""

    target: Annotated[
        str,
        Meta(
            pattern=r"^[^:]+:[A-Za-z_][\w.]*$",
            description='"package.module:function" or "path/to/file.py:function"',
        ),
    ]
    kind: Literal["agent", "tool", "model", "environment"] = "tool"
    input_schema: dict[str, Any] | None = None
    """JSON Schema 2020-12 as a TOML table; None: the function's own, else any object."""
    features: list[Literal["streaming", "input-required", "idempotent", "cancelable"]] = []
    threads: Annotated[int, Meta(ge=1, le=1_000)] = 8
    """Most runs at a time of a function that is not async."""
    max_duration_ms: Milliseconds = 600_000
    folder: Path = Path(".")
    """Where a relative file of `target` is looked up; default: the folder of the configuration file."""


class McpTool(OfferTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One allow-listed tool of an MCP server."""

    bound: dict[str, Any] = {}
    """Arguments that the node fills in; callers neither see nor set them."""
    timeout_ms: Milliseconds = 60_000
    idempotent: bool | None = None
    """None: what the server's annotations say."""


class McpTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="mcp"):
    """An MCP server over stdio: adapters/backends/mcp.py."""

    command: Annotated[list[str], Meta(min_length=1, description="a program and its arguments, as a list")]
    tools: Annotated[dict[str, McpTool], Meta(min_length=1, description="at least one tool")]
    name: str = ""
    """In logs and errors; default: the program's name."""
    cwd: Path = Path(".")
    """Working folder; default: the folder of the configuration file."""
    env: list[EnvironmentName] = []
    """Environment variables that are passed on beside HOME, LOGNAME, PATH, SHELL, TERM and USER."""
    start_timeout_ms: Milliseconds = 30_000


class RagTable(OfferTable, frozen=True, tag_field="type", tag="rag"):
    """Full-text search over a folder of Markdown: adapters/backends/rag.py."""

    folder: Path
    glob: str = "*.md"
    """Shell pattern on the path relative to `folder`; `*` also matches "/"."""
    cache: Path | None = None
    """File that keeps the index over restarts; None: it is built in memory."""
    max_files: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    max_file_bytes: Annotated[int, Meta(ge=1, le=1_073_741_824)] = 1_048_576


class TextTable(OfferTable, frozen=True, tag_field="type", tag="text"):
    """Streams text: adapters/backends/text.py."""

    folder: Path | None = None
    """Markdown files whose paragraphs are told; None: `text`."""
    text: str = "A long answer, told piece by piece. "
    max_length: Annotated[int, Meta(ge=1, le=16_777_216)] = 1_000_000
    """Longest answer in bytes."""
    max_delay_ms: Annotated[int, Meta(ge=0, le=60_000)] = 1_000
    """Longest pause between chunks that a caller may ask for."""


CONFORMANCE_PRICES: Final[Mapping[str, Mapping[str, Rational]]] = {
    f"conformance/{name}": {
        unit: Rational.parse(price)
        for unit, price in {"order": "10", "order.failed": "2", "order.canceled": "5", **extra}.items()
    }
    for name, extra in {
        "echo": {},
        "delay": {},
        "meter": {"llm.output.token": "1/10", "rag.query": "1000", "mcp.call": "7/3", "sim.step": "1"},
        "stream": {"text.output.byte": "1/10"},
        "ask": {},
        "fail": {"sim.step": "1"},
        "refuse": {},
    }.items()
}
"""Offers that the conformance backend makes, with their default prices."""
CONFORMANCE_ENERGY: Final[Mapping[str, Mapping[str, EnergyTable]]] = {
    "conformance/meter": {
        "sim.step": EnergyTable(millijoules=2, lower=1, upper=3, method="estimated", boundary="conformance")
    }
}
"""What RFC 0014 has them state of energy (IT-CNF-023)."""


class ConformanceTable(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="conformance"
):
    """The offers that the conformance suite needs: adapters/backends/conformance.py."""

    prices: dict[str, dict[str, Rational]] = {}
    """By offer name, replaces the default prices of that offer."""


Backend = PythonTable | McpTable | RagTable | TextTable | ConformanceTable


def offer_terms(table: Backend) -> dict[str, Terms]:
    """Terms of every offer that a backend makes, by offer name."""
    if isinstance(table, McpTable):
        return {tool.offer: tool for tool in table.tools.values()}
    if isinstance(table, ConformanceTable):
        return {
            name: Terms(prices=table.prices.get(name, dict(prices)), energy=dict(CONFORMANCE_ENERGY.get(name, {})))
            for name, prices in CONFORMANCE_PRICES.items()
        }
    return {table.offer: table}
