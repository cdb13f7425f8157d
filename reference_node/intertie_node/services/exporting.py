"""Exporting a link: both logs with their signatures into one file that a stranger can verify (design §7).

The file reaches to this node's last signature and to what the other side had signed by then. Entries that
nobody has signed for yet are left out: they bind nobody. The node may go on writing meanwhile. The exporter
judges nothing; `core.verifying` does.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import BinaryIO, Final

from msgspec import Struct

from intertie import envelope
from intertie.v1 import export_pb2 as xp
from intertie.v1 import link_pb2 as lk
from intertie.v1.agreement_pb2 import Agreement
from intertie_node.core.export_file import VERSION, framed, unframed
from intertie_node.core.verifying import end_record
from intertie_node.ports import ME, THEM, Store, StoreFailure

PAGE_BYTES: Final = 1 << 20
"""About how much of a log is in memory at a time."""
PAGE_SEQS: Final = 256
"""Over how many seqs signatures are read at a time."""
Progress = Callable[[int, int], None]
"""Called with (entries written, entries to write)."""


class Exported(Struct, frozen=True):
    """What was written."""

    entries: tuple[int, int]
    """Own and the other's."""
    signatures: tuple[int, int]
    bytes: int


class _Row(Struct, frozen=True):
    """A signature and the entries that it is the first to cover."""

    seq: int
    acked: int
    first_seq: int
    entries: list[bytes]
    signature: bytes


def make_header(
    fingerprint: bytes, own_chain: Sequence[bytes], other_chain: Sequence[bytes], agreement: bytes
) -> xp.ExportHeader:
    """Return the header of a file written by the grid of `fingerprint` (the envelopes as they are stored).

    Raises: IntertieError INVALID_ARGUMENT if the agreement cannot be parsed.
    """
    proposer = Agreement.FromString(envelope.peek_unverified(agreement)[1]).proposer.fingerprint
    chains = (own_chain, other_chain) if proposer == fingerprint else (other_chain, own_chain)
    return xp.ExportHeader(
        version=VERSION,
        exporter=fingerprint,
        proposer_descriptors=chains[0],
        acceptor_descriptors=chains[1],
        agreement=agreement,
    )


def export_link(
    store: Store, link: str, header: xp.ExportHeader, out: BinaryIO, progress: Progress | None = None
) -> Exported:
    """Write the link's file to `out`, a page of each log in memory at a time (blocking).

    Raises: StoreFailure if the store lacks an entry that was signed; OSError from `out`.
    """
    mine, theirs = _cut(store, link)
    writer = _Writer(header, out, progress, mine.seq + theirs.seq)
    logs = (_rows(store, link, ME, mine.seq, mine.acked), _rows(store, link, THEM, theirs.seq, mine.seq))
    heads = [next(rows, None) for rows in logs]
    while (side := _next_side(heads, writer.entries)) is not None:
        row = heads[side]
        assert row is not None
        writer.group(side, row)
        heads[side] = next(logs[side], None)
    return writer.end()


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of an exported file, for `verify_export`. Raises: IntertieError EXPORT_MALFORMED."""
    return unframed(file.read)


def _cut(store: Store, link: str) -> tuple[lk.HeadSignature, lk.HeadSignature]:
    """The last signature of each side; this node's is read first, so the other log reaches what it acknowledges."""
    found = [store.last_signature(link, side) for side in (ME, THEM)]
    mine, theirs = (lk.HeadSignature.FromString(data or b"") for data in found)
    return mine, theirs


def _next_side(heads: Sequence[_Row | None], written: Sequence[int]) -> int | None:
    """The side whose next signature acknowledges nothing that is not written yet; any side if there is none."""
    left = [side for side in (ME, THEM) if heads[side] is not None]
    ready = [side for side in left if (row := heads[side]) and row.acked <= written[1 - side]]
    return next(iter(ready or left), None)


def _rows(store: Store, link: str, side: int, upto: int, max_acked: int) -> Iterator[_Row]:
    """A side's signatures up to a seq and an acknowledged seq of the other log, each with its entries."""
    entries, first = _entries(store, link, side, upto), 1
    for after in range(-1, upto, PAGE_SEQS):
        for seq, acked, data in store.signatures(link, side, after, min(after + PAGE_SEQS, upto)):
            if acked > max_acked:
                return
            fresh = [next(entries) for _ in range(first, seq + 1)]
            yield _Row(seq, acked, first if fresh else 0, fresh, data)
            first = seq + 1


def _entries(store: Store, link: str, side: int, upto: int) -> Iterator[bytes]:
    """Exact bytes of a log's entries 1 to `upto`. Raises: StoreFailure for a gap."""
    after = 0
    while after < upto:
        page = store.entries(link, side, after, upto, PAGE_BYTES)
        for seq, data, _ in page or [(0, b"", b"")]:
            if seq != after + 1:
                raise StoreFailure(f"Entry {after + 1} of side {side} of link {link} is missing: restore a backup.")
            yield data
            after = seq


class _Writer:
    """Writes records and counts."""

    def __init__(self, header: xp.ExportHeader, out: BinaryIO, progress: Progress | None, total: int) -> None:
        self._out = out
        self._progress = progress
        self._total = total
        self._digest = sha256()
        self._bytes = 0
        proposer = Agreement.FromString(envelope.peek_unverified(header.agreement)[1]).proposer.fingerprint
        self._proposes = proposer == header.exporter
        self.entries = [0, 0]
        self.signatures = [0, 0]
        self._record(xp.ExportRecord(header=header).SerializeToString(deterministic=True))

    def group(self, side: int, row: _Row) -> None:
        """Write a group."""
        proposer = (side == ME) == self._proposes
        group = xp.ExportGroup(
            side=xp.EXPORT_SIDE_PROPOSER if proposer else xp.EXPORT_SIDE_ACCEPTOR,
            first_seq=row.first_seq,
            entries=row.entries,
            signature=row.signature,
        )
        self._record(xp.ExportRecord(group=group).SerializeToString(deterministic=True))
        self.entries[side] += len(row.entries)
        self.signatures[side] += 1
        if self._progress:
            self._progress(sum(self.entries), self._total)

    def end(self) -> Exported:
        """Write the end record."""
        a, b = (ME, THEM) if self._proposes else (THEM, ME)
        counts = (self.entries[a], self.signatures[a], self.entries[b], self.signatures[b])
        self._record(end_record(counts, self._digest.digest()))
        entries, signatures = self.entries, self.signatures
        return Exported((entries[ME], entries[THEM]), (signatures[ME], signatures[THEM]), self._bytes)

    def _record(self, record: bytes) -> None:
        data = framed(record)
        self._digest.update(data)
        self._out.write(data)
        self._bytes += len(data)
