"""The account of one link: two lanes of holds, judged from the two logs alone (design §7).

The same ledger runs in the live node and in the offline verifier. It knows nothing of sessions, keys or
disks; a frame is applied after `begin`, so that a bad one leaves no trace.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from intertie.v1 import entry_pb2 as pb
from intertie_node.core.holds import HOLD_TABLE, NO_WEIGHT, OPEN, Claim, Hold, Weight, copy_of, open_hold

ME, THEM = 0, 1
"""Sides of a link: whose log, who pays, who signed."""
K = pb.EntryKind
FIRST_UNCRITICAL_KIND = 128
MAX_TARIFFS = 2_048
"""Tariffs of a side that are kept, the newest: they stand in the link's row."""


class LinkTerms(Struct, frozen=True):
    """What the agreement in force fixes for both lanes; lists are indexed by ME and THEM."""

    claim_window_ms: int
    max_hold_ms: int
    max_skew_ms: int
    max_open_holds: int
    credit_limit: tuple[int, int]
    """Most that side may owe: posted + pending, minor units."""
    max_unagreed: tuple[int, int]
    """Most that side may have received without having agreed to it, minor units."""


class TariffTerms(Struct, frozen=True):
    """A tariff as written in a provider's log."""

    origin: bytes
    markup_num: int
    markup_den: int
    fee: int
    expires_at: int


class Lane(Struct):
    """One direction of debt, in minor units; sums are kept, never recomputed from history."""

    posted: int = 0
    """Charged less credited."""
    pending: int = 0
    """What open holds reserve beyond what they are charged."""
    granted: int = 0
    """Grants of open holds."""
    earned: int = 0
    """Charges of open holds: the part of their grants that is used up."""
    open: int = 0
    """Number of open holds."""
    agreed: int = 0
    """The debtor's agreed total as of its last signature."""

    @property
    def gross(self) -> int:
        """What counts against the credit limit."""
        return self.posted + self.pending

    @property
    def unagreed(self) -> int:
        """What counts against `max_unagreed`: what open holds may still be charged + charged − agreed."""
        return self.granted - self.earned + self.posted - self.agreed

    def move(self, before: Weight, after: Weight) -> None:
        """Count `after` instead of `before` for a hold."""
        posted, pending, granted, earned, opened = before
        more_posted, more_pending, more_granted, more_earned, more_open = after
        self.posted += more_posted - posted
        self.pending += more_pending - pending
        self.granted += more_granted - granted
        self.earned += more_earned - earned
        self.open += more_open - opened


HoldKey = tuple[int, int]
"""(payer, order seq)."""
Load = Callable[[int, int], Hold | None]
"""Finds a settled hold that was forgotten: (payer, order seq)."""


