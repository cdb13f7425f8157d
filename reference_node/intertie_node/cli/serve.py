"""`intertie serve` and `intertie status`."""

import sys
from typing import Annotated, Final

import typer

from intertie_node.cli.options import Folder, JsonFlag, NodeDir

LEVELS: Final = ("debug", "info", "warning", "error")


def serve(
    folder: Folder,
    as_json: JsonFlag = False,
    log_level: Annotated[str, typer.Option(help=f"One of {', '.join(LEVELS)}.")] = "info",
    log_json: Annotated[bool | None, typer.Option(help="Log as JSON lines; default: unless on a terminal.")] = None,
) -> None:
    """Run the node in the foreground.

    SIGTERM, Ctrl-C or the end of its terminal lets running work end, at most ten seconds; a second SIGTERM or
    Ctrl-C ends at once. Prints one line "serving …" once it is ready. Logs go to stderr.

    Example: intertie serve north
    """
    from intertie_node.cli.failing import usage
    from intertie_node.cli.logs import set_up

    if log_level not in LEVELS:
        raise usage(f"one of {', '.join(LEVELS)}", "--log-level")
    set_up(log_level, as_json=log_json if log_json is not None else not sys.stderr.isatty())
    from intertie_node.cli.serving import run

    run(folder, as_json=as_json)


def status(folder: NodeDir, as_json: JsonFlag = False) -> None:
    """Show how a running node is.

    Example: intertie status --dir north
    """
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.cli.showing import show_json, show_pairs, when
    from intertie_node.operator_api import Status

    found = NodeClient(folder).get("/v1/status", Status)
    if as_json:
        show_json(found)
        return
    show_pairs(
        [
            ("grid", found.grid),
            ("state", found.state),
            ("fingerprint", found.fingerprint),
            ("since", f"{when(found.started_at)} UTC, process {found.pid}"),
            ("ports", " ".join(f"{name}={port}" for name, port in found.ports.items())),
            ("links", f"{found.links_up} of {found.peerings} up"),
            ("offers", str(found.offers)),
            ("invocations", f"{found.invocations} open, {found.running} running here"),
            ("engine", f"{found.steps} steps in {found.commits} commits"),
        ]
    )
