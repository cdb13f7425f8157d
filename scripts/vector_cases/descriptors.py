"""Descriptor chains from version 1, rotation of root keys, and what may not replace a pinned descriptor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intertie import descriptors, envelope
from intertie.digests import multihash
from intertie.keys import PrivateKey
from intertie.v1.descriptor_pb2 import Descriptor, SigningKey
from vector_cases.common import NOW, Case, hostile, key, seed, statement, valid

NORTH = statement("north.example", "north signing")
FUTURE_KEY = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\4" + seed("x") + seed("y")
"""A public key in the form of P-256: no algorithm of version 1."""
OLD, NEW, OTHER = key("north root"), key("north root 2"), key("south root")


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_good(), *_bad_chains(), *_bad_fields(), *_updates()]


def _chain() -> list[bytes]:
    first = descriptors.issue([], NORTH, OLD)
    second = descriptors.issue([first], statement("north.example", "north signing 2"), NEW, OLD)
    return [first, second, descriptors.issue([first, second], NORTH, NEW)]


def _given(chain: list[bytes]) -> Case:
    return {"envelopes": [sealed.hex() for sealed in chain]}


def _good() -> list[Case]:
    newer = _forge([OLD], lambda m: m.signing_keys.append(_unknown(m)))
    rows = [
        (f"chain-{size}", text, _chain()[:size])
        for size, text in ((1, "Signed by its own root."), (2, "A new root, signed by both."), (3, "The same root."))
    ]
    rows.append(("field-key-unknown", "A signing key of another algorithm is left out.", [newer]))
    longer = _forge([OLD], lambda m: m.signing_keys.append(_unknown(m, m.signing_keys[0].public_key + bytes(1))))
    rows.append(("field-key-form", "So is one that has a byte more than an Ed25519 key.", [longer]))
    return [valid(name, text, "verify_chain", _given(chain), _output(chain)) for name, text, chain in rows]


def _unknown(message: Descriptor, public_key: bytes = FUTURE_KEY) -> SigningKey:
    first = message.signing_keys[0]
    return SigningKey(public_key=public_key, not_before=first.not_before, not_after=first.not_after)


def _output(chain: list[bytes]) -> Case:
    latest = descriptors.verify_chain(chain)
    return {
        "fingerprint": latest.fingerprint.hex(),
        "grid": latest.grid,
        "version": str(latest.version),
        "digest": latest.digest.hex(),
        "root_key": latest.root_key.spki.hex(),
        "signing_keys": [signing.key.spki.hex() for signing in latest.signing_keys],
    }


def _forge(roots: list[PrivateKey], change: Callable[[Descriptor], Any], sealed: bytes | None = None) -> bytes:
    """Return a descriptor with one change, well signed by `roots`."""
    message = Descriptor.FromString(envelope.peek_unverified(sealed or _chain()[0])[1])
    change(message)
    return envelope.seal(envelope.DESCRIPTOR, message.SerializeToString(deterministic=True), roots)


def _bad_chains() -> list[Case]:
    first, second, third = _chain()
    by_new = _forge([NEW], lambda message: None, second)
    by_old = _forge([OLD], lambda message: None, second)
    theirs = _forge([OTHER], lambda message: message.MergeFrom(Descriptor(root_key=OTHER.public.spki)), second)
    unlinked = _forge([OLD, NEW], lambda message: message.MergeFrom(Descriptor(previous=multihash(b""))), second)
    skipping = _forge([OLD, NEW], lambda message: message.MergeFrom(Descriptor(version=3)), second)
    renamed = _forge([OLD, NEW], lambda message: message.MergeFrom(Descriptor(grid="south.example")), second)
    rooted = _forge([OLD], lambda message: message.MergeFrom(Descriptor(previous=multihash(b""))))
    steal = "Whoever has a new key takes over the grid's name and debts."
    lost = "A stolen old root is enough to bring in another one."
    hide = "A rotation is hidden, and with it a revoked key."
    rows: list[tuple[str, str, list[bytes], str, str]] = [
        ("empty", "No descriptor.", [], "DESCRIPTOR_INVALID", "A grid without identity."),
        ("new-root-only", "Version 2 is not signed by root 1.", [first, by_new], "SIGNATURE_INVALID", steal),
        (
            "old-root-only",
            "Version 2 is not signed by its own root.",
            [first, by_old],
            "SIGNATURE_INVALID",
            lost,
        ),
        ("stranger", "Version 2 by another grid's root.", [first, theirs], "SIGNATURE_INVALID", steal),
        ("gap", "Version 2 is missing.", [first, third], "SIGNATURE_INVALID", hide),
        ("late-start", "The chain starts at version 2.", [second], "DESCRIPTOR_INVALID", steal),
        ("skipping", "Version 3 names version 1.", [first, skipping], "DESCRIPTOR_INVALID", hide),
        ("twice", "Version 1 twice.", [first, first], "DESCRIPTOR_INVALID", hide),
        ("unlinked", "Version 2 names another version 1.", [first, unlinked], "DESCRIPTOR_INVALID", hide),
        (
            "renamed",
            "Version 2 has another name.",
            [first, renamed],
            "DESCRIPTOR_INVALID",
            "A grid takes over another one's name.",
        ),
        ("rooted", "Version 1 names one before it.", [rooted], "DESCRIPTOR_INVALID", steal),
        ("garbage", "No envelope.", [b"\xff\xff"], "INVALID_ARGUMENT", "A crash on demand."),
    ]
    return [
        hostile(f"chain-{name}", text, "verify_chain", _given(chain), error, attack)
        for name, text, chain, error, attack in rows
    ]


def _bad_fields() -> list[Case]:
    def signing(message: Descriptor) -> SigningKey:
        return message.signing_keys[0]

    other = "People and certificates read another name."
    denial = "One descriptor costs any amount of memory, or ends the reader."
    rows: list[tuple[str, str, Callable[[Descriptor], Any], str]] = [
        ("grid-upper", "Upper case in the name.", lambda m: setattr(m, "grid", "North.example"), other),
        (
            "grid-script",
            "A letter of another script.",
            lambda m: setattr(m, "grid", "n\u043erth.example"),
            other,
        ),
        ("grid-dot", "A final dot.", lambda m: setattr(m, "grid", "north.example."), other),
        ("grid-address", "An address as name.", lambda m: setattr(m, "grid", "127.0.0.1"), other),
        (
            "grid-path",
            "A path in the name.",
            lambda m: setattr(m, "grid", "../north"),
            "A name that becomes a file name leaves its folder.",
        ),
        ("grid-long", "254 characters.", lambda m: setattr(m, "grid", "a." * 126 + "aa"), denial),
        ("grid-empty", "No name.", lambda m: setattr(m, "grid", ""), other),
        (
            "keys-unknown",
            "No signing key of a known algorithm.",
            lambda m: setattr(signing(m), "public_key", FUTURE_KEY),
            "Nothing can be verified.",
        ),
        ("no-key", "No signing key.", lambda m: m.ClearField("signing_keys"), "Nothing can be verified."),
        ("nine-keys", "Nine signing keys.", lambda m: m.signing_keys.extend([signing(m)] * 8), denial),
        (
            "same-key",
            "A signing key twice.",
            lambda m: m.signing_keys.extend([signing(m)]),
            "Readers differ about a key's validity.",
        ),
        (
            "small-key",
            "A signing key of small order.",
            lambda m: setattr(signing(m), "public_key", signing(m).public_key[:12] + bytes(32)),
            "What was signed can be denied.",
        ),
        (
            "small-key-besides",
            "A signing key of small order besides a good one.",
            lambda m: m.signing_keys.append(_unknown(m, signing(m).public_key[:12] + bytes(32))),
            "What was signed can be denied.",
        ),
        (
            "validity",
            "A validity that ends before it begins.",
            lambda m: setattr(signing(m), "not_after", signing(m).not_before - 1),
            "Readers differ about a key's validity.",
        ),
        (
            "endpoint",
            "An endpoint without port.",
            lambda m: setattr(m.endpoints[0], "address", "north.example"),
            denial,
        ),
        (
            "endpoint-url",
            "A URL as endpoint.",
            lambda m: setattr(m.endpoints[0], "address", "http://x:1/"),
            denial,
        ),
        (
            "place",
            "A place that is none.",
            lambda m: setattr(m, "place", "Germany"),
            "Place policy is evaded.",
        ),
        (
            "feature",
            "A feature with a line break.",
            lambda m: m.features.append("a\nb"),
            "Log lines are forged.",
        ),
        (
            "issued-at",
            "A negative time.",
            lambda m: setattr(m, "issued_at", -1),
            "Readers differ about its age.",
        ),
        (
            "certificate",
            "An empty certificate.",
            lambda m: m.certificates.append(b""),
            "A client without certificate matches.",
        ),
    ]
    return [
        hostile(
            f"field-{name}",
            text,
            "verify_chain",
            _given([_forge([OLD], change)]),
            "DESCRIPTOR_INVALID",
            attack,
        )
        for name, text, change, attack in rows
    ]


def _updates() -> list[Case]:
    chain = _chain()
    fork = descriptors.issue(chain[:1], statement("north.example", "north signing", issued_at=NOW + 1), NEW, OLD)
    forked = descriptors.issue([chain[0], fork], NORTH, NEW)
    south = descriptors.issue([], statement("south.example", "south signing"), OTHER)
    impostor = descriptors.issue([], NORTH, PrivateKey.from_seed(seed("impostor")))
    equivocation = "Two peers are told of different keys for one grid."
    rows: list[tuple[str, str, list[bytes], list[bytes], str, str]] = [
        (
            "rollback",
            "A lower version.",
            chain,
            chain[:1],
            "DESCRIPTOR_ROLLBACK",
            "A revoked key is valid again.",
        ),
        (
            "equivocation",
            "Another version 2.",
            chain[:2],
            [chain[0], fork],
            "DESCRIPTOR_EQUIVOCATION",
            equivocation,
        ),
        (
            "fork",
            "A version 3 on another version 2.",
            chain[:2],
            [chain[0], fork, forked],
            "DESCRIPTOR_EQUIVOCATION",
            equivocation,
        ),
        (
            "older-fork",
            "A lower version of another history.",
            chain,
            [chain[0], fork],
            "DESCRIPTOR_EQUIVOCATION",
            equivocation,
        ),
        (
            "other-grid",
            "Another grid.",
            chain,
            [south],
            "DESCRIPTOR_INVALID",
            "A grid takes over another one's debts.",
        ),
        (
            "impostor",
            "The same name with another root.",
            chain,
            [impostor],
            "DESCRIPTOR_INVALID",
            "Whoever claims a name takes over its peerings.",
        ),
    ]
    made = [
        hostile(f"update-{name}", text, "check_update", {"old": _given(old), "new": _given(new)}, error, attack)
        for name, text, old, new, error, attack in rows
    ]
    return made + [
        valid(f"update-{name}", text, "check_update", {"old": _given(old), "new": _given(new)}, {})
        for name, text, old, new in (
            ("same", "The same version.", chain[:2], chain[:2]),
            ("next", "The next version.", chain[:1], chain[:2]),
            ("two", "Two versions on.", chain[:1], chain),
        )
    ]
