"""Descriptor chains: making them and reading those of others (RFC 0004)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from intertie.v1 import descriptor_pb2 as pb
from intertie_conformance.wire import envelope, names
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.keys import SPKI_BYTES, SPKI_PREFIX, Key, public
from intertie_conformance.wire.refusal import Refusal, decode

MAX_CHAIN: Final = 256
MAX_CERTIFICATE: Final = 16_384
_SERVED: Final = (pb.ENDPOINT_KIND_PUBLIC, pb.ENDPOINT_KIND_PEER)


class Described(NamedTuple):
    """The last version of a verified chain."""

    fingerprint: bytes
    grid: str
    message: pb.Descriptor
    history: tuple[bytes, ...]
    """Multihashes of the payloads of all versions."""
    past: tuple[bytes, ...] = ()
    """SubjectPublicKeyInfo of the signing keys of all versions."""

    @property
    def version(self) -> int:
        """Number of the version."""
        return len(self.history)

    def keys(self, at: int | None = None) -> dict[bytes, Ed25519PublicKey]:
        """Signing keys by id, all or those valid at a time (milliseconds)."""
        listed = [k for k in self.message.signing_keys if is_known(k.public_key)]
        return public(*(k.public_key for k in listed if at is None or k.not_before <= at <= k.not_after))

    def ever(self) -> dict[bytes, Ed25519PublicKey]:
        """Signing keys of every version, by id."""
        return public(*self.past)

    def addresses(self, kind: pb.EndpointKind.ValueType) -> list[str]:
        """Addresses of one kind."""
        return [endpoint.address for endpoint in self.message.endpoints if endpoint.kind == kind]


def issue(chain: Sequence[bytes], message: pb.Descriptor, root: Key, old_root: Key | None = None) -> bytes:
    """The envelope of the version that follows `chain`; version, root key and previous digest are filled in."""
    message.version = len(chain) + 1
    message.root_key = root.spki
    message.previous = multihash(envelope.peek(chain[-1]).payload) if chain else b""
    keys = [root] if old_root is None else [old_root, root]
    return envelope.seal(envelope.DESCRIPTOR, message.SerializeToString(deterministic=True), keys)


def is_known(spki: bytes) -> bool:
    """Whether a key has the form of the algorithm that version 1 knows."""
    return len(spki) == SPKI_BYTES and spki.startswith(SPKI_PREFIX)


def read_chain(chain: Sequence[bytes], skip: Collection[str] = ()) -> Described:
    """The last version of a chain that starts at version 1; `skip` names rules that a mutant leaves out.

    Raises: Refusal DESCRIPTOR_INVALID, SIGNATURE_INVALID, INVALID_ARGUMENT.
    """
    if "length" not in skip and not 1 <= len(chain) <= MAX_CHAIN:
        raise Refusal("DESCRIPTOR_INVALID", f"A descriptor chain has {len(chain)} versions.")
    latest: Described | None = None
    for sealed in chain:
        latest = _follow(latest, sealed, skip)
    assert latest is not None
    return latest


def _follow(latest: Described | None, sealed: bytes, skip: Collection[str]) -> Described:
    claimed = decode(pb.Descriptor, envelope.peek(sealed).payload, "DESCRIPTOR_INVALID")
    roots = [claimed.root_key] if latest is None else [latest.message.root_key, claimed.root_key]
    keys = public(*roots)
    payload = envelope.unseal(sealed, envelope.DESCRIPTOR, keys)
    if "signers" not in skip and set(envelope.signers(envelope.peek(sealed), keys)) != set(keys):
        raise Refusal("SIGNATURE_INVALID", "A descriptor is not signed by its own and the previous root key.")
    _check(latest, claimed, skip)
    digest = multihash(payload)
    listed = tuple(key.public_key for key in claimed.signing_keys if is_known(key.public_key))
    if latest is None:
        return Described(multihash(claimed.root_key), claimed.grid, claimed, (digest,), listed)
    return Described(latest.fingerprint, latest.grid, claimed, (*latest.history, digest), (*latest.past, *listed))


def _check(latest: Described | None, message: pb.Descriptor, skip: Collection[str]) -> None:
    version, previous = (1, b"") if latest is None else (latest.version + 1, latest.history[-1])
    keys, ends = message.signing_keys, message.endpoints
    rules = (
        ("version", message.version == version),
        ("previous", message.previous == previous),
        ("grid", latest is None or message.grid == latest.grid),
        ("grid name", names.is_grid(message.grid)),
        ("issued_at", message.issued_at >= 0),
        ("signing_keys", 1 <= len(keys) <= 8 and len({key.public_key for key in keys}) == len(keys)),
        ("times of keys", all(0 <= key.not_before <= key.not_after for key in keys)),
        ("known keys", any(is_known(key.public_key) for key in keys)),
        ("certificates", len(message.certificates) <= 8),
        ("sizes of certificates", all(1 <= len(der) <= MAX_CERTIFICATE for der in message.certificates)),
        ("place", not message.place or names.is_place(message.place)),
        ("features", len(message.features) <= 64 and all(map(names.is_token, message.features))),
        ("endpoints", len(ends) <= 16),
        ("addresses", all(names.is_address(end.address) for end in ends if end.kind in _SERVED)),
    )
    for field, good in rules:
        if not good and field not in skip:
            raise Refusal("DESCRIPTOR_INVALID", f"The {field} of a descriptor is wrong.", field=field)
