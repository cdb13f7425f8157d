"""Durable storage: a `Store` (intertie_node.ports) over SQLite, and the data directory's lock."""

from intertie_node.adapters.storage.lock import DirectoryLock, DirectoryLocked
from intertie_node.adapters.storage.sqlite import SqliteStore

__all__ = ["DirectoryLock", "DirectoryLocked", "SqliteStore"]
