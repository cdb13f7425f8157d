"""A grid's keys on disk, and the descriptor chain that states them (design §6)."""

import datetime
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from intertie.descriptors import SigningKey as DescribedKey
from intertie.descriptors import Statement, VerifiedDescriptor, issue, verify_chain
from intertie.errors import IntertieError
from intertie.keys import PrivateKey

SIGNING_KEY_DAYS = 365
DAY_MS = 86_400_000
FILES = ("root.pem", "signing.pem", "tls.pem", "tls.der", "secret")


class Identity(Struct, frozen=True):
    """Everything secret that a node needs."""

    root: PrivateKey
    signing: PrivateKey
    tls_key: bytes
    """P-256 private key, PEM."""
    certificate: bytes
    """DER."""
    secret: bytes
    """32 bytes: hop ids, nonces, blinded account names."""


def create(
    folder: Path, grid: str, make_certificate: Callable[[str, datetime.datetime], tuple[bytes, bytes]]
) -> Identity:
    """Make new keys in `folder` (mode 0700, files 0600). Raises: IntertieError INVALID_ARGUMENT if there are some."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if any((folder / name).exists() for name in FILES):
        raise IntertieError("INVALID_ARGUMENT", f"{folder} holds keys already; they are never overwritten.")
    root, signing = PrivateKey.generate(), PrivateKey.generate()
    key, certificate = make_certificate(grid, datetime.datetime.now(datetime.UTC))
    contents = (root.to_pem(), signing.to_pem(), key, certificate, secrets.token_bytes(32))
    for name, data in zip(FILES, contents, strict=True):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return load(folder)


def load(folder: Path) -> Identity:
    """Read the keys of `folder`. Raises: IntertieError NOT_FOUND naming what is missing."""
    try:
        root, signing, key, certificate, secret = ((folder / name).read_bytes() for name in FILES)
    except FileNotFoundError as error:
        raise IntertieError("NOT_FOUND", f"{error.filename} is missing: run intertie init first.") from error
    return Identity(PrivateKey.from_pem(root), PrivateKey.from_pem(signing), key, certificate, secret)


def describe(
    identity: Identity, grid: str, place: str, endpoints: tuple[str, str], chain: Sequence[bytes], now: int
) -> list[bytes]:
    """The descriptor chain that states this identity: `chain` itself if its last version says the same.

    `endpoints` are (public, peer) addresses, `now` milliseconds since the Unix epoch. Raises: IntertieError
    DESCRIPTOR_INVALID if the chain is not this grid's.
    """
    public, peer = endpoints
    statement = Statement(
        grid=grid,
        issued_at=now,
        signing_keys=(DescribedKey(identity.signing.public, now - DAY_MS, now + SIGNING_KEY_DAYS * DAY_MS),),
        certificates=(identity.certificate,),
        public_endpoints=(public,),
        peer_endpoints=(peer,),
        place=place,
    )
    if chain and _says(verify_chain(chain), statement, now):
        return list(chain)
    return [*chain, issue(chain, statement, identity.root)]


def _says(old: VerifiedDescriptor, new: Statement, now: int) -> bool:
    half = now + SIGNING_KEY_DAYS * DAY_MS // 2
    fields = ("grid", "place", "certificates", "public_endpoints", "peer_endpoints")
    same = all(getattr(old, name) == getattr(new, name) for name in fields)
    return same and any(k.key == new.signing_keys[0].key and k.not_after > half for k in old.signing_keys)
