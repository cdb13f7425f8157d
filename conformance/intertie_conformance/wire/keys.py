"""Ed25519 keys: key ids, signing, verifying (RFC 0003)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from intertie.v1.envelope_pb2 import Signature
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.refusal import Refusal

SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
SPKI_BYTES: Final = 44
IDENTITY_POINT: Final = SPKI_PREFIX + b"\x01" + bytes(31)
"""A public key of small order: any holder of it could repudiate everything that it "signed"."""
P: Final = 2**255 - 19
"""Order of the field of the curve."""
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(y)
    for y in (
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)


class Key:
    """A private key with its public half."""

    def __init__(self, seed: bytes | None = None) -> None:
        self._key = Ed25519PrivateKey.generate() if seed is None else Ed25519PrivateKey.from_private_bytes(seed)
        self.spki = SPKI_PREFIX + self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        """SubjectPublicKeyInfo, 44 bytes of DER."""
        self.id = multihash(self.spki)
        """Key id: multihash of `spki`."""

    def sign(self, data: bytes) -> Signature:
        """This key's signature over `data`."""
        return Signature(key_id=self.id, value=self._key.sign(data))


PublicKeys = Mapping[bytes, Ed25519PublicKey]
"""Key id → key."""


def parse_public(spki: bytes) -> Ed25519PublicKey:
    """The key in SubjectPublicKeyInfo form. Raises: Refusal DESCRIPTOR_INVALID."""
    raw = spki[len(SPKI_PREFIX) :]
    if len(spki) != SPKI_BYTES or not spki.startswith(SPKI_PREFIX):
        raise Refusal("DESCRIPTOR_INVALID", "A key is no Ed25519 key in SubjectPublicKeyInfo form.")
    y = raw[:31] + bytes([raw[31] & 0x7F])
    if y in _SMALL_ORDER:
        raise Refusal("DESCRIPTOR_INVALID", "A key is a point of small order.")
    if int.from_bytes(y, "little") >= P:
        raise Refusal("DESCRIPTOR_INVALID", "A key is not the canonical encoding of a point.")
    return Ed25519PublicKey.from_public_bytes(raw)


def public(*spkis: bytes) -> dict[bytes, Ed25519PublicKey]:
    """Keys by id. Raises: Refusal DESCRIPTOR_INVALID."""
    return {multihash(spki): parse_public(spki) for spki in spkis}


def holds(key: Ed25519PublicKey, value: bytes, data: bytes) -> bool:
    """Whether `value` is the key's signature over `data`."""
    try:
        key.verify(value, data)
    except InvalidSignature:
        return False
    return True
