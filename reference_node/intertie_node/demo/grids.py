"""Where the three grids live and how they are configured: a folder, addresses and a configuration file each."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

NORTH: Final = "north.example"
HUB: Final = "hub.example"
SOUTH: Final = "south.example"
PLACES: Final = {NORTH: "DE", HUB: "CH", SOUTH: "IT"}
PEERINGS: Final = ((NORTH, HUB), (SOUTH, HUB))
"""Who proposes a peering to whom."""
CONFIG_NAME: Final = "intertie.toml"
LOG_NAME: Final = "node.log"

_COMMON: Final = """\
[grid]
name = {name}
place = {place}

[listen]
public = {public}
peer = {peer}
loopback = {loopback}

[peering]
credit_limit = 5000000           # 5 XTS each way
max_unagreed = 2000000
claim_window_ms = 60000
max_skew_ms = 1000               # all three have this machine's clock
"""
_TRANSIT: Final = """
[relay]
allow = true
markup = "11/10"
fee = 150
tolerated_outage_ms = 1000
"""
_OFFERS: Final = """
[[backend]]
type = "mcp"
command = ["mcp-server-git", "--repository", {repository}]

[backend.tools.git_log]          # of the server's twelve tools, those that only read
offer = "git/log"
description = "The newest commits of a git repository."
tags = ["git", "history"]
bound = {{ repo_path = {repository} }}
idempotent = true
prices = {{ order = 2000, "mcp.call" = 5000 }}

[backend.tools.git_branch]
offer = "git/branch"
description = "The branches of a git repository."
tags = ["git"]
bound = {{ repo_path = {repository} }}
idempotent = true
prices = {{ order = 2000, "mcp.call" = 3000 }}

[[backend]]
type = "mcp"
command = ["mcp-server-time", "--local-timezone", "UTC"]

[backend.tools.get_current_time]
offer = "time/now"
description = "The time of day in a time zone."
tags = ["time"]
idempotent = true
prices = {{ order = 500, "mcp.call" = 300 }}

[[backend]]
type = "rag"
offer = "protocol/ask"
description = "Answers questions about the Intertie protocol from its own documents."
tags = ["protocol", "documents"]
folder = {library}
prices = {{ order = 1000, "rag.query" = 12000 }}

[backend.energy."rag.query"]
millijoules = 900
lower = 300
upper = 2500
method = "estimated"
boundary = "the process; example figures of the demo"

[[backend]]
type = "text"
offer = "protocol/explain"
description = "Explains the Intertie protocol at length, streamed piece by piece."
tags = ["protocol", "text"]
folder = {library}
prices = {{ order = 1000, "order.canceled" = 800, "text.output.byte" = "3/2" }}

[backend.energy."text.output.byte"]
millijoules = 2
lower = 1
upper = 6
method = "estimated"
boundary = "the process; example figures of the demo"
"""


class Grid(Struct, frozen=True):
    """One grid: its name, its data directory, the three addresses ("host:port") that it listens on."""

    name: str
    folder: Path
    public: str
    peer: str
    loopback: str

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / CONFIG_NAME

    @property
    def log(self) -> Path:
        """What its process has printed."""
        return self.folder / LOG_NAME


def lay_out(folder: Path) -> dict[str, Grid]:
    """Return the three grids by name, with ports that are free now; makes nothing."""
    ports = [f"127.0.0.1:{port}" for port in free_ports(9)]
    return {
        name: Grid(name, folder / name.partition(".")[0], *ports[3 * index : 3 * index + 3])
        for index, name in enumerate((NORTH, HUB, SOUTH))
    }


def write_config(grid: Grid, repository: Path, library: Path) -> None:
    """Write a grid's configuration file."""
    quoted = {
        "name": grid.name,
        "place": PLACES[grid.name],
        "public": grid.public,
        "peer": grid.peer,
        "loopback": grid.loopback,
        "repository": str(repository),
        "library": str(library),
    }
    parts = _COMMON + {HUB: _TRANSIT, SOUTH: _OFFERS}.get(grid.name, "")
    text = parts.format(**{key: json.dumps(value, ensure_ascii=False) for key, value in quoted.items()})
    grid.config.write_text(text, encoding="utf-8")


def free_ports(count: int) -> list[int]:
    """Different TCP ports of the loopback interface that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
