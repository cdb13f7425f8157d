"""The node's configuration: one TOML file, strictly checked (design §11).

`load` reads a file, `decode` a text; both raise ConfigError, which names the key, what was found and what
is expected. `default_toml` writes the file that `intertie init` leaves behind. Amounts are minor units,
times milliseconds unless a key says otherwise, prices and markups exact rationals.
"""

from intertie_node.config.backends import (
    Backend,
    ConformanceTable,
    EnergyTable,
    McpTable,
    McpTool,
    OfferTable,
    PythonTable,
    RagTable,
    Terms,
    TextTable,
    offer_terms,
)
from intertie_node.config.node import (
    AssetTable,
    Config,
    GridTable,
    LimitsTable,
    ListenTable,
    PeeringTable,
    RelayTable,
    decode,
    load,
)
from intertie_node.config.template import default_toml
from intertie_node.config.values import Address, ConfigError, Rational

__all__ = [
    "Address",
    "AssetTable",
    "Backend",
    "Config",
    "ConfigError",
    "ConformanceTable",
    "EnergyTable",
    "GridTable",
    "LimitsTable",
    "ListenTable",
    "McpTable",
    "McpTool",
    "OfferTable",
    "PeeringTable",
    "PythonTable",
    "RagTable",
    "Rational",
    "RelayTable",
    "Terms",
    "TextTable",
    "decode",
    "default_toml",
    "load",
    "offer_terms",
]
