"""The configuration file that `intertie init` writes: every key explained, every value the default."""

from __future__ import annotations

import json
from string import Template

_TEMPLATE = Template("""\
# Configuration of an Intertie node. Unknown keys are errors; every key shown has its default value
# unless it is set here. Amounts are minor units of the asset, times are milliseconds, prices are exact:
# write 50, "1/10" or "1.10". Relative paths are taken from the folder of this file.

[grid]
name = $name            # DNS name that other grids know this one by
place = ""                       # ISO 3166 code of the place of execution, e.g. "DE"

[listen]
public = $public     # descriptor, proposals and consumers (server TLS)
peer = $peer       # links to other grids (mutual TLS)
loopback = $loopback   # consumers on this machine, plaintext
$http
# advertise_public = "grid.north.example:7460"   # what others are told; default: what is bound
# advertise_peer = "grid.north.example:7461"

[asset]
name = "XTS"                     # test credit without value
scale = 6                        # an amount of 1 is 10^-6 of the asset

[limits]
orders = 4096                    # most open orders of a peer
input_bytes = 1048576            # largest input of an order; above 16384 without effect: inputs travel inline
hops = 8                         # longest path of an order
retention_days = 7               # how long ids, outcomes and events are kept

[relay]
allow = false                    # sell on what neighbours offer?
markup = "1"                     # factor on the price paid, e.g. "1.10" or "11/10"
fee = 0                          # minor units an order
share = "1/2"                    # most of a limit further down that one of several upstreams may use
tolerated_outage_ms = 5000       # how long the link to the executor may be down

[peering]                        # what is proposed to a new peer
credit_limit = 100000000         # most that one grid may owe the other
max_unagreed = 10000000          # most that may be at stake before the other side has signed
claim_window_ms = 3600000        # how long after a deadline a charge may still come
max_skew_ms = 2000               # how far clocks may differ
max_open_holds = 4096
max_hold_ms = 86400000           # longest order

# What this grid offers: any number of [[backend]] tables. Units are those of registry/units.toml.

# [[backend]]
# type = "python"                # a function (input: dict, run) -> dict, str or bytes; async or not
# target = "tools.py:count_words"
# offer = "words/count"
# prices = { order = "50" }

# [[backend]]
# type = "mcp"                   # an MCP server over stdio: only the tools named here are offered
# command = ["mcp-server-git", "--repository", "."]
# env = []                       # environment variables that it may see
# [backend.tools.git_log]
# offer = "git/log"
# bound = { repo_path = "." }    # filled in here, not by callers
# prices = { order = "10", "mcp.call" = "100" }

# [[backend]]
# type = "rag"                   # full-text search over Markdown
# folder = "docs"
# offer = "docs/ask"
# prices = { "rag.query" = "1000" }

# [[backend]]
# type = "text"                  # streams text
# offer = "text/essay"
# prices = { "text.output.byte" = "1/10" }

[[backend]]
type = "conformance"             # what the conformance suite calls; remove it on a grid with real money
""")


def default_toml(
    grid_name: str,
    public: str = "127.0.0.1:7460",
    peer: str = "127.0.0.1:7461",
    http: str | None = None,
    loopback: str = "127.0.0.1:7463",
) -> str:
    """A commented configuration for a new grid; addresses are "host:port"."""
    served = f"http = {json.dumps(http)}" if http else '# http = "127.0.0.1:7462"'
    return _TEMPLATE.substitute(
        name=json.dumps(grid_name),
        public=json.dumps(public),
        peer=json.dumps(peer),
        loopback=json.dumps(loopback),
        http=f"{served}       # metrics and health; not served if absent",
    )
