"""Opens as a receiver checks them, and what two cursors make each side send (RFC 0005, sections 3.3 and 3.4).

`check_open` is steps 9 to 18 without the descriptors. `plan` gives, by a side's own two logs and the cursors of the
Open that it received, the seqs after which it resends and returns, and the seqs at which its logs are whole.
"""

from __future__ import annotations

from typing import Any

from intertie import envelope
from intertie.v1.link_pb2 import Cursor, Limits, Open
from vector_cases.common import NOW, Case, hostile, key, seed, valid

GENESIS, SKEW = seed("genesis"), 2_000
LIMITS = Limits(frame_bytes=262_144, inline_bytes=16_384, input_bytes=1_048_576, orders=4_096, hops=8)


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_good(), *_bad(), *_plans()]


def _open(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "genesis": GENESIS,
        "nonce": seed("open")[:16],
        "descriptor_version": 1,
        "agreement_version": 1,
        "features": ["record-batches"],
        "limits": LIMITS,
        "clock": NOW,
        "own": Cursor(seq=0, head=GENESIS),
        "other": Cursor(seq=0, head=GENESIS),
    }
    return Open(**{**fields, **changes}).SerializeToString(deterministic=True)


def _limits(**changes: int) -> Limits:
    made = Limits()
    made.CopyFrom(LIMITS)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def _given(payload: bytes, signer: str = "peer", kind: str = envelope.OPEN) -> Case:
    return {
        "envelope": envelope.seal(kind, payload, [key(signer)]).hex(),
        "public_keys": [key("peer").public.spki.hex()],
        "genesis": GENESIS.hex(),
        "now": str(NOW),
        "max_skew_ms": str(SKEW),
        "features": ["record-batches"],
    }


def _good() -> list[Case]:
    return [
        valid(name, text, "check_open", _given(payload), {"payload": payload.hex()})
        for name, text, payload in (
            ("plain", "Two empty logs.", _open()),
            ("clock-lead", "A clock that leads as far as is agreed.", _open(clock=NOW + SKEW)),
            ("clock-lag", "A clock that lags by an hour.", _open(clock=NOW - 3_600_000)),
            ("features-unknown", "Features that are not known here.", _open(features=["x-other", "record-batches"])),
            ("required", "A required feature that is known here.", _open(required_features=["record-batches"])),
            ("nonce-32", "The longest nonce.", _open(nonce=seed("open"))),
            ("limits-least", "The least limits.", _open(limits=_limits(frame_bytes=65_536, inline_bytes=16_384))),
            ("limits-above", "A limit above the maximum counts as the maximum.", _open(limits=_limits(hops=99))),
            ("unknown-field", "A field that is not known here.", _open() + b"\xfa\x3f\x01x"),
        )
    ]


def _bad() -> list[Case]:
    odd, forged = "FRAME_MALFORMED", "Whoever has a certificate, or none, speaks for a grid."
    replay, clock = "An Open of another time or peering is used again.", "Orders and claims are made in the future."
    rest = "What the other side cannot know is taken for agreed."
    short = Cursor(seq=0, head=GENESIS[:31])
    rows = (
        ("stranger", "Signed by an unknown key.", _given(_open(), "stranger"), "SIGNATURE_INVALID", forged),
        ("type", "Another payload type.", _given(_open(), kind=envelope.AGREEMENT), "INVALID_ARGUMENT", forged),
        ("garbage", "A payload that is no Open.", _given(b"\xff"), odd, "A crash on demand."),
        ("genesis", "Another peering.", _given(_open(genesis=seed("x"))), "UNKNOWN_GENESIS", replay),
        ("genesis-none", "No genesis.", _given(_open(genesis=b"")), "UNKNOWN_GENESIS", replay),
        ("nonce-15", "A short nonce.", _given(_open(nonce=bytes(15))), odd, replay),
        ("nonce-33", "A long nonce.", _given(_open(nonce=bytes(33))), odd, replay),
        ("head-own", "A head of 31 bytes.", _given(_open(own=short)), odd, rest),
        ("head-other", "A head of 31 bytes.", _given(_open(other=short)), odd, rest),
        ("head-none", "No cursor.", _given(_open(own=None)), odd, rest),
        ("feature", "An unknown required one.", _given(_open(required_features=["x-a"])), "UNSUPPORTED_FEATURE", rest),
        ("clock", "One millisecond too far ahead.", _given(_open(clock=NOW + SKEW + 1)), "CLOCK", clock),
        ("frame-bytes", "frame_bytes too small.", _given(_open(limits=_limits(frame_bytes=65_535))), odd, rest),
        ("inline-bytes", "inline_bytes too small.", _given(_open(limits=_limits(inline_bytes=16_383))), odd, rest),
        ("limits-none", "No limits.", _given(_open(limits=None)), odd, rest),
        (
            "first-genesis",
            "Genesis, nonce and clock are wrong: the genesis comes first.",
            _given(_open(genesis=b"", nonce=b"", clock=2**62)),
            "UNKNOWN_GENESIS",
            replay,
        ),
        (
            "first-feature",
            "A feature is unknown and the clock leads: the feature comes first.",
            _given(_open(required_features=["x-a"], clock=2**62)),
            "UNSUPPORTED_FEATURE",
            rest,
        ),
    )
    return [hostile(name, text, "check_open", given, error, attack) for name, text, given, error, attack in rows]


def _plans() -> list[Case]:
    names = ("own", "other", "theirs_own", "theirs_other")
    results = ("resend_after", "return_after", "own_whole_at", "other_whole_at")
    return [
        valid(
            f"plan-{name}",
            text,
            "plan",
            dict(zip(names, given.split(), strict=True)),
            dict(zip(results, result.split(), strict=True)),
        )
        for name, text, given, result in (
            ("new", "Two empty logs.", "0 0 0 0", "0 0 0 0"),
            ("equal", "Nobody lacks anything.", "7 5 5 7", "7 5 7 5"),
            ("behind", "The other side has not got two of the own entries.", "7 5 5 5", "5 5 7 5"),
            ("ahead", "Two of the other's entries are still to come.", "7 5 7 7", "7 5 7 7"),
            ("restored", "The own log has lost three entries.", "4 5 5 7", "4 5 7 5"),
            ("returning", "The other side has lost three of its own.", "7 5 2 7", "7 2 7 5"),
            ("both", "Both have lost something.", "4 5 2 7", "4 2 7 5"),
            ("crossed", "Each lacks the other's last.", "7 5 8 6", "6 5 7 8"),
        )
    ]
