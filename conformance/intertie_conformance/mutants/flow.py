"""Grids that break RFC 0005, sections 3.1, 3.8 and 3.9: silence, byte credit, limits, dialling."""

from __future__ import annotations

from collections.abc import Mapping

from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant


@mutant("IT-LNK-001")
class AdmitsStrangers(Rules):
    """Asks nobody for a certificate."""

    def admits_strangers(self) -> bool:
        return True


@mutant("IT-LNK-002")
class WaitsToOpen(Rules):
    """Pings before it says Open."""

    def first_said(self) -> lk.Frame | None:
        return lk.Frame(ping=1)


@mutant("IT-LNK-003")
class EndlessPatience(Rules):
    """Lets silent streams stand."""

    def open_within_s(self) -> float:
        return 3_600.0


@mutant("IT-LNK-006")
class DialsOnce(Rules):
    """Does not dial again."""

    def dials_again(self) -> bool:
        return False


@mutant("IT-LNK-112", also=("IT-LNK-085",))
class OneMore(Rules):
    """Sends an event at a credit of 0."""

    def may_send(self, credit: int) -> bool:
        return credit >= 0


@mutant("IT-LNK-113")
class ForgetsCredit(Rules):
    """Does not send what waits when credit comes."""

    def credited(self, credit: int, more: int) -> int:
        return credit


@mutant("IT-LNK-114")
class OneCreditForAll(Rules):
    """Lets one invocation without credit hold back the others."""

    def held_back(self, mine: int, others: Mapping[int, int]) -> bool:
        return any(credit <= 0 for credit in others.values())


@mutant("IT-LNK-115")
class NeverPings(Rules):
    """Does not ping a silent peer."""

    def ping_after_s(self) -> float:
        return 3_600.0


@mutant("IT-LNK-120")
class OwnLimits(Rules):
    """Sends frames as large as it takes itself."""

    def largest_frame(self, opened: lk.Open) -> int:
        return 1 << 18


@mutant("IT-LNK-124", also=("IT-INV-054",))
class HugeEvents(Rules):
    """Sends events as large as its inputs."""

    def largest_piece(self) -> int:
        return 1 << 16


@mutant("IT-LNK-120")
class OwnCredit(Rules):
    """Begins with its own credit, whatever the payer declares."""

    def first_credit(self, link: Link) -> int:
        return 1 << 20
