"""A grid's keys on disk (design §6)."""

import datetime
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from intertie.errors import IntertieError
from intertie.keys import PrivateKey

FILES = ("root.pem", "signing.pem", "tls.pem", "tls.der", "secret")
PREVIOUS = ("tls-previous.pem", "tls-previous.der")
"""Key and certificate before the last rotation, if it changed them."""
SECRET_BYTES: Final = 32
ADVICE: Final = (
    "restore it from a backup of this directory; without one, this grid is lost: begin a new one in another directory "
    "(intertie init)."
)
KeyPair = tuple[bytes, bytes]
"""P-256 private key (PEM), certificate (DER)."""


class Identity(Struct, frozen=True):
    """Everything secret that a node needs."""

    root: PrivateKey
    signing: PrivateKey
    tls_key: bytes
    """P-256 private key, PEM."""
    certificate: bytes
    """DER."""
    secret: bytes
    """SECRET_BYTES: hop ids, nonces, blinded account names."""
    previous: KeyPair | None = None
    """Key and certificate before the last rotation: overlap with the present ones."""

    def files(self) -> dict[str, bytes]:
        """Contents by file name."""
        contents = (self.root.to_pem(), self.signing.to_pem(), self.tls_key, self.certificate, self.secret)
        previous = dict(zip(PREVIOUS, self.previous, strict=True)) if self.previous else {}
        return {**dict(zip(FILES, contents, strict=True)), **previous}


def create(
    folder: Path, grid: str, make_certificate: Callable[[str, datetime.datetime], tuple[bytes, bytes]]
) -> Identity:
    """Make new keys in `folder` (mode 0700, files 0600). Raises: IntertieError INVALID_ARGUMENT if there are some."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if any((folder / name).exists() for name in FILES):
        raise IntertieError(
            "INVALID_ARGUMENT", f"{folder} holds keys already, which are never overwritten: choose another directory."
        )
    key, certificate = make_certificate(grid, datetime.datetime.now(datetime.UTC))
    made = Identity(PrivateKey.generate(), PrivateKey.generate(), key, certificate, secrets.token_bytes(SECRET_BYTES))
    for name, data in made.files().items():
        write(folder / name, data)
    return load(folder)


def write(path: Path, data: bytes) -> None:
    """Write a private file that is not there yet, durably."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def load(folder: Path) -> Identity:
    """Read the keys of `folder`.

    Raises: IntertieError NOT_FOUND naming all that is missing, INVALID_ARGUMENT naming a file that holds none; OSError.
    """
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise IntertieError("NOT_FOUND", f"{folder} lacks {', '.join(missing)}: {ADVICE}")
    root, signing, key, certificate, secret = ((folder / name).read_bytes() for name in FILES)
    if len(secret) != SECRET_BYTES:
        message = f"{folder / FILES[-1]} has {len(secret)} bytes, not the {SECRET_BYTES} that were made: {ADVICE}"
        raise IntertieError("INVALID_ARGUMENT", message)
    old_key, old_certificate = (folder / name for name in PREVIOUS)
    previous = (old_key.read_bytes(), old_certificate.read_bytes()) if old_certificate.exists() else None
    return Identity(_key(folder / FILES[0], root), _key(folder / FILES[1], signing), key, certificate, secret, previous)


def _key(path: Path, data: bytes) -> PrivateKey:
    try:
        return PrivateKey.from_pem(data)
    except IntertieError as error:
        raise IntertieError(error.reason, f"{path}: {error.message} Here: {ADVICE}") from None
