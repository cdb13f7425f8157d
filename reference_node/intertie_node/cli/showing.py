"""What commands print: tables for people, JSON for programs."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from intertie.amounts import format_amount

if TYPE_CHECKING:
    from rich.console import Console


def console(*, error: bool = False) -> "Console":
    """A console that neither wraps nor colours what another program reads."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    return Console(stderr=error, highlight=False, width=None if stream.isatty() else 200, soft_wrap=not stream.isatty())


def show_json(value: Any) -> None:
    """Print a struct, or plain values, as indented JSON."""
    import msgspec

    from intertie_node.operator_api import encode

    print(msgspec.json.format(encode(value), indent=2).decode(), flush=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str, next_page: str = "") -> None:
    """Print rows as a table; columns whose name begins with ">" are set flush right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        right = name.startswith(">")
        table.add_column(name.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out = console()
    if table.row_count:
        out.print(table)
    else:
        out.print(Text(empty))
    if next_page:
        console(error=True).print(Text(f"more: --after {next_page}", "dim"))


def show_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one a line."""
    known = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        print(f"{name.ljust(width)}  {value}")


def money(minor: int, asset: str, scale: int) -> str:
    """An amount with its asset."""
    return f"{format_amount(minor, scale)} {asset}"


def when(milliseconds: int) -> str:
    """A time in UTC, "" for none."""
    if not milliseconds:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
