"""Grids that break RFC 0007, sections 3.7 and 3.9, as provider."""

from __future__ import annotations

from collections.abc import Mapping

from intertie.v1 import entry_pb2 as pb
from intertie.v1.envelope_pb2 import Problem
from intertie_conformance.grid.account import Hold
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant


@mutant(
    "IT-LOG-014",
    also=(
        "IT-LOG-075",
        "IT-LOG-090",
    ),
)
class ChargesOneMore(Rules):
    """Charges one minor unit more than much work costs."""

    def charge_amount(self, hold: Hold, usage: Mapping[str, int]) -> int:
        return super().charge_amount(hold, usage) + (usage.get("sim.step", 0) > 20)


@mutant(
    "IT-LOG-073",
    also=(
        "IT-LOG-014",
        "IT-LOG-051",
        "IT-LOG-061",
        "IT-LOG-080",
    ),
)
class RejectsSilently(Rules):
    """Writes no reject."""

    def reject(self, hold: Hold, problem: Problem) -> pb.Entry | None:
        return None


@mutant("IT-LOG-074")
class RejectsBegun(Rules):
    """Rejects an order whose work has failed."""

    def rejects_begun(self, hold: Hold) -> bool:
        return not hold.claims


@mutant("IT-LOG-075")
class LinesReversed(Rules):
    """States the quantities of many units in another order than the order's lines."""

    def charge_quantities(self, hold: Hold, usage: Mapping[str, int]) -> list[int]:
        made = super().charge_quantities(hold, usage)
        return made[::-1] if len(usage) > 3 else made


@mutant("IT-LOG-094")
class ChargesUnagreed(Rules):
    """Works on while more than max_unagreed is not agreed."""

    def within_unagreed(self, hold: Hold, cost: int, room: bool) -> bool:
        return True


@mutant("IT-LOG-094")
class StartsUnagreed(Rules):
    """Starts orders that have no room within max_unagreed."""

    def may_start(self, link: Link, hold: Hold) -> bool:
        return True
