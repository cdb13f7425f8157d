"""RFC 0007: what every author of a log keeps."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.grid.account import THEM
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.passive import Sight, passive
from intertie_conformance.registry import LIMITS
from intertie_conformance.wire import heads
from intertie_conformance.wire.digests import next_head

SLACK_MS = 2_500
"""How far an entry's clock may lead the suite's as it arrives: the agreed skew, and more."""
LATE_MS = 30_000
"""How long an entry of a busy target may be on its way."""


def _judged(sight: Sight) -> bool:
    """Whether the suite knows the target's log up to this frame."""
    frame, peer = sight.frame, sight.peer
    if frame is None or not peer.judges or peer.fault is not None:
        return False
    return not frame.entries or 1 <= frame.first_seq <= peer.logs.seq(THEM) + 1


def _live(sight: Sight) -> bool:
    """Whether a frame's signature was made in this session."""
    frame = sight.frame
    return frame is not None and frame.HasField("signature") and frame.signature.session == sight.peer.session


def _entries(sight: Sight) -> Iterator[pb.Entry]:
    """The entries of a frame that decode."""
    for data in sight.frame.entries if sight.frame is not None else ():
        try:
            yield pb.Entry.FromString(data)
        except DecodeError:
            return


@passive("IT-LOG-001")
def numbered(sight: Sight) -> str | None:
    """Entries follow those before them, from seq 1 on."""
    if sight.frame is None or not sight.frame.entries or not sight.peer.judges or sight.peer.fault is not None:
        return None
    first, held = sight.frame.first_seq, sight.peer.logs.seq(THEM)
    return "" if 1 <= first <= held + 1 else f"entries from seq {first} after {held} entries"


@passive("IT-LOG-002")
def chained(sight: Sight) -> str | None:
    """A signed head is that of the entries before it."""
    if not _judged(sight) or sight.frame is None or not sight.frame.HasField("signature"):
        return None
    frame, known = sight.frame, sight.peer.logs.heads[THEM]
    if not frame.entries and frame.signature.seq >= len(known):
        return None
    made = known[: frame.first_seq] if frame.entries else list(known)
    for data in frame.entries:
        made = [*made, next_head(made[-1], data)]
    seq = frame.signature.seq
    return "" if seq < len(made) and frame.signature.head == made[seq] else f"another head at seq {seq}"


@passive("IT-LOG-011")
def seen_never_falls(sight: Sight) -> str | None:
    """`seen` does not fall below that of the entry before, nor below what was acknowledged."""
    if not _judged(sight) or not _live(sight) or sight.frame is None or not sight.frame.entries:
        return None
    before = sight.peer.logs.seen[THEM]
    for entry in _entries(sight):
        if entry.seen < before:
            return f"seen {entry.seen} after {before}"
        before = entry.seen
    return ""


@passive("IT-LOG-012")
def clock_is_told(sight: Sight) -> str | None:
    """`at` is the author's clock, and never falls."""
    if not _judged(sight) or not _live(sight) or sight.frame is None or not sight.frame.entries:
        return None
    before, now = sight.peer.logs.at[THEM], now_ms()
    for entry in _entries(sight):
        if entry.at < before:
            return f"at {entry.at} after {before}"
        if not -LATE_MS <= entry.at - now <= SLACK_MS:
            return f"at {entry.at}, {entry.at - now} ms from the suite's clock"
        before = entry.at
    return ""


@passive("IT-LOG-013")
def entries_fit(sight: Sight) -> str | None:
    """No entry has more than 65,536 bytes."""
    if sight.frame is None or not sight.frame.entries:
        return None
    most = max(len(data) for data in sight.frame.entries)
    return "" if most <= LIMITS["entry_bytes"].maximum else f"an entry of {most} bytes"


@passive("IT-LOG-020")
def signed_bytes(sight: Sight) -> str | None:
    """A head signature is over the 177 bytes, by a signing key of the descriptor."""
    if sight.frame is None or not sight.frame.HasField("signature"):
        return None
    peer = sight.peer
    good = heads.is_signed(peer.genesis, sight.frame.signature, peer.peer_keys)
    return "" if good else "a head signature that no signing key has made over the bytes of the RFC"


@passive("IT-LOG-021")
def signs_last(sight: Sight) -> str | None:
    """A signature speaks of the last entry, those of the same frame included."""
    if not _judged(sight) or not _live(sight) or sight.frame is None:
        return None
    frame = sight.frame
    last = frame.first_seq + len(frame.entries) - 1 if frame.entries else sight.peer.logs.seq(THEM)
    return "" if frame.signature.seq == last else f"a signature of seq {frame.signature.seq}, the last is {last}"


@passive("IT-LOG-023")
def acks_never_fall(sight: Sight) -> str | None:
    """A signature acknowledges no less than the one before it."""
    if not _judged(sight) or not _live(sight) or sight.frame is None:
        return None
    before, now = sight.peer.logs.account.acked[THEM], sight.frame.signature.acked
    return "" if now >= before else f"{now} acknowledged after {before}"
