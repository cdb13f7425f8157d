"""One process per data directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from intertie_node.adapters.storage import DirectoryLock, DirectoryLocked
from intertie_node.ports import StoreFailure

HOLDER = """
import sys, time
from pathlib import Path
from intertie_node.adapters.storage.lock import DirectoryLock
with DirectoryLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def start(directory: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    holder = start(tmp_path)
    with pytest.raises(DirectoryLocked, match=f"in use by process {holder.pid}: stop that node") as caught:
        DirectoryLock(tmp_path).acquire()
    assert caught.value.pid == holder.pid
    holder.communicate("")
    with DirectoryLock(tmp_path):
        assert (tmp_path / "node.lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    holder = start(tmp_path)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with DirectoryLock(tmp_path):
        pass


def test_a_second_lock_of_the_same_process_is_refused(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path) as first:
        first.acquire()
        with pytest.raises(DirectoryLocked):
            DirectoryLock(tmp_path).acquire()
    first.release()
    with DirectoryLock(tmp_path):
        pass


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreFailure, match="missing"):
        DirectoryLock(tmp_path / "missing").acquire()
