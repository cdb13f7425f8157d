"""Files that commands write: where they may be written, and that a failed one leaves nothing behind."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from intertie.errors import IntertieError
from intertie_node.cli.failing import usage

STDOUT: Final = Path("-")
"""Means standard output."""
Earlier = Callable[[BinaryIO], bool]
"""Whether a file is an earlier one of the kind that is to be written."""


def check_free(out: Path, option: str, earlier: Earlier, *, force: bool) -> None:
    """Check that `out` may be written: nothing is there, or an earlier file of its kind, or any file with `force`.

    Raises: IntertieError INVALID_ARGUMENT for a directory, a special file, or a file of another kind; OSError;
    the usage error of no name at all.
    """
    if out in (STDOUT, Path()):
        if out == STDOUT:
            return
        raise usage("give the name of a file, or - for standard output", option)
    try:
        mode = out.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a special file, which is not replaced"
        raise IntertieError("INVALID_ARGUMENT", f"{out} is {kind}: name a file, or - for standard output.")
    if force:
        return
    with out.open("rb") as file:
        if not earlier(file):
            message = f"{out} is another file than this command writes: choose another name, or --force replaces it."
            raise IntertieError("INVALID_ARGUMENT", message)


@contextmanager
def written(out: Path) -> Iterator[BinaryIO]:
    """A file that is there under its name once all of it is written; standard output for `-`. Raises: OSError."""
    if out == STDOUT:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    out = out.resolve()  # what a symbolic link leads to is replaced, not the link
    partial = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
