"""Grids that let one link's trouble reach another."""

from __future__ import annotations

import asyncio
from typing import Any

from intertie_conformance.grid.account import ME, THEM, Hold
from intertie_conformance.grid.link import Link, Phase
from intertie_conformance.grid.relaying import Plan
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant


def others(link: Link) -> list[Link]:
    """The other links of a link's grid."""
    grid: Any = link.handler
    return [other for other in grid.links.values() if other is not link]


def unsigned(link: Link) -> bool:
    """Whether the other side still owes a signature."""
    return link.phase is Phase.OPEN and link.logs.account.acked[THEM] < link.logs.seq(ME)


def waited(link: Link, for_: list[Link]) -> bool:
    """Whether none of some links owes a signature; if one does, `link` looks again soon."""
    if not any(map(unsigned, for_)):
        return True
    asyncio.get_running_loop().call_later(0.02, link.flush)
    return False


@mutant("IT-RLY-100")
class AllOrNothing(Rules):
    """Starts nothing while a link is down over which it has an order running."""

    def may_start(self, link: Any, hold: Hold) -> bool:
        down = (other for other in others(link) if other.phase is not Phase.OPEN)
        return super().may_start(link, hold) and not any(other.logs.account.open(ME) for other in down)


@mutant("IT-RLY-101", also=("IT-ARC-012", "IT-ARC-013"))
class SignsTogether(Rules):
    """Signs on a link only once all others have signed."""

    def may_sign(self, link: Link) -> bool:
        return super().may_sign(link) and waited(link, others(link))


@mutant("IT-RLY-102")
class NoShare(Rules):
    """Lets one upstream take it all."""

    def relay_share(self, plan: Plan) -> None:
        return


@mutant("IT-ARC-012")
class PaysWhenPaid(Rules):
    """Signs for its provider only once its payer has signed."""

    def may_sign(self, link: Link) -> bool:
        payers = [other for other in others(link) if other.logs.account.holds]
        return super().may_sign(link) and waited(link, payers)


@mutant("IT-ARC-013")
class ClosesAllLinks(Rules):
    """Closes every link for a fault on one."""

    def closes_with(self, link: Link, links: list[Link]) -> list[Link]:
        return links


@mutant("IT-SEC-010", also=("IT-SEC-011",))
class HangsUpOnAll(Rules):
    """Serves nobody any more once one peer has sent what is wrong."""

    def closes_with(self, link: Link, links: list[Link]) -> list[Link]:
        return links


@mutant("IT-SEC-011", also=("IT-SEC-010",))
class EndsItself(Rules):
    """Ends for good at the first fault of a peer."""

    def closes_with(self, link: Link, links: list[Link]) -> list[Link]:
        grid: Any = link.handler
        ending.append(asyncio.get_running_loop().create_task(grid.stop()))
        return links


ending: list[asyncio.Task[None]] = []
"""Grids that end themselves; kept so that they do."""
