"""What a durable commit costs on this machine's disk: it bounds what one call in flight can reach."""

from __future__ import annotations

import sqlite3
import statistics
import time
from pathlib import Path
from typing import Final

COMMITS: Final = 200
SECONDS: Final = 2.0
ROW: Final = bytes(1_000)


def commit_ms(folder: Path) -> float:
    """Median milliseconds of a transaction of one row of 1,000 bytes, in WAL mode with synchronous=FULL."""
    connection = sqlite3.connect(folder / "disk.sqlite3", isolation_level=None)
    times: list[float] = []
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB)")
        until = time.perf_counter() + SECONDS
        while len(times) < COMMITS and time.perf_counter() < until:
            began = time.perf_counter()
            connection.execute("INSERT INTO t (data) VALUES (?)", (ROW,))
            times.append(time.perf_counter() - began)
    finally:
        connection.close()
    return statistics.median(times) * 1e3
