"""The suite's command line, its files, and what it says of failures."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from unittest.mock import Mock
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from intertie.v1 import link_pb2 as lk
from intertie_conformance import expectations
from intertie_conformance.checks import check
from intertie_conformance.cli import app
from intertie_conformance.config import Config, ConfigError, TargetTable, load
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.reports import files
from intertie_conformance.roles.operator import Operator
from intertie_conformance.roles.target import Target, Unreachable
from intertie_conformance.runner import Run
from intertie_conformance.trace import describe
from intertie_conformance.verdicts import Line, Outcome, Verdict

runner = CliRunner()


def a_run() -> Run:
    run = Run(target="north.example at 127.0.0.1:1", seed="s")
    trace = [Line(0.001 * n, "c1.example", f"← frame {n} <b>") for n in range(100)]
    run.outcomes = [
        Outcome(
            "IT-LNK-024", "opening.second_open", Verdict.FAIL, "close UNEXPECTED_FRAME", "close X: <i>", trace=trace
        ),
        Outcome("IT-LNK-027", "opening.nonce_and_heads", Verdict.PASS, seen=["refused"]),
    ]
    return run


def test_init_writes_what_run_reads(tmp_path: Path) -> None:
    assert runner.invoke(app, ["init", str(tmp_path)]).exit_code == 0
    assert load(tmp_path / "conformance.toml").target.public == "127.0.0.1:7460"
    assert runner.invoke(app, ["init", str(tmp_path)]).exit_code == 2


def test_a_bad_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[suite]\nanswer = 5\n")
    with pytest.raises(ConfigError, match="answer"):
        load(path)
    assert runner.invoke(app, ["run", "--config", str(path)]).exit_code == 2


def test_explain_tells_sentence_check_and_mutant() -> None:
    said = runner.invoke(app, ["explain", "IT-LNK-027"]).stdout
    assert "MUST close with `FRAME_MALFORMED`" in said
    assert "check   opening.nonce_and_heads" in said
    assert "mutant  opening.AnyNonce" in said
    assert runner.invoke(app, ["explain", "IT-LNK-999"]).exit_code == 2


def test_list_knows_every_requirement_and_its_holes() -> None:
    lines = runner.invoke(app, ["list", "--only", "IT-LNK"]).stdout.splitlines()
    assert any(line.startswith("IT-LNK-024") and "opening.second_open" in line for line in lines)
    assert runner.invoke(app, ["list", "--holes", "--only", "IT-LNK"]).stdout == ""


def test_reports_hold_what_a_failure_needs(tmp_path: Path) -> None:
    run, how = a_run(), "--target 127.0.0.1:1"
    for name, write in (("j", files.write_json), ("x", files.write_junit), ("h", files.write_html)):
        write(tmp_path / name, run, how)
    (failure, passed) = json.loads((tmp_path / "j").read_text())["outcomes"]
    assert failure["sentence"].startswith("A receiver MUST close with `UNEXPECTED_FRAME`")
    assert (failure["expected"], failure["got"]) == ("close UNEXPECTED_FRAME", "close X: <i>")
    assert failure["replay"] == f"intertie-conformance run {how} --seed s --only opening.second_open"
    assert len(failure["trace"]) == 41
    assert passed["seen"] == ["refused"]
    suite = ElementTree.parse(tmp_path / "x").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    page = (tmp_path / "h").read_text()
    assert "<i>" not in page
    assert "http" not in page.replace("https://www.w3.org", "")


def test_expected_failures_need_reasons_and_get_stale(tmp_path: Path) -> None:
    run, path = a_run(), tmp_path / "expected.toml"
    path.write_text('"IT-LNK-024" = "Ticket 17."\n"opening.nonce_and_heads" = "Old."\n')
    expectations.apply(run, expectations.load(path))
    assert run.red == []
    assert run.stale == ["opening.nonce_and_heads"]
    assert not run.ok
    path.write_text('"IT-LNK-024" = ""\n')
    with pytest.raises(ConfigError, match="reason"):
        expectations.load(path)
    path.write_text('"IT-XXX-024" = "x"\n')
    with pytest.raises(ConfigError, match="no requirement"):
        expectations.load(path)


def test_an_unknown_requirement_fails_the_build() -> None:
    async def act(stage: object) -> None:
        """Something."""

    with pytest.raises(ValueError, match="no requirement IT-LNK-999"):
        check("IT-LNK-999", role="hostile peer")(act)
    with pytest.raises(ValueError, match="IT-LNK-999"):
        mutant("IT-LNK-999")(type("Broken", (Rules,), {"__doc__": "x", "pong": lambda self, ping: 0}))
    with pytest.raises(ValueError, match="one override"):
        mutant("IT-LNK-116")(type("Honest", (Rules,), {"__doc__": "x"}))


def test_traces_show_no_payload() -> None:
    frame = lk.Frame(inputs=[lk.OrderInput(order_seq=1, data=b"secret")], ping=7)
    assert describe(frame.SerializeToString()) == "1 inputs, ping 7"
    assert describe(b"\xff") == "1 bytes that are no frame"


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "/dev/null"],
        ["run", "--command", "nosuchprog"],
        ["run", "--command", "'"],
        ["run", "--command", "false", "--json", "/dev/null/x.json"],
        ["run", "--command", "false", "--html", "/"],
        ["selftest", "--only", "IT-LNK-027", "--json", "/dev/null/x.json"],
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(arguments: list[str]) -> None:
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    (line,) = done.stderr.splitlines()
    assert line.startswith("intertie-conformance: ")
    assert arguments[-1].strip("'").removesuffix("/x.json") in line


def test_looking_whether_a_report_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("of the last run")
    for path in (old, tmp_path / "new.json"):
        assert runner.invoke(app, ["run", "--command", "false", "--json", str(path)]).exit_code == 2
    assert old.read_text() == "of the last run"
    assert list(tmp_path.iterdir()) == [old]


def test_an_accept_command_that_fails_leaves_no_other_behind(tmp_path: Path) -> None:
    """One that is still running at the end of the loop would be reported as an ignored exception."""
    accept = f"sh -c 'sleep 0.{{grid}}; touch {tmp_path}/{{grid}}; exit 3'"
    operator = Operator(Target(Config(target=TargetTable(accept=accept))))
    proposals = [Mock(named={"grid": name}) for name in "05"]
    with pytest.raises(Unreachable, match="ended with 3"):
        asyncio.run(operator._accept(proposals))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "5"]


async def test_an_accept_command_that_does_not_exist_is_named() -> None:
    operator = Operator(Target(Config(target=TargetTable(accept="nosuchprog"))))
    with pytest.raises(Unreachable, match="nosuchprog"):
        await operator._accept([Mock(named={})])


@pytest.mark.parametrize("command", ["run", "list", "selftest"])
def test_what_selects_nothing_fails_by_name(command: str, tmp_path: Path) -> None:
    """Also beside something that selects: a misspelt id must not go unseen."""
    report = tmp_path / "r.json"
    more = {"run": ["--command", "false", "--json", str(report)], "selftest": ["--json", str(report)]}
    for only in (["nosuch"], ["IT-LNK-027", "nosuch"]):
        chosen = [part for name in only for part in ("--only", name)]
        done = runner.invoke(app, [command, *chosen, *more.get(command, [])])
        assert done.exit_code == 2
        assert "is meant by 'nosuch'" in done.stderr
        assert done.stdout == ""
    assert not report.exists()


def test_list_takes_names_of_checks() -> None:
    said = runner.invoke(app, ["list", "--only", "opening.second_open"]).stdout.splitlines()
    assert [line[:10] for line in said] == ["IT-LNK-024"]


@pytest.mark.parametrize("command", ["run", "list", "explain", "init", "selftest"])
def test_every_command_has_a_short_help_with_an_example(command: str) -> None:
    done = runner.invoke(app, [command, "-h"])
    assert done.exit_code == 0
    assert f"Example: intertie-conformance {command}" in done.stdout
