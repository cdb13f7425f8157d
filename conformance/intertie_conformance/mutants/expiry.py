"""Grids that break RFC 0007, section 3.7: ended orders and expires."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import Hold
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant


@mutant(
    "IT-LOG-061",
    also=(
        "IT-LOG-051",
        "IT-LOG-070",
        "IT-LOG-071",
    ),
)
class CancelsEnded(Rules):
    """Ignores a cancel of an order whose end its author knows."""

    def late(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return None


@mutant(
    "IT-LOG-061",
    also=(
        "IT-LOG-070",
        "IT-LOG-071",
    ),
)
class CrossingCancel(Rules):
    """Holds a cancel for void that crosses the order's end."""

    def late(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return "ORDER_ENDED"


@mutant(
    "IT-LOG-061",
    also=(
        "IT-LOG-070",
        "IT-LOG-071",
    ),
)
class GrantsEnded(Rules):
    """Takes a grant of an order whose end its author knows."""

    def grant_late(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return self.grant_open(hold, seq, entry)


@mutant(
    "IT-LOG-061",
    also=(
        "IT-LOG-070",
        "IT-LOG-071",
    ),
)
class CrossingGrant(Rules):
    """Holds a grant for void that crosses the order's end."""

    def grant_late(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return "ORDER_ENDED"


@mutant(
    "IT-LOG-061",
    also=(
        "IT-LOG-070",
        "IT-LOG-071",
    ),
)
class AfterExpire(Rules):
    """Ignores what is said of an order after its expire."""

    def after_end(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return None


@mutant("IT-LOG-061")
class ExpiresCharged(Rules):
    """Takes an expire of an order whose final charge its author has seen."""

    def expire_late(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return self.expire_open(hold, seq, entry)


@mutant(
    "IT-LOG-061",
    also=(
        "IT-LOG-070",
        "IT-LOG-071",
    ),
)
class FinalBeatsExpire(Rules):
    """Holds an expire for void that crosses a final charge."""

    def expire_late(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        return "ORDER_ENDED" if self.expire_time(hold, entry) else "EXPIRE_EARLY"


@mutant(
    "IT-LOG-070",
    also=(
        "IT-LOG-061",
        "IT-LOG-071",
    ),
)
class ExpiresEarly(Rules):
    """Takes an expire at any time."""

    def expire_time(self, hold: Hold, entry: pb.Entry) -> bool:
        return True


@mutant(
    "IT-LOG-070",
    also=(
        "IT-LOG-061",
        "IT-LOG-071",
    ),
)
class ExpiresLate(Rules):
    """Takes an expire only after claim_until."""

    def expire_time(self, hold: Hold, entry: pb.Entry) -> bool:
        return entry.at > hold.claim_until


@mutant(
    "IT-LOG-071",
    also=(
        "IT-LOG-061",
        "IT-LOG-070",
    ),
)
class DropsNothing(Rules):
    """Keeps claims that crossed the expire."""

    def expire_voids(self, hold: Hold, entry: pb.Entry) -> None:
        return


@mutant("IT-LOG-071", also=("IT-LOG-014",))
class DropsAll(Rules):
    """Drops at an expire what its author had seen, too."""

    def expire_voids(self, hold: Hold, entry: pb.Entry) -> None:
        hold.claims, hold.credits = [], []
