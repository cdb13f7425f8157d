"""Rotating a grid's keys: new ones are staged, stated by a new descriptor version, then put in place (design §6).

A node that ends half-way is whole again at its next start: staged keys that the stored descriptor states are
put in place, others are dropped.
"""

import datetime
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from intertie.descriptors import VerifiedDescriptor, verify_chain
from intertie.errors import IntertieError
from intertie.keys import PrivateKey
from intertie_node.ports import Store
from intertie_node.services import describing, identity
from intertie_node.services.identity import Identity, KeyPair

STAGED, DONE = "next", "done"
MakeCertificate = Callable[[str, datetime.datetime], KeyPair]


class Chosen(Struct, frozen=True):
    """What is to be replaced."""

    root: bool = False
    signing_key: bool = False
    certificate: bool = False


def rotate(
    keys: Path, store: Store, stated: describing.Facts, chosen: Chosen, make_certificate: MakeCertificate, now: int
) -> list[bytes]:
    """Replace keys of a grid whose node does not run; returns its descriptor chain with the new version.

    `keys` is the folder of its keys, `now` milliseconds since the Unix epoch. Raises: IntertieError
    INVALID_ARGUMENT if nothing is chosen or the grid has no descriptor yet.
    """
    chain = describing.stored_chain(store)
    if not any(msgspec.structs.astuple(chosen)):
        raise IntertieError("INVALID_ARGUMENT", "Nothing to rotate: choose root, signing key or certificate.")
    if not chain:
        raise IntertieError("INVALID_ARGUMENT", "This grid has never been served: it has no descriptor to follow.")
    settle(keys, chain)
    old = identity.load(keys)
    new = _renewed(old, chosen, stated.grid, make_certificate)
    grown = describing.grown(new, stated, chain, describing.stating_time(store, now), old.root)
    _stage(keys, new)
    describing.keep_chain(store, grown, now)
    settle(keys, grown)
    return grown


def _renewed(old: Identity, chosen: Chosen, grid: str, make_certificate: MakeCertificate) -> Identity:
    pair, previous = (old.tls_key, old.certificate), old.previous
    if chosen.certificate:
        pair, previous = make_certificate(grid, datetime.datetime.now(datetime.UTC)), pair
    root = PrivateKey.generate() if chosen.root else old.root
    signing = PrivateKey.generate() if chosen.signing_key else old.signing
    return Identity(root, signing, *pair, old.secret, previous)


def _stage(keys: Path, new: Identity) -> None:
    staged = keys / STAGED
    staged.mkdir(mode=0o700)
    for name, data in new.files().items():
        identity.write(staged / name, data)
    _sync(staged)
    _sync(keys)


def settle(keys: Path, chain: Sequence[bytes]) -> None:
    """Put staged keys in place if the last version of `chain` states them, else drop them; idempotent."""
    staged, done = keys / STAGED, keys / DONE
    shutil.rmtree(done, ignore_errors=True)
    if not staged.is_dir():
        return
    if chain and _states(verify_chain(chain), staged):
        for path in sorted(staged.iterdir()):
            copied = keys / f"{path.name}.new"
            copied.unlink(missing_ok=True)
            identity.write(copied, path.read_bytes())
            copied.replace(keys / path.name)
        _sync(keys)
    staged.rename(done)
    _sync(keys)
    shutil.rmtree(done, ignore_errors=True)


def _states(descriptor: VerifiedDescriptor, staged: Path) -> bool:
    try:
        found = identity.load(staged)
    except (IntertieError, ValueError):
        return False  # staging had not ended
    listed = {signing.key for signing in descriptor.signing_keys}
    return (
        found.root.public == descriptor.root_key
        and found.signing.public in listed
        and found.certificate in descriptor.certificates
    )


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
