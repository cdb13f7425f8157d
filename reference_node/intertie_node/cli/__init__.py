"""What operators and consumers type: `intertie`. Exit status 0: done; 1: refused or failed, by name; 2: wrong usage."""

import os  # with sys, what the interpreter has loaded anyway: Ctrl-C while this file is read would print a trace
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit."""
    try:
        _end_quietly_on_interrupt()
        _open_missing_streams()
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        status = _run()
        _end_quietly_on_interrupt()
        status = _flushed(status)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    sys.exit(status)  # type: ignore[arg-type]  # whatever an exit was given


def _run() -> object:
    """The exit status, or the text of an exit that has one."""
    try:
        from intertie_node.cli.commands import app
    except ModuleNotFoundError as error:
        return f"intertie: {error.name} is not installed: pip install 'intertie[node]'"
    try:
        return app(standalone_mode=False) or 0
    except SystemExit as ended:
        return ended.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _report(error)


def _end_quietly_on_interrupt() -> None:
    """End at once at Ctrl-C: while modules load and the interpreter ends, an exception would print a trace.

    What has something to clean up asks for the exception: `failing.interruptible`.
    """
    import signal

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


def _open_missing_streams() -> None:
    """Let a stream that the caller has closed lead nowhere, also for a file that would be opened in its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 (it stays open)


def _flushed(status: object) -> object:
    """The status once everything is written: what the interpreter cannot write at its end, it says with a trace."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or _report(OSError(error.errno, error.strerror, "standard output"))
    return status


def _report(error: Exception) -> int:
    from intertie_node.cli.failing import report

    return report(error, as_json="--json" in sys.argv)
