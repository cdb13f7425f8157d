"""Ed25519 keys (design §6): seeds and PEM in, SubjectPublicKeyInfo DER and key ids out.

Only one encoding of a public key is accepted, so that a key has one key id. Points of small order are
refused: with such a key any bytes verify as a signature of many messages, and nothing is ever proven by one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from intertie.digests import multihash
from intertie.errors import IntertieError

SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
SPKI_SIZE: Final = 44
SEED_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64

_P: Final = 2**255 - 19
# y coordinates, little-endian with the sign bit cleared: 0, 1, p-1 and the two of order 8.
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


class PublicKey:
    """A public key; equal keys have equal `spki` and `key_id`. Made by `from_spki` or `PrivateKey.public`."""

    __slots__ = ("_key", "key_id", "spki")

    spki: bytes
    """SubjectPublicKeyInfo, 44 bytes of DER."""
    key_id: bytes
    """Multihash of `spki`."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.spki = SPKI_PREFIX + key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = multihash(self.spki)

    @staticmethod
    def from_spki(der: bytes) -> PublicKey:
        """Return the key in SubjectPublicKeyInfo DER form.

        Raises DESCRIPTOR_INVALID for another algorithm, another encoding or a point of small order.
        """
        return _from_spki(der)

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Return whether `signature` is this key's over `data`."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.spki == other.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    def __repr__(self) -> str:
        return f"PublicKey({self.spki[len(SPKI_PREFIX) :].hex()})"


class PrivateKey:
    """A private key; its representation shows the public half only."""

    __slots__ = ("_key", "public")

    public: PublicKey

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def generate(cls) -> PrivateKey:
        """Return a new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """Return the key of a 32-byte seed; raise INVALID_ARGUMENT for another length."""
        if len(seed) != SEED_SIZE:
            raise IntertieError("INVALID_ARGUMENT", f"A key seed must have {SEED_SIZE} bytes, not {len(seed)}.")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes) -> PrivateKey:
        """Return the key of an unencrypted PKCS #8 PEM; raise INVALID_ARGUMENT for anything else."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise IntertieError("INVALID_ARGUMENT", "A private key must be an unencrypted Ed25519 key in PEM form.")
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the key as unencrypted PKCS #8 PEM."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature over `data`."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public!r})"


def is_ed25519(der: bytes) -> bool:
    """Return whether `der` is the SubjectPublicKeyInfo of an Ed25519 key, in its only encoding."""
    return len(der) == SPKI_SIZE and der.startswith(SPKI_PREFIX)


@lru_cache(maxsize=4096)
def _from_spki(der: bytes) -> PublicKey:
    """Parse a key once; a peer's few keys are asked for again with every envelope."""
    raw = der[len(SPKI_PREFIX) :]
    if not is_ed25519(der):
        raise IntertieError(
            "DESCRIPTOR_INVALID", "A public key must be an Ed25519 key in SubjectPublicKeyInfo DER form."
        )
    y = raw[:31] + bytes([raw[31] & 0x7F])
    if y in _SMALL_ORDER:
        raise IntertieError("DESCRIPTOR_INVALID", "A public key must not be a point of small order.")
    if int.from_bytes(y, "little") >= _P:
        raise IntertieError("DESCRIPTOR_INVALID", "A public key must be the canonical encoding of its point.")
    return PublicKey(Ed25519PublicKey.from_public_bytes(raw))
