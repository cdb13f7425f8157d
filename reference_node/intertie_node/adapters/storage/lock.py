"""One process per data directory: an advisory lock that the system releases when the process ends."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from intertie_node.ports import StoreFailure

LOCK_NAME = "node.lock"


class DirectoryLocked(StoreFailure):
    """Another process uses the data directory. `pid` is its process id, 0 if it is not known."""

    def __init__(self, directory: Path, pid: int) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"data directory {directory} is in use by {holder}: stop that node, or give this one a directory of its own"
        )
        self.pid = pid


class DirectoryLock:
    """Holds `node.lock` in a data directory, from `acquire` (or `with`) until `release`.

    The file stays when the lock is released: removing it would let two processes lock two files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, without waiting; the directory must exist.

        Raises: DirectoryLocked when another process has it; StoreFailure when the file cannot be made.
        """
        if self._file is not None:
            return
        try:
            file = os.open(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreFailure(
                f"cannot lock data directory {self._directory} ({error.strerror}): make it a directory that"
                " this user may write to"
            ) from error
        try:
            self._lock(file)
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 20, 0).strip()
            raise DirectoryLocked(self._directory, int(holder) if holder.isdigit() else 0) from None
        except OSError as error:
            raise StoreFailure(
                f"cannot lock data directory {self._directory} ({error.strerror}): put it on a file system"
                " that has locks"
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Give the lock back; idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
