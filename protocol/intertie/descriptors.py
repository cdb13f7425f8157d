"""Grid descriptors: issuing, verifying a chain from version 1, and accepting an update (design §6).

A descriptor says which keys, certificates and endpoints a grid has. Version n+1 is signed by the root keys
of versions n and n+1, so the version-1 root, whose multihash is the fingerprint, leads to every later one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from intertie import envelope
from intertie.digests import multihash
from intertie.encoding import parse
from intertie.errors import IntertieError
from intertie.keys import PrivateKey, PublicKey, is_ed25519
from intertie.names import check_grid, is_address, is_place, is_token
from intertie.registry import LIMITS
from intertie.v1 import descriptor_pb2 as pb

MAX_CHAIN: Final = LIMITS["descriptor_chain"].maximum
MAX_SIGNING_KEYS: Final = 8
MAX_CERTIFICATES: Final = 8
MAX_CERTIFICATE_BYTES: Final = 16_384
MAX_ENDPOINTS: Final = 16
MAX_FEATURES: Final = 64


class SigningKey(msgspec.Struct, frozen=True):
    """A key valid for signatures made in [not_before, not_after], milliseconds since the Unix epoch."""

    key: PublicKey
    not_before: int
    not_after: int


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a grid says of itself in one version of its descriptor."""

    grid: str
    issued_at: int
    signing_keys: tuple[SigningKey, ...]
    certificates: tuple[bytes, ...] = ()
    public_endpoints: tuple[str, ...] = ()
    peer_endpoints: tuple[str, ...] = ()
    features: frozenset[str] = frozenset()
    place: str = ""


class VerifiedDescriptor(Statement, frozen=True, kw_only=True):
    """The latest version of a verified descriptor chain."""

    fingerprint: bytes
    """Multihash of the version-1 root key: the grid's identity for ever."""
    version: int
    root_key: PublicKey
    history: tuple[bytes, ...]
    """Multihashes of the payloads of versions 1 to `version`."""

    @property
    def digest(self) -> bytes:
        """Multihash of this version's payload bytes."""
        return self.history[-1]


def issue(
    previous: Sequence[bytes], statement: Statement, root: PrivateKey, old_root: PrivateKey | None = None
) -> bytes:
    """Return the serialized envelope of the version that follows the chain `previous` (empty for version 1).

    `root` is the new version's root key; `old_root` the one before it if they differ. The result is verified
    before it is returned: raises DESCRIPTOR_INVALID or SIGNATURE_INVALID as `verify_chain`.
    """
    message = _encode(statement)
    message.version = len(previous) + 1
    message.root_key = root.public.spki
    if previous:
        message.previous = multihash(envelope.peek_unverified(previous[-1])[1])
    keys = [root] if old_root is None else [old_root, root]
    sealed = envelope.seal(envelope.DESCRIPTOR, message.SerializeToString(deterministic=True), keys)
    verify_chain([*previous, sealed])
    return sealed


def verify_chain(envelopes: Sequence[bytes]) -> VerifiedDescriptor:
    """Return the last of a chain of descriptor envelopes that starts at version 1.

    Raises DESCRIPTOR_INVALID for an empty or overlong chain, a gap, a wrong `previous`, another grid name or
    a field out of range; SIGNATURE_INVALID if a version is not signed by its own and the previous root;
    INVALID_ARGUMENT for a malformed envelope.
    """
    if not 1 <= len(envelopes) <= MAX_CHAIN:
        raise _invalid(f"A descriptor chain must have 1 to {MAX_CHAIN} versions.", 0, "version")
    latest = _follow(None, envelopes[0])
    for sealed in envelopes[1:]:
        latest = _follow(latest, sealed)
    return latest


def signing_keys_at(descriptor: VerifiedDescriptor, time_ms: int) -> Mapping[bytes, PublicKey]:
    """Return the signing keys that are valid at `time_ms`, by key id; perhaps none."""
    return {
        signing.key.key_id: signing.key
        for signing in descriptor.signing_keys
        if signing.not_before <= time_ms <= signing.not_after
    }


def verify_history(envelopes: Sequence[bytes]) -> VerifiedDescriptor:
    """Return the last of a chain, with the signing keys of every version, for what was signed in the past.

    A key is valid as the last version that lists it says. Raises as `verify_chain`.
    """
    latest = verify_chain(envelopes)
    keys = {
        signing.key: signing
        for sealed in envelopes
        for signing in _signing_keys(_parse(envelope.peek_unverified(sealed)[1]))
    }
    return msgspec.structs.replace(latest, signing_keys=tuple(keys.values()))


def check_update(old: VerifiedDescriptor, new: VerifiedDescriptor) -> None:
    """Return if `new` may take the place of the pinned `old`.

    Raises DESCRIPTOR_INVALID if it is another grid's, DESCRIPTOR_ROLLBACK if its version is lower,
    DESCRIPTOR_EQUIVOCATION if its chain states something else at a version that `old` knows.
    """
    if new.fingerprint != old.fingerprint:
        raise _invalid("The descriptor is that of another grid.", new.version, "fingerprint")
    shared = min(new.version, old.version)
    for version, (told, tells) in enumerate(zip(old.history[:shared], new.history, strict=False), start=1):
        if told != tells:
            raise IntertieError("DESCRIPTOR_EQUIVOCATION", f"{old.grid} signed two descriptors.", version=str(version))
    if new.version < old.version:
        raise IntertieError(
            "DESCRIPTOR_ROLLBACK",
            f"A newer descriptor of {old.grid} is known.",
            version=str(new.version),
            known=str(old.version),
        )