class Ledger:
    """Holds, lanes and tariffs of one link."""

    def __init__(self, terms: LinkTerms, load: "Load | None" = None) -> None:
        self.terms = terms
        self._load = load
        self.lanes = (Lane(), Lane())
        self.holds: dict[HoldKey, Hold] = {}
        self.tariffs: tuple[dict[int, TariffTerms], dict[int, TariffTerms]] = ({}, {})
        self.claims: tuple[dict[int, int], dict[int, int]] = ({}, {})
        """By payer: seq of a charge in the provider's log → seq of its order."""
        self.acked = [0, 0]
        """By signer: how much of the other log its last signature acknowledged."""
        self.dirty: tuple[set[int], set[int]] = (set(), set())
        """By payer: orders whose value may differ from what is settled."""
        self.retirable: list[HoldKey] = []
        """Ended holds whose end has been settled: `forget` may take them."""
        self.changed: set[HoldKey] = set()
        """Holds whose rows must be written; emptied by whoever writes them."""
        self.fresh: tuple[dict[int, None], dict[int, None]] = ({}, {})
        """By payer: holds that are still as their order left them, oldest first; the order alone restores them."""
        self._touched: dict[HoldKey, Hold | None] = {}
        """Holds changed since `begin`, as they were."""
        self._saved: tuple[Lane, Lane] | None = None
        self._saved_tariffs: tuple[dict[int, TariffTerms], dict[int, TariffTerms]] | None = None
        """Tariffs as they were at `begin`, once one is written."""
        self._settled: list[HoldKey] = []
        """Orders that have left the dirty sets since `begin`."""

    # -- frames -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a frame: until the next `begin`, `roll_back` restores everything."""
        self._touched = {}
        mine, theirs = self.lanes
        self._saved = (copy_lane(mine), copy_lane(theirs))
        self._saved_tariffs, self._settled = None, []

    def roll_back(self) -> None:
        """End a frame badly: nothing of it remains."""
        for payer, seq in self._settled:
            self.dirty[payer].add(seq)
        for key, before in self._touched.items():
            self._forget_claims(key)
            if before is None:
                self.holds.pop(key, None)
                self.dirty[key[0]].discard(key[1])
                self.fresh[key[0]].pop(key[1], None)
            else:
                self.holds[key] = before
                for claim in before.claims:
                    self.claims[key[0]][claim.seq] = key[1]
        if self._saved_tariffs:
            self.tariffs = self._saved_tariffs
        if self._saved:
            self.lanes = self._saved
        self._touched, self._saved = {}, None

    def _forget_claims(self, key: HoldKey) -> None:
        hold = self.holds.get(key)
        for claim in hold.claims if hold else ():
            self.claims[key[0]].pop(claim.seq, None)

    # -- entries ----------------------------------------------------------------------------------

    def apply(self, author: int, seq: int, entry: pb.Entry) -> str | None:
        """Apply entry `seq` of `author`'s log; returns None, or the reason why the entry is void."""
        rule = RULES.get(entry.kind)
        if rule is None:
            return None if entry.kind >= FIRST_UNCRITICAL_KIND else "UNSUPPORTED_ENTRY"
        name, act = rule
        if not entry.HasField(name):  # type: ignore[arg-type]
            return "ENTRY_MALFORMED"
        return act(self, author, seq, entry, getattr(entry, name))

    def order(self, author: int, seq: int, entry: pb.Entry, body: pb.Order) -> str | None:
        """The author's order reserves its maximum charge."""
        hold = open_hold(author, seq, entry.at, body, self.terms.claim_window_ms, self.terms.max_hold_ms)
        if isinstance(hold, str):
            return hold
        self.open(hold)
        return None

    def open(self, hold: Hold) -> None:
        """Take up the hold of a valid order."""
        key = (hold.payer, hold.seq)
        self._touched[key] = None
        self.fresh[hold.payer][hold.seq] = None
        self.holds[key] = hold
        self.lanes[hold.payer].move(NO_WEIGHT, hold.weight)

    def by_payer(self, author: int, seq: int, entry: pb.Entry, body: Any) -> str | None:
        """The author speaks of an own order."""
        order_seq = body.order_seq
        if order_seq >= seq:
            return "ORDER_UNKNOWN"
        return self._move(author, order_seq, seq, entry)

    def by_provider(self, author: int, seq: int, entry: pb.Entry, body: Any) -> str | None:
        """The author speaks of an order of the other log, which it must have seen."""
        order_seq = body.order_seq
        if order_seq > entry.seen:
            return "ORDER_UNKNOWN"
        reason = self._move(1 - author, order_seq, seq, entry)
        if reason is None and entry.kind == pb.ENTRY_KIND_CHARGE:
            self.claims[1 - author][seq] = order_seq
        return reason

    def _move(self, payer: int, order_seq: int, seq: int, entry: pb.Entry) -> str | None:
        hold = self.find(payer, order_seq)
        if hold is None:
            return "ORDER_UNKNOWN"
        before = copy_of(hold)
        reason = HOLD_TABLE[hold.state, entry.kind](hold, seq, entry)
        if reason is None:
            self._changed(before, hold)
        return reason

    def find(self, payer: int, order_seq: int) -> Hold | None:
        """A hold, also one that was forgotten; None if there is no such order."""
        return self.holds.get((payer, order_seq)) or self._recall(payer, order_seq)

    def refuses(self, entry_seq: int) -> bool:
        """Whether a refusal by ME of that charge stands."""
        hold = self.holds.get((ME, self.claims[ME].get(entry_seq, 0)))
        return hold is not None and any(c.seq == entry_seq and c.refused for c in hold.claims)

    def _recall(self, payer: int, order_seq: int) -> Hold | None:
        hold = self._load(payer, order_seq) if self._load else None
        if hold is not None:
            self.restore(hold)
        return hold

    def _changed(self, before: Hold, hold: Hold) -> None:
        key = (hold.payer, hold.seq)
        self.changed.add(key)
        self._touched.setdefault(key, before)
        for voided in before.claims[len(hold.claims) :]:
            self.claims[hold.payer].pop(voided.seq, None)
        self.lanes[hold.payer].move(before.weight, hold.weight)
        self.dirty[hold.payer].add(hold.seq)

    def tariff(self, author: int, seq: int, entry: pb.Entry, body: pb.Tariff) -> str | None:
        """The author prices an origin's offers."""
        if body.markup_num < 0 or body.markup_den <= 0 or body.fee < 0 or body.expires_at <= entry.at:
            return "TARIFF_INVALID"
        if self._saved_tariffs is None:
            self._saved_tariffs = (dict(self.tariffs[0]), dict(self.tariffs[1]))
        kept = self.tariffs[author]
        kept[seq] = TariffTerms(body.origin, body.markup_num, body.markup_den, body.fee, body.expires_at)
        if len(kept) > MAX_TARIFFS:
            del kept[next(iter(kept))]
        return None

    def agreement(self, author: int, seq: int, entry: pb.Entry, body: pb.AgreementEntry) -> str | None:
        """The first agreement has no further effect: it is the genesis. Later versions are not built yet."""
        return None if seq == 1 else "UNSUPPORTED_ENTRY"

    def refuse(self, author: int, seq: int, entry: pb.Entry, body: pb.Refuse) -> str | None:
        """The author does not agree to an entry of the other log."""
        target = body.entry_seq
        if not 1 <= target <= entry.seen:
            return "REFUSE_INVALID"
        if target <= self.acked[author]:
            return "REFUSE_LATE"
        order_seq = self.claims[author].get(target)
        if order_seq is None:
            return None
        return self._mark(author, order_seq, target, refused=True)

    def withdraw(self, author: int, seq: int, entry: pb.Entry, body: pb.Withdraw) -> str | None:
        """The author takes a refusal back."""
        target = body.entry_seq
        order_seq = self.claims[author].get(target)
        if order_seq is None:
            return "WITHDRAW_INVALID"
        return self._mark(author, order_seq, target, refused=False)

    def _mark(self, payer: int, order_seq: int, target: int, *, refused: bool) -> str | None:
        hold = self.holds[payer, order_seq]
        if not any(c.seq == target and c.refused != refused for c in hold.claims):
            return "REFUSE_INVALID" if refused else "WITHDRAW_INVALID"
        before = copy_of(hold)
        hold.claims = tuple(
            Claim(c.seq, c.amount, c.quantities, c.final, refused) if c.seq == target else c for c in hold.claims
        )
        self._changed(before, hold)
        return None

    # -- signatures -------------------------------------------------------------------------------

    def settle(self, payer: int, acked: int) -> int:
        """The payer's agreed total at its own present seq and `acked` of the other log (minor units).

        Orders without value beyond `acked` leave the dirty set.
        """
        lane, dirty = self.lanes[payer], self.dirty[payer]
        for order_seq in tuple(dirty):
            hold = self.holds[payer, order_seq]
            agreed = hold.agreed_at(acked)
            if agreed != hold.agreed:
                self._touched.setdefault((payer, order_seq), copy_of(hold))
                lane.agreed += agreed - hold.agreed
                hold.agreed = agreed
            if hold.last_value_seq <= acked:
                dirty.discard(order_seq)
                self._settled.append((payer, order_seq))
                if hold.state is not OPEN:
                    self.retirable.append((payer, order_seq))
        return lane.agreed

    def signed(self, signer: int, acked: int) -> None:
        """Note that `signer`'s signature acknowledged the other log up to `acked`."""
        self.acked[signer] = acked

    def restore(self, hold: Hold) -> None:
        """Put a stored hold back in place; lanes are restored apart, from the link's own row."""
        self.holds[hold.payer, hold.seq] = hold
        for claim in hold.claims:
            self.claims[hold.payer][claim.seq] = hold.seq
        hold.agreed = hold.agreed_at(self.acked[hold.payer])
        if hold.last_value_seq > self.acked[hold.payer]:
            self.dirty[hold.payer].add(hold.seq)
        if hold.fresh:
            self.fresh[hold.payer][hold.seq] = None

    def forget_all(self, keys: Iterable[HoldKey]) -> None:
        """Forget those of these holds that are no longer needed."""
        for key in keys:
            self.forget(key)

    def forget(self, key: HoldKey) -> bool:
        """Forget a hold that has ended and is settled; False if it is still needed."""
        hold = self.holds.get(key)
        if hold is None or hold.state is OPEN or key[1] in self.dirty[key[0]] or hold.refused:
            return False
        self._forget_claims(key)
        del self.holds[key]
        return True


