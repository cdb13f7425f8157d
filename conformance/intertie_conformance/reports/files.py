"""Reports as files: JSON, JUnit XML, one HTML page that needs nothing else."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as Xml

from intertie_conformance.config import ConfigError
from intertie_conformance.registry import Requirement, requirements
from intertie_conformance.reports.facts import counts, lateness, replay, run_as_data, trace_lines
from intertie_conformance.runner import Run
from intertie_conformance.unseen import not_observable
from intertie_conformance.verdicts import Outcome, Verdict

Writer = Callable[[Path, Run, str], None]


def check_path(path: Path) -> None:
    """See before a run that its report can be written; what the file holds stays. Raises: ConfigError."""
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"the report cannot be written: {error}") from None
    if not existed:
        path.unlink()


def write_json(path: Path, run: Run, how: str) -> None:
    """The run for machines."""
    path.write_text(json.dumps(run_as_data(run, how), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_junit(path: Path, run: Run, how: str) -> None:
    """The run as one JUnit test suite; an expected failure counts as skipped."""
    failures = sum(o.verdict is Verdict.FAIL and not o.reason for o in run.outcomes)
    errors = sum(o.verdict is Verdict.HARNESS_ERROR for o in run.outcomes)
    skipped = sum(bool(o.reason) or o.verdict in (Verdict.NOT_APPLICABLE, Verdict.NON_STRICT) for o in run.outcomes)
    suite = Xml.Element(
        "testsuite",
        name="intertie-conformance",
        tests=str(len(run.outcomes)),
        failures=str(failures),
        errors=str(errors),
        skipped=str(skipped),
        time=f"{run.seconds:.3f}",
    )
    for outcome in run.outcomes:
        suite.append(_case(outcome, run, how))
    Xml.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _case(outcome: Outcome, run: Run, how: str) -> Xml.Element:
    case = Xml.Element("testcase", classname=outcome.id, name=outcome.check, time=f"{outcome.seconds:.3f}")
    if outcome.verdict is Verdict.PASS:
        return case
    kind = {Verdict.FAIL: "failure", Verdict.HARNESS_ERROR: "error"}.get(outcome.verdict, "skipped")
    kind = "skipped" if outcome.reason else kind
    message = outcome.reason or f"{outcome.verdict.value}: expected {outcome.expected}; got {outcome.got}"
    element = Xml.SubElement(case, kind, message=_printable(message))
    element.text = _printable("\n".join([*trace_lines(outcome), replay(outcome, run, how)]))
    return case


def _printable(text: str) -> str:
    """What XML 1.0 can hold."""
    return "".join(c if c in "\n\t" or " " <= c < "\ud800" or "\ue000" <= c <= "\ufffd" else "?" for c in text)


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.4rem}summary{cursor:pointer;padding:.3rem 0;overflow-wrap:anywhere}details{border-bottom:1px solid #ddd}
pre{overflow-x:auto;background:#f5f5f5;padding:.6rem;font-size:.8rem}blockquote{margin:.4rem 0;padding-left:.8rem;
border-left:3px solid #bbb}.v{display:inline-block;min-width:8.5rem;font-weight:600}pre.again{white-space:pre-wrap;
overflow-wrap:anywhere}code{font-size:.9em}@media (max-width:40rem){
.v{min-width:0;margin-right:.5rem}pre{white-space:pre-wrap;
overflow-wrap:anywhere}}.PASS{color:#136f2d}
.FAIL{color:#b3001b}.HARNESS-ERROR{color:#8a007a}.NON-STRICT{color:#8a5a00}.NOT-APPLICABLE{color:#00627a}
@media (prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}pre{background:#242424}
details{border-color:#333}.PASS{color:#6ccf86}.FAIL{color:#ff7b8a}.HARNESS-ERROR{color:#f19be6}
.NON-STRICT{color:#e0b060}.NOT-APPLICABLE{color:#6fcde4}}
"""


def write_html(path: Path, run: Run, how: str) -> None:
    """The run as one page: the figures, then every outcome, those that are not PASS opened."""
    found = counts(run)
    told = " · ".join(f'<span class="{name}">{name} {number}</span>' for name, number in found.items() if number)
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.started))
    ordered = sorted(run.outcomes, key=lambda o: (o.verdict is Verdict.PASS, o.id, o.check))
    body = "\n".join(_details(outcome, run, how) for outcome in ordered)
    stale = "".join(f"<p class=FAIL>stale expectation: {escape(name)}</p>" for name in run.stale)
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8>"
        f'<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>Intertie conformance: {escape(run.target)}</title><style>{_STYLE}</style>"
        f"<h1>Intertie conformance: {escape(run.target)} {'conforms' if run.ok else 'fails'}</h1>"
        f"<p>{told}</p><p>Requirement set {escape(run.version)}, seed {escape(run.seed)}, {when}, "
        f"{run.seconds:.1f} s</p>{stale}{body}{_unobserved()}</html>\n",
        encoding="utf-8",
    )


def _sentence(requirement: Requirement) -> str:
    """A requirement's sentence; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(requirement.sentence))


def _unobserved() -> str:
    """Duties of which this run says nothing, with the reason."""
    rows = "".join(
        f"<p>{name}: {_sentence(requirements()[name])} <em>{escape(reason)}</em></p>"
        for name, reason in not_observable().items()
    )
    return f"<details><summary>{len(not_observable())} duties that no check can observe</summary>{rows}</details>"


def _details(outcome: Outcome, run: Run, how: str) -> str:
    requirement = requirements()[outcome.id]
    name = outcome.verdict.value
    parts = [f"<blockquote>{escape(requirement.place)}: {_sentence(requirement)}</blockquote>"]
    if outcome.reason:
        parts.append(f"<p>expected failure: {escape(outcome.reason)}</p>")
    if outcome.first is not None:
        told = f"expected {outcome.first.expected}; got {outcome.first.got}"
        parts.append(f"<p>tried twice; at first {escape(told)}</p>")
    if outcome.verdict is Verdict.PASS:
        parts.append("".join(f"<div>{escape(seen)}</div>" for seen in outcome.seen))
    else:
        note = f"<br>note: {lateness(outcome)}" if outcome.late else ""
        parts.append(f"<p>expected: {escape(outcome.expected)}<br>got: {escape(outcome.got)}{note}</p>")
        parts.append(f"<pre>{escape(chr(10).join(trace_lines(outcome)))}</pre>")
        parts.append(f"<pre class=again>{escape(replay(outcome, run, how))}</pre>")
    opened = "" if outcome.verdict is Verdict.PASS else " open"
    return (
        f'<details{opened}><summary><span class="v {name}">{name}</span> {outcome.id} '
        f"{escape(outcome.check)}</summary>{''.join(parts)}</details>"
    )


WRITERS: Final[tuple[Writer, ...]] = (write_json, write_junit, write_html)
"""JSON, JUnit XML, HTML."""
