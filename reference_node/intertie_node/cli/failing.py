"""How a command fails: what was wrong, where, what to do. Exit status 1, 2 for a wrong command line."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from intertie.errors import IntertieError

TRACE: Final = "INTERTIE_TRACE"
"""Environment variable: set, what nobody expected is told with its trace."""


def report(error: Exception, *, as_json: bool) -> int:
    """Say on stderr what went wrong; returns the exit status."""
    from typer import Abort
    from typer.exceptions import TyperException

    if isinstance(error, TyperException):
        return _misused(error, as_json)
    if isinstance(error, Abort):
        error = IntertieError("CANCELED", "It was not confirmed: nothing is done.")
    named = as_named(error)
    if as_json:
        _say(named)
    else:
        print(f"intertie: {named.reason}: {named.message}", file=sys.stderr)
        for key, value in named.metadata.items():
            print(f"  {key}: {value}", file=sys.stderr)
    return 1


def _misused(error: Any, as_json: bool) -> int:
    """Say what is wrong with a command line: the parser's own words, with the usage unless a program reads them."""
    if as_json:
        _say(IntertieError("INVALID_ARGUMENT", error.format_message()))
    else:
        error.show()
    return int(error.exit_code)


def _say(named: IntertieError) -> None:
    from intertie_node.operator_api import Problem, encode

    print(encode(Problem(named.reason, named.message, named.metadata)).decode(), file=sys.stderr)


def as_named(error: Exception) -> IntertieError:
    """The error with a reason of the registry."""
    if isinstance(error, IntertieError):
        return error
    from intertie_node.ports import StoreFailure

    if isinstance(error, StoreFailure):
        return IntertieError("NODE_UNAVAILABLE", str(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return IntertieError("INVALID_ARGUMENT", f"{where}{error.strerror or error}.")
    if isinstance(error, UnicodeError):
        return IntertieError("INVALID_ARGUMENT", f"What was given is no text in UTF-8: {error}.")
    return _unexpected(error)


def _unexpected(error: Exception) -> IntertieError:
    import logging

    logger = logging.getLogger(__name__)
    if logger.hasHandlers() or os.environ.get(TRACE):  # a node's log has the trace, a terminal on demand only
        logger.error("unexpected", exc_info=error)
    message = f"{type(error).__name__}: {error}. This is a fault of the program: report it, with what {TRACE}=1 adds."
    return IntertieError("INTERNAL", message)


def usage(message: str, parameter: str | None = None) -> Any:
    """The error of a wrong command line (exit status 2)."""
    import typer

    return typer.BadParameter(message, param_hint=parameter)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt meanwhile, for what has something to put in order first."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
