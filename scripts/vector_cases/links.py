"""Head signatures of a link: the exact signed bytes, and what must not verify."""

from __future__ import annotations

from typing import Any

from intertie import chain
from vector_cases.common import Case, hostile, key, seed, valid


def cases() -> list[Case]:
    """Return every case of the area."""
    made = []
    for name, text, changes in (
        ("plain", "An ordinary pair of heads.", {}),
        ("empty", "Both logs are empty.", {"seq": 0, "acked": 0, "agreed_total": 0}),
        (
            "large",
            "The largest seqs and a total beyond 64 bits.",
            {"seq": 2**64 - 1, "acked": 2**64 - 1, "agreed_total": 2**64},
        ),
        ("negative", "A negative total.", {"agreed_total": -1}),
    ):
        data, signer = chain.link_signature_bytes(**(fields := _fields(**changes))), key("link")
        given = {"seed": seed("link").hex(), **_shown(fields)}
        output = {"bytes": data.hex(), "signature": signer.sign(data).hex()}
        made.append(valid(name, text, "link_signature", given, output))
    return [*made, _verified("verified", "The signed statement itself."), *_replayed(), *_misshapen()]


def _fields(**changes: object) -> dict[str, Any]:
    plain = {
        "genesis": seed("genesis"),
        "session": seed("session"),
        "seq": 7,
        "head": seed("own head"),
        "acked": 5,
        "acked_head": seed("other head"),
        "agreed_total": 123_456_789,
    }
    return {**plain, **changes}


def _shown(fields: dict[str, Any]) -> Case:
    return {name: value.hex() if isinstance(value, bytes) else str(value) for name, value in fields.items()}


def _presented(**changes: object) -> Case:
    """Return the plain statement's signature, presented under changed fields."""
    signature = key("link").sign(chain.link_signature_bytes(**_fields()))
    public_key = key("link").public.spki.hex()
    return {"public_key": public_key, "signature": signature.hex(), **_shown(_fields(**changes))}


def _verified(name: str, text: str) -> Case:
    return valid(name, text, "link_verify", _presented(), {})


def _replayed() -> list[Case]:
    swapped = {"seq": 5, "head": seed("other head"), "acked": 7, "acked_head": seed("own head")}
    return [
        hostile(f"replay-{name}", text, "link_verify", _presented(**changes), "SIGNATURE_INVALID", attack)
        for name, text, changes, attack in (
            (
                "genesis",
                "On another peering.",
                {"genesis": seed("elsewhere")},
                "A debt in one asset is claimed in another one.",
            ),
            (
                "session",
                "In another session.",
                {"session": seed("earlier")},
                "An old signature hides what was lost in a restore.",
            ),
            ("seq", "At another seq.", {"seq": 8}, "A signature covers entries that it never saw."),
            ("head", "Over another log.", {"head": seed("fork")}, "A forked log passes as the signed one."),
            ("acked", "Acknowledging more.", {"acked": 6}, "Entries count as acknowledged that never were."),
            (
                "acked-head",
                "Acknowledging another log.",
                {"acked_head": seed("fork")},
                "A forked log passes as the acknowledged one.",
            ),
            ("total", "With a higher total.", {"agreed_total": 123_456_790}, "A debt that was never agreed."),
            (
                "sign",
                "With the negative total.",
                {"agreed_total": -123_456_789},
                "A debt turns into a claim.",
            ),
            ("swapped", "With the sides swapped.", swapped, "A side's words are put into the other's mouth."),
        )
    ]


def _misshapen() -> list[Case]:
    attack = "Padding or wrapping makes two statements share their signed bytes."
    made = [
        hostile(
            f"bytes-{name}",
            text,
            "link_signature",
            {"seed": seed("link").hex(), **_shown(_fields(**changes))},
            "INVALID_ARGUMENT",
            attack,
        )
        for name, text, changes in (
            ("short-head", "A head of 31 bytes.", {"head": seed("own head")[:31]}),
            ("long-session", "A session of 33 bytes.", {"session": seed("session") + b"\0"}),
            ("empty-genesis", "No genesis.", {"genesis": b""}),
            ("seq", "A seq beyond 64 bits.", {"seq": 2**64}),
            ("negative-seq", "A negative seq.", {"seq": -1}),
            ("total", "A total beyond 128 bits.", {"agreed_total": 2**127}),
        )
    ]
    return made