def _follow(latest: VerifiedDescriptor | None, sealed: bytes) -> VerifiedDescriptor:
    """Verify one version against the one before it.

    The root key has to be read before the signature that it verifies; nothing else is.
    """
    _, claimed = envelope.peek_unverified(sealed)
    root = PublicKey.from_spki(_parse(claimed).root_key)
    roots = {key.key_id: key for key in ([root] if latest is None else [latest.root_key, root])}
    opened = envelope.unseal(sealed, envelope.DESCRIPTOR, roots)
    if set(opened.key_ids) != set(roots):
        raise IntertieError(
            "SIGNATURE_INVALID", "A descriptor must be signed by its own root key and the one before it."
        )
    message = _parse(opened.payload)
    _check_link(latest, message)
    return _decode(message, latest, root, multihash(opened.payload))


def _check_link(latest: VerifiedDescriptor | None, message: pb.Descriptor) -> None:
    """Raise DESCRIPTOR_INVALID unless `message` follows `latest` without gap and under the same name."""
    version, previous, grid = (
        (1, b"", message.grid) if latest is None else (latest.version + 1, latest.digest, latest.grid)
    )
    if message.version != version:
        raise _invalid(f"Version {version} must come next.", message.version, "version")
    if message.previous != previous:
        raise _invalid("A version must name the payload before it.", version, "previous")
    if message.grid != grid:
        raise _invalid(f"The grid's name must stay {grid}.", version, "grid")


def _decode(
    message: pb.Descriptor, latest: VerifiedDescriptor | None, root: PublicKey, digest: bytes
) -> VerifiedDescriptor:
    """Check every field of a signed descriptor and return what it states."""
    version = message.version
    _check_lists(message)
    if message.issued_at < 0:
        raise _invalid("issued_at must not be negative.", version, "issued_at")
    if message.place and not is_place(message.place):
        raise _invalid("The place must be an ISO 3166 code.", version, "place")
    return VerifiedDescriptor(
        grid=check_grid(message.grid),
        issued_at=message.issued_at,
        signing_keys=_signing_keys(message),
        certificates=tuple(message.certificates),
        public_endpoints=_addresses(message, pb.ENDPOINT_KIND_PUBLIC),
        peer_endpoints=_addresses(message, pb.ENDPOINT_KIND_PEER),
        features=frozenset(message.features),
        place=message.place,
        fingerprint=root.key_id if latest is None else latest.fingerprint,
        version=version,
        root_key=root,
        history=(*(latest.history if latest else ()), digest),
    )


def _check_lists(message: pb.Descriptor) -> None:
    """Raise DESCRIPTOR_INVALID for a list that is too long or holds something malformed."""
    rules = (
        ("signing_keys", 1 <= len(message.signing_keys) <= MAX_SIGNING_KEYS),
        ("certificates", len(message.certificates) <= MAX_CERTIFICATES),
        ("certificates", all(1 <= len(der) <= MAX_CERTIFICATE_BYTES for der in message.certificates)),
        ("endpoints", len(message.endpoints) <= MAX_ENDPOINTS),
        ("features", len(message.features) <= MAX_FEATURES),
        ("features", all(map(is_token, message.features))),
    )
    for field, holds in rules:
        if not holds:
            raise _invalid(f"The descriptor's {field} are out of range.", message.version, field)


def _signing_keys(message: pb.Descriptor) -> tuple[SigningKey, ...]:
    """Return the signing keys of known algorithms, at least one; others are for newer readers.

    Raises DESCRIPTOR_INVALID for a bad key, an empty validity, a repeated key, or if none is known.
    """
    if len({signing.public_key for signing in message.signing_keys}) != len(message.signing_keys):
        raise _invalid("A signing key is listed twice.", message.version, "signing_keys")
    if not all(0 <= signing.not_before <= signing.not_after for signing in message.signing_keys):
        raise _invalid("A signing key's validity is empty.", message.version, "signing_keys")
    known = tuple(
        SigningKey(PublicKey.from_spki(signing.public_key), signing.not_before, signing.not_after)
        for signing in message.signing_keys
        if is_ed25519(signing.public_key)
    )
    if not known:
        raise _invalid("No signing key has a known algorithm.", message.version, "signing_keys")
    return known


def _addresses(message: pb.Descriptor, kind: pb.EndpointKind.ValueType) -> tuple[str, ...]:
    """Return the addresses of one kind; raise DESCRIPTOR_INVALID for one that is not "host:port"."""
    found = tuple(endpoint.address for endpoint in message.endpoints if endpoint.kind == kind)
    if not all(map(is_address, found)):
        raise _invalid('An endpoint must be "host:port".', message.version, "endpoints")
    return found


def _encode(statement: Statement) -> pb.Descriptor:
    """Return the message of `statement`, without version, root key and previous digest."""
    endpoints = [
        pb.Endpoint(kind=kind, address=address)
        for kind, addresses in (
            (pb.ENDPOINT_KIND_PUBLIC, statement.public_endpoints),
            (pb.ENDPOINT_KIND_PEER, statement.peer_endpoints),
        )
        for address in addresses
    ]
    signing_keys = [
        pb.SigningKey(public_key=signing.key.spki, not_before=signing.not_before, not_after=signing.not_after)
        for signing in statement.signing_keys
    ]
    return pb.Descriptor(
        grid=statement.grid,
        issued_at=statement.issued_at,
        signing_keys=signing_keys,
        certificates=statement.certificates,
        endpoints=endpoints,
        features=sorted(statement.features),
        place=statement.place,
    )


def _parse(payload: bytes) -> pb.Descriptor:
    return parse(pb.Descriptor, payload, envelope.MAX_BYTES, "DESCRIPTOR_INVALID")


def _invalid(message: str, version: int, field: str) -> IntertieError:
    return IntertieError("DESCRIPTOR_INVALID", message, version=str(version), field=field)
