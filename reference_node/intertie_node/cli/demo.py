"""`intertie demo`: three grids on this machine, one real task, two sets of books that must agree."""

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from intertie_node.cli.options import JsonFlag

if TYPE_CHECKING:
    from intertie_node.demo.scenario import Performance

TERMINATED: Final = 128 + signal.SIGTERM
app = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)


@app.callback()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the grids running and say how to talk to them.")] = False,
    tamper: Annotated[bool, typer.Option("--tamper", help="Change one exported byte: verifying must fail.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start three grids here and let one buy from another. Exit status 0 only if everything holds.

    north.example peers with hub.example, hub.example with south.example. An agent on north searches, calls real MCP
    servers and a library on south, streams through a link that is broken on purpose, cancels, is refused. Then
    both links' logs are exported and verified by separate processes.

    Example: intertie demo
    """
    from intertie.errors import IntertieError
    from intertie_node.cli.failing import interruptible
    from intertie_node.cli.showing import show_json
    from intertie_node.demo import plain, report

    try:
        with interruptible():
            performance = asyncio.run(_play(keep=keep, tampering=tamper, quiet=as_json))
    except IntertieError as error:
        if as_json:
            show_json(plain.failed(error))
        raise
    except asyncio.CancelledError:
        raise typer.Exit(TERMINATED) from None
    if as_json:
        show_json(plain.described(performance, kept=keep))
    else:
        report.show(performance)
        if keep:
            report.show_kept(performance)
    for check in performance.checks:
        if not check.ok:
            print(f"intertie demo: {check.what}: {check.found}", file=sys.stderr)
    raise typer.Exit(0 if performance.is_good else 1)


async def _play(*, keep: bool, tampering: bool, quiet: bool) -> "Performance":
    """Play it; SIGTERM and SIGHUP end it like Ctrl-C, all processes included."""
    from intertie_node.demo.report import Stage
    from intertie_node.demo.scenario import perform

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    with Stage(quiet=quiet) as stage:
        return await perform(stage, keep=keep, tampering=tampering)
