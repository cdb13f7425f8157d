"""Who one of the suite's grids is: keys, certificate, descriptor chain."""

from __future__ import annotations

import time
from collections.abc import Sequence

from intertie.v1 import descriptor_pb2 as pb
from intertie_conformance.wire import descriptors, envelope
from intertie_conformance.wire.certificates import make_certificate
from intertie_conformance.wire.keys import Key, public

DAY_MS = 86_400_000


def now_ms() -> int:
    """This machine's clock: milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class Identity:
    """A grid's keys and what it says of itself."""

    def __init__(self, grid: str, certificates: Sequence[bytes] | None = None, keys: int = 1) -> None:
        self.grid = grid
        self.root = Key()
        self.signing = [Key() for _ in range(keys)]
        """Signing keys; the first one signs."""
        self.tls_key, self.certificate = make_certificate(grid)
        self.certificates = [self.certificate] if certificates is None else list(certificates)
        self.fingerprint = self.root.id
        self.keys = public(*(key.spki for key in self.signing))
        self.chain: list[bytes] = []
        self.addresses = ("", "")
        """Public and peer address."""

    @property
    def key(self) -> Key:
        """The signing key."""
        return self.signing[0]

    @key.setter
    def key(self, key: Key) -> None:
        self.signing = [key]

    def statement(self, public_address: str = "", peer_address: str = "") -> pb.Descriptor:
        """What the grid says of itself, without version and root."""
        now = now_ms()
        endpoints = [(pb.ENDPOINT_KIND_PUBLIC, public_address), (pb.ENDPOINT_KIND_PEER, peer_address)]
        return pb.Descriptor(
            grid=self.grid,
            place="DE-BY",
            issued_at=now,
            signing_keys=[
                pb.SigningKey(public_key=key.spki, not_before=now - DAY_MS, not_after=now + 7 * DAY_MS)
                for key in self.signing
            ],
            certificates=self.certificates,
            endpoints=[pb.Endpoint(kind=kind, address=address) for kind, address in endpoints if address],
            features=["record-batches"],
        )

    def describe(self, public_address: str = "", peer_address: str = "") -> None:
        """Make version 1 of the descriptor."""
        self.addresses = (public_address, peer_address)
        self.chain = [descriptors.issue([], self.statement(public_address, peer_address), self.root)]

    def rotate(self, *, keeps: bool = False, certificates: Sequence[bytes] = ()) -> None:
        """Issue the next version: a new signing key, beside the old one where `keeps`; more certificates."""
        key = Key()
        self.signing = [key, *self.signing] if keeps else [key]
        self.keys = self.keys | public(key.spki)
        self.certificates = [*self.certificates, *certificates]
        self.chain.append(descriptors.issue(self.chain, self.statement(*self.addresses), self.root))

    @property
    def described(self) -> descriptors.Described:
        """The own chain as others read it."""
        return descriptors.read_chain(self.chain)

    def seal_open(self, payload: bytes, *keys: Key) -> bytes:
        """An Open's payload as an envelope, signed by the signing key or others."""
        return envelope.seal(envelope.OPEN, payload, keys or (self.key,))
