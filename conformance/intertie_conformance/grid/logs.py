"""Two logs with their heads, signatures and account (RFC 0007)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.account import ME, THEM, Account, Terms
from intertie_conformance.wire import digests, heads
from intertie_conformance.wire.keys import Key, PublicKeys

if TYPE_CHECKING:
    from intertie_conformance.grid.rules import Rules


class Fact(NamedTuple):
    """An entry that stands in a log."""

    author: int
    seq: int
    entry: pb.Entry
    void: str | None
    """Why it has no effect, if it has none."""


class Group(NamedTuple):
    """Consecutive entries, perhaps none, and the signature that ended them."""

    first: int
    entries: tuple[bytes, ...]
    signature: lk.HeadSignature


class Logs:
    """Both logs of a peering, as one of its grids sees them."""

    def __init__(self, genesis: bytes, terms: Terms, rules: Rules, keys: tuple[PublicKeys, PublicKeys]) -> None:
        self.genesis = genesis
        self.terms = terms
        self.rules = rules
        self.keys = keys
        """Keys that may sign for ME and THEM."""
        self.entries: tuple[list[bytes], list[bytes]] = ([], [])
        self.heads: tuple[list[bytes], list[bytes]] = ([genesis], [genesis])
        self.groups: tuple[list[Group], list[Group]] = ([], [])
        self.seen = [0, 0]
        """Least `seen` of each side's next entry."""
        self.at = [0, 0]
        self.account = Account(terms, rules)
        self._journal: list[tuple[int, pb.Entry | int]] = []
        """(side, entry applied or what its signature has acknowledged), in order."""

    def seq(self, side: int) -> int:
        """Number of entries of a side."""
        return len(self.entries[side])

    def entry(self, side: int, seq: int) -> pb.Entry:
        """Entry `seq` of a side."""
        return pb.Entry.FromString(self.entries[side][seq - 1])

    def of_kind(self, side: int, kind: int) -> list[tuple[int, pb.Entry]]:
        """(seq, entry) of a side's entries of one kind."""
        found = ((seq, self.entry(side, seq)) for seq in range(1, self.seq(side) + 1))
        return [(seq, entry) for seq, entry in found if entry.kind == kind]

    def take(
        self,
        author: int,
        first_seq: int,
        entries: Sequence[bytes],
        signature: lk.HeadSignature,
        latest: int | None = None,
    ) -> list[Fact]:
        """Verify and apply a group, all of it or nothing; entries that are held already are skipped.

        `latest` is the latest `at` that is taken. Raises: Refusal.
        """
        if entries:
            self.rules.follows(self, author, first_seq)
        held = self.seq(author) + 1 - first_seq
        fresh = [self.rules.heard_entry(data) for data in entries[held:]] if entries else []
        made, head = [], self.heads[author][-1]
        for data in fresh:
            made.append(head := digests.next_head(head, data))
        self.rules.check_signature(self, author, made, signature)
        saved = (self.seq(author), self.seen[author], self.at[author], len(self._journal))
        try:
            facts = [self._apply(author, data, head, latest) for data, head in zip(fresh, made, strict=True)]
            self.rules.signed_seen(self, author, signature)
            self.rules.signed_total(self, author, signature)
        except BaseException:
            if self.rules.undoes():
                self._restore(author, *saved)
            raise
        first = self.seq(author) - len(fresh) + 1
        self._signed(author, Group(first, tuple(fresh), signature))
        return facts

    def _apply(self, author: int, data: bytes, head: bytes, latest: int | None) -> Fact:
        entry = self.rules.entry_payload(data)
        self.rules.entry_seen(self, author, entry)
        self.rules.entry_at(self, author, entry)
        if latest is not None:
            self.rules.entry_clock(entry, latest)
        return self.push(author, data, head)

    def push(self, author: int, data: bytes, head: bytes | None = None) -> Fact:
        """Append exact bytes unchecked and apply them if they decode."""
        self.entries[author].append(data)
        self.heads[author].append(head or digests.next_head(self.heads[author][-1], data))
        try:
            entry = pb.Entry.FromString(data)
        except DecodeError:
            entry = pb.Entry(seen=self.seen[author], at=self.at[author])
        self.seen[author] = max(self.seen[author], entry.seen)
        self.at[author] = entry.at
        self._journal.append((author, entry))
        return Fact(author, self.seq(author), entry, self.account.apply(author, self.seq(author), entry))

    def append(self, entry: pb.Entry, now: int) -> Fact:
        """Append an own entry with an honest `seen` and `at`."""
        entry.seen = self.rules.own_seen(self, max(self.seen[ME], self.seq(THEM)))
        entry.at = self.rules.own_at(now, self.at[ME])
        return self.push(ME, entry.SerializeToString())

    def state(self, session: bytes) -> lk.HeadSignature:
        """What an honest signature of ME states now, unsigned."""
        acked = self.seq(THEM)
        return lk.HeadSignature(
            seq=self.seq(ME),
            head=self.heads[ME][-1],
            acked=acked,
            acked_head=self.heads[THEM][acked],
            agreed_total=digests.total_bytes(self.account.agreed(ME, acked)),
            session=session,
        )

    def sign(self, session: bytes, key: Key) -> lk.HeadSignature:
        """Sign both heads and the own agreed total as they stand."""
        made = heads.sign(self.genesis, self.rules.own_signature(self.state(session), self), key)
        first = self.groups[ME][-1].signature.seq + 1 if self.groups[ME] else 1
        self._signed(ME, Group(first, tuple(self.entries[ME][first - 1 :]), made))
        return made

    def cut(self, seq: int) -> None:
        """Forget own entries above `seq`: what the other side has refused was never written."""
        self._truncate(ME, seq)
        self.groups[ME][:] = [group for group in self.groups[ME] if group.signature.seq <= seq]
        self._rebuild()

    def _signed(self, signer: int, group: Group) -> None:
        acked = group.signature.acked
        self.account.acked[signer] = max(acked, self.account.acked[signer])
        self.seen[signer] = max(self.seen[signer], acked)
        self._journal.append((signer, acked))
        self.groups[signer].append(group)

    def _restore(self, author: int, seq: int, seen: int, at: int, journal: int) -> None:
        self._truncate(author, seq)
        del self._journal[journal:]
        self._rebuild()
        self.seen[author], self.at[author] = seen, at

    def _truncate(self, author: int, seq: int) -> None:
        """Drop the last entries of one log, from the journal too."""
        drop = self.seq(author) - seq
        del self.entries[author][seq:], self.heads[author][seq + 1 :]
        for index in range(len(self._journal) - 1, -1, -1):
            side, what = self._journal[index]
            if drop and side == author and isinstance(what, pb.Entry):
                del self._journal[index]
                drop -= 1

    def _rebuild(self) -> None:
        """Apply the journal again: the account is a function of the logs."""
        self.account = Account(self.terms, self.rules)
        seqs = [0, 0]
        self.seen, self.at = [0, 0], [0, 0]
        for side, what in self._journal:
            if isinstance(what, int):
                self.account.acked[side] = max(what, self.account.acked[side])
                self.seen[side] = max(self.seen[side], what)
                continue
            seqs[side] += 1
            self.account.apply(side, seqs[side], what)
            self.seen[side], self.at[side] = max(self.seen[side], what.seen), what.at
