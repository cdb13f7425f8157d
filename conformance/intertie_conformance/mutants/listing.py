"""Grids that break RFC 0009, section 3.14: Get, List, and the receipt."""

from __future__ import annotations

from collections.abc import Sequence

from intertie.v1 import invocation_pb2 as iv
from intertie_conformance.grid.invocations import Account, Run
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.amounts import Price


@mutant("IT-INV-141")
class NothingReserved(Rules):
    """States no reserved amount."""

    def told_status(self, status: iv.InvocationStatus) -> iv.InvocationStatus:
        status.reserved = 0
        return status


@mutant("IT-INV-141")
class NoEnd(Rules):
    """States no time of the end."""

    def told_status(self, status: iv.InvocationStatus) -> iv.InvocationStatus:
        status.ended_at = 0
        return status


@mutant("IT-INV-142")
class ListsAll(Rules):
    """Lists the invocations of every account."""

    def listed(self, account: Account, runs: Sequence[Run]) -> list[Run]:
        return sorted(runs, key=lambda run: run.request.id, reverse=True)


@mutant("IT-INV-142", also=("IT-INV-144",))
class Overlapping(Rules):
    """Begins each page with the last item of the one before."""

    def after_token(self, runs: list[Run], token: str) -> list[Run]:
        before = [run for run in runs if token and run.request.id >= token]
        return before[-1:] + super().after_token(runs, token)[:50]


@mutant("IT-INV-143")
class LongPages(Rules):
    """Takes any page size."""

    def page_limit(self, asked: int) -> None:
        return


@mutant("IT-INV-143")
class HundredByDefault(Rules):
    """Takes a page size of 0 as 100."""

    def page_size(self, asked: int) -> int:
        self.page_limit(asked)
        return asked or 100


@mutant("IT-INV-143")
class AnyToken(Rules):
    """Takes any text for a page token."""

    def list_token(self, token: str) -> None:
        return


@mutant("IT-INV-144")
class TokenOnFullPages(Rules):
    """Gives a token with every full page."""

    def next_page(self, shown: Sequence[Run], left: int) -> str:
        return shown[-1].request.id if shown and (left or len(shown) < 5) else ""


@mutant("IT-INV-145")
class FirstStateOnly(Rules):
    """Lists invocations in the first of the given states only."""

    def in_states(self, run: Run, states: Sequence[int]) -> bool:
        return not states or run.state == states[0]


@mutant("IT-INV-126")
class ZeroLines(Rules):
    """Lists units of which nothing was used."""

    def receipt_usage(self, prices: Sequence[Price], quantities: Sequence[int]) -> list[tuple[str, int]]:
        return sorted(zip([unit for unit, _, _ in prices], quantities, strict=False))


@mutant("IT-INV-126")
class AnotherAsset(Rules):
    """States another asset than the account's."""

    def receipt(self, receipt: iv.Receipt) -> iv.Receipt:
        receipt.asset = "XXX"
        return receipt
