"""RFC 0005: what every sender of frames keeps."""

from __future__ import annotations

from intertie.v1 import link_pb2 as lk
from intertie_conformance.passive import Sight, passive
from intertie_conformance.registry import LIMITS
from intertie_conformance.wire import envelope
from intertie_conformance.wire.build import size_of
from intertie_conformance.wire.refusal import Refusal


def _open(sight: Sight) -> lk.Open | None:
    """The Open in a frame, if it holds a readable one."""
    if sight.frame is None or not sight.frame.open:
        return None
    try:
        return lk.Open.FromString(envelope.peek(sight.frame.open).payload)
    except Exception:
        return None


@passive("IT-LNK-010")
def open_is_signed(sight: Sight) -> str | None:
    """An Open is signed by a signing key of the descriptor."""
    if sight.frame is None or not sight.frame.open:
        return None
    try:
        envelope.unseal(sight.frame.open, envelope.OPEN, sight.peer.peer_keys)
    except Refusal as refusal:
        return f"an Open: {refusal}"
    return ""


@passive("IT-LNK-011")
def nonce_is_fresh(sight: Sight) -> str | None:
    """A nonce has 16 to 32 bytes and never comes again."""
    opened = _open(sight)
    if opened is None:
        return None
    used: set[bytes] = sight.peer.stage.observer.__dict__.setdefault("nonces", set())
    again = opened.nonce in used
    used.add(opened.nonce)
    if again:
        return "a nonce was used again"
    return "" if 16 <= len(opened.nonce) <= 32 else f"a nonce of {len(opened.nonce)} bytes"


@passive("IT-LNK-012")
def cursors_are_true(sight: Sight) -> str | None:
    """The cursors of an Open name heads of the logs as they were written."""
    opened = _open(sight)
    if opened is None or not sight.peer.judges:
        return None
    for side, cursor in ((1, opened.own), (0, opened.other)):
        known = sight.peer.logs.heads[side]
        if len(cursor.head) != 32 or (cursor.seq < len(known) and known[cursor.seq] != cursor.head):
            return f"a cursor at seq {cursor.seq} with another head"
    return ""


@passive("IT-LNK-013")
def limits_in_range(sight: Sight) -> str | None:
    """Each declared limit lies in its range."""
    opened = _open(sight)
    if opened is None:
        return None
    for field in lk.Limits.DESCRIPTOR.fields:
        value, row = getattr(opened.limits, field.name), LIMITS[field.name]
        if not row.minimum <= value <= row.maximum:
            return f"{field.name} = {value}; {row.minimum} to {row.maximum} are allowed"
    return ""


@passive("IT-LNK-014")
def open_is_alone(sight: Sight) -> str | None:
    """The frame of an Open holds nothing else."""
    if sight.frame is None or not sight.frame.open:
        return None
    names = [field.name for field, _ in sight.frame.ListFields()]
    return "" if names == ["open"] else f"an Open beside {names}"


@passive("IT-LNK-015")
def chain_is_whole(sight: Sight) -> str | None:
    """The Open carries the whole descriptor chain."""
    opened = _open(sight)
    if opened is None:
        return None
    whole = list(opened.descriptors) == sight.peer.stage.target.chain
    return "" if whole and opened.descriptor_version == len(opened.descriptors) else "another descriptor chain"


@passive("IT-LNK-070")
def entries_are_signed(sight: Sight) -> str | None:
    """Entries end with a signature."""
    if sight.frame is None or not sight.frame.entries:
        return None
    return "" if sight.frame.HasField("signature") else "entries without a signature"


@passive("IT-LNK-071")
def one_log_a_frame(sight: Sight) -> str | None:
    """No frame holds both kinds of signatures."""
    frame = sight.frame
    if frame is None or not (frame.HasField("signature") or frame.HasField("returned_signature")):
        return None
    both = frame.HasField("signature") and frame.HasField("returned_signature")
    return "signature and returned_signature in one frame" if both else ""


@passive("IT-LNK-072")
def frame_fits(sight: Sight) -> str | None:
    """No frame is larger than the suite's peer has declared."""
    limit = LIMITS["frame_bytes"].default
    return "" if len(sight.data) <= limit else f"a frame of {len(sight.data)} bytes"


@passive("IT-LNK-073")
def few_entries(sight: Sight) -> str | None:
    """No frame holds more than 4,096 entries."""
    if sight.frame is None or not (sight.frame.entries or sight.frame.returned):
        return None
    count = len(sight.frame.entries) + len(sight.frame.returned)
    return "" if count <= LIMITS["frame_entries"].maximum else f"a frame with {count} entries"


@passive("IT-LNK-124")
def events_fit(sight: Sight) -> str | None:
    """No event is larger than every link takes."""
    if sight.frame is None or not sight.frame.events:
        return None
    largest = max(map(size_of, sight.frame.events))
    return "" if largest <= LIMITS["event_bytes"].maximum else f"an event of {largest} bytes"
