"""One side's append-only, hash-chained log: position, head, and the two counters that never fall (design §7)."""

from msgspec import Struct

from intertie.chain import entry_head
from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb

MAX_ENTRY_BYTES = 64 * 1024


class Log(Struct):
    """Where a log stands. `heads` keeps those heads that the other side may still acknowledge."""

    seq: int
    head: bytes
    seen: int = 0
    """Least `seen` of the next entry: that of the last one, or what a signature has acknowledged since."""
    at: int = 0
    """`at` of the last entry, milliseconds since the Unix epoch."""
    heads: dict[int, bytes] = {}

    @classmethod
    def empty(cls, genesis: bytes) -> "Log":
        """The log of a new peering: seq 0, head(0) = genesis."""
        return cls(0, genesis, heads={0: genesis})

    def push(self, seen: int, at: int, data: bytes, head: bytes | None = None) -> bytes:
        """Append the exact bytes of an entry with these counters; returns the new head."""
        self.head = head or entry_head(self.head, data)
        self.seq += 1
        self.heads[self.seq] = self.head
        self.seen, self.at = seen, at
        return self.head

    def forget_below(self, seq: int) -> None:
        """Drop heads below `seq`: the other side has acknowledged it."""
        heads = self.heads
        if len(heads) > 1:
            for old in [s for s in heads if s < seq]:
                del heads[old]

    def copy(self) -> "Log":
        """A copy to restore from."""
        return Log(self.seq, self.head, self.seen, self.at, self.heads)

    def restore(self, saved: "Log") -> None:
        """Go back to a copy: nothing pushed since remains."""
        for seq in range(saved.seq + 1, self.seq + 1):
            self.heads.pop(seq, None)
        self.seq, self.head, self.seen, self.at = saved.seq, saved.head, saved.seen, saved.at


def parse_entry(data: bytes) -> pb.Entry:
    """Decode exact entry bytes. Raises: IntertieError ENTRY_MALFORMED."""
    if len(data) > MAX_ENTRY_BYTES:
        raise IntertieError(
            "ENTRY_MALFORMED", f"An entry has {len(data)} bytes; at most {MAX_ENTRY_BYTES} are allowed."
        )
    try:
        return pb.Entry.FromString(data)
    except Exception as error:
        raise IntertieError("ENTRY_MALFORMED", "An entry does not decode as intertie.v1.Entry.") from error


def check_counters(log: Log, seen: int, at: int, other_seq: int, latest: int) -> None:
    """Refuse what would break the order of the two logs, or leads the receiver's clock: `at` beyond `latest`.

    Raises: IntertieError SEEN_INVALID if `seen` falls, also below what its author's signatures have
    acknowledged, or lies beyond the other log, AT_DECREASED if `at` falls, CLOCK.
    """
    if not log.seen <= seen <= other_seq:
        raise IntertieError(
            "SEEN_INVALID",
            f"Entry {log.seq + 1} has seen {seen}; it must lie between {log.seen} and {other_seq}.",
        )
    if at < log.at:
        raise IntertieError("AT_DECREASED", f"Entry {log.seq + 1} has an earlier clock than the entry before it.")
    if at > latest:
        raise IntertieError("CLOCK", f"An entry's clock is {at - latest} ms beyond what this node's allows.")
