"""What the demo prints: the steps as they happen, then calls, logs, debts, margin and verdicts."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.status import Status
from rich.table import Table
from rich.text import Text

from intertie.amounts import format_amount
from intertie.client import CallResult, EnergyReading
from intertie_node.demo.agent import Invoked
from intertie_node.demo.exports import Line
from intertie_node.demo.grids import HUB, NORTH, SOUTH
from intertie_node.demo.scenario import Performance
from intertie_node.demo.verdict import LINKS

WIDTH: Final = 100
UNKNOWN: Final = "unknown"
RIGHT: Final = 46
"""Column at which what the second grid of a link writes begins."""


class Stage:
    """Tells steps on stdout unless `quiet`, and what is being done now on stderr; a context manager."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._out = wide_console()
        self._err = Console(stderr=True, highlight=False)
        self._status: Status | None = Status("", console=self._err) if self._err.is_terminal else None
        self._steps = 0

    def __enter__(self) -> Stage:
        if not self._quiet:
            _print_title(self._out)
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def status(self, text: str) -> None:
        """Say what is being done now."""
        if self._status is not None:
            self._status.update(f"{text} …")
            self._status.start()
        else:
            print(f"demo: {text}", file=sys.stderr, flush=True)

    def told(self, title: str, text: str) -> None:
        """Say what was done."""
        if self._quiet:
            return
        if self._status is not None:
            self._status.stop()
        self._steps += 1
        row = Table.grid(padding=(0, 2))
        row.add_column(width=2, justify="right")
        row.add_column(width=20, overflow="fold")
        row.add_column(overflow="fold")
        row.add_row(Text(str(self._steps), "bold cyan"), Text(title, "bold"), Text(text))
        self._out.print(row)


def wide_console() -> Console:
    """Standard output, at most WIDTH columns wide, without colour where it is no terminal."""
    narrow = Console(highlight=False)
    width = min(WIDTH, narrow.width) if narrow.is_terminal else WIDTH
    return Console(highlight=False, width=width, emoji=False, markup=False)


def _print_title(out: Console) -> None:
    out.print(Text("\nIntertie demo: three AI grids, one task, two sets of books\n", "bold"))
    picture = Table.grid(padding=(0, 1))
    for _ in range(5):
        picture.add_column(justify="center")
    line = Text("═════ link ═════", "dim")
    names = [Text(name, "bold cyan") for name in (NORTH, HUB, SOUTH)]
    picture.add_row(names[0], line, names[1], line, names[2])
    picture.add_row("an agent's home", "", "sells transit", "", "git, time, library, text")
    out.print(Padding(picture, (0, 0, 1, 3)))


def show(performance: Performance) -> None:
    """Print everything that is known at the end."""
    out = wide_console()
    _show_calls(out, performance)
    for link in LINKS:
        _show_link(out, performance, link)
    _show_debts(out, performance)
    _show_tampering(out, performance)
    _show_checks(out, performance)


def _headline(out: Console, text: str) -> None:
    out.print()
    out.rule(Text(text, "bold"), align="left", style="cyan")


def _table(*columns: str) -> Table:
    """A table; columns whose name begins with ">" are set flush right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return table


def _show_calls(out: Console, performance: Performance) -> None:
    work = performance.work
    _headline(out, "What was called, where it ran, what it used and cost")
    table = _table("offer, path", "state, ran at", ">usage", f">charge {work.asset}", ">energy")
    for each in work.invoked:
        table.add_row(*_call_cells(each))
    for refused in work.refused:
        why = Text("REFUSED", "yellow").append(f"\nby {NORTH}", "default")
        most = f"would need\n{format_amount(refused.max_charge, work.scale)}"
        table.add_row(Text(short(refused.offer), "bold"), why, refused.reason, Text(most, "dim"), "")
    out.print(table)
    left, spent, budget = (
        format_amount(amount, work.scale)
        for amount in (work.budget - work.spent - work.reserved, work.spent, work.budget)
    )
    out.print(f"\nThe agent's budget was {budget} {work.asset}; {spent} is spent, {left} is left.")
    for reading in sorted({_boundary(each.result) for each in work.invoked} - {""}):
        out.print(Text(f"Energy is the executor's statement. {reading}", "dim"))


def _boundary(result: CallResult) -> str:
    energy = result.energy
    return f"{energy.method.capitalize()} figures include: {energy.boundary}." if energy else ""


def _call_cells(each: Invoked) -> tuple[str | Text, ...]:
    result = each.result
    path = Text(" → ".join(name.partition(".")[0] for name in result.path), "dim")
    offer = Text(short(each.offer), "bold").append("\n").append_text(path)
    colour = {"COMPLETED": "green", "CANCELED": "yellow"}.get(result.state, "red")
    ran = Text(result.state, colour).append(f"\n{result.executed_by} {result.place}", "default")
    return offer, ran, usage_text(result), charge_text(result), energy_text(result.energy)


def short(ref: str) -> str:
    """An offer's name without its grid."""
    return ref.partition("/")[2]


