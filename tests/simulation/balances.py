"""What two logs say, worked out order by order and by nobody's ledger.

Own code: nothing of the core is used but the wire's messages. Where the core replays entries one after the
other, this looks at everything that was ever said of one order and decides each question from the counters
`seq`, `seen` and `at` alone. Amounts are minor units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from intertie.v1 import entry_pb2 as pb
from intertie.v1.task_pb2 import HOLD_STATE_CHARGED as CHARGED
from intertie.v1.task_pb2 import HOLD_STATE_EXPIRED as EXPIRED
from intertie.v1.task_pb2 import HOLD_STATE_OPEN as OPEN
from intertie.v1.task_pb2 import HOLD_STATE_REJECTED as REJECTED
from intertie.v1.task_pb2 import HoldState

K = pb.EntryKind
PROVIDER_KINDS = {K.ENTRY_KIND_CHARGE: "charge", K.ENTRY_KIND_REJECT: "reject", K.ENTRY_KIND_CREDIT: "credit"}
LATEST = 2**63
"""A seq beyond every log."""
Word = tuple[int, int, str, Any]
"""(seq, seen, kind, body) of what a provider says about an order."""


class Claimed(Struct):
    """A charge that no rule forbids, an expire that crossed it apart."""

    seq: int
    amount: int
    quantities: tuple[int, ...]
    final: bool
    marks: list[tuple[int, bool]]
    """(seq in the payer's log, refused or withdrawn), in order."""

    def refused(self, upto: int) -> bool:
        """Whether a refusal stands at a seq of the payer's log."""
        return next((refused for seq, refused in reversed(self.marks) if seq <= upto), False)


class Order:
    """One order and all that was said of it."""

    def __init__(self, seq: int, entry: pb.Entry, tariff: pb.Tariff, window: int) -> None:
        self.seq = seq
        self.id = entry.order.id
        self.tariff = tariff
        """That it names."""
        self.most = entry.order.max_charge
        self.prices = [(line.num, line.den) for line in entry.order.prices]
        self.claim_until = entry.order.deadline + window
        self.grants = [(seq, entry.order.grant)]
        self.claims: list[Claimed] = []
        self.rejected = 0
        """Seq of the reject, 0 if there is none."""
        self.credits: list[tuple[int, int]] = []
        """(seq, amount)."""
        self.expire_seq = 0
        """Seq, in the payer's log, of the expire that counts, 0 if none does."""

    # -- what counts ------------------------------------------------------------------------------

    @property
    def end_seq(self) -> int:
        """Seq, in the provider's log, of what ended the order, an expire apart; 0 if nothing did."""
        return self.rejected or next((claim.seq for claim in self.claims if claim.final), 0)

    @property
    def end(self) -> HoldState:
        """How it ended."""
        ends = ((self.expire_seq, EXPIRED), (self.rejected, REJECTED), (self.end_seq, CHARGED))
        return next((state for seq, state in ends if seq), OPEN)

    def credited(self, acked: int) -> int:
        """Credits that count for a payer at `acked` of the other log."""
        return sum(amount for seq, amount in self.credits if seq <= acked)

    def charged(self, acked: int) -> int:
        """The last claim there."""
        return next((claim.amount for claim in reversed(self.claims) if claim.seq <= acked), 0)

    def agreed(self, upto: int, acked: int) -> int:
        """What the payer owes for this order, at `upto` of its own log and `acked` of the other."""
        sound = [claim for claim in self.claims if claim.seq <= acked and not claim.refused(upto)]
        return min(sound[-1].amount if sound else 0, self.charged(acked) - self.credited(acked))

    def cost(self) -> int:
        """What its work costs whoever asked: the last claim that nobody ever refused, as far as credits have left it.

        What an operator agrees to by withdrawing a refusal is the grid's own expense.
        """
        sound = [claim.amount for claim in self.claims if not claim.marks]
        return min(sound[-1] if sound else 0, self.charged(LATEST) - self.credited(LATEST))

    @property
    def open(self) -> bool:
        """Whether nothing has ended it."""
        return not (self.end_seq or self.expire_seq)


class LaneBook:
    """One direction of debt of a link: the payer's orders, judged from both logs."""

    def __init__(self, payer: Sequence[bytes], provider: Sequence[bytes], window: int, longest: int) -> None:
        self._mine = [pb.Entry.FromString(data) for data in payer]
        self._theirs = [pb.Entry.FromString(data) for data in provider]
        self.orders: dict[int, Order] = {}
        self.void: tuple[dict[int, str], dict[int, str]] = ({}, {})
        """By author (payer, provider): seq → why an entry has no effect, crossings apart."""
        self._signed: list[tuple[int, int]] = []
        for seq, entry in enumerate(self._mine, 1):
            if entry.kind == K.ENTRY_KIND_ORDER:
                self._order(seq, entry, window, longest)
        self._grants()
        words, expires = self._words(), self._expires()
        for order in self.orders.values():
            self._judge(order, words.get(order.seq, []), expires.get(order.seq, []))

    def sign(self, signatures: Sequence[tuple[int, int]]) -> None:
        """Tell the payer's signatures as (seq, acked), in order of making: they decide which refusals are late."""
        self._signed = sorted(set(signatures))
        by_charge = {claim.seq: claim for order in self.orders.values() for claim in order.claims}
        for seq, entry in enumerate(self._mine, 1):
            if entry.kind == K.ENTRY_KIND_REFUSE:
                self._refuse(seq, entry, by_charge)
            elif entry.kind == K.ENTRY_KIND_WITHDRAW:
                claim = by_charge.get(entry.withdraw.entry_seq)
                if claim is not None and claim.refused(seq):
                    claim.marks.append((seq, False))

    def _refuse(self, seq: int, entry: pb.Entry, by_charge: dict[int, Claimed]) -> None:
        claim = by_charge.get(entry.refuse.entry_seq)
        if claim is None:
            return
        acked = max((acked for signed, acked in self._signed if signed < seq), default=0)
        if acked < claim.seq <= entry.seen and not claim.refused(seq):
            claim.marks.append((seq, True))
        else:
            self.void[0][seq] = "a refusal that comes too late, or twice"

    # -- entries ----------------------------------------------------------------------------------

    def _order(self, seq: int, entry: pb.Entry, window: int, longest: int) -> None:
        body = entry.order
        prices = [(line.num, line.den) for line in body.prices]
        units = [line.unit for line in body.prices]
        sound = (
            all(num >= 0 and den > 0 for num, den in prices)
            and 0 <= body.grant <= body.max_charge
            and entry.at < body.deadline <= min(entry.at + longest, 2**63 - 1 - window)
            and len(body.id) == 36
            and 16 <= len(body.nonce) <= 32
            and len(set(units)) == len(units) <= 16
        )
        if sound:
            self.orders[seq] = Order(seq, entry, self._tariff(body.tariff_seq), window)
        else:
            self.void[0][seq] = "an order that cannot be"

    def _tariff(self, seq: int) -> pb.Tariff:
        """The provider's tariff at a seq, an empty one if there is none."""
        return self._theirs[seq - 1].tariff if 1 <= seq <= len(self._theirs) else pb.Tariff()

    def _grants(self) -> None:
        for seq, entry in enumerate(self._mine, 1):
            if entry.kind != K.ENTRY_KIND_GRANT:
                continue
            order = self.orders.get(entry.grant.order_seq) if entry.grant.order_seq < seq else None
            if order is None or not order.grants[-1][1] < entry.grant.amount <= order.most:
                self.void[0][seq] = "a grant of nothing"
            else:
                order.grants.append((seq, entry.grant.amount))

    def _words(self) -> dict[int, list[Word]]:
        """What the provider says of each order that it has seen."""
        words: dict[int, list[Word]] = {}
        for seq, entry in enumerate(self._theirs, 1):
            name = PROVIDER_KINDS.get(entry.kind)
            if name is not None:
                body: Any = getattr(entry, name)
                if body.order_seq in self.orders and body.order_seq <= entry.seen:
                    words.setdefault(body.order_seq, []).append((seq, entry.seen, name, body))
                else:
                    self.void[1][seq] = f"a {name} that speaks of no order"
        return words

    def _expires(self) -> dict[int, list[tuple[int, pb.Entry]]]:
        """The payer's expires of each order."""
        expires: dict[int, list[tuple[int, pb.Entry]]] = {}
        for seq, entry in enumerate(self._mine, 1):
            if entry.kind == K.ENTRY_KIND_EXPIRE:
                about = entry.expire.order_seq
                if about in self.orders and about < seq and entry.at >= self.orders[about].claim_until:
                    expires.setdefault(about, []).append((seq, entry))
                else:
                    self.void[0][seq] = "an expire that is early, or of nothing"
        return expires

    def _judge(self, order: Order, words: list[Word], expires: list[tuple[int, pb.Entry]]) -> None:
        """What the payer had seen when it wrote an expire counts; what crossed it does not, and is no fault."""
        for expire_seq, entry in expires:
            while words and words[0][0] <= entry.seen:
                self._uncrossed(order, words.pop(0))
            if order.end_seq or order.expire_seq:
                self.void[0][expire_seq] = "an expire of what had ended"
            else:
                order.expire_seq = expire_seq
        for word in words:
            self._uncrossed(order, word)

    def _uncrossed(self, order: Order, word: Word) -> None:
        if word[1] >= order.expire_seq:
            self._apply(order, word)

    def _apply(self, order: Order, word: Word) -> None:
        seq, seen, name, body = word
        if order.expire_seq and name != "credit":
            why = "is for what has expired"
        else:
            why = getattr(self, "_" + name)(order, seq, seen, body)
        if why:
            self.void[1][seq] = f"a {name} that {why}"

    def _charge(self, order: Order, seq: int, seen: int, body: pb.Charge) -> str:
        quantities = tuple(body.quantities)
        before = order.claims[-1].quantities if order.claims else (0,) * len(quantities)
        granted = max(amount for at, amount in order.grants if at <= seen)
        faults = {
            "comes after the end": bool(order.end_seq),
            "counts other lines": len(quantities) != len(order.prices) or any(q < 0 for q in quantities),
            "counts backwards": any(now < then for now, then in zip(quantities, before, strict=False)),
            "goes beyond the grant": not 0 <= body.amount <= granted,
            "does not add up": body.amount
            != sum(-(-q * num // den) for q, (num, den) in zip(quantities, order.prices, strict=False)),
        }
        why = next((why for why, found in faults.items() if found), "")
        if not why:
            order.claims.append(Claimed(seq, body.amount, quantities, body.final, []))
        return why

    def _reject(self, order: Order, seq: int, seen: int, body: pb.Reject) -> str:
        if order.end_seq or order.claims:
            return "comes after a charge or the end"
        order.rejected = seq
        return ""

    def _credit(self, order: Order, seq: int, seen: int, body: pb.Credit) -> str:
        if order.rejected or not 1 <= body.amount <= order.charged(seq) - order.credited(seq):
            return "takes back more than there is"
        order.credits.append((seq, body.amount))
        return ""

    # -- sums -------------------------------------------------------------------------------------

    def agreed(self, upto: int, acked: int) -> int:
        """The payer's agreed total at a pair of seqs."""
        return sum(order.agreed(upto, acked) for seq, order in self.orders.items() if seq <= upto)

    def posted(self) -> int:
        """Everything charged less everything credited, at the end of both logs."""
        return sum(order.charged(LATEST) - order.credited(LATEST) for order in self.orders.values())
