"""What every report says of an outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from intertie_conformance.registry import requirements
from intertie_conformance.runner import Run
from intertie_conformance.unseen import not_observable
from intertie_conformance.verdicts import Outcome, Verdict

MAX_TRACE = 40
"""Lines of a trace that a report shows: the first and the last ones."""


def replay(outcome: Outcome, run: Run, how: str) -> str:
    """The one command that runs a check again with the same values; `how` names the target."""
    return f"intertie-conformance run {how} --seed {run.seed} --only {outcome.check}"


def lateness(outcome: Outcome) -> str:
    """What is to be said where the suite itself was late, "" where it was not."""
    return f"the suite itself was late by up to {outcome.late:.1f} s meanwhile: a busy machine" if outcome.late else ""


def counts(run: Run) -> Mapping[str, int]:
    """Number of outcomes by verdict."""
    found = Counter(outcome.verdict for outcome in run.outcomes)
    return {verdict.value: found[verdict] for verdict in Verdict}


def trace_lines(outcome: Outcome) -> list[str]:
    """The wire trace in words, times in milliseconds."""
    lines = [f"{line.at * 1_000:8.1f} ms  {line.who}  {line.what}" for line in outcome.trace]
    if len(lines) <= MAX_TRACE:
        return lines
    half = MAX_TRACE // 2
    return [*lines[:half], f"   … {len(lines) - MAX_TRACE} lines …", *lines[-half:]]


def as_data(outcome: Outcome, run: Run, how: str) -> dict[str, Any]:
    """An outcome for machines; failures with everything that is needed to understand them."""
    requirement = requirements()[outcome.id]
    data: dict[str, Any] = {
        "id": outcome.id,
        "check": outcome.check,
        "verdict": outcome.verdict.value,
        "level": requirement.level,
        "role": requirement.role,
        "place": requirement.place,
        "sentence": requirement.sentence,
        "seconds": round(outcome.seconds, 3),
        "seen": outcome.seen,
    }
    if outcome.reason:
        data["expected_failure"] = outcome.reason
    if outcome.verdict is not Verdict.PASS:
        data |= {"expected": outcome.expected, "got": outcome.got}
    if outcome.first is not None:
        data["first_try"] = {"expected": outcome.first.expected, "got": outcome.first.got}
    if outcome.is_red or outcome.verdict is Verdict.NON_STRICT:
        data |= {"late": round(outcome.late, 3), "trace": trace_lines(outcome), "replay": replay(outcome, run, how)}
    return data


def run_as_data(run: Run, how: str) -> dict[str, Any]:
    """A run for machines."""
    return {
        "suite": "intertie-conformance",
        "requirements": run.version,
        "target": run.target,
        "seed": run.seed,
        "started": int(run.started),
        "seconds": round(run.seconds, 2),
        "ok": run.ok,
        "counts": counts(run),
        "stale_expectations": run.stale,
        "not_observable": not_observable(),
        "outcomes": [as_data(outcome, run, how) for outcome in run.outcomes],
    }
