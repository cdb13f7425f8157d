"""A run on a terminal: progress while it goes on, then every failure in full, then the figures."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from intertie_conformance.registry import requirements
from intertie_conformance.reports.facts import counts, lateness, replay, trace_lines
from intertie_conformance.runner import Run
from intertie_conformance.unseen import not_observable
from intertie_conformance.verdicts import Outcome, Verdict

COLOURS = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.NON_STRICT: "yellow",
    Verdict.NOT_APPLICABLE: "cyan",
    Verdict.HARNESS_ERROR: "bold magenta",
}


class Live:
    """Progress of a run."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, name: str) -> None:
        """What has this name is done."""
        self._progress.update(self._task, advance=1, description=name)


def show(console: Console, run: Run, how: str) -> None:
    """Print the whole."""
    for outcome in run.outcomes:
        if outcome.verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE):
            _show_one(console, outcome, run, how)
    _show_absent(console, run)
    for outcome in run.outcomes:
        if outcome.verdict is Verdict.PASS and outcome.first is not None:
            told = f"at first expected {outcome.first.expected}; got {outcome.first.got}"
            console.print(f"[yellow]passed at the second try, alone[/]: {outcome.id} {outcome.check}", highlight=False)
            console.print(f"  {escape(told)}", highlight=False)
    for name in run.stale:
        console.print(f"[bold red]stale expectation[/]: {name} was expected to fail and does not")
    found = counts(run)
    told = "  ".join(f"[{COLOURS[v]}]{v.value} {found[v.value]}[/]" for v in Verdict if found[v.value])
    console.print(f"{told}  in {run.seconds:.1f} s")
    console.print(f"{len(not_observable())} duties that no check can observe: list --unseen", highlight=False)
    console.print(f"{run.target}, requirement set {run.version}, seed {run.seed}: {'conforms' if run.ok else 'fails'}")


def _show_absent(console: Console, run: Run) -> None:
    """What does not apply, by reason."""
    by_reason: dict[str, list[str]] = {}
    for outcome in run.outcomes:
        if outcome.verdict is Verdict.NOT_APPLICABLE:
            by_reason.setdefault(outcome.got, []).append(outcome.id)
    for reason, ids in by_reason.items():
        mark = f"[{COLOURS[Verdict.NOT_APPLICABLE]}]{Verdict.NOT_APPLICABLE.value} {len(ids)}[/]"
        console.print(f"{mark}: {escape(reason)}\n  {' '.join(dict.fromkeys(ids))}\n", highlight=False)


def _show_one(console: Console, outcome: Outcome, run: Run, how: str) -> None:
    requirement = requirements()[outcome.id]
    head = f"[{COLOURS[outcome.verdict]}]{outcome.verdict.value}[/] {outcome.id} {outcome.check}"
    console.print(head + (f" (expected: {escape(outcome.reason)})" if outcome.reason else ""), highlight=False)
    console.print(f"  {requirement.place}: {escape(requirement.sentence)}", highlight=False)
    console.print(f"  expected: {escape(outcome.expected)}", highlight=False)
    console.print(f"  got:      {escape(outcome.got)}", highlight=False)
    if outcome.late:
        console.print(f"  note:     {lateness(outcome)}", highlight=False)
    for line in trace_lines(outcome):
        console.print(f"    {escape(line)}", highlight=False, style="dim", soft_wrap=True)
    console.print(f"  again:    {escape(replay(outcome, run, how))}\n", highlight=False, soft_wrap=True)
