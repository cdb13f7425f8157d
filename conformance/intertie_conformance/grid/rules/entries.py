"""When an entry is void (RFC 0007): one method a rule, each returning the reason or None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import Account, Hold, State
from intertie_conformance.grid.rules.ends import EndRules
from intertie_conformance.wire.amounts import INT64_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

K = pb.EntryKind
FIRST_UNCRITICAL: Final = 128
BODIES: Final = {
    K.ENTRY_KIND_AGREEMENT: "agreement",
    K.ENTRY_KIND_TARIFF: "tariff",
    K.ENTRY_KIND_ORDER: "order",
    K.ENTRY_KIND_GRANT: "grant",
    K.ENTRY_KIND_CANCEL: "cancel",
    K.ENTRY_KIND_REJECT: "reject",
    K.ENTRY_KIND_CHARGE: "charge",
    K.ENTRY_KIND_CREDIT: "credit",
    K.ENTRY_KIND_REFUSE: "refuse",
    K.ENTRY_KIND_WITHDRAW: "withdraw",
    K.ENTRY_KIND_EXPIRE: "expire",
}
OF_PAYER: Final = frozenset({K.ENTRY_KIND_GRANT, K.ENTRY_KIND_CANCEL, K.ENTRY_KIND_EXPIRE})
OF_PROVIDER: Final = frozenset({K.ENTRY_KIND_REJECT, K.ENTRY_KIND_CHARGE, K.ENTRY_KIND_CREDIT})

_S = State
HOLD_TABLE: Final[dict[tuple[str, State], str]] = {
    ("grant", _S.OPEN): "grant_open",
    ("grant", _S.CHARGED): "grant_late",
    ("grant", _S.REJECTED): "grant_late",
    ("grant", _S.EXPIRED): "after_end",
    ("cancel", _S.OPEN): "cancel_open",
    ("cancel", _S.CHARGED): "late",
    ("cancel", _S.REJECTED): "late",
    ("cancel", _S.EXPIRED): "after_end",
    ("expire", _S.OPEN): "expire_open",
    ("expire", _S.CHARGED): "expire_late",
    ("expire", _S.REJECTED): "expire_late",
    ("expire", _S.EXPIRED): "after_end",
    ("reject", _S.OPEN): "reject_open",
    ("reject", _S.CHARGED): "after_end",
    ("reject", _S.REJECTED): "after_end",
    ("reject", _S.EXPIRED): "expired",
    ("charge", _S.OPEN): "charge_open",
    ("charge", _S.CHARGED): "charge_after_end",
    ("charge", _S.REJECTED): "charge_after_end",
    ("charge", _S.EXPIRED): "expired",
    ("credit", _S.OPEN): "credit_open",
    ("credit", _S.CHARGED): "credit_open",
    ("credit", _S.REJECTED): "credit_rejected",
    ("credit", _S.EXPIRED): "credit_expired",
}
"""(body, state of the hold) → rule."""


class EntryRules(EndRules):
    """Judging entries."""

    def judge(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        """Apply an entry to the account; the reason why it is void, None if it is not."""
        body = BODIES.get(entry.kind)
        if body is None:
            return self.unknown_kind(entry)
        stated: str | None = entry.WhichOneof("body")
        if stated != body:
            return self.wrong_body(entry)
        if entry.kind in OF_PAYER | OF_PROVIDER:
            return self._about_order(account, author, seq, entry, body)
        act: Callable[[Account, int, int, pb.Entry], str | None] = getattr(self, f"apply_{body}")
        return act(account, author, seq, entry)

    def unknown_kind(self, entry: pb.Entry) -> str | None:
        """An unknown critical kind is void, an uncritical one has no effect."""
        return None if entry.kind >= FIRST_UNCRITICAL else "UNSUPPORTED_ENTRY"

    def wrong_body(self, entry: pb.Entry) -> str | None:
        """The body must be the one that the kind names."""
        return "ENTRY_MALFORMED"

    def apply_agreement(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        """The first agreement is the genesis; later ones are not built."""
        return None if seq == 1 else "UNSUPPORTED_ENTRY"

    def apply_tariff(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        """A tariff must be a price."""
        if not (self.tariff_price(entry.tariff) and self.tariff_time(entry.tariff, entry.at)):
            return "TARIFF_INVALID"
        account.tariffs[author][seq] = entry.tariff
        return None

    def tariff_price(self, tariff: pb.Tariff) -> bool:
        """Markup and fee are prices."""
        return tariff.markup_num >= 0 and tariff.markup_den >= 1 and tariff.fee >= 0

    def tariff_time(self, tariff: pb.Tariff, at: int) -> bool:
        """It expires after it was written."""
        return tariff.expires_at > at

    # -- orders -----------------------------------------------------------------------------------

    def order_amounts(self, account: Account, entry: pb.Entry) -> bool:
        """0 ≤ grant ≤ max_charge."""
        return 0 <= entry.order.grant <= entry.order.max_charge

    def order_deadline(self, account: Account, entry: pb.Entry) -> bool:
        """The deadline lies after the order."""
        return entry.at < entry.order.deadline

    def order_length(self, account: Account, entry: pb.Entry) -> bool:
        """The deadline lies within max_hold_ms."""
        return entry.order.deadline <= min(entry.at + account.terms.max_hold_ms, INT64_MAX)

    def order_id(self, account: Account, entry: pb.Entry) -> bool:
        """An id has 36 characters."""
        return len(entry.order.id) == 36

    def order_nonce(self, account: Account, entry: pb.Entry) -> bool:
        """A nonce has 16 to 32 bytes."""
        return 16 <= len(entry.order.nonce) <= 32

    def order_prices(self, account: Account, entry: pb.Entry) -> bool:
        """Prices are prices."""
        return all(line.num >= 0 and line.den >= 1 for line in entry.order.prices)

    def order_lines(self, account: Account, entry: pb.Entry) -> bool:
        """At most 16 lines."""
        return len(entry.order.prices) <= 16

    def order_units(self, account: Account, entry: pb.Entry) -> bool:
        """One line a unit."""
        return len({line.unit for line in entry.order.prices}) == len(entry.order.prices)

    ORDER_RULES: tuple[str, ...] = (
        "order_amounts",
        "order_deadline",
        "order_length",
        "order_id",
        "order_nonce",
        "order_prices",
        "order_lines",
        "order_units",
    )

    def apply_order(self, account: Account, author: int, seq: int, entry: pb.Entry) -> str | None:
        """A sound order opens a hold."""
        if not all(getattr(self, name)(account, entry) for name in self.ORDER_RULES):
            return "ORDER_INVALID"
        account.holds[author, seq] = Hold(
            payer=author,
            seq=seq,
            at=entry.at,
            order=entry.order,
            claim_until=entry.order.deadline + account.terms.claim_window_ms,
            grants=[(seq, entry.order.grant)],
        )
        return None

    def _about_order(self, account: Account, author: int, seq: int, entry: pb.Entry, body: str) -> str | None:
        order_seq = getattr(entry, body).order_seq
        payer = author if entry.kind in OF_PAYER else 1 - author
        hold = account.holds.get((payer, order_seq))
        if hold is None or not self.order_known(payer == author, order_seq, seq, entry):
            return self.order_missing()
        act: Callable[[Hold, int, pb.Entry], str | None] = getattr(self, HOLD_TABLE[body, hold.state])
        return act(hold, seq, entry)

    def order_missing(self) -> str | None:
        """An entry about no known order is void."""
        return "ORDER_UNKNOWN"

    def order_known(self, own: bool, order_seq: int, seq: int, entry: pb.Entry) -> bool:
        """An own order stands before the entry; one of the other log has been seen."""
        return order_seq < seq if own else order_seq <= entry.seen
