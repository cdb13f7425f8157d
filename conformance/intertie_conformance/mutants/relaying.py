"""Grids that break RFC 0011, sections 3.1 to 3.3: when a relay orders downstream, and what it orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.relaying import Plan
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import ids


@mutant(
    "IT-RLY-001",
    also=("IT-RLY-032", "IT-RLY-050", "IT-RLY-051", "IT-RLY-052", "IT-RLY-053", "IT-RLY-080", "IT-RLY-082"),
)
class OrdersTwice(Rules):
    """Places two orders for one."""

    def relayed_copies(self) -> int:
        return 2


@mutant("IT-RLY-003")
class NoHopLimit(Rules):
    """Passes on what may take no further hop."""

    def relay_hops(self, plan: Plan) -> None:
        return


@mutant("IT-RLY-003")
class AnyPlace(Rules):
    """Passes on what may not be done there."""

    def relay_place(self, plan: Plan) -> None:
        return


@mutant("IT-RLY-003")
class PlaceFirst(Rules):
    """Looks at the place before the hop limit."""

    def relay_order(self) -> tuple[str, ...]:
        return tuple(sorted(self.RELAY_CHECKS, key=lambda name: name != "relay_place"))


@mutant("IT-RLY-003", also=("IT-RLY-042",))
class TooLateAnyway(Rules):
    """Passes orders on for which no time is left."""

    def relay_time(self, plan: Plan) -> None:
        plan.deadline = plan.source.now() + 5_000


@mutant("IT-RLY-003")
class AnyTexts(Rules):
    """Passes on texts of any length."""

    def relay_texts(self, plan: Plan) -> None:
        return


@mutant("IT-RLY-003")
class LargeInput(Rules):
    """Passes on inputs that the next link does not take."""

    def relay_input(self, plan: Plan) -> None:
        return


@mutant("IT-RLY-003")
class OverALinkThatIsDown(Rules):
    """Writes orders onto a link that is down."""

    def relay_way(self, plan: Plan) -> None:
        routes = plan.grid.buyer.routes.of_offer(plan.offer)
        plan.route = routes[0]


@mutant("IT-RLY-003")
class NoCreditLimit(Rules):
    """Does not mind its own credit limit."""

    def relay_credit(self, plan: Plan) -> None:
        return


@mutant("IT-RLY-003")
class NoUnagreedLimit(Rules):
    """Does not mind its own max_unagreed."""

    def relay_unagreed(self, plan: Plan) -> None:
        return


@mutant("IT-RLY-003")
class AnyCount(Rules):
    """Opens more holds than the next link allows."""

    def relay_count(self, plan: Plan) -> None:
        return


@mutant("IT-RLY-003")
class AnyLength(Rules):
    """Writes orders that are void on the next link."""

    def relay_hold(self, plan: Plan) -> None:
        self.relay_path(plan)


@mutant("IT-RLY-003")
class AnyPath(Rules):
    """Writes orders whose path is longer than the next grid takes."""

    def relay_path(self, plan: Plan) -> None:
        return


@mutant("IT-RLY-010")
class NoActors(Rules):
    """Leaves the actors out."""

    def relayed_fields(self, order: pb.Order) -> Mapping[str, Any]:
        return {**super().relayed_fields(order), "actors": []}


@mutant("IT-RLY-010")
class NoSession(Rules):
    """Leaves the session out."""

    def relayed_fields(self, order: pb.Order) -> Mapping[str, Any]:
        return {**super().relayed_fields(order), "session": ""}


@mutant("IT-RLY-011")
class StrippedInput(Rules):
    """Strips white space off the input."""

    def relayed_input(self, data: bytes) -> bytes:
        return data.strip()


@mutant("IT-RLY-012", also=("IT-RLY-070",))
class SameHops(Rules):
    """Leaves hop_limit as it is."""

    def relayed_hops(self, order: pb.Order) -> int:
        return order.hop_limit


@mutant("IT-RLY-013")
class SamePath(Rules):
    """Leaves the path as it is."""

    def relayed_path(self, order: pb.Order, me: str) -> list[str]:
        return list(order.path)


@mutant("IT-RLY-014")
class SameAccount(Rules):
    """Tells who has ordered."""

    def relayed_account(self, order: pb.Order) -> str:
        return order.account


@mutant("IT-RLY-015")
class SameAuthority(Rules):
    """Passes rights on."""

    def relayed_authority(self, order: pb.Order) -> bytes:
        return order.authority


@mutant("IT-RLY-020")
class IdOfNow(Rules):
    """Mints ids of the time at which it orders."""

    def relayed_id(self, secret: bytes, at: int, head: bytes) -> str:
        return ids.make_id(at + 1)
