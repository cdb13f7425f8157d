"""Envelopes: DSSE pre-authentication encoding, Ed25519 keys and signatures, and unsealing with known keys."""

from __future__ import annotations

from intertie import envelope
from intertie.keys import SPKI_PREFIX
from intertie.v1.envelope_pb2 import Envelope, Signature
from vector_cases.common import Case, hostile, key, seed, valid

PAYLOAD = b"exact bytes, never re-encoded"
ROOT = envelope.CATALOG_ROOT
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Order of the Ed25519 group."""
FORGED = "A document that its named author never signed is believed."


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_encodings(), *_signatures(), *_keys(), *_good(), *_bad()]


def _encodings() -> list[Case]:
    return [
        valid(
            f"pae-{name}",
            "DSSEv1, lengths in bytes, single spaces.",
            "pae",
            {"payload_type": kind, "payload": payload.hex()},
            {"bytes": envelope.pae(kind, payload).hex()},
        )
        for name, kind, payload in (
            ("empty", "", b""),
            ("dsse", "http://example.com/HelloWorld", b"hello world"),
            ("spaces", "a b", b"1 2 "),
            ("multibyte", "é", b"\0\xff"),
        )
    ]


def _signatures() -> list[Case]:
    signer = key("first")
    output = {
        "public_key": signer.public.spki.hex(),
        "key_id": signer.public.key_id.hex(),
        "signature": signer.sign(envelope.pae(ROOT, PAYLOAD)).hex(),
    }
    given = {"seed": seed("first").hex(), "payload_type": ROOT, "payload": PAYLOAD.hex()}
    return [valid("sign", "Ed25519 is deterministic.", "sign", given, output)]


def _keys() -> list[Case]:
    spki = key("first").public.spki
    made = [
        valid(
            "key",
            "An Ed25519 key.",
            "public_key",
            {"public_key": spki.hex()},
            {"key_id": key("first").public.key_id.hex()},
        )
    ]
    x25519 = bytes.fromhex("302a300506032b656e032100") + spki[-32:]
    long_form = bytes.fromhex("30812a300506032b6570032100") + spki[-32:]
    point = SPKI_PREFIX + (p := 2**255 - 19).to_bytes(32, "little")
    eight = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
    small = "One signature verifies under many messages: what was signed can be denied."
    names = "One key has two key ids, and two fingerprints."
    return made + [
        hostile(name, text, "public_key", {"public_key": der.hex()}, "DESCRIPTOR_INVALID", attack)
        for name, text, der, attack in (
            ("key-x25519", "A key-agreement key.", x25519, "A key is used for what it was not made for."),
            ("key-long-form", "A DER length in long form.", long_form, names),
            ("key-trailing", "A byte after the key.", spki + b"\0", names),
            ("key-empty", "No bytes.", b"", "A missing key equals a missing key."),
            ("key-raw", "The bare 32 bytes.", spki[-32:], names),
            ("key-identity", "The neutral point.", SPKI_PREFIX + b"\1" + bytes(31), small),
            ("key-zero", "A point of order 4.", SPKI_PREFIX + bytes(32), small),
            ("key-order-two", "The point of order 2.", SPKI_PREFIX + (p - 1).to_bytes(32, "little"), small),
            ("key-non-canonical", "y = p, another encoding of 0.", point, small),
            ("key-above-p", "y = p + 3, another encoding of 3.", SPKI_PREFIX + (p + 3).to_bytes(32, "little"), names),
            ("key-order-eight", "A point of order 8.", SPKI_PREFIX + bytes.fromhex(eight), small),
            (
                "key-sign-bit",
                "The same with the sign bit set.",
                SPKI_PREFIX + bytes.fromhex(eight[:-2] + "85"),
                small,
            ),
        )
    ]


def _given(sealed: bytes, *names: str, kind: str = ROOT) -> Case:
    known = [key(name).public.spki.hex() for name in names]
    return {"envelope": sealed.hex(), "payload_type": kind, "public_keys": known}


def _output(*names: str) -> Case:
    return {"payload": PAYLOAD.hex(), "key_ids": [key(name).public.key_id.hex() for name in names]}


def _good() -> list[Case]:
    one = envelope.seal(ROOT, PAYLOAD, [key("first")])
    two = envelope.add_signature(one, key("second"))
    return [
        valid("unseal-one", "One known signature.", "unseal", _given(one, "first"), _output("first")),
        valid(
            "unseal-two",
            "Two known signatures.",
            "unseal",
            _given(two, "first", "second"),
            _output("first", "second"),
        ),
        valid(
            "unseal-unknown",
            "The unknown key's signature is ignored.",
            "unseal",
            _given(two, "second"),
            _output("second"),
        ),
    ]


def _pack(payload: bytes, *signatures: tuple[bytes, bytes], kind: str = ROOT) -> bytes:
    made = [Signature(key_id=key_id, value=value) for key_id, value in signatures]
    return Envelope(payload_type=kind, payload=payload, signatures=made).SerializeToString(deterministic=True)


def _bad() -> list[Case]:
    signer, other = key("first"), key("second")
    signature = signer.sign(envelope.pae(ROOT, PAYLOAD))
    mine, wrong = (signer.public.key_id, signature), (other.public.key_id, signature)
    flipped = (signer.public.key_id, bytes([signature[0] ^ 1]) + signature[1:])
    bare = (signer.public.key_id, signer.sign(PAYLOAD))
    scalar = (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    malleable = (mine[0], signature[:32] + scalar)
    double = "A second signature of one key passes for that of a second party."
    odd = "Readers differ about what was signed."
    known = ("first", "second")
    return [
        hostile(f"unseal-{name}", text, "unseal", given, error, attack)
        for name, text, given, error, attack in (
            (
                "payload",
                "The payload was changed.",
                _given(_pack(PAYLOAD + b".", mine), *known),
                "SIGNATURE_INVALID",
                FORGED,
            ),
            (
                "flipped",
                "A bit of the signature was changed.",
                _given(_pack(PAYLOAD, flipped), *known),
                "SIGNATURE_INVALID",
                FORGED,
            ),
            (
                "cut",
                "The signature is cut.",
                _given(_pack(PAYLOAD, (mine[0], signature[:63])), *known),
                "SIGNATURE_INVALID",
                FORGED,
            ),
            (
                "malleable",
                "The group's order was added to the signature's scalar.",
                _given(_pack(PAYLOAD, malleable), *known),
                "SIGNATURE_INVALID",
                "One signature has two forms: verifiers differ, and copies pass for new signatures.",
            ),
            (
                "other-key",
                "Another key's id on the signature.",
                _given(_pack(PAYLOAD, wrong), *known),
                "SIGNATURE_INVALID",
                FORGED,
            ),
            (
                "one-wrong",
                "One signature is right, one is wrong.",
                _given(_pack(PAYLOAD, mine, wrong), *known),
                "SIGNATURE_INVALID",
                "A countersignature that was never given is shown around.",
            ),
            (
                "bare",
                "The payload alone was signed, not its encoding.",
                _given(_pack(PAYLOAD, bare), *known),
                "SIGNATURE_INVALID",
                "A signature made for another protocol is used here.",
            ),
            (
                "stranger",
                "Only an unknown key has signed.",
                _given(_pack(PAYLOAD, mine), "second"),
                "SIGNATURE_INVALID",
                FORGED,
            ),
            (
                "retyped",
                "The type was changed after signing.",
                _given(_pack(PAYLOAD, mine, kind=envelope.OPEN), *known, kind=envelope.OPEN),
                "SIGNATURE_INVALID",
                "A document of one kind is used as one of another kind.",
            ),
            (
                "type",
                "A valid envelope of another type than wanted.",
                _given(_pack(PAYLOAD, mine), *known, kind=envelope.OPEN),
                "INVALID_ARGUMENT",
                "A document of one kind is used as one of another kind.",
            ),
            (
                "twice",
                "The same signature twice.",
                _given(_pack(PAYLOAD, mine, mine), *known),
                "SIGNATURE_INVALID",
                double,
            ),
            ("unsigned", "No signature.", _given(_pack(PAYLOAD), *known), "INVALID_ARGUMENT", FORGED),
            (
                "nine",
                "Nine signatures.",
                _given(_pack(PAYLOAD, mine, *[(bytes([n]), b"") for n in range(8)]), *known),
                "INVALID_ARGUMENT",
                "One message costs any amount of verification.",
            ),
            ("garbage", "Bytes that are no envelope.", _given(b"\xff" * 20, *known), "INVALID_ARGUMENT", odd),
            (
                "truncated",
                "The last byte is missing.",
                _given(_pack(PAYLOAD, mine)[:-1], *known),
                "INVALID_ARGUMENT",
                odd,
            ),
            (
                "not-utf8",
                "A type that is not UTF-8.",
                _given(b"\x0a\x01\xff" + _pack(PAYLOAD, mine, kind=""), *known),
                "INVALID_ARGUMENT",
                odd,
            ),
        )
    ]
