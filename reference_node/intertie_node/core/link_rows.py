"""The rows of a link: what of it must be durable, and how it is put back after a restart (design §7, §11)."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import msgspec
from msgspec import Struct

from intertie.v1 import link_pb2 as lk
from intertie_node.core.effects import Effects
from intertie_node.core.holds import NO_WEIGHT, OPEN, Claim, Hold, HoldState, open_hold
from intertie_node.core.ledger import ME, THEM, Lane, LinkTerms, TariffTerms
from intertie_node.core.log import Log, parse_entry
from intertie_node.core.pair import LogPair

MAX_FRESH = 4_096
"""Entries of a log that are looked through for holds without a row when a node starts: older ones get one."""


class Stored(Struct, array_like=True):
    """The row of a link: where logs, lanes and signatures stand."""

    logs: tuple[tuple[int, bytes, int, int], tuple[int, bytes, int, int]]
    """(seq, head, seen, at) of ME and THEM."""
    lanes: tuple[tuple[int, int], tuple[int, int]]
    """(posted, agreed) of ME and THEM; what open holds add is recomputed from them."""
    acked: tuple[int, int]
    signed: tuple[tuple[int, int], tuple[int, int]]
    tariffs: tuple[dict[int, TariffTerms], dict[int, TariffTerms]]
    fresh: tuple[int, int] = (0, 0)
    """By payer: seq of the oldest order whose hold has no row yet, 0 if there is none."""


class StoredHold(Struct, array_like=True):
    """The `state` of a hold's row: what has moved. The order's entry says the rest."""

    grants: tuple[tuple[int, int], ...]
    state: HoldState
    claims: tuple[Claim, ...]
    credits: tuple[tuple[int, int], ...]
    ended_seq: int
    canceled: bool


class LinkRows:
    """Gathers the rows of one link (`pair.Keep`).

    What comes before the first opening is complete is held back, to be durable together with what follows
    from it: until then nothing is said that rests on it, and a peer resends it.
    """

    def __init__(self, link: str) -> None:
        self.link = link
        self.signed = [(-1, -1), (-1, -1)]
        """By signer: (seq, acked) of its last kept signature."""
        self.writable = False
        """True once an opening has completed since the process started."""
        self.fx: Effects | None = None
        """The batch that rows go to."""
        self._dirty = False
        self._late: list[tuple[str, tuple[Any, ...]]] = []
        """(table, row) of what is held back."""

    def entry(self, side: int, seq: int, data: bytes, head: bytes) -> None:
        """Keep an entry."""
        self._append("entries", (self.link, side, seq, data, head))

    def signature(self, signer: int, signature: lk.HeadSignature) -> None:
        """Keep a signature, unless it says what the last one said."""
        pair = (signature.seq, signature.acked)
        if self.signed[signer] != pair:
            self.signed[signer] = pair
            self._append("signatures", (self.link, signer, *pair, signature.SerializeToString()))

    def _append(self, table: str, row: tuple[Any, ...]) -> None:
        self._dirty = True
        if self.writable:
            assert self.fx is not None
            self.fx.changes.appends[table].append(row)
        else:
            self._late.append((table, row))

    def save(self, pair: LogPair, fx: Effects) -> None:
        """Write what changed: the link's own row and those of changed holds."""
        if not self.writable:
            return
        for table, late in self._late:
            fx.changes.append(table, late)
        self._late = []
        if self._dirty:
            self._save_holds(pair, fx)
            fx.changes.put("links", (self.link,), (self.link, msgspec.msgpack.encode(self.stored(pair))))
            self._dirty = False

    def _save_holds(self, pair: LogPair, fx: Effects) -> None:
        ledger = pair.ledger
        for payer, log in enumerate(pair.logs):
            fresh = ledger.fresh[payer]
            ledger.changed.update((payer, seq) for seq in takewhile((log.seq - MAX_FRESH).__gt__, fresh))
        rows = fx.changes.puts["holds"] if ledger.changed else {}
        for key in ledger.changed:
            hold = ledger.holds.get(key)
            if hold is not None:
                ledger.fresh[hold.payer].pop(hold.seq, None)
                rows[self.link, hold.payer, hold.seq] = hold_row(self.link, hold)
        ledger.changed.clear()

    def stored(self, pair: LogPair) -> Stored:
        """The link's own row."""
        mine, theirs = pair.logs
        a, b = pair.ledger.lanes
        return Stored(
            ((mine.seq, mine.head, mine.seen, mine.at), (theirs.seq, theirs.head, theirs.seen, theirs.at)),
            ((a.posted, a.agreed), (b.posted, b.agreed)),
            (pair.ledger.acked[ME], pair.ledger.acked[THEM]),
            (self.signed[ME], self.signed[THEM]),
            pair.ledger.tariffs,
            (next(iter(pair.ledger.fresh[ME]), 0), next(iter(pair.ledger.fresh[THEM]), 0)),
        )

    def restore(
        self, pair: LogPair, stored: Stored, holds: Sequence[Hold], heads: tuple[dict[int, bytes], dict[int, bytes]]
    ) -> None:
        """Put a stored link back: `heads` are those of each log that may still be acknowledged."""
        mine, theirs = stored.logs
        pair.logs = (
            Log(*mine, heads={**heads[ME], mine[0]: mine[1]}),
            Log(*theirs, heads={**heads[THEM], theirs[0]: theirs[1]}),
        )
        self.signed[:] = stored.signed
        ledger = pair.ledger
        ledger.acked[:] = stored.acked
        ledger.tariffs = stored.tariffs
        for hold in holds:
            ledger.restore(hold)
        ledger.lanes = (Lane(), Lane())
        for lane, (posted, agreed) in zip(ledger.lanes, stored.lanes, strict=True):
            lane.posted, lane.agreed = posted, agreed
        for hold in holds:
            if hold.state is OPEN:
                ledger.lanes[hold.payer].move((hold.posted, *NO_WEIGHT[1:]), hold.weight)


def hold_row(link: str, hold: Hold) -> tuple[Any, ...]:
    """A row of `holds`: `open` is 1 for an open hold, 2 for one under refusal, else 0."""
    open_ = 1 if hold.state is OPEN else 2 if hold.refused else 0
    moved = StoredHold(hold.grants, hold.state, hold.claims, hold.credits, hold.ended_seq, hold.canceled)
    return (link, hold.payer, hold.seq, open_, msgspec.msgpack.encode(moved))


def stored_hold(payer: int, seq: int, order: bytes, state: bytes, terms: LinkTerms) -> Hold | None:
    """A hold from its order's entry and its row's state, b"" if it has no row; None if that entry is no valid order."""
    entry = parse_entry(order)
    if not entry.HasField("order"):
        return None
    hold = open_hold(payer, seq, entry.at, entry.order, terms.claim_window_ms, terms.max_hold_ms)
    if isinstance(hold, str):
        return None
    if state:
        moved = msgspec.msgpack.decode(state, type=StoredHold)
        hold.grants, hold.state, hold.claims = moved.grants, moved.state, moved.claims
        hold.credits, hold.ended_seq, hold.canceled = moved.credits, moved.ended_seq, moved.canceled
    return hold
