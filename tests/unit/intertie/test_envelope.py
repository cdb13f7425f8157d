"""Envelopes and keys: nothing but IntertieError escapes, and nothing unsigned is believed (design §5, §6)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from intertie import envelope
from intertie.errors import IntertieError
from intertie.keys import SPKI_PREFIX, PrivateKey, PublicKey
from intertie.v1.envelope_pb2 import Envelope, Signature

FIRST, SECOND = PrivateKey.from_seed(b"\1" * 32), PrivateKey.from_seed(b"\2" * 32)
KEYS = {key.public.key_id: key.public for key in (FIRST, SECOND)}
SEALED = envelope.seal(envelope.OPEN, b"payload", [FIRST])

signatures = st.builds(
    Signature, key_id=st.sampled_from([*KEYS, b""]), value=st.binary(max_size=70) | st.just(bytes(64))
)
forgeries = st.builds(
    Envelope,
    payload_type=st.sampled_from([envelope.OPEN, envelope.AGREEMENT, ""]),
    payload=st.binary(max_size=20),
    signatures=st.lists(signatures, max_size=10),
).map(Envelope.SerializeToString)


@given(st.binary(max_size=300) | forgeries)
def test_nothing_arbitrary_is_believed(data: bytes) -> None:
    with pytest.raises(IntertieError) as caught:
        envelope.unseal(data, envelope.OPEN, KEYS)
    assert caught.value.reason in {"SIGNATURE_INVALID", "INVALID_ARGUMENT"}


@given(st.integers(0, 8 * len(SEALED) - 1))
def test_a_flipped_bit_is_refused_or_changes_nothing_that_is_signed(bit: int) -> None:
    data = bytearray(SEALED)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntertieError):
        envelope.unseal(bytes(data), envelope.OPEN, KEYS)


@given(st.text(max_size=20), st.binary(max_size=50), st.text(max_size=20), st.binary(max_size=50))
def test_encodings_of_different_documents_differ(kind: str, payload: bytes, other: str, bytes_: bytes) -> None:
    assert (envelope.pae(kind, payload) == envelope.pae(other, bytes_)) is ((kind, payload) == (other, bytes_))


def test_a_countersignature_keeps_the_payload() -> None:
    both = envelope.add_signature(SEALED, SECOND)
    assert envelope.unseal(both, envelope.OPEN, KEYS).key_ids == (FIRST.public.key_id, SECOND.public.key_id)
    assert envelope.peek_unverified(both) == (envelope.OPEN, b"payload")
    assert envelope.add_signature(both, SECOND) == both


def test_longer_than_the_limit_is_refused() -> None:
    assert envelope.unseal(SEALED, envelope.OPEN, KEYS, len(SEALED)).payload == b"payload"
    with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
        envelope.unseal(SEALED, envelope.OPEN, KEYS, len(SEALED) - 1)


@pytest.mark.parametrize("count", [0, 9])
def test_sealing_needs_one_to_eight_keys(count: int) -> None:
    keys = [PrivateKey.from_seed(bytes([number]) * 32) for number in range(count)]
    with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
        envelope.seal(envelope.OPEN, b"", keys)


def test_keys_come_back_from_their_encodings() -> None:
    assert PrivateKey.from_pem(FIRST.to_pem()).public == FIRST.public
    assert PublicKey.from_spki(FIRST.public.spki) == FIRST.public != SECOND.public
    assert hash(PublicKey.from_spki(FIRST.public.spki)) == hash(FIRST.public)
    assert PrivateKey.generate().public != PrivateKey.generate().public


def test_a_private_key_does_not_show_itself() -> None:
    assert (b"\1" * 32).hex() not in repr(FIRST)
    assert FIRST.public.spki[-32:].hex() in repr(FIRST)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)])
def test_a_wrong_signature_is_false_not_an_error(signature: bytes) -> None:
    assert FIRST.public.verify(signature, b"") is False
    assert FIRST.public.verify(FIRST.sign(b""), b"") is True


def test_other_keys_are_refused() -> None:
    elliptic = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for pem in (elliptic, b"", b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
            PrivateKey.from_pem(pem)
    with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
        PrivateKey.from_seed(bytes(31))


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def _small_order_encodings() -> set[bytes]:
    """The canonical encodings of the points of order 1, 2, 4 and 8 on the Edwards curve.

    Orders 1 and 2 have y = 1 and -1, order 4 y = 0. Doubling a point of order 8 gives y = 0, so x² = -y²;
    with -x² + y² = 1 + d x² y² that is d y⁴ + 2 y² - 1 = 0, or y² = (-1 ± √(1 + d)) / d.
    """
    root = pow(1 + D, (P + 3) // 8, P)
    root = root if root * root % P == (1 + D) % P else root * pow(2, (P - 1) // 4, P) % P
    ys = {0, 1, P - 1}
    for sign in (1, -1):
        square = (sign * root - 1) * pow(D, -1, P) % P
        y = pow(square, (P + 3) // 8, P)
        y = y if y * y % P == square else y * pow(2, (P - 1) // 4, P) % P
        if y * y % P == square:
            ys |= {y, P - y}
    return {(y | bit << 255).to_bytes(32, "little") for y in ys for bit in (0, 1)}


def test_every_point_of_small_order_is_refused() -> None:
    encodings = _small_order_encodings()
    assert len(encodings) == 10
    for raw in encodings:
        with pytest.raises(IntertieError, match="small order"):
            PublicKey.from_spki(SPKI_PREFIX + raw)


@pytest.mark.parametrize("y", range(P, 2**255))
def test_every_second_encoding_is_refused(y: int) -> None:
    for bit in (0, 1):
        with pytest.raises(IntertieError, match="canonical"):
            PublicKey.from_spki(SPKI_PREFIX + (y | bit << 255).to_bytes(32, "little"))
