"""A node's directory: its configuration, keys, database."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from intertie.errors import IntertieError

if TYPE_CHECKING:
    from intertie_node.config import Config

CONFIG_NAME: Final = "intertie.toml"
KEYS_NAME: Final = "keys"


def load_config(folder: Path) -> "Config":
    """The configuration of a node's directory. Raises: IntertieError NOT_FOUND, ConfigError."""
    from intertie_node import config

    path = folder / CONFIG_NAME
    if not path.is_file():
        raise IntertieError("NOT_FOUND", f"{path} is missing: intertie init {folder} --grid NAME makes a node there.")
    return config.load(path)
