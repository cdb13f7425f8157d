"""The payer's side: what is ordered for consumers, and what is made of what the provider says (RFC 0009)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from intertie.v1 import entry_pb2 as pb
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event, InputReply
from intertie.v1.task_pb2 import HOLD_STATE_IN_DOUBT, TASK_STATE_COMPLETED, TASK_STATE_FAILED
from intertie_conformance.wire.build import event
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.buying import Buyer, Purchase
    from intertie_conformance.grid.invocations import Run
    from intertie_conformance.grid.link import Link


class PayingRules:
    """Orders of consumers' invocations."""

    def order_fields(self, run: Run, fields: dict[str, object]) -> Mapping[str, object]:
        """The fields of an order."""
        return fields

    def order_nonce_of(self, run: Run, fresh: bytes) -> bytes:
        """The nonce of an order: nobody else can guess it."""
        return fresh

    def raises_grant(self, at_stake: int, limit: int) -> bool:
        """A grant is raised within max_unagreed."""
        return at_stake <= limit

    def expires_own(self, at: int, claim_until: int) -> bool:
        """An own hold is ended once its claim window has passed."""
        return at >= claim_until

    def resumes(self, made: Purchase) -> bool:
        """Whether events of an open order are asked for when the link is open."""
        return True

    def replies_again(self, made: Purchase, reply: InputReply) -> None:
        """What was replied is said again when the link is open."""
        made.say(input_reply=reply)

    def returns_credit(self, made: Purchase, size: int) -> None:
        """Credit for an event that was taken."""
        made.link.say(event(order_seq=made.seq, byte_credit={"bytes": size}))

    def asks_again(self, made: Purchase) -> None:
        """A result that does not come is asked for."""
        made.resume()

    def doubts(self, run: Run, made: Purchase, problem: Problem) -> None:
        """Nothing is known some time after the deadline: FAILED, while the hold waits."""
        run.end(TASK_STATE_FAILED, problem, hold=HOLD_STATE_IN_DOUBT, path=made.path)

    def without_result(self, charge: pb.Charge) -> tuple[int, Problem]:
        """State and problem where the result never came."""
        return charge.state, Refusal("EVENTS_GONE", "The result did not come in time.").problem()

    def raised_grant(self, granted: int, needed: int, most: int) -> int:
        """What a grant is raised to when more is needed."""
        return min(most, max(needed, 2 * granted))

    def complete(self, charge: pb.Charge | None, result: Event | None) -> bool:
        """COMPLETED is reported once charge and result are known; other ends with the charge."""
        return charge is not None and (charge.state != TASK_STATE_COMPLETED or result is not None)

    def after_reject(self, buyer: Buyer, made: Purchase) -> None:
        """Nothing is ordered again."""

    def passed_problem(self, problem: Problem) -> Problem:
        """A provider's problem as the consumer is told it, known or not."""
        return problem

    def stray_event(self, link: Link, event: Event) -> None:
        """An event of no known order is ignored."""

    def unknown_event(self, made: Purchase, event: Event) -> None:
        """An event of an unknown kind is ignored."""

    def gap(self, run: Run, event: Event) -> None:
        """The consumer is told what is missing."""
        run.event(event)
