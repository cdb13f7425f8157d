"""What must hold after the demo. Every number comes from the grids' answers or from what they exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from intertie.amounts import format_amount
from intertie_node.demo.agent import Work
from intertie_node.demo.exports import Export
from intertie_node.demo.grids import HUB, NORTH, SOUTH

PATH = (NORTH, HUB, SOUTH)
CANCELED = "CANCELED"
REFUSAL = "BUDGET_EXCEEDED"


class Check(Struct, frozen=True):
    """One thing that must hold."""

    what: str
    ok: bool
    found: str
    """What was found: figures if it holds, the fault if not."""


class Books(Struct, frozen=True):
    """The exports of both links, each link's by both of its grids."""

    exports: Sequence[Export]

    def of_link(self, one: str, other: str) -> list[Export]:
        """The two exports of a link."""
        return [export for export in self.exports if {export.by, export.other} == {one, other}]

    def owed(self, debtor: str, creditor: str) -> int:
        """What `debtor` has signed that it owes `creditor`, by the creditor's file: minor units."""
        return next(e for e in self.exports if (e.by, e.other) == (creditor, debtor)).owes(debtor).agreed

    @property
    def margin(self) -> int:
        """What hub kept: minor units."""
        return self.owed(NORTH, HUB) - self.owed(HUB, SOUTH)

    @property
    def agree(self) -> bool:
        """Whether each debt is the same in both grids' files and is signed for to the last unit."""
        return all(check.ok for link in LINKS for check in _balances(self, *link))

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way any more."""
        return all(
            lane.agreed == lane.posted and not lane.holds.get("OPEN")
            for export in self.exports
            for lane in export.report.lanes
        )


LINKS = ((NORTH, HUB), (HUB, SOUTH))


def judge(books: Books, work: Work) -> list[Check]:
    """Every check, in the order in which it should be read."""
    return [*_files(books), *_money(books, work), *_work(work), *_proofs(books, work)]


def _files(books: Books) -> Iterator[Check]:
    for export in books.exports:
        fault = export.report.fault
        found = f"{fault.reason}: {fault.message}" if fault else f"exit status {export.status}"
        if export.is_verified:
            sides = export.report.sides
            found = f"{sum(s.entries for s in sides)} entries, {sum(s.signatures for s in sides)} signatures"
        yield Check(f"{export.by}'s file on {export.other} verifies", export.is_verified, found)


def _balances(books: Books, one: str, other: str) -> Iterator[Check]:
    for debtor, creditor in ((one, other), (other, one)):
        lanes = [export.owes(debtor) for export in books.of_link(one, other)]
        same = len({(lane.charged, lane.posted, lane.agreed) for lane in lanes}) == 1
        signed = all(lane.posted == lane.agreed for lane in lanes)
        ok, scale = same and signed and len(lanes) == 2, books.exports[0].report.scale
        found = " but ".join(
            f"{format_amount(lane.posted, scale)} charged, {format_amount(lane.agreed, scale)} signed for"
            for lane in (lanes[:1] if ok else lanes)
        )
        yield Check(f"{debtor} owes {creditor} the same in both files", ok, found)


def _money(books: Books, work: Work) -> Iterator[Check]:
    for link in LINKS:
        yield from _balances(books, *link)
    bought, resold = books.owed(NORTH, HUB), books.owed(HUB, SOUTH)
    charged = sum(each.result.charge for each in work.invoked)

    def money(amount: int) -> str:
        return format_amount(amount, work.scale)

    yield Check("money moved on both links", bought > 0 and resold > 0, f"{money(bought)} and {money(resold)}")
    margin = f"{money(bought)} − {money(resold)} = {money(books.margin)}"
    yield Check("hub kept a margin", books.margin > 0, margin)
    spent = work.spent == charged == bought and work.reserved == 0
    found = f"{money(bought)} spent, on receipts, and owed"
    if not spent:
        found = f"spent {work.spent}, receipts {charged}, owed {bought}, still reserved {work.reserved}"
    yield Check("the agent paid what north owes", spent, found)


def _work(work: Work) -> Iterator[Check]:
    elsewhere = [each.offer for each in work.invoked if each.result.path != PATH or each.result.executed_by != SOUTH]
    yield Check("all work was done by south, through hub", not elsewhere, ", ".join(elsewhere) or " → ".join(PATH))
    states = [each.result.state for each in work.invoked]
    once = states.count(CANCELED) == 1 and all(state in ("COMPLETED", CANCELED) for state in states)
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    yield Check("one invocation was canceled, the rest completed", once, counted)
    reasons = [each.reason for each in work.refused]
    yield Check("one was refused for the budget", reasons == [REFUSAL], ", ".join(reasons) or "none was refused")
    yield from _stream(work)


def _stream(work: Work) -> Iterator[Check]:
    stream = work.streamed
    usage = next((each.result.usage for each in work.invoked if each.result.id == stream.id), {})
    billed = usage.get("text.output.byte", 0)
    through = bool(stream.broken) and stream.is_gapless and 0 < stream.chunks_before < stream.chunks
    order = "without a gap" if stream.is_gapless else "OUT OF ORDER"
    found = f"{stream.chunks} chunks {order}, {stream.chunks_before} before"
    yield Check("the stream survived the broken link", through, found)
    intact = stream.signed and len(stream.text) == billed > 0
    digest = "the signed digest" if stream.signed else "another digest than the signed one"
    found = f"{len(stream.text):,} bytes came, {billed:,} billed, {digest}"
    yield Check("its text is what south signed for", intact, found)


def _proofs(books: Books, work: Work) -> Iterator[Check]:
    for export in books.of_link(HUB, SOUTH):
        proofs = export.report.proofs
        ok = proofs.proven == len(work.invoked) and not proofs.faulty
        found = f"{proofs.proven} of {len(work.invoked)} proven, {len(proofs.faulty)} faulty"
        yield Check(f"south's execution records in {export.by}'s file hold", ok, found)
    odd = [s.grid for e in books.exports for s in e.report.sides if s.void or s.refused]
    yield Check("no entry is void or refused", not odd, ", ".join(odd) or "none")
