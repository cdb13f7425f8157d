"""Rules that every message of the target must keep, whatever check is running (requirements of senders).

A rule is a function of one `Sight`. It returns None where it has nothing to say, "" where it is kept, else what breaks
it. A requirement passes if its rule had something to say and was never broken.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError

from intertie.v1 import link_pb2 as lk
from intertie_conformance.registry import requirements
from intertie_conformance.trace import describe
from intertie_conformance.verdicts import Line, Outcome, Verdict

if TYPE_CHECKING:
    from intertie_conformance.roles.peer import Peer


class Sight(NamedTuple):
    """A frame of the target, before the suite's peer has taken it."""

    peer: Peer
    data: bytes
    frame: lk.Frame | None
    """None: it does not decode."""
    memory: dict[str, Any]
    """What the rules keep of this stream."""


Rule = Callable[[Sight], str | None]


@dataclass
class Tally:
    """What was seen of one requirement."""

    kept: int = 0
    broken: list[str] = field(default_factory=list)
    trace: list[Line] = field(default_factory=list)


_RULES: dict[str, tuple[str, Rule]] = {}


def passive(requirement: str) -> Callable[[Rule], Rule]:
    """Register the passive rule of a requirement. Raises: ValueError for an unknown id or a second rule."""

    def register(rule: Rule) -> Rule:
        if requirement not in requirements() or requirement in _RULES or not rule.__doc__:
            raise ValueError(f"{requirement} is unknown, has a rule, or its rule has no docstring")
        _RULES[requirement] = (f"passive.{getattr(rule, '__name__', '?')}", rule)
        return rule

    return register


@cache
def all_rules() -> dict[str, tuple[str, Rule]]:
    """Requirement → (name, rule)."""
    from intertie_conformance import watching

    for module in pkgutil.iter_modules(watching.__path__):
        import_module(f"{watching.__name__}.{module.name}")
    return dict(sorted(_RULES.items()))


class Observer:
    """Looks at every frame of the target."""

    def __init__(self) -> None:
        self.tallies = {requirement: Tally() for requirement in all_rules()}

    def frame(self, peer: Peer, data: bytes) -> None:
        """Apply every rule to a frame of the target."""
        try:
            frame = lk.Frame.FromString(data)
        except DecodeError:
            frame = None
        sight = Sight(peer, data, frame, peer.memory)
        for requirement, (_, rule) in all_rules().items():
            said = rule(sight)
            if said == "":
                self.tallies[requirement].kept += 1
            elif said is not None:
                self._broken(requirement, said, peer, data)
        sight.memory["frames"] = sight.memory.get("frames", 0) + 1

    def _broken(self, requirement: str, said: str, peer: Peer, data: bytes) -> None:
        tally = self.tallies[requirement]
        if not tally.broken:
            tally.trace = [*peer.stage.trace.lines[-20:], Line(0.0, peer.me.grid, f"← {describe(data)}")]
        tally.broken.append(said)

    def outcomes(self) -> list[Outcome]:
        """One outcome for each requirement with a rule."""
        return [self._outcome(requirement, name) for requirement, (name, _) in all_rules().items()]

    def _outcome(self, requirement: str, name: str) -> Outcome:
        tally = self.tallies[requirement]
        sentence = requirements()[requirement].sentence
        if tally.broken:
            verdict = Verdict.FAIL if requirements()[requirement].is_must else Verdict.NON_STRICT
            got = f"{tally.broken[0]} ({len(tally.broken)} times; kept {tally.kept} times)"
            return Outcome(requirement, name, verdict, sentence, got, trace=tally.trace)
        if not tally.kept:
            return Outcome(requirement, name, Verdict.HARNESS_ERROR, sentence, "nothing of the kind came in this run")
        return Outcome(requirement, name, Verdict.PASS, sentence, seen=[f"kept in {tally.kept} messages"])
