"""What every area's cases are made of: the two kinds of vectors, and fixed keys and grids."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from intertie import descriptors
from intertie.keys import PrivateKey

Case = dict[str, Any]

NOW = 1_760_000_000_000
DAY = 86_400_000


def valid(name: str, description: str, operation: str, given: Case, output: Case) -> Case:
    """Return a vector whose operation succeeds with `output`."""
    return {
        "id": name,
        "description": description,
        "validity": "valid",
        "operation": operation,
        "input": given,
        "output": output,
    }


def hostile(name: str, description: str, operation: str, given: Case, error: str, attack: str) -> Case:
    """Return a vector that must be refused with `error`; `attack` is what taking it would give away."""
    return {
        "id": name,
        "description": description,
        "validity": "hostile",
        "operation": operation,
        "input": given,
        "error": error,
        "attack": attack,
    }


def seed(name: str) -> bytes:
    """Return 32 fixed bytes for a name."""
    return sha256(b"intertie vector " + name.encode()).digest()


def key(name: str) -> PrivateKey:
    """Return the fixed key of a name."""
    return PrivateKey.from_seed(seed(name))


def statement(grid: str, *signers: str, **changes: object) -> descriptors.Statement:
    """Return what `grid` says of itself; the keys of `signers` are valid for a year from NOW."""
    fields: Case = {
        "grid": grid,
        "issued_at": NOW,
        "signing_keys": tuple(descriptors.SigningKey(key(name).public, NOW, NOW + 365 * DAY) for name in signers),
        "certificates": (seed(f"{grid} certificate"),),
        "public_endpoints": (f"{grid}:443",),
        "peer_endpoints": (f"{grid}:7443",),
        "features": frozenset({"record-batches"}),
        "place": "DE",
    }
    return descriptors.Statement(**{**fields, **changes})


def grid(name: str) -> tuple[bytes, descriptors.VerifiedDescriptor]:
    """Return the version-1 descriptor of `<name>.example`: its envelope, and verified."""
    envelope = descriptors.issue([], statement(f"{name}.example", f"{name} signing"), key(f"{name} root"))
    return envelope, descriptors.verify_chain([envelope])