def usage_text(result: CallResult) -> str:
    """Usage, a unit a line."""
    return "\n".join(f"{quantity:,} {unit}" for unit, quantity in result.usage.items())


def charge_text(result: CallResult) -> str:
    """The charge as a decimal."""
    return format_amount(result.charge, result.scale)


def energy_text(energy: EnergyReading | None) -> str:
    """Energy with bounds and method, or that it is not known."""
    if energy is None:
        return UNKNOWN
    best, lower, upper = (f"{value / 1000:,.3f}".rstrip("0").rstrip(".") for value in
                          (energy.millijoules, energy.lower, energy.upper))  # fmt: skip
    return f"{best} J ({lower}–{upper})\n{energy.method}"


def _show_link(out: Console, performance: Performance, link: tuple[str, str]) -> None:
    one, other = link
    lines = performance.logs[link]
    _headline(out, f"Both logs of the link {one} ═══ {other}")
    out.print(Text(f"{one} writes".ljust(RIGHT) + f"{other} writes", "bold"))
    for line in lines:
        out.print(Padding(_line_text(line), (0, 0, 0, 0 if line.writer == one else RIGHT)))
    report = performance.books.of_link(*link)[0].report
    counts = " and ".join(
        f"{side.entries} entries, {side.signatures} signatures of {side.grid}" for side in report.sides
    )
    out.print(Text(f"\n{counts}; ✎ marks those that state another total.", "dim"))


def _line_text(line: Line) -> Text:
    if not line.seq:
        return Text(f"    ✎ {line.text}", "green")
    return Text(f"{line.seq:>3} ", "cyan").append(line.kind, "bold").append(f" {line.text}", "default")


def _show_debts(out: Console, performance: Performance) -> None:
    books, work = performance.books, performance.work
    _headline(out, "What is owed, by the signed logs of both sides of each link")
    table = _table("debtor", "creditor", f">charged {work.asset}", ">signed by debtor", "in the file of", "file")
    for one, other in LINKS:
        for export in books.of_link(one, other):
            lane = export.owes(one)
            money = (format_amount(lane.posted, work.scale), format_amount(lane.agreed, work.scale))
            verified = Text("verified", "green") if export.is_verified else Text("NOT VERIFIED", "bold red")
            table.add_row(one, other, *money, export.by, verified)
    out.print(table)
    bought, resold = (format_amount(books.owed(*link), work.scale) for link in LINKS)
    margin = format_amount(books.margin, work.scale)
    out.print()
    out.print(f"{HUB} is owed {bought} and owes {resold}: it keeps ", Text(f"{margin} {work.asset}", "bold"), sep="")


def _show_tampering(out: Console, performance: Performance) -> None:
    tampered = performance.tampered
    if tampered is None:
        return
    scale = performance.work.scale
    _headline(out, "One byte was changed")
    out.print(
        f"Byte {tampered.offset:,} of {tampered.file.name} is now 0x{tampered.after:02x} instead of "
        f"0x{tampered.before:02x}: the charge for order {tampered.order_seq} reads "
        f"{format_amount(tampered.forged, scale)} instead of {format_amount(tampered.amount, scale)}."
    )


def _show_checks(out: Console, performance: Performance) -> None:
    _headline(out, "Verdict")
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in performance.checks:
        mark = Text("✓", "green") if check.ok else Text("✗", "bold red")
        table.add_row(mark, Text(check.what, "" if check.ok else "bold red"), Text(check.found, "dim"))
    out.print(table)
    bad = sum(not check.ok for check in performance.checks)
    count, took = len(performance.checks), f"{performance.seconds:.0f} s"
    words = f"{bad} of {count} checks fail ({took})." if bad else f"All {count} checks hold ({took})."
    out.print(Text(f"\n{words}", "bold red" if bad else "bold green"))


def show_kept(performance: Performance) -> None:
    """Say how to talk to the grids that were left running, and how to end them."""
    out = wide_console()
    _headline(out, "The grids are still running")
    north, hub = performance.grids[NORTH], performance.grids[HUB]
    question = """'{"query": "What is a grant?"}'"""
    _show_commands(
        out,
        (
            f"export INTERTIE_TOKEN={performance.token}",
            f"intertie offers search protocol --dir {north.folder}",
            f"intertie call {SOUTH}/protocol/ask --input {question} --max-charge 20000 --dir {north.folder}",
            f"intertie peer list --dir {hub.folder}",
            f"kill {' '.join(str(pid) for pid in performance.pids.values())} && sleep 3 && rm -r {performance.folder}",
        ),
    )


def _show_commands(out: Console, commands: Iterable[str]) -> None:
    for command in commands:
        out.print(Text(f"  {command}"), soft_wrap=True)
