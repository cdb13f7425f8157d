"""`intertie-conformance`: run, list, explain, init, selftest."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # failed handshakes are part of the game

import msgspec
import typer
from msgspec import structs
from rich.console import Console

from intertie_conformance import expectations
from intertie_conformance.checks import Check, all_checks
from intertie_conformance.config import TEMPLATE, Config, ConfigError, TargetTable, load
from intertie_conformance.mutants import all_mutants
from intertie_conformance.passive import all_rules
from intertie_conformance.registry import requirements
from intertie_conformance.reports import files, terminal
from intertie_conformance.roles.target import Target, Unreachable
from intertie_conformance.runner import Run, Runner, select
from intertie_conformance.unseen import not_observable, unseen
from intertie_conformance.verdicts import Outcome

app = typer.Typer(
    help="Checks whether a node keeps the Intertie protocol.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
CONFIG_NAME = "conformance.toml"
Only = Annotated[list[str] | None, typer.Option(help="Ids or names of checks, or how they begin; may be repeated.")]
Seed = Annotated[str, typer.Option(help="Makes the chosen values those of an earlier run.")]


def main() -> None:
    """The command."""
    app()


def _config(path: Path | None, target: str, command: str) -> tuple[Config, str]:
    """The configuration, and how it is named in a replay command. Raises: ConfigError."""
    config = load(path) if path is not None else Config()
    said = [f"--config {path}"] if path is not None else []
    table = config.target
    if target:
        said.append(f"--target {target}")
        table = structs.replace(table, public=target, command="")
    if command:
        said.append(f'--command "{command}"')
        table = TargetTable(command=command, accept=table.accept, start_s=table.start_s)
    if not (table.public or table.command):
        raise ConfigError("name a target: --target host:port, --command …, or --config FILE with one")
    return Config(target=table, suite=config.suite), " ".join(said)


@app.command("run")
def run_command(
    target: Annotated[str, typer.Option(help="host:port of the target's public port.")] = "",
    command: Annotated[str, typer.Option(help="Starts the target; says on one line of JSON how it is reached.")] = "",
    config: Annotated[Path | None, typer.Option(help="Configuration file, as init writes it.")] = None,
    seed: Seed = "",
    only: Only = None,
    long: Annotated[bool, typer.Option(help="Also what takes longer than 30 s.")] = False,
    again: Annotated[bool, typer.Option(help="Try what fails once more, alone; the report says so.")] = False,
    expected: Annotated[Path | None, typer.Option(help="Expected failures with reasons (TOML).")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the report as JUnit XML.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML page.")] = None,
) -> None:
    """Run the checks against one target. Exit status 1 if it fails, 2 if it cannot be met.

    Example: intertie-conformance run --config vendor/conformance.toml --only IT-LNK --html report.html
    """
    console = Console()
    wanted = [(p, w) for p, w in zip((json, junit, html), files.WRITERS, strict=True) if p is not None]
    try:
        chosen, how = _config(config, target, command)
        expects = expectations.load(expected) if expected is not None else {}
        for path, _ in wanted:
            files.check_path(path)
        done = asyncio.run(_run(console, chosen, seed or secrets.token_hex(4), only or [], long, again))
    except (ConfigError, Unreachable) as error:
        _refuse(error)
    expectations.apply(done, expects)
    terminal.show(console, done, how)
    lost = [told for path, write in wanted if (told := _written(write, path, done, how))]
    if lost:
        _refuse("; ".join(lost))
    raise typer.Exit(0 if done.ok else 1)


def _refuse(why: object) -> NoReturn:
    """End with status 2, and one line that says why."""
    typer.echo(f"intertie-conformance: {why}", err=True)
    raise typer.Exit(2) from None


def _written(write: files.Writer, path: Path, done: Run, how: str) -> str:
    """Write one report; why it could not be written, "" if it was: the others are written all the same."""
    try:
        write(path, done, how)
    except OSError as error:
        return str(error)
    return ""


async def _run(console: Console, config: Config, seed: str, only: list[str], long: bool, again: bool) -> Run:
    began = time.monotonic()
    checks = [c for c in select(all_checks(), only) if long or not c.long or {c.id, c.name} & set(only)]
    watched = {name for name, (rule, _) in all_rules().items() if not only or _meant(only, name, rule)}
    _each_means(only, "check", ((c.id, c.name) for c in all_checks()), ((i, r) for i, (r, _) in all_rules().items()))
    if not checks and not watched:
        raise ConfigError(f"{', '.join(only)} means only checks that take longer: add --long")
    target = Target(config)
    try:
        await target.meet()
        run = Run(target=f"{target.grid} at {target.table.public}", seed=seed)
        with terminal.Live(console, len(checks)) as live:
            runner = Runner(target, config, seed, lambda outcome: live(outcome.check))
            run.outcomes = await _judged(runner, checks, bool(watched))
            if again:
                run.outcomes = await runner.again(run.outcomes, checks)
        run.outcomes += [o for o in runner.observer.outcomes() if o.id in watched]
        run.outcomes.sort(key=lambda outcome: (outcome.id, outcome.check))
    finally:
        await target.stop()
    run.seconds = time.monotonic() - began
    return run


async def _judged(runner: Runner, checks: Sequence[Check], watched: bool) -> list[Outcome]:
    """The outcomes of checks; where passive rules are `watched` for, what they need is said to the target meanwhile."""
    traffic = asyncio.create_task(runner.exercise()) if watched else None
    outcomes = await runner.run(checks)
    if traffic is not None:
        await traffic
    return outcomes


def _meant(only: list[str], *names: str) -> bool:
    return any(name.startswith(part) for part in only for name in names)


def _each_means(only: list[str], kind: str, *named: Iterable[tuple[str, ...]]) -> None:
    """See that each of `only` means something: what selects nothing must not pass. Raises: ConfigError."""
    names = [name for group in named for names in group for name in names]
    for part in only:
        if not any(name.startswith(part) for name in names):
            raise ConfigError(f"no {kind} is meant by {part!r}")


@app.command("list")
def list_command(
    only: Only = None,
    holes: Annotated[bool, typer.Option(help="Only requirements without check and without reason.")] = False,
    unseen_alone: Annotated[
        bool, typer.Option("--unseen", help="Only duties that no check observes, and why.")
    ] = False,
) -> None:
    """List requirements with their checks and mutants.

    Example: intertie-conformance list --only IT-LNK
    """
    try:
        _each_means(only or [], "requirement", ((name, *_names(name)) for name in (requirements() if only else ())))
    except ConfigError as error:
        _refuse(error)
    if unseen_alone:
        for name, reason in not_observable().items():
            if not only or _meant(only, name, *_names(name)):
                typer.echo(f"{name}  {reason}")
        return
    for requirement in requirements().values():
        checks = _names(requirement.id)
        mutants = [made.name for made in all_mutants() if made.requirement == requirement.id]
        reason = requirement.reason or unseen().get(requirement.id, "")
        if (only and not _meant(only, requirement.id, *checks)) or (
            holes and (checks or reason or not requirement.is_must)
        ):
            continue
        told = ", ".join(checks) or ("not observable" if reason else "no check")
        typer.echo(f"{requirement.id}  {requirement.level:<10}  {told}{' | ' + ', '.join(mutants) if mutants else ''}")


def _names(requirement: str) -> list[str]:
    passive = [rule for name, (rule, _) in all_rules().items() if name == requirement]
    return [found.name for found in all_checks() if found.id == requirement] + passive


@app.command("explain")
def explain_command(requirement: Annotated[str, typer.Argument(help="An id, e.g. IT-LNK-027.")]) -> None:
    """Say what a requirement is, what checks it and which broken grid the check is known to catch.

    Example: intertie-conformance explain IT-LNK-027
    """
    row = requirements().get(requirement)
    if row is None:
        typer.echo(f"There is no requirement {requirement}.", err=True)
        raise typer.Exit(2)
    typer.echo(f"{row.id} ({row.level}, {row.role}), {row.place}\n  {row.sentence}\n")
    reason = row.reason or unseen().get(row.id, "")
    for found in all_checks():
        if found.id == requirement:
            typer.echo(f"check   {found.name} as {found.role}: {found.about}")
    if requirement in all_rules():
        name, rule = all_rules()[requirement]
        typer.echo(f"check   {name} on every message: {(rule.__doc__ or '').strip()}")
    for made in all_mutants():
        if made.requirement == requirement:
            typer.echo(f"mutant  {made.name}: {made.about}")
    if reason:
        typer.echo(f"not observable: {reason}")


@app.command("init")
def init_command(folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(".")) -> None:
    """Write a configuration with comments. Nothing that exists is overwritten.

    Example: intertie-conformance init vendor
    """
    path = folder / CONFIG_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        _refuse(f"{path if folder.is_dir() else folder} exists already")
    except OSError as error:
        _refuse(error)
    typer.echo(f"{path}\nNext: edit it, then intertie-conformance run --config {path}")


@app.command("selftest")
def selftest_command(
    only: Only = None,
    seed: Seed = "selftest",
    others: Annotated[bool, typer.Option(help="Run each mutant against all checks of its area.")] = False,
    strict: Annotated[bool, typer.Option(help="Fail for other checks that a mutant turns red unnamed.")] = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = os.cpu_count() or 1,
    json: Annotated[Path | None, typer.Option(help="Write what was seen as JSON: make trace reads it.")] = None,
) -> None:
    """Run every check against the honest grid, every mutant against its checks, and the three liars.

    Example: intertie-conformance selftest --only IT-LNK-027
    """
    from intertie_conformance import selftest

    try:
        _each_means(only or [], "mutant", ((made.requirement, made.name) for made in all_mutants()))
        if json is not None:
            json.parent.mkdir(parents=True, exist_ok=True)
            files.check_path(json)
    except (ConfigError, OSError) as error:
        _refuse(error)
    began = time.monotonic()
    with terminal.Live(Console(stderr=True), len(selftest.chosen(only or []))) as live:
        matrix = asyncio.run(
            selftest.selftest(
                seed,
                only or [],
                others=others or strict,
                jobs=jobs,
                progress=lambda trial: live(trial.mutant.name),
            )
        )
    faults = matrix.faults
    for trial in matrix.trials:
        if trial.undeclared:
            typer.echo(f"{trial.mutant.name} also turns red: {', '.join(trial.undeclared)}")
            faults += [f"{trial.mutant.name} turns red what it does not name"] if strict else []
    for fault in faults:
        typer.echo(fault)
    spent = time.monotonic() - began
    if json is not None:
        json.write_text(msgspec.json.encode(matrix.as_data()).decode() + "\n", encoding="utf-8")
    typer.echo(f"killed / testable / total: {matrix.figures}; {len(matrix.trials)} mutants, {spent:.0f} s")
    raise typer.Exit(1 if faults else 0)
