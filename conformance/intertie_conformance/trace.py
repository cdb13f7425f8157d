"""What goes over the wire, in words: payload bytes, inputs, tokens and keys are left out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from google.protobuf.message import DecodeError

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Envelope
from intertie.v1.event_pb2 import Event
from intertie_conformance.verdicts import Line
from intertie_conformance.wire.build import size_of

MAX_LINES = 200


class Trace:
    """The lines of one check."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._began = time.monotonic()

    def note(self, who: str, what: str) -> None:
        """Add a line; of very long traces the middle is left out by the reports."""
        if len(self.lines) < MAX_LINES:
            self.lines.append(Line(time.monotonic() - self._began, who, what))

    def sent(self, who: str, frame: bytes) -> None:
        """The suite's grid `who` has sent a frame."""
        self.note(who, f"→ {describe(frame)}")

    def heard(self, who: str, frame: bytes) -> None:
        """The suite's grid `who` has received a frame."""
        self.note(who, f"← {describe(frame)}")


def describe(data: bytes) -> str:
    """A frame in words."""
    try:
        frame = lk.Frame.FromString(data)
    except DecodeError:
        return f"{len(data)} bytes that are no frame"
    return ", ".join(_parts(frame)) or "an empty frame"


def _parts(frame: lk.Frame) -> Iterator[str]:
    if frame.open:
        yield _open(frame.open)
    yield from _group("entries", frame.first_seq, frame.entries)
    if frame.inputs:
        yield f"{len(frame.inputs)} inputs"
    yield from _group("returned", frame.first_returned, frame.returned)
    for name, present in (
        ("signature", frame.HasField("signature")),
        ("returned signature", frame.HasField("returned_signature")),
    ):
        if present:
            yield _signature(name, getattr(frame, name.replace(" ", "_")))
    yield from _rest(frame)


def _rest(frame: lk.Frame) -> Iterator[str]:
    if frame.events:
        yield "events " + " ".join(map(_event, frame.events[:8]))
    if frame.advertisements:
        yield f"{len(frame.advertisements)} advertisements"
    yield from (f"{name} {getattr(frame, name)}" for name in ("ping", "pong") if getattr(frame, name))
    if frame.HasField("close"):
        yield f"close {frame.close.reason}: {frame.close.message[:160]}"


def _group(name: str, first: int, entries: Sequence[bytes]) -> Iterator[str]:
    if entries:
        yield f"{name} {first}…: " + " ".join(map(_entry, entries[:8]))


def _open(sealed: bytes) -> str:
    try:
        opened = lk.Open.FromString(Envelope.FromString(sealed).payload)
    except DecodeError:
        return f"Open of {len(sealed)} bytes that do not decode"
    return f"Open(own {opened.own.seq}, other {opened.other.seq}, nonce of {len(opened.nonce)} bytes)"


def _signature(name: str, signature: lk.HeadSignature) -> str:
    total = int.from_bytes(signature.agreed_total, "big", signed=True)
    return f"{name}(seq {signature.seq}, acked {signature.acked}, total {total}, session {signature.session[:4].hex()})"


def _entry(data: bytes) -> str:
    try:
        entry = pb.Entry.FromString(data)
    except DecodeError:
        return f"[{len(data)} bytes]"
    kind = entry.WhichOneof("body") or f"kind {entry.kind}"
    body = getattr(entry, kind, None)
    about = [
        f"{name}={getattr(body, name)}"
        for name in ("order_seq", "amount", "final", "max_charge", "grant", "entry_seq", "rule")
        if body is not None and name in body.DESCRIPTOR.fields_by_name and getattr(body, name)
    ]
    return f"[{kind} {' '.join(about)}]".replace(" ]", "]")


def _event(event: Event) -> str:
    return f"[{event.WhichOneof('body')} #{event.number} of order {event.order_seq}, {size_of(event)} bytes]"
