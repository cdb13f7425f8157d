"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def group(help_text: str) -> typer.Typer:
    """A group of commands; without one it shows its help."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"intertie {version('intertie')}")
        raise typer.Exit


def versioned(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print it.")
    ] = False,
) -> None:
    """Options of `intertie` itself. The help is the group's."""


JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON; amounts are minor units, as text.")]
Folder = Annotated[Path, typer.Argument(envvar="INTERTIE_DIR", help="The node's directory.", metavar="DIR")]
NodeDir = Annotated[Path, typer.Option("--dir", "-d", envvar="INTERTIE_DIR", help="The node's directory.")]
PerhapsDir = Annotated[
    Path | None, typer.Option("--dir", "-d", envvar="INTERTIE_DIR", help="The node's directory, if it is here.")
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="INTERTIE_TOKEN", help="The account's token; better given by the environment."),
]
Target = Annotated[
    str | None,
    typer.Option("--target", envvar="INTERTIE_TARGET", help="host:port of the node; else the loopback port of --dir."),
]
TlsRoot = Annotated[
    Path | None,
    typer.Option("--tls-root", envvar="INTERTIE_TLS_ROOT", help="PEM certificates to trust, for a TLS target."),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="Most items to show.")]
After = Annotated[str, typer.Option("--after", help="Go on after this page: the `next` of the page before.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file of another kind.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether the fingerprint is the right one.")]
Fingerprint = Annotated[
    str | None, typer.Option("--fingerprint", help="The other grid's fingerprint, as its operator told you.")
]
