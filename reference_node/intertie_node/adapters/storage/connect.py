"""Opening a node's database: connections, durability, schema version."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from intertie_node.adapters.storage.schema import APPLICATION_ID, SCHEMA_VERSION
from intertie_node.ports import StoreFailure

BUSY_TIMEOUT_MS: Final = 5_000
PAGE_SIZE: Final = 8192
"""Bytes. Rows of 600 to 1200 bytes overflow 4 KiB pages of a table without rowid (measured: 2 × slower)."""
WRITER_CACHE_KIB: Final = 16_384
READER_CACHE_KIB: Final = 4_096
WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Length to which the write-ahead log is cut after a checkpoint."""
STATEMENTS: Final = 256
"""Prepared statements that a connection keeps."""

FULL: Final = 2
"""`PRAGMA synchronous`: a commit returns once the write-ahead log is on the disk."""


def open_writer(path: Path) -> sqlite3.Connection:
    """Connection for one thread at a time, in WAL mode with synchronous=FULL; makes the file, mode 0600.

    Raises: StoreFailure when the file cannot be opened or does not take these settings.
    """
    try:
        _make(path)
        connection = _connect(path, WRITER_CACHE_KIB)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error
    try:
        _make_durable(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Connection that sees committed rows and cannot write. Raises: StoreFailure."""
    try:
        connection = _connect(path, READER_CACHE_KIB)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    return connection


def schema_is_current(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has this code's schema; False for a new or an older file.

    Raises: StoreFailure when it is newer than this code, or not a node's database.
    """
    found = int(pragma(connection, "user_version"))
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreFailure(f"{path} is the database of another program: give the node a file of its own")
    if found > SCHEMA_VERSION:
        raise StoreFailure(
            f"{path} has schema version {found}, this program knows versions up to {SCHEMA_VERSION}:"
            " start the newer release that wrote it, or restore the copy made before the upgrade"
        )
    return bool(tables) and found == SCHEMA_VERSION


def pragma(connection: sqlite3.Connection, name: str) -> int | str:
    """Value of a PRAGMA that has one."""
    value: int | str = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def unusable(path: Path, error: Exception) -> StoreFailure:
    """What to do about an error of the file or of SQLite."""
    code = getattr(error, "sqlite_errorname", "")
    if not isinstance(error, OSError | sqlite3.Error) or isinstance(error, sqlite3.ProgrammingError):
        advice = _FAULT
    else:
        advice = next((text for prefix, text in _ADVICE.items() if code.startswith(prefix)), _OTHERWISE)
    return StoreFailure(f"{path}: {error}{f' ({code})' if code else ''}: {advice}")


_OTHERWISE: Final = "check that the file and its directory exist and may be written, then start the node again"
_FAULT: Final = "this is a fault in the node: report it"
_ADVICE: Final = {
    "SQLITE_FULL": "free space on its disk, then start the node again",
    "SQLITE_IOERR": "check its disk, then start the node again",
    "SQLITE_BUSY": "end the other program that uses the file, then start the node again",
    "SQLITE_CORRUPT": "restore a copy of the file; peers resend what it lacks",
    "SQLITE_NOTADB": "the file is not a database: move it away or restore a copy",
    "SQLITE_CONSTRAINT": "a row exists already or is incomplete; " + _FAULT,
}


def _make(path: Path) -> None:
    """Make the file for its owner alone, if there is none.

    One that exists is not opened: closing any descriptor of it would end the locks that SQLite holds in this
    process, and the next program that closes the database would take the write-ahead log away from under it.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _connect(path: Path, cache_kib: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS,
    )
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    # A statement of many rows keeps a journal of its own: in memory, not in a new file each time.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _make_durable(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        mode, level = pragma(connection, "journal_mode"), pragma(connection, "synchronous")
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    if mode != "wal" or level != FULL:
        raise StoreFailure(
            f"{path}: SQLite keeps journal_mode={mode}, synchronous={level} instead of wal, {FULL} (FULL):"
            " put the file on a local disk whose file system supports shared memory"
        )
