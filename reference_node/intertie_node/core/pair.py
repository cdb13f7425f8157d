"""Two logs and the account that follows from them (design §7).

`take` is the one way in: a group of consecutive entries of one side, ended by that side's signature. The
live node uses it for frames, re-establishing for what it lost, the offline verifier for exported files.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from intertie.amounts import INT64_MAX, total_from_bytes, total_to_bytes
from intertie.chain import entry_head, link_signature_bytes
from intertie.envelope import MAX_SIGNATURES
from intertie.errors import IntertieError
from intertie.keys import PrivateKey, PublicKey
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_node.core.holds import Lines, sound_hold
from intertie_node.core.ledger import ME, THEM, Ledger, LinkTerms, Load
from intertie_node.core.log import MAX_ENTRY_BYTES, Log, check_counters, parse_entry

_SIZES = (16, 32, 32, 32)
"""Bytes of agreed total, session and both heads of a signature."""
Keys = Mapping[bytes, PublicKey]
"""Key id → key."""


class Fact(Struct, frozen=True, gc=False):
    """One entry that was taken into a log; `void` is the reason why it has no effect, if it has none."""

    author: int
    seq: int
    entry: pb.Entry
    void: str | None
    data: bytes
    head: bytes
    """Head of the author's log after this entry."""


class Keep(Protocol):
    """Called for each row that `take` and `sign` make durable."""

    def entry(self, side: int, seq: int, data: bytes, head: bytes) -> None:
        """An entry was appended."""
        ...

    def signature(self, signer: int, signature: lk.HeadSignature) -> None:
        """A signature was accepted or made."""
        ...


