"""Grids that break RFC 0007, sections 3.4 to 3.7: kinds, void entries, orders and grants."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import Account, Hold
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal

K = pb.EntryKind


@mutant("IT-LOG-030", also=("IT-LOG-060",))
class VoidOrderHolds(Rules):
    """Opens a hold for an order that is void."""

    def apply_order(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        reason = super().apply_order(account, author, seq, entry)
        if reason is not None:
            account.holds[author, seq] = Hold(author, seq, entry.at, entry.order, 0, [(seq, 0)])
        return reason


@mutant("IT-LOG-030", also=("IT-LOG-062",))
class VoidGrantRaises(Rules):
    """Refuses a grant that is too high and counts it all the same."""

    def grant_open(self, hold: Hold, seq: int, entry: pb.Entry) -> str | None:
        reason = super().grant_open(hold, seq, entry)
        if reason is not None:
            hold.grants.append((seq, entry.grant.amount))
        return reason


@mutant("IT-LOG-031", also=("IT-LOG-010", "IT-LOG-022", "IT-LOG-034", "IT-LOG-084"))
class AnyKind(Rules):
    """Ignores critical kinds that it does not know."""

    def unknown_kind(self, entry: pb.Entry) -> str | None:
        return None


@mutant("IT-LOG-032")
class FearsUncritical(Rules):
    """Refuses uncritical kinds."""

    def unknown_kind(self, entry: pb.Entry) -> str | None:
        return "UNSUPPORTED_ENTRY"


@mutant("IT-LOG-033", also=("IT-LOG-034", "IT-LOG-035", "IT-LOG-084"))
class AnyBody(Rules):
    """Ignores an entry whose body is another one."""

    def wrong_body(self, entry: pb.Entry) -> str | None:
        return None


@mutant("IT-LOG-034", also=("IT-LOG-033", "IT-LOG-035", "IT-LOG-084"))
class ForgetsMalformed(Rules):
    """Does not refuse entries of a wrong body."""

    def refuses_void(self, reason: str) -> str | None:
        return None if reason == "ENTRY_MALFORMED" else reason


@mutant("IT-LOG-034", also=("IT-LOG-*",))
class OneReason(Rules):
    """Refuses everything that is not found as malformed."""

    def refuses_void(self, reason: str) -> str | None:
        return "ENTRY_MALFORMED" if reason == "ORDER_UNKNOWN" else reason


@mutant("IT-LOG-035", also=("IT-LOG-042",))
class ClosesOverTariff(Rules):
    """Closes the link over a tariff that is void."""

    def apply_tariff(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        reason = super().apply_tariff(account, author, seq, entry)
        if reason is not None:
            raise Refusal(reason, "A tariff is out of range.")
        return None


@mutant("IT-LOG-041")
class LateAgreement(Rules):
    """Takes an agreement at any seq."""

    def apply_agreement(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        return None


@mutant("IT-LOG-042", also=("IT-LOG-035",))
class AnyTariff(Rules):
    """Takes a tariff of any price."""

    def tariff_price(self, tariff: pb.Tariff) -> bool:
        return True


@mutant("IT-LOG-042")
class DeadTariff(Rules):
    """Takes a tariff that expires as it is written."""

    def tariff_time(self, tariff: pb.Tariff, at: int) -> bool:
        return tariff.expires_at >= at


@mutant("IT-LOG-050", also=("IT-LOG-035",))
class AnyGrantOfOrder(Rules):
    """Takes any grant of an order."""

    def order_amounts(self, account: Account, entry: pb.Entry) -> bool:
        return True


@mutant("IT-LOG-050")
class DeadlineAtStart(Rules):
    """Takes an order whose deadline is its own clock."""

    def order_deadline(self, account: Account, entry: pb.Entry) -> bool:
        return entry.at <= entry.order.deadline


@mutant("IT-LOG-050")
class AnyLength(Rules):
    """Takes a hold of any length."""

    def order_length(self, account: Account, entry: pb.Entry) -> bool:
        return True


@mutant("IT-LOG-050")
class ShortHolds(Rules):
    """Takes no hold of the longest length."""

    def order_length(self, account: Account, entry: pb.Entry) -> bool:
        return entry.order.deadline < entry.at + account.terms.max_hold_ms


@mutant("IT-LOG-050", also=("IT-LOG-060",))
class AnyId(Rules):
    """Takes an id of any length."""

    def order_id(self, account: Account, entry: pb.Entry) -> bool:
        return True


@mutant(
    "IT-LOG-050",
    also=(
        "IT-LOG-030",
        "IT-LOG-034",
    ),
)
class AnyOrderNonce(Rules):
    """Takes an order's nonce of any length."""

    def order_nonce(self, account: Account, entry: pb.Entry) -> bool:
        return True


@mutant("IT-LOG-050")
class AnyPrice(Rules):
    """Takes prices that are none."""

    def order_prices(self, account: Account, entry: pb.Entry) -> bool:
        return True


@mutant("IT-LOG-050")
class ManyLines(Rules):
    """Takes any number of price lines."""

    def order_lines(self, account: Account, entry: pb.Entry) -> bool:
        return True


@mutant("IT-LOG-050")
class UnitTwice(Rules):
    """Takes two lines of one unit."""

    def order_units(self, account: Account, entry: pb.Entry) -> bool:
        return True


@mutant("IT-LOG-051", also=("IT-LOG-061", "IT-LOG-066", "IT-LOG-069"))
class ForgetsRejected(Rules):
    """Forgets an order that was rejected."""

    def judge(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        reason = super().judge(account, author, seq, entry)
        if reason is None and entry.HasField("reject"):
            del account.holds[1 - author, entry.reject.order_seq]
        return reason


@mutant("IT-LOG-060", also=("IT-LOG-*",))
class AnyOrder(Rules):
    """Ignores entries about orders that it does not know."""

    def order_missing(self) -> str | None:
        return None


@mutant("IT-LOG-062", also=("IT-LOG-061",))
class GrantsFall(Rules):
    """Lets a grant fall or stay."""

    def grant_rises(self, hold: Hold, amount: int) -> bool:
        return True


@mutant("IT-LOG-062", also=("IT-LOG-030", "IT-LOG-061"))
class GrantsBeyond(Rules):
    """Lets a grant exceed the maximum charge."""

    def grant_within(self, hold: Hold, amount: int) -> bool:
        return True
