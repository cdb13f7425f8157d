"""Multihashes (sha2-256), salted digests of payloads, and their text form. Bytes are hexadecimal."""

from __future__ import annotations

from intertie import digests
from vector_cases.common import Case, hostile, seed, valid


def cases() -> list[Case]:
    """Return every case of the area."""
    made = []
    for name, data in (("empty", b""), ("abc", b"abc"), ("json", b'{"text":"hello"}')):
        digest = digests.multihash(data)
        output = {"digest": digest.hex(), "text": digests.to_text(digest)}
        made.append(valid(f"multihash-{name}", "0x12 0x20 and SHA-256.", "multihash", {"data": data.hex()}, output))
    for name, data in (("empty", b""), ("json", b'{"text":"hello"}')):
        nonce = seed("nonce")[:16]
        given = {"nonce": nonce.hex(), "data": data.hex()}
        output = {"digest": digests.salted(nonce, data).hex()}
        made.append(valid(f"salted-{name}", "Over nonce followed by data.", "salted", given, output))
    return [*made, *_presented(), *_malformed(), *_texts()]


def _presented() -> list[Case]:
    """An input against the salted digest that its order states."""
    nonce, data = seed("nonce")[:16], b'{"text":"hello"}'
    good = {"nonce": nonce.hex(), "data": data.hex(), "digest": digests.salted(nonce, data).hex()}
    swap = "Another input is worked on, and charged, than was ordered."
    guess = "Whoever holds the log learns an input that is easy to guess."
    rows = (
        ("other-input", "Another input.", {"data": b'{"text":"hallo"}'.hex()}, swap),
        ("other-nonce", "Another nonce.", {"nonce": seed("other nonce")[:16].hex()}, swap),
        ("unsalted", "The digest of the data alone.", {"digest": digests.multihash(data).hex()}, guess),
        ("behind", "The nonce behind the data.", {"digest": digests.multihash(data + nonce).hex()}, swap),
    )
    return [
        valid("check-salted", "The input that the digest names.", "check_salted", good, {}),
        *(
            hostile(f"check-{name}", text, "check_salted", {**good, **change}, "INPUT_INVALID", attack)
            for name, text, change, attack in rows
        ),
    ]


def _malformed() -> list[Case]:
    good = digests.multihash(b"abc")
    return [
        hostile(name, text, "parse", {"digest": data.hex()}, "INVALID_ARGUMENT", attack)
        for name, text, data, attack in (
            ("parse-empty", "No bytes.", b"", "A missing digest matches a missing digest."),
            (
                "parse-bare",
                "A hash without its algorithm.",
                good[2:],
                "A hash is read as that of another algorithm.",
            ),
            ("parse-short", "One byte is missing.", good[:-1], "A shorter hash is easier to collide."),
            (
                "parse-truncated",
                "sha2-256 cut to 16 bytes, declared so.",
                b"\x12\x10" + good[2:18],
                "A shorter hash is easier to collide.",
            ),
            ("parse-long", "One byte too many.", good + b"\0", "One content has two names."),
            ("parse-sha1", "SHA-1.", b"\x11\x14" + good[2:22], "Known collisions swap a payload."),
            (
                "parse-identity",
                "The identity function.",
                b"\x00\x20" + good[2:],
                "Content names itself: no binding.",
            ),
        )
    ]


def _texts() -> list[Case]:
    text = digests.to_text(digests.multihash(b"abc"))
    attack = "One content has two names: look-ups and comparisons of text miss."
    return [
        hostile(name, description, "from_text", {"text": given}, "INVALID_ARGUMENT", attack)
        for name, description, given in (
            ("text-upper", "Upper-case digits.", text.upper()),
            ("text-algorithm", "Another algorithm.", text.replace("sha256", "sha512")),
            ("text-bare", "No algorithm.", text.removeprefix("sha256:")),
            ("text-short", "A digit is missing.", text[:-1]),
            ("text-newline", "A trailing newline.", text + "\n"),
        )
    ]
