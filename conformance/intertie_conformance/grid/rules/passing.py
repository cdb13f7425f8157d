"""What a relay does with what it hears of its orders, from both sides (RFC 0011, sections 3.6 to 3.10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof
from intertie.v1.task_pb2 import TASK_STATE_FAILED, TaskState
from intertie_conformance.wire import relays
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.account import Hold
    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.relaying import Passed


class PassingRules:
    """Grants, charges, ends, cancels."""

    def passed_grant(self, passed: Passed) -> int:
        """What is granted downstream for the grant upstream."""
        return passed.rate.down(passed.hold.granted)

    def passed_event(self, event: Event) -> Event:
        """An event as it came, but for its order."""
        return event

    def asked_grant(self, passed: Passed, amount: int) -> int:
        """What is asked for upstream when `amount` is asked for downstream."""
        return min(passed.rate.up(amount), passed.hold.order.max_charge)

    def lacks_grant(self, passed: Passed) -> bool:
        """A grant that is still lacking is asked for again when a link is back."""
        return passed.needed > passed.hold.granted

    # -- charges ----------------------------------------------------------------------------------

    def passes_partial(self, passed: Passed, cost: int) -> bool:
        """A partial charge is claimed upstream if it fits the grant."""
        return cost <= passed.hold.granted

    def passed_quantities(self, hold: Hold, usage: Mapping[str, int]) -> list[int]:
        """The same quantities, unit by unit."""
        return [usage.get(unit, 0) for unit, _, _ in hold.prices]

    def passed_proof(self, proof: RecordProof) -> RecordProof:
        """The record as it came."""
        return proof

    def passed_state(self, state: TaskState.ValueType) -> TaskState.ValueType:
        """The state as it came."""
        return state

    def verifies_passed(self) -> bool:
        """A final charge is verified before anything follows from it."""
        return True

    def refuses_passed(self, refusal: Refusal) -> str | None:
        """The rule by which a charge that does not verify is refused."""
        return refusal.reason

    def counted(self, proof: RecordProof) -> Mapping[str, int]:
        """What the record counts, units included that the downstream order does not price."""
        return {line.unit: line.quantity for line in ExecutionRecord.FromString(proof.record).usage}

    def usage_kept(self, hold: Hold) -> Mapping[str, int]:
        """The quantities that were charged upstream so far."""
        quantities = hold.claims[-1].quantities if hold.claims else ()
        return {unit: n for (unit, _, _), n in zip(hold.prices, quantities, strict=False)}

    def refuses_lost(self, passed: Passed) -> bool:
        """Whether a valid charge is refused because its upstream order has no use for it: never."""
        return False

    def costs_too_much(self, passed: Passed, cost: int) -> bool:
        """Nothing is charged beyond the upstream grant."""
        return cost > passed.hold.granted

    def keeps_end(self, passed: Passed) -> bool:
        """An end that cannot be written now is written when the link is open."""
        return True

    # -- ends without a charge --------------------------------------------------------------------

    def rejects_above(self, passed: Passed) -> bool:
        """A downstream reject becomes one upstream, unless something was charged."""
        return not passed.hold.claims

    def lost(self) -> tuple[TaskState.ValueType, str]:
        """State and reason of an order whose downstream one has expired."""
        return TASK_STATE_FAILED, "OUTCOME_UNKNOWN"

    def relayed_problem(self, problem: Problem) -> Problem:
        """A problem of the neighbour, cut to size."""
        return relays.cut(problem)

    # -- cancel -----------------------------------------------------------------------------------

    def passes_cancel(self, passed: Passed) -> bool:
        """A cancel is passed on once."""
        return not passed.canceled

    def keeps_cancel(self, link: Link) -> bool:
        """A cancel that cannot be said now is said when the link is back."""
        return True

    def ends_at_cancel(self) -> bool:
        """Whether a cancel alone ends the upstream order: never."""
        return False
