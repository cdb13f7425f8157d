"""Targets that break RFC 0014, sections 3.4 and 3.5: accepting, reaching, terms, times and limits."""

from __future__ import annotations

from collections.abc import Mapping

from intertie_conformance.grid.account import THEM, Hold
from intertie_conformance.grid.invocations import Account, Asked
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.agreements import Agreed
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.refusal import Refusal

HALF_AN_HOUR_MS = 1_800_000


@mutant("IT-CNF-030")
class ShortWindows(Rules):
    """Accepts claim windows of at most half an hour."""

    def accepts(self, agreed: Agreed, proposer: Described, known: Mapping[bytes, Described]) -> None:
        if agreed.message.claim_window_ms > HALF_AN_HOUR_MS:
            raise Refusal("AGREEMENT_INVALID", "The claim window is too long.", field="claim_window_ms")


@mutant("IT-CNF-031")
class AsksTheWeb(Rules):
    """Takes names that the web may know."""

    def accepts(self, agreed: Agreed, proposer: Described, known: Mapping[bytes, Described]) -> None:
        if proposer.grid.endswith(".invalid"):
            raise Refusal("DESCRIPTOR_INVALID", "The web does not know this name.", field="grid")


@mutant("IT-CNF-032")
class NoLoopback(Rules):
    """Calls no loopback address."""

    def reaches(self, address: str) -> bool:
        return not address.startswith("127.")


@mutant("IT-CNF-033")
class OnePeeringEach(Rules):
    """Accepts one peering with each grid."""

    def accepts(self, agreed: Agreed, proposer: Described, known: Mapping[bytes, Described]) -> None:
        if proposer.fingerprint in known:
            raise Refusal("AGREEMENT_INVALID", "A peering with this grid stands.", field="proposer")


@mutant("IT-CNF-035")
class OneAccount(Rules):
    """Serves one account."""

    def caller(self, metadata: Mapping[str, str], accounts: Mapping[str, Account]) -> Account:
        found = super().caller(metadata, accounts)
        if found is not next(iter(accounts.values())):
            raise Refusal("UNAUTHENTICATED", "This token is not known.")
        return found


@mutant("IT-CNF-040")
class FewOrders(Rules):
    """Takes 32 open orders on a link."""

    def order_count(self, link: Link, hold: Hold, data: bytes) -> None:
        if len(link.logs.account.open(THEM)) > 32:
            raise Refusal("TOO_MANY_ORDERS", "Too many orders are open.")


@mutant("IT-CNF-040")
class ShortTimeouts(Rules):
    """Takes timeouts of a minute at most."""

    def timeout(self, asked: Asked) -> None:
        if asked.wanted.timeout_ms > 60_000:
            raise Refusal("DEADLINE_TOO_LONG", "timeout_ms must lie between 1 and 60000.")


@mutant("IT-CNF-041")
class SlowClock(Rules):
    """Has a clock that is a few seconds late."""

    def own_open(self, link: Link, fields: dict[str, object]) -> Mapping[str, object]:
        clock = fields["clock"]
        assert isinstance(clock, int)
        return {**fields, "clock": clock - 3_000}


@mutant("IT-CNF-042")
class LateDeadlines(Rules):
    """Acts on a deadline a second late."""

    def slack_s(self) -> float:
        return 0.8


@mutant("IT-CNF-043")
class DialsLate(Rules):
    """Looks every twelve seconds whether a link is down."""

    def redials_after_s(self) -> float:
        return 12.0
