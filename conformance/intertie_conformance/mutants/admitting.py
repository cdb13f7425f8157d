"""Grids that break RFC 0009, section 3.6: admitting orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event
from intertie_conformance.grid.account import Hold
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.link import Link
from intertie_conformance.grid.rules import Rules
from intertie_conformance.grid.selling import Job
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.build import event
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-INV-160")
class PathLast(Rules):
    """Looks at the path after the input."""

    ORDER_CHECKS = (*(name for name in Rules.ORDER_CHECKS if name not in ("order_loop", "order_hops")), "order_loop")


@mutant("IT-INV-160")
class AnyId(Rules):
    """Takes ids that are no UUIDv7."""

    def order_uuid(self, link: Link, hold: Hold, data: bytes) -> None:
        return


@mutant("IT-INV-160")
class AnyDeadline(Rules):
    """Takes orders whose deadline has passed."""

    def order_in_time(self, link: Link, hold: Hold, data: bytes) -> None:
        return


@mutant("IT-INV-160")
class AnyCount(Rules):
    """Takes any number of open orders."""

    def order_count(self, link: Link, hold: Hold, data: bytes) -> None:
        return


@mutant("IT-INV-160")
class AnyCredit(Rules):
    """Takes orders beyond the credit limit."""

    def order_credit(self, link: Link, hold: Hold, data: bytes) -> None:
        return


@mutant("IT-INV-160", also=("IT-INV-164",))
class AnyOrderPlace(Rules):
    """Works wherever it is, whatever an order's policy says."""

    def order_place(self, link: Link, hold: Hold, offer: Offered) -> None:
        return


@mutant("IT-INV-161", also=("IT-INV-113", "IT-INV-162"))
class WaitsForNothing(Rules):
    """Starts orders beyond max_unagreed at once."""

    def may_start(self, link: Link, hold: Hold) -> bool:
        return True


@mutant("IT-INV-161")
class LastComeFirst(Rules):
    """Admits the order that came last first."""

    def by_arrival(self, jobs: list[Job]) -> list[Job]:
        return jobs[::-1]


@mutant("IT-INV-161")
class HeldUpFromBehind(Rules):
    """Counts orders that wait against those before them."""

    def behind(self, hold: Hold, holds: Iterable[Hold]) -> int:
        return 0


@mutant("IT-INV-162")
class FailsWaiting(Rules):
    """Ends an order FAILED that waits until its deadline."""

    def rejects_waiting(self, why: Refusal) -> bool:
        return why.reason != "DEADLINE_EXCEEDED"


@mutant("IT-INV-113")
class CancelsWaiting(Rules):
    """Ends an order CANCELED that is stopped while it waits."""

    def rejects_waiting(self, why: Refusal) -> bool:
        return why.reason != "CANCELED"


@mutant("IT-INV-164")
class WorksBeforeReject(Rules):
    """Sends a piece of output of an order that it then rejects."""

    def says_rejected(self, problem: Problem) -> Sequence[Event]:
        made = event(number=1, chunk={"payload": {"data": b"work"}})
        return (made, *super().says_rejected(problem))


@mutant("IT-INV-165")
class RejectsSilently(Rules):
    """Says nothing beside a reject."""

    def says_rejected(self, problem: Problem) -> Sequence[Event]:
        return ()


@mutant("IT-INV-166")
class RejectsCharged(Rules):
    """Rejects orders at their deadline that it has charged."""

    def rejects_begun(self, hold: Hold) -> bool:
        return bool(hold.claims)
