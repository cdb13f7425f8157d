"""Requests of consumers that are, or are not, the same one again; places that a policy allows; what an event counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Chunk, Event, InputRequest
from intertie.v1.invocation_pb2 import Invocation
from vector_cases.common import NOW, Case, hostile, valid

Change = Callable[[Invocation], Any]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_same(), *_other(), *_places(), *_events()]


def _request() -> Invocation:
    request = Invocation(
        id="0199c82c-c000-706a-9898-8db931826751",
        offer="south.example/docs/ask",
        max_charge=1000,
        timeout_ms=30_000,
        session="s-1",
        traceparent=TRACE,
    )
    request.input.CopyFrom(Payload(media_type="application/json", data=b'{"query":"link"}'))
    request.policy.places.extend(["DE", "FR"])
    return request


def _bytes(request: Invocation) -> bytes:
    return request.SerializeToString(deterministic=True)


def _given(again: bytes) -> Case:
    return {"first": _bytes(_request()).hex(), "again": again.hex()}


def _changed(change: Change) -> bytes:
    change(request := _request())
    return _bytes(request)


def _same() -> list[Case]:
    plain = _bytes(_request())
    untraced = _changed(lambda r: r.ClearField("traceparent"))
    rows: tuple[tuple[str, str, bytes], ...] = (
        ("plain", "The same bytes.", plain),
        ("untraced", "Without the trace context.", untraced),
        ("traced", "With another trace context.", _changed(lambda r: setattr(r, "traceparent", TRACE[::-1]))),
        ("reordered", "The same fields in another order.", untraced[untraced.index(b"\x12") :] + untraced[:38]),
        ("defaults", "A default that is written out.", plain + b"\x30\x00"),
    )
    return [valid(f"repeat-{name}", text, "repeat", _given(again), {}) for name, text, again in rows]


def _other() -> list[Case]:
    swapped = "Work that was paid for once is replaced by other work under the same id."
    rows: tuple[tuple[str, str, Change], ...] = (
        ("offer", "Another offer.", lambda r: setattr(r, "offer", "south.example/docs/tell")),
        ("input", "Another input.", lambda r: setattr(r.input, "data", b'{"query":"log"}')),
        ("media-type", "Another media type.", lambda r: setattr(r.input, "media_type", "text/plain")),
        ("max-charge", "A higher maximum charge.", lambda r: setattr(r, "max_charge", 1001)),
        ("timeout", "Another time.", lambda r: setattr(r, "timeout_ms", 30_001)),
        ("grant", "A first grant that means the same.", lambda r: setattr(r, "first_grant", 1000)),
        ("places", "The same places in another order.", lambda r: _places_of(r, ["FR", "DE"])),
        ("session", "Another session.", lambda r: setattr(r, "session", "s-2")),
        ("group", "A group.", lambda r: setattr(r, "group", "g")),
    )
    return [
        hostile(f"repeat-{name}", text, "repeat", _given(_changed(change)), "ID_CONFLICT", swapped)
        for name, text, change in rows
    ]


def _places_of(request: Invocation, places: list[str]) -> None:
    del request.policy.places[:]
    request.policy.places.extend(places)


def _places() -> list[Case]:
    made = [
        valid(f"place-{name}", text, "place", {"places": places, "place": place}, {})
        for name, text, places, place in (
            ("any", "No places: anywhere.", [], ""),
            ("equal", "The very place.", ["DE"], "DE"),
            ("part", "A part of an allowed country.", ["FR", "DE"], "DE-BY"),
            ("subdivision", "The very subdivision.", ["DE-BY"], "DE-BY"),
        )
    ]
    evaded = "Work is done where the caller has forbidden it."
    return made + [
        hostile(f"place-{name}", text, "place", {"places": places, "place": place}, "POLICY_VIOLATION", evaded)
        for name, text, places, place in (
            ("other", "Another country.", ["DE"], "FR"),
            ("unstated", "A place that is not stated.", ["DE"], ""),
            ("whole", "The country of an allowed part.", ["DE-BY"], "DE"),
            ("prefix", "A code that only begins alike.", ["DE-B"], "DE-BY"),
            ("empty-code", "An empty code allows nothing but itself.", [""], "DE"),
        )
    ]


def _events() -> list[Case]:
    chunk = Event(order_seq=7, number=1, at=NOW, chunk=Chunk(payload=Payload(media_type="text/plain", data=b"a" * 100)))
    asked = Event(order_seq=300, number=2, at=NOW, input_request=InputRequest(request=1, prompt="which one?"))
    made = []
    for name, text, event in (
        ("chunk", "The order's seq does not count.", chunk),
        ("asked", "A longer seq counts as little.", asked),
    ):
        data = event.SerializeToString(deterministic=True)
        event.order_seq = 0
        size = len(event.SerializeToString(deterministic=True))
        made.append(valid(f"event-{name}", text, "event_size", {"event": data.hex()}, {"size": str(size)}))
    return made
