"""What is counted while a stranger replays both logs of a link: void, refused, proven (design §7, §9).

Two sides may meet the same entries in different orders where they crossed. What is counted here does not
depend on that order.
"""

from collections.abc import Callable, Mapping

from intertie.descriptors import VerifiedDescriptor
from intertie.errors import IntertieError
from intertie.records import RootCache
from intertie.v1 import entry_pb2 as pb
from intertie_node.core.holds import HoldState
from intertie_node.core.ledger import HoldKey, Ledger
from intertie_node.core.link_report import ACCEPTOR, PROPOSER, Finding, LaneReport, ProofsReport
from intertie_node.core.pair import Fact
from intertie_node.core.proofs import ABSENT, PROVEN, WITHOUT, check_proof

K = pb.EntryKind
Reasons = tuple[dict[int, str], dict[int, str]]
"""By side: seq of an entry → reason."""


class Tally:
    """Counts over the facts of both logs, given in an order that `LogPair.take` accepts."""

    def __init__(self, ledger: Ledger, executors: Mapping[bytes, VerifiedDescriptor]) -> None:
        self.void: Reasons = ({}, {})
        self.refused: Reasons = ({}, {})
        self._ledger = ledger
        self._executors = executors
        self._roots = RootCache()
        self._said: dict[HoldKey, list[int]] = {}
        """Seqs of the provider's entries about an order that may still expire."""
        self._proofs: tuple[dict[int, str | IntertieError], dict[int, str | IntertieError]] = ({}, {})
        """By provider: seq of a final charge → outcome of its record."""

    def note(self, fact: Fact) -> None:
        """Count an entry that was just applied."""
        if fact.void is not None:
            self.void[fact.author][fact.seq] = fact.void
        if fact.entry.kind in _PROVIDERS:
            self._provider(fact, getattr(fact.entry, _PROVIDERS[fact.entry.kind]).order_seq)
        elif fact.void is None and fact.entry.kind in _PAYERS:
            _PAYERS[fact.entry.kind](self, fact)

    def _provider(self, fact: Fact, order_seq: int) -> None:
        key = (1 - fact.author, order_seq)
        if order_seq <= fact.entry.seen and key in self._ledger.holds:
            self._said.setdefault(key, []).append(fact.seq)
        if fact.void is None and fact.entry.kind == pb.ENTRY_KIND_CHARGE and fact.entry.charge.final:
            self._proofs[fact.author][fact.seq] = self._proof(fact, key)

    def _proof(self, fact: Fact, key: HoldKey) -> str | IntertieError:
        hold = self._ledger.holds[key]
        terms, before = hold.terms, hold.charged_before(fact.seq)
        tariff = self._ledger.tariffs[fact.author].get(terms.tariff_seq)
        origin = tariff.origin if tariff else None
        try:
            return check_proof(terms, fact.entry.charge, before, origin, self._executors, self._roots)
        except IntertieError as error:
            return error

    def _expired(self, fact: Fact) -> None:
        """What the provider said and the expire crossed is void, whichever came first here."""
        provider = 1 - fact.author
        for seq in self._said.pop((fact.author, fact.entry.expire.order_seq), ()):
            if seq > fact.entry.seen:
                self.void[provider][seq] = "CHARGE_EXPIRED"
                self._proofs[provider].pop(seq, None)

    def _refuse(self, fact: Fact) -> None:
        self.refused[1 - fact.author][fact.entry.refuse.entry_seq] = fact.entry.refuse.rule

    def _withdraw(self, fact: Fact) -> None:
        self.refused[1 - fact.author].pop(fact.entry.withdraw.entry_seq, None)

    def lane(self, payer: int) -> LaneReport:
        """What `payer` owes, from the holds."""
        lane, report = self._ledger.lanes[payer], LaneReport(holds={state.name: 0 for state in HoldState})
        for (side, _), hold in self._ledger.holds.items():
            if side == payer:
                report.charged += hold.charged
                report.credited += hold.charged - hold.posted
                report.holds[hold.state.name] += 1
        report.posted, report.pending, report.agreed = lane.posted, lane.pending, lane.agreed
        return report

    def proofs(self) -> ProofsReport:
        """The outcomes of all final charges that count."""
        report = ProofsReport()
        for side in (PROPOSER, ACCEPTOR):
            for seq, outcome in sorted(self._proofs[side].items()):
                if isinstance(outcome, IntertieError):
                    report.faulty.append(Finding(side, seq, outcome.reason, outcome.message))
                else:
                    name = _COUNTERS[outcome]
                    setattr(report, name, getattr(report, name) + 1)
        return report


def findings(side: int, reasons: dict[int, str]) -> list[Finding]:
    """Reasons as findings, in order of seq."""
    return [Finding(side, seq, reason) for seq, reason in sorted(reasons.items())]


_COUNTERS = {PROVEN: "proven", ABSENT: "executor_absent", WITHOUT: "without_record"}
_PROVIDERS: Mapping[int, str] = {
    K.ENTRY_KIND_CHARGE: "charge",
    K.ENTRY_KIND_CREDIT: "credit",
    K.ENTRY_KIND_REJECT: "reject",
}
"""Kinds by which a provider speaks of an order, and their bodies' names."""
_PAYERS: Mapping[int, Callable[[Tally, Fact], None]] = {
    K.ENTRY_KIND_EXPIRE: Tally._expired,
    K.ENTRY_KIND_REFUSE: Tally._refuse,
    K.ENTRY_KIND_WITHDRAW: Tally._withdraw,
}
