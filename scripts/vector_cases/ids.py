"""Ids: the one text form of UUIDv7, its time, and the ids that a relay derives."""

from __future__ import annotations

from intertie import ids
from vector_cases.common import NOW, Case, hostile, seed, valid

GOOD = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def cases() -> list[Case]:
    """Return every case of the area."""
    return [
        valid(
            "parse-rfc9562",
            "The example of RFC 9562.",
            "parse",
            {"id": GOOD},
            {"time_ms": str(ids.parse_uuid7(GOOD))},
        ),
        *_made(),
        *_hops(),
        *_bad(),
    ]


def _made() -> list[Case]:
    return [
        valid(
            f"make-{name}",
            "Version 7 and variant 10 replace six bits.",
            "make",
            {"time_ms": str(time), "random": random.hex()},
            {"id": ids.make_uuid7(time, random)},
        )
        for name, time, random in (
            ("zero", 0, bytes(10)),
            ("ones", 2**48 - 1, b"\xff" * 10),
            ("now", NOW, seed("random")[:10]),
        )
    ]


def _hops() -> list[Case]:
    made = []
    for name, text, head, attempt in (
        ("first", "The first attempt.", seed("head"), 0),
        ("second", "A second attempt has another id.", seed("head"), 1),
        ("other-upstream", "Another upstream position has another id.", seed("other head"), 0),
    ):
        secret = seed("node secret")
        given = {"time_ms": str(NOW), "secret": secret.hex(), "digest": head.hex(), "attempt": attempt}
        made.append(valid(f"hop-{name}", text, "hop", given, {"id": ids.hop_id(NOW, secret, head, attempt)}))
    return made


def _bad() -> list[Case]:
    alias = "One id has two texts: a repeated request is carried out twice."
    time = "The retention check sees another time, or none."
    texts = [
        hostile(f"parse-{name}", text, "parse", {"id": given}, "ID_INVALID", attack)
        for name, text, given, attack in (
            ("upper", "Upper-case digits.", GOOD.upper(), alias),
            ("braces", "In braces.", "{" + GOOD + "}", alias),
            ("urn", "As a URN.", "urn:uuid:" + GOOD, alias),
            ("plain", "Without hyphens.", GOOD.replace("-", ""), alias),
            ("newline", "A trailing newline.", GOOD + "\n", alias),
            ("version", "Version 4.", GOOD[:14] + "4" + GOOD[15:], time),
            ("variant", "Variant 11.", GOOD[:19] + "c" + GOOD[20:], time),
            ("empty", "No text.", "", time),
            ("digits", "Digits of another script.", "\u0660" + GOOD[1:], alias),
            ("short", "A digit is missing.", GOOD[:-1], alias),
        )
    ]
    wraps = "A time that wraps sorts and expires wrongly."
    return [
        *texts,
        hostile(
            "make-late",
            "A time beyond 48 bits.",
            "make",
            {"time_ms": str(2**48), "random": "00" * 10},
            "ID_INVALID",
            wraps,
        ),
        hostile(
            "hop-late",
            "An upstream time beyond 48 bits.",
            "hop",
            {"time_ms": str(2**48), "secret": seed("node secret").hex(), "digest": seed("head").hex(), "attempt": 0},
            "ID_INVALID",
            "Two upstream orders get one downstream id.",
        ),
        hostile(
            "make-negative",
            "A negative time.",
            "make",
            {"time_ms": "-1", "random": "00" * 10},
            "ID_INVALID",
            wraps,
        ),
        hostile(
            "make-short",
            "Nine random bytes.",
            "make",
            {"time_ms": "0", "random": "00" * 9},
            "ID_INVALID",
            "Ids can be guessed.",
        ),
    ]
