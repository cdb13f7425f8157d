"""Verifying an exported link offline, as a stranger who trusts neither grid (design §7, invariant 7).

From the file alone: both descriptor chains, the agreement's two signatures, the genesis, every head, every
signature, every rule of every entry, every agreed total at the heads it was signed for, and the records of
executors that are one of the two grids. A signature carries no time: its key must not have expired before
the last entry that it covers was written. The file can prove no more than was signed: whoever writes it
may leave out a tail of both logs. Memory grows with the number of orders, not of entries.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from msgspec import Struct

from intertie.encoding import parse
from intertie.errors import IntertieError
from intertie.v1 import export_pb2 as xp
from intertie.v1 import link_pb2 as lk
from intertie_node.core.export_file import MAX_RECORD_BYTES, framed, malformed
from intertie_node.core.export_header import Basis, verify_header
from intertie_node.core.link_report import ACCEPTOR, PROPOSER, SIDE_NAMES, Fault, LinkReport, SideReport
from intertie_node.core.pair import Keys, LogPair
from intertie_node.core.tally import Tally, findings

MAX_SIGNATURE_BYTES: Final = 4096
SIDES: Final[Mapping[int, int]] = {
    xp.ExportSide.EXPORT_SIDE_PROPOSER: PROPOSER,
    xp.ExportSide.EXPORT_SIDE_ACCEPTOR: ACCEPTOR,
}
"""Side in a file → index."""


def verify_export(records: Iterable[bytes]) -> LinkReport:
    """Replay the records of an exported link, in file order and without their lengths.

    Never raises for what is wrong with the file, also while `records` is read: the first fault is in the
    report, with everything counted until then.
    """
    run = _Run()
    try:
        for record in records:
            run.record(record)
        run.finish()
    except IntertieError as error:
        return run.report(error)
    return run.report(None)


class _Group(Struct, frozen=True):
    first_seq: int
    entries: list[bytes]
    signature: lk.HeadSignature


class _Replay:
    """Both logs, as far as they were applied, and the groups that wait for the other log."""

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        keys: list[Keys] = [{signing.key.key_id: signing.key for signing in grid.signing_keys} for grid in basis.grids]
        self.pair = LogPair(basis.agreement.genesis, basis.terms, keys.__getitem__)
        self.tally = Tally(self.pair.ledger, {grid.fingerprint: grid for grid in basis.grids})
        self.waiting: tuple[deque[_Group], deque[_Group]] = (deque(), deque())
        self.signatures = [0, 0]
        self._signed = [(-1, -1), (-1, -1)]
        self.place: tuple[int, int] | None = None
        """(side, seq of the signature) of the group that is being applied."""

    def push(self, side: int, group: _Group) -> None:
        """Apply a group, and what waited for it. Raises: IntertieError as `LogPair.take`."""
        self.waiting[side].append(group)
        while self._step(PROPOSER) or self._step(ACCEPTOR):
            pass

    def _step(self, side: int) -> bool:
        """Apply the next group of a side if the other log has grown to what its signature acknowledges."""
        queue = self.waiting[side]
        if not queue or queue[0].signature.acked > self.pair.logs[1 - side].seq:
            return False
        self._take(side, queue.popleft())
        return True

    def _take(self, side: int, group: _Group) -> None:
        signature, log = group.signature, self.pair.logs[side]
        self.place = (side, signature.seq)
        if group.first_seq != (log.seq + 1 if group.entries else 0):
            raise IntertieError("LOG_GAP", f"Entries from seq {group.first_seq} do not follow seq {log.seq}.")
        if (signature.seq, signature.acked) <= self._signed[side]:
            raise malformed("A signature stands in the file twice or out of order.")
        for fact in self.pair.take(side, group.first_seq, group.entries, signature, self):
            self.tally.note(fact)
        self._check_key(side, signature, log.at)
        self._signed[side] = (signature.seq, signature.acked)
        self.signatures[side] += 1
        self.place = None

    def _check_key(self, side: int, signature: lk.HeadSignature, at: int) -> None:
        made_by = {each.key_id for each in signature.signatures}
        keys = self.basis.grids[side].signing_keys
        if not any(signing.key.key_id in made_by and signing.not_after >= at for signing in keys):
            raise IntertieError(
                "SIGNATURE_INVALID", f"The signing key had expired at {at}, when the entry was written."
            )

    def entry(self, side: int, seq: int, data: bytes, head: bytes) -> None:
        """Keep nothing (see `pair.Keep`)."""

    def signature(self, signer: int, signature: lk.HeadSignature) -> None:
        """Keep nothing (see `pair.Keep`)."""

    def check_nothing_waits(self) -> None:
        """Raises: IntertieError EXPORT_MALFORMED if a group waits for what the file does not hold."""
        for side, queue in enumerate(self.waiting):
            if queue:
                signature = queue[0].signature
                self.place = (side, signature.seq)
                raise malformed(
                    f"The signature acknowledges {signature.acked} entries of the {SIDE_NAMES[1 - side]}'s log, "
                    f"of which {self.pair.logs[1 - side].seq} can be applied without it."
                )


class _Run:
    """One pass over the records of a file."""

    def __init__(self) -> None:
        self._digest = sha256()
        self._replay: _Replay | None = None
        self._ended = False

    def record(self, data: bytes) -> None:
        """Take the next record. Raises: IntertieError."""
        if self._ended:
            raise malformed("The file goes on after its end record.")
        record = parse(xp.ExportRecord, data, MAX_RECORD_BYTES, "EXPORT_MALFORMED")
        kind = record.WhichOneof("record")
        if kind != "end":
            self._digest.update(framed(data))
        if self._replay is None:
            if kind != "header":
                raise malformed("The file does not begin with a header.")
            self._replay = _Replay(verify_header(record.header))
        elif kind == "group":
            _push(self._replay, record.group)
        elif kind == "end":
            self._end(self._replay, data)
        else:
            raise malformed("A record is neither a group nor the end.")

    def _end(self, replay: _Replay, data: bytes) -> None:
        """Compare the exact end record with what was read."""
        replay.check_nothing_waits()
        logs, signatures = replay.pair.logs, replay.signatures
        counts = (logs[PROPOSER].seq, signatures[PROPOSER], logs[ACCEPTOR].seq, signatures[ACCEPTOR])
        if data != end_record(counts, self._digest.digest()):
            raise malformed("The end record is not that of the records before it: the file is damaged or shortened.")
        self._ended = True

    def finish(self) -> None:
        """The file has ended. Raises: IntertieError EXPORT_MALFORMED if that is too early."""
        if not self._ended:
            raise malformed("The file ends before its end record.")

    def report(self, error: IntertieError | None) -> LinkReport:
        """Everything found until now."""
        replay = self._replay
        report = LinkReport() if replay is None else _report(replay)
        report.ok = error is None
        if error is not None:
            report.fault = _fault(error, replay)
        return report


def _push(replay: _Replay, group: xp.ExportGroup) -> None:
    side = SIDES.get(group.side)
    if side is None:
        raise malformed("A group names neither the proposer nor the acceptor.")
    signature = parse(lk.HeadSignature, group.signature, MAX_SIGNATURE_BYTES, "EXPORT_MALFORMED")
    replay.push(side, _Group(group.first_seq, list(group.entries), signature))


def end_record(counts: tuple[int, int, int, int], digest: bytes) -> bytes:
    """The exact end record: proposer's entries and signatures, acceptor's, and the digest of all before it."""
    end = xp.ExportEnd(
        proposer_entries=counts[0],
        proposer_signatures=counts[1],
        acceptor_entries=counts[2],
        acceptor_signatures=counts[3],
        sha256=digest,
    )
    return xp.ExportRecord(end=end).SerializeToString(deterministic=True)


def _fault(error: IntertieError, replay: _Replay | None) -> Fault:
    if replay is None or replay.place is None:
        return Fault(None, 0, error.reason, error.message)
    side, seq = replay.place
    where = f"{replay.basis.grids[side].grid} ({SIDE_NAMES[side]}), up to seq {seq}"
    return Fault(side, seq, error.reason, f"{where}: {error.message}")


def _report(replay: _Replay) -> LinkReport:
    basis, tally = replay.basis, replay.tally
    return LinkReport(
        exporter=basis.exporter,
        genesis=basis.agreement.genesis,
        asset=basis.agreement.asset,
        scale=basis.agreement.scale,
        sides=(_side(replay, PROPOSER), _side(replay, ACCEPTOR)),
        lanes=(tally.lane(PROPOSER), tally.lane(ACCEPTOR)),
        proofs=tally.proofs(),
    )


def _side(replay: _Replay, side: int) -> SideReport:
    grid = replay.basis.grids[side]
    return SideReport(
        fingerprint=grid.fingerprint,
        grid=grid.grid,
        entries=replay.pair.logs[side].seq,
        signatures=replay.signatures[side],
        acked=replay.pair.ledger.acked[side],
        void=findings(side, replay.tally.void[side]),
        refused=findings(side, replay.tally.refused[side]),
    )
