"""A unix socket that only its owner may use, also where its path is longer than the system takes."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MAX_PATH_BYTES: Final = 100
"""Linux takes 107 bytes, other systems 103."""


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a path that a unix socket address can hold: `path`, or one through an open directory (Linux)."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def bind_private(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600; what is there is replaced. Call it under the directory's lock.

    Raises: OSError.
    """
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as name:
            _privately(lambda: made.bind(name))
        made.listen(64)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _privately(act: Callable[[], None]) -> None:
    """Run `act` while new files have mode 0600."""
    before = os.umask(0o177)
    try:
        act()
    finally:
        os.umask(before)
