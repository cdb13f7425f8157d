"""Agreements: proposed and countersigned terms, their genesis, and terms that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intertie import agreements, descriptors, digests, envelope
from intertie.v1.agreement_pb2 import Agreement
from vector_cases.common import DAY, NOW, Case, grid, hostile, key, seed, valid


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_good(), *_signatures(), *_terms()]


def _party(name: str) -> agreements.Party:
    fingerprint = grid(name)[1].fingerprint
    return agreements.Party(fingerprint, f"{name}.example", seed(f"{name} nonce")[:16], 50_000_000, 1_000_000)


def _proposal(proposed_at: int = NOW + DAY) -> bytes:
    terms = agreements.Terms(
        proposer=_party("north"),
        acceptor=_party("south"),
        asset="XTS",
        scale=6,
        claim_window_ms=60_000,
        max_skew_ms=5_000,
        rails=("bank",),
        max_open_holds=4096,
        max_hold_ms=3_600_000,
        proposed_at=proposed_at,
    )
    return agreements.propose(terms, key("north signing"))


def _given(sealed: bytes, countersigned: bool = False, proposer: str = "north", acceptor: str = "south") -> Case:
    given = {"agreement": sealed.hex(), "proposer": [grid(proposer)[0].hex()]}
    return {**given, "acceptor": [grid(acceptor)[0].hex()]} if countersigned else given


def _countersigned() -> bytes:
    return agreements.countersign(_proposal(), grid("north")[1], grid("south")[1], key("south signing"))


def _good() -> list[Case]:
    made = []
    for name, sealed, both in (("proposed", _proposal(), False), ("countersigned", _countersigned(), True)):
        verified = agreements.verify(sealed, grid("north")[1], grid("south")[1] if both else None)
        output = {"genesis": verified.genesis.hex(), "digest": verified.digest.hex()}
        made.append(valid(name, "Genesis and digest are over the payload.", "verify", _given(sealed, both), output))
    return made


def _signatures() -> list[Case]:
    late = agreements.propose(_terms_at(NOW + 366 * DAY), key("north signing"))
    by_root = envelope.seal(envelope.AGREEMENT, envelope.peek_unverified(_proposal())[1], [key("north root")])
    forced = "A grid is bound to terms that it never signed."
    revoked = "A key that has run out still makes debts."
    rows: list[tuple[str, str, Case, str, str]] = [
        ("half", "The acceptor has not signed.", _given(_proposal(), True), "SIGNATURE_INVALID", forced),
        (
            "half-other",
            "The proposer has not signed.",
            _given(
                envelope.seal(envelope.AGREEMENT, envelope.peek_unverified(_proposal())[1], [key("south signing")]),
                True,
            ),
            "SIGNATURE_INVALID",
            forced,
        ),
        ("root-key", "Signed by the root, not a signing key.", _given(by_root), "SIGNATURE_INVALID", forced),
        ("late", "Signed after the key's validity.", _given(late), "SIGNATURE_INVALID", revoked),
        (
            "other-proposer",
            "Another grid as proposer.",
            _given(_proposal(), proposer="south"),
            "SIGNATURE_INVALID",
            forced,
        ),
        (
            "third",
            "A third grid as acceptor.",
            _given(envelope.add_signature(_proposal(), key("east signing")), True, acceptor="east"),
            "AGREEMENT_INVALID",
            "A grid steps into credit that was given to another one.",
        ),
    ]
    return [hostile(name, text, "verify", given, error, attack) for name, text, given, error, attack in rows]


def _terms_at(proposed_at: int) -> agreements.Terms:
    north = grid("north")[1]
    wide = descriptors.SigningKey(key("north signing").public, 0, proposed_at)
    message = agreements.verify(_proposal(), _with_keys(north, wide))
    fields = {name: getattr(message, name) for name in agreements.Terms.__struct_fields__}
    return agreements.Terms(**{**fields, "proposed_at": proposed_at})


def _with_keys(grid_: descriptors.VerifiedDescriptor, *keys: descriptors.SigningKey) -> descriptors.VerifiedDescriptor:
    fields = {name: getattr(grid_, name) for name in grid_.__struct_fields__}
    return descriptors.VerifiedDescriptor(**{**fields, "signing_keys": keys})


def _terms() -> list[Case]:
    def changed(change: Callable[[Agreement], Any]) -> bytes:
        message = Agreement.FromString(envelope.peek_unverified(_proposal())[1])
        change(message)
        return envelope.seal(envelope.AGREEMENT, message.SerializeToString(deterministic=True), [key("north signing")])

    stuck = "Holds end at once, or credit stays locked for ever."
    rows: list[tuple[str, str, Callable[[Agreement], Any], str]] = [
        (
            "version-zero",
            "Version 0.",
            lambda m: setattr(m, "version", 0),
            "A peering has two first agreements.",
        ),
        (
            "previous",
            "Version 1 that names one before it.",
            lambda m: setattr(m, "previous", digests.multihash(b"")),
            "A peering has two first agreements.",
        ),
        (
            "no-previous",
            "Version 2 that names none.",
            lambda m: setattr(m, "version", 2),
            "Terms are swapped.",
        ),
        (
            "suite",
            "An unknown suite.",
            lambda m: setattr(m, "suite", "none"),
            "Signatures are negotiated away.",
        ),
        ("scale", "A scale of 10.", lambda m: setattr(m, "scale", 10), "Amounts are read at another scale."),
        ("asset", "An asset in lower case.", lambda m: setattr(m, "asset", "usd"), "Two assets look alike."),
        ("asset-short", "An asset of two letters.", lambda m: setattr(m, "asset", "US"), "Two assets look alike."),
        ("claim-window", "A claim window of 999 ms.", lambda m: setattr(m, "claim_window_ms", 999), stuck),
        (
            "claim-window-long",
            "One of more than a week.",
            lambda m: setattr(m, "claim_window_ms", 604_800_001),
            stuck,
        ),
        (
            "skew",
            "A skew of more than five minutes.",
            lambda m: setattr(m, "max_skew_ms", 300_001),
            "Expired prices stay usable.",
        ),
        ("holds", "No holds.", lambda m: setattr(m, "max_open_holds", 0), stuck),
        ("hold-time", "A negative longest hold.", lambda m: setattr(m, "max_hold_ms", -1), stuck),
        (
            "negative-credit",
            "A negative credit limit.",
            lambda m: setattr(m.acceptor, "credit_limit", -1),
            "A limit that wraps allows everything.",
        ),
        (
            "negative-unagreed",
            "A negative max_unagreed.",
            lambda m: setattr(m.proposer, "max_unagreed", -1),
            "A limit that wraps allows everything.",
        ),
        (
            "nonce",
            "A nonce of 15 bytes.",
            lambda m: setattr(m.acceptor, "nonce", bytes(15)),
            "Two peerings share a genesis, and signatures move between them.",
        ),
        (
            "self",
            "Both parties are the same grid.",
            lambda m: m.acceptor.CopyFrom(m.proposer),
            "A debt to oneself nets others away.",
        ),
        (
            "renamed",
            "The fingerprint with another name.",
            lambda m: setattr(m.proposer, "grid", "west.example"),
            "People read another debtor.",
        ),
        ("rail", "A rail with a line break.", lambda m: m.rails.append("a\nb"), "Log lines are forged."),
    ]
    return [
        hostile(f"terms-{name}", text, "verify", _given(changed(change)), "AGREEMENT_INVALID", attack)
        for name, text, change, attack in rows
    ]