class LogPair:
    """Both logs of a peering, seen from one of its grids."""

    def __init__(self, genesis: bytes, terms: LinkTerms, keys: Callable[[int], Keys], load: Load | None = None) -> None:
        self.genesis = genesis
        self.logs = (Log.empty(genesis), Log.empty(genesis))
        self.ledger = Ledger(terms, load)
        self.keys = keys
        """Side → keys that may sign for it."""
        self.unhandled = 0
        """Entries of the other side that were taken but not acted upon: own entries and signatures have not
        seen them yet, so that a refusal always precedes the first signature that acknowledges its entry. What a
        restored grid had acknowledged before stays acknowledged."""

    def take(
        self,
        author: int,
        first_seq: int,
        entries: Sequence[bytes],
        signature: lk.HeadSignature,
        keep: Keep,
        latest: int = INT64_MAX,
    ) -> list[Fact]:
        """Verify and apply a group of `author`'s entries and the signature that ends it, atomically.

        Entries at or below the held seq are skipped. No `at` may lie beyond `latest`, by the receiver's clock.
        Nothing is changed when this raises.

        Raises: IntertieError LOG_GAP, SIGNATURE_INVALID, LOG_FORK, ENTRY_MALFORMED, SEEN_INVALID,
        AT_DECREASED, CLOCK, TOTAL_MISMATCH.
        """
        log = self.logs[author]
        if entries and not 1 <= first_seq <= log.seq + 1:
            raise IntertieError("LOG_GAP", f"Entries from seq {first_seq} do not follow seq {log.seq}.")
        fresh = list(entries[log.seq + 1 - first_seq :]) if entries else []
        heads = _heads(log.head, fresh)
        self._verify(author, log, heads, signature)
        saved = log.copy()
        self.ledger.begin()
        try:
            facts = [self._apply(author, data, head, latest) for data, head in zip(fresh, heads, strict=True)]
            self._settle(author, log, signature)
        except BaseException:
            self.ledger.roll_back()
            log.restore(saved)
            raise
        for fact in facts:
            keep.entry(author, fact.seq, fact.data, fact.head)
        self._signed(author, signature, keep)
        return facts

    def next_at(self, now: int) -> int:
        """`at` of an own entry that is appended now, milliseconds since the Unix epoch: it never falls."""
        return max(now, self.logs[ME].at)

    @property
    def next_seen(self) -> int:
        """`seen` of an own entry that is appended now: what of the other log was acted upon."""
        return max(self.logs[ME].seen, self.logs[THEM].seq - self.unhandled)

    def append(self, entry: pb.Entry, now: int, keep: Keep, judged: Lines | None = None) -> tuple[int, bytes, bytes]:
        """Append an own entry; sets its `seen` and `at`. Returns (seq, exact bytes, head).

        `judged` are the lines of an order in which `order_fault` has found nothing for this `at`.

        Raises: AssertionError if the entry would be void or longer than MAX_ENTRY_BYTES: an honest node never
        writes such a one. The parts that grow are bounded where they enter: problems (`errors.trimmed`), proofs
        (MAX_PROOF_BYTES of a provider's; 16 units and a boundary of 256 characters of an own one), orders
        (`placing.draft`), agreements (`agreements.MAX_BYTES`), comments where they are written.
        """
        log, ledger = self.logs[ME], self.ledger
        seq = log.seq + 1
        entry.seen = seen = self.next_seen
        entry.at = self.next_at(now)
        data = entry.SerializeToString(deterministic=True)
        if len(data) > MAX_ENTRY_BYTES:
            raise AssertionError(f"own entry {seq} of kind {entry.kind} would have {len(data)} bytes")
        if judged is not None:
            ledger.open(sound_hold(ME, seq, entry.order, judged, ledger.terms.claim_window_ms))
        elif void := ledger.apply(ME, seq, entry):
            raise AssertionError(f"own entry {seq} would be void: {void}: {entry}")
        head = log.push(seen, entry.at, data)
        keep.entry(ME, seq, data, head)
        return seq, data, head

    def promised(self, acked: int) -> None:
        """An own signature, lost here, has acknowledged the other log up to `acked`: it stays acknowledged."""
        mine = self.logs[ME]
        mine.seen = max(mine.seen, acked)
        self.ledger.signed(ME, max(self.ledger.acked[ME], acked))

    def sign(self, session: bytes, key: PrivateKey, keep: Keep) -> lk.HeadSignature:
        """Sign both heads and the own agreed total as they stand."""
        mine, theirs = self.logs
        acked = max(mine.seen, theirs.seq - self.unhandled)
        acked_head = theirs.heads[acked]
        total = self.ledger.settle(ME, acked)
        message = link_signature_bytes(self.genesis, session, mine.seq, mine.head, acked, acked_head, total)
        signature = lk.HeadSignature(
            seq=mine.seq,
            head=mine.head,
            acked=acked,
            acked_head=acked_head,
            agreed_total=total_to_bytes(total),
            session=session,
        )
        signature.signatures.add(key_id=key.public.key_id, value=key.sign(message))
        self._signed(ME, signature, keep)
        return signature

    def _apply(self, author: int, data: bytes, head: bytes, latest: int) -> Fact:
        entry, log = parse_entry(data), self.logs[author]
        seen, at = entry.seen, entry.at
        check_counters(log, seen, at, self.logs[1 - author].seq, latest)
        void = self.ledger.apply(author, log.seq + 1, entry)
        log.push(seen, at, data, head)
        return Fact(author, log.seq, entry, void, data, head)

    def _verify(self, author: int, log: Log, heads: list[bytes], signature: lk.HeadSignature) -> None:
        other = self.logs[1 - author]
        seq, head = log.seq + len(heads), heads[-1] if heads else log.head
        if signature.seq != seq or not self.ledger.acked[author] <= signature.acked <= other.seq:
            raise IntertieError(
                "SIGNATURE_INVALID",
                f"The signature speaks of seqs {signature.seq} and {signature.acked}; held are {seq} and {other.seq}.",
            )
        if signature.head != head or signature.acked_head != other.heads.get(signature.acked):
            raise IntertieError(
                "LOG_FORK", f"The signed heads at seqs {seq} and {signature.acked} are not those held here."
            )
        if not signed_by(self.genesis, signature, self.keys(author)):
            raise IntertieError("SIGNATURE_INVALID", "No known key of the signer has made this signature.")

    def _settle(self, author: int, log: Log, signature: lk.HeadSignature) -> None:
        if signature.acked < log.seen:
            raise IntertieError(
                "SIGNATURE_INVALID", f"The signature acknowledges {signature.acked}; an entry has seen {log.seen}."
            )
        total = self.ledger.settle(author, signature.acked)
        stated = total_from_bytes(signature.agreed_total)
        if stated != total:
            raise IntertieError(
                "TOTAL_MISMATCH",
                f"The signed agreed total is {stated}, the logs say {total}.",
                seq=str(signature.seq),
                acked=str(signature.acked),
                expected=str(total),
                got=str(stated),
            )

    def _signed(self, author: int, signature: lk.HeadSignature, keep: Keep) -> None:
        self.ledger.signed(author, signature.acked)
        self.logs[author].seen = max(self.logs[author].seen, signature.acked)
        self.logs[1 - author].forget_below(signature.acked)
        keep.signature(author, signature)


def _heads(head: bytes, entries: Sequence[bytes]) -> list[bytes]:
    heads = []
    for data in entries:
        head = entry_head(head, data)
        heads.append(head)
    return heads


def signed_by(genesis: bytes, signature: lk.HeadSignature, keys: Keys) -> bool:
    """Whether one of `keys` has made the signature, and no known key a wrong one."""
    sizes = (len(signature.agreed_total), len(signature.session), len(signature.head), len(signature.acked_head))
    if sizes != _SIZES or not 1 <= len(signature.signatures) <= MAX_SIGNATURES:
        return False
    message = link_signature_bytes(
        genesis,
        signature.session,
        signature.seq,
        signature.head,
        signature.acked,
        signature.acked_head,
        total_from_bytes(signature.agreed_total),
    )
    known = [(keys[s.key_id], s.value) for s in signature.signatures if s.key_id in keys]
    return bool(known) and all(key.verify(value, message) for key, value in known)