def copy_lane(lane: Lane) -> Lane:
    """An independent copy of a lane."""
    return replace(lane)


Act = Callable[[Ledger, int, int, pb.Entry, Any], str | None]
RULES: Mapping[int, tuple[str, Act]] = {
    K.ENTRY_KIND_AGREEMENT: ("agreement", Ledger.agreement),
    K.ENTRY_KIND_TARIFF: ("tariff", Ledger.tariff),
    K.ENTRY_KIND_ORDER: ("order", Ledger.order),
    K.ENTRY_KIND_GRANT: ("grant", Ledger.by_payer),
    K.ENTRY_KIND_CANCEL: ("cancel", Ledger.by_payer),
    K.ENTRY_KIND_REJECT: ("reject", Ledger.by_provider),
    K.ENTRY_KIND_CHARGE: ("charge", Ledger.by_provider),
    K.ENTRY_KIND_CREDIT: ("credit", Ledger.by_provider),
    K.ENTRY_KIND_REFUSE: ("refuse", Ledger.refuse),
    K.ENTRY_KIND_WITHDRAW: ("withdraw", Ledger.withdraw),
    K.ENTRY_KIND_EXPIRE: ("expire", Ledger.by_payer),
}
"""Entry kind → (name of its body, rule). Kinds without a row are void as UNSUPPORTED_ENTRY."""
