"""Rotating the keys in a node's directory while its node does not run."""

from contextlib import closing
from pathlib import Path

from intertie.descriptors import verify_chain
from intertie_node.adapters.grpc.tls import make_certificate
from intertie_node.adapters.storage import DirectoryLock, SqliteStore
from intertie_node.app import DATABASE
from intertie_node.cli.directory import KEYS_NAME, load_config
from intertie_node.operator_api import DescriptorView
from intertie_node.services import describing, views
from intertie_node.services.clock import wall_clock
from intertie_node.services.rotation import Chosen, rotate


def rotated(folder: Path, chosen: Chosen) -> DescriptorView:
    """Rotate; returns the new descriptor. Raises: IntertieError, StoreFailure if the node runs."""
    config = load_config(folder)
    stated = describing.facts(config)
    with DirectoryLock(folder), closing(SqliteStore(folder / DATABASE)) as store:
        chain = rotate(folder / KEYS_NAME, store, stated, chosen, make_certificate, wall_clock())
    return views.descriptor(verify_chain(chain), chain)
