"""kill -9 at any point of a commit leaves all of its rows or none, and never loses an acknowledged one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.node.storage.samples import batch

from intertie_node.adapters.storage import SqliteStore

ROOT = Path(__file__).resolve().parents[4]
SIZE = 40

WRITER = """
import os, signal, sys
from pathlib import Path
from intertie_node.adapters.storage import SqliteStore
from tests.unit.node.storage.samples import batch

path, deadly = Path(sys.argv[1]), sys.argv[2]
store = SqliteStore(path)
n, size = 0, int(sys.argv[3])

def trace(sql):
    if n == 2 and sql.startswith(deadly):
        os.kill(os.getpid(), signal.SIGKILL)

if deadly:
    store._writer.set_trace_callback(trace)
while True:
    store.commit(batch(n, size))
    os.write(1, b"%d\\n" % n)
    n += 1
"""


def start(path: Path, deadly: str, size: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", WRITER, str(path), deadly, str(size)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE)


def whole_batches(path: Path, size: int) -> int:
    """Number of batches that are there; fails when one is there in part."""
    store = SqliteStore(path)
    try:
        entries = [each[2] for each in store.all_rows("entries")]
        holds = [each[2] for each in store.all_rows("holds")]
        batches = [each[4] for each in store.all_rows("transfers")]
        count, rest = divmod(len(entries), size)
        assert rest == 0
        assert entries == holds == list(range(count * size))
        assert batches == [n for n in range(count) for _ in range(size)]
        last = count - 1
        assert store.all_rows("settings") == ([("last", b"%d" % last)] if count else [])
        assert store.all_rows("balances") == ([("a", "EUR", count * size, 0)] if count else [])
        store.commit(batch(count, size))
        return count
    finally:
        store.close()


STATEMENTS = ("BEGIN", *(f"INSERT INTO {table}" for table in ("entries", "holds", "balances")), "COMMIT")


@pytest.mark.parametrize("statement", STATEMENTS)
def test_killed_at_a_statement_of_a_commit(path: Path, statement: str) -> None:
    writer = start(path, statement, SIZE)
    out, _ = writer.communicate(timeout=60)
    assert writer.returncode == -signal.SIGKILL
    assert out == b"0\n1\n"
    assert whole_batches(path, SIZE) == 2


@pytest.mark.parametrize("delay_ms", [3, 17, 41, 80])
def test_killed_at_any_time(path: Path, delay_ms: int) -> None:
    size = 500
    writer = start(path, "", size)
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(delay_ms / 1000)
    os.kill(writer.pid, signal.SIGKILL)
    out = first + writer.communicate(timeout=60)[0]
    acknowledged = out.count(b"\n")
    assert acknowledged >= 1
    assert whole_batches(path, size) in (acknowledged, acknowledged + 1)
