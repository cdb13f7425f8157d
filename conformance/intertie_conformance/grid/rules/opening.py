"""What a grid checks in the other side's `Open` (RFC 0005). Each rule raises `Refusal`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.registry import LIMITS
from intertie_conformance.wire import certificates, descriptors, envelope
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.keys import PublicKeys
from intertie_conformance.wire.refusal import Refusal, decode

if TYPE_CHECKING:
    from intertie_conformance.grid.link import Link

FEATURES: Final = frozenset({"record-batches"})
DECLARED: Final = ("frame_bytes", "inline_bytes")
"""Limits of an Open that have a least value."""


class OpeningRules:
    """Checks of an `Open`."""

    def open_alone(self, frame: lk.Frame) -> None:
        """The frame of an Open holds nothing else."""
        if len(frame.ListFields()) > 1:
            raise Refusal("FRAME_MALFORMED", "The frame of an Open holds more than the Open.")

    def open_signed(self, sealed: bytes, keys: PublicKeys) -> bytes:
        """The Open is an envelope of its type, signed by a signing key of the peer; returns its payload."""
        return envelope.unseal(sealed, envelope.OPEN, keys)

    def open_payload(self, payload: bytes) -> lk.Open:
        """The payload is an Open."""
        return decode(lk.Open, payload, "FRAME_MALFORMED")

    def open_genesis(self, opened: lk.Open, link: Link) -> None:
        """It names this peering."""
        if opened.genesis != link.genesis:
            raise Refusal("UNKNOWN_GENESIS", "The Open names another peering.")

    def open_nonce(self, opened: lk.Open, link: Link) -> None:
        """Its nonce has 16 to 32 bytes."""
        if not 16 <= len(opened.nonce) <= 32:
            raise Refusal("FRAME_MALFORMED", f"The nonce of an Open has {len(opened.nonce)} bytes.")

    def open_heads(self, opened: lk.Open, link: Link) -> None:
        """Both heads have 32 bytes."""
        if len(opened.own.head) != 32 or len(opened.other.head) != 32:
            raise Refusal("FRAME_MALFORMED", "A head of an Open has not 32 bytes.")

    def open_features(self, opened: lk.Open, link: Link) -> None:
        """Each required feature is known."""
        for name in opened.required_features:
            if name not in FEATURES:
                raise Refusal("UNSUPPORTED_FEATURE", f"The feature {name[:64]} is not known.", feature=name[:64])

    def open_clock(self, opened: lk.Open, link: Link) -> None:
        """Its clock leads by at most max_skew."""
        if opened.clock > link.now() + link.terms.max_skew_ms:
            raise Refusal("CLOCK", "The clock of an Open leads by more than the agreed skew.")

    def open_limits(self, opened: lk.Open, link: Link) -> None:
        """The limits that it declares are not below the least ones."""
        for name in DECLARED:
            if getattr(opened.limits, name) < LIMITS[name].minimum:
                raise Refusal("FRAME_MALFORMED", f"The Open declares {name} below the least.", field=f"limits.{name}")

    def open_cursors(self, opened: lk.Open, link: Link) -> None:
        """Heads at cursors that are known here are the same ones."""
        for side, cursor in ((THEM, opened.own), (ME, opened.other)):
            heads = link.logs.heads[side]
            if cursor.seq < len(heads) and heads[cursor.seq] != cursor.head:
                raise Refusal("LOG_FORK", f"The heads at seq {cursor.seq} differ between the two sides.")

    OPEN_RULES: tuple[str, ...] = (
        "open_genesis",
        "open_nonce",
        "open_heads",
        "open_features",
        "open_clock",
        "open_limits",
        "open_cursors",
    )

    def link_named(self, opened: lk.Open, fingerprint: bytes, links: Mapping[bytes, Link]) -> Link:
        """The link that the first Open of an accepted stream names: one with the grid of the certificate."""
        link = links.get(opened.genesis)
        if link is None or link.peer.fingerprint != (fingerprint or link.peer.fingerprint):
            raise Refusal("UNKNOWN_GENESIS", "No peering with this grid has that genesis.")
        return link

    def open_chain(self, opened: lk.Open, held: Described) -> Described:
        """The chain that an Open carries, if it may take the place of the one that is held; else the held one."""
        if not opened.descriptors:
            return held
        stated = descriptors.read_chain(list(opened.descriptors))
        if stated.fingerprint != held.fingerprint:
            raise Refusal("DESCRIPTOR_INVALID", "The Open carries another grid's descriptor.")
        self.open_equivocation(held, stated)
        self.open_rollback(held, stated)
        return stated

    def open_equivocation(self, held: Described, stated: Described) -> None:
        """At versions that both chains have they say the same."""
        shared = min(held.version, stated.version)
        if held.history[:shared] != stated.history[:shared]:
            raise Refusal("DESCRIPTOR_EQUIVOCATION", f"{held.grid} signed two descriptors of one version.")

    def open_rollback(self, held: Described, stated: Described) -> None:
        """The stated chain is not shorter."""
        if stated.version < held.version:
            raise Refusal("DESCRIPTOR_ROLLBACK", f"A newer descriptor of {held.grid} is known.")

    def open_version(self, opened: lk.Open, described: Described) -> None:
        """It states the version of its chain."""
        if opened.descriptor_version != described.version:
            raise Refusal("DESCRIPTOR_INVALID", "The Open states another descriptor version than it carries.")

    def open_certificates(self, described: Described, held: Described) -> None:
        """Certificates of a newer descriptor keep the profile."""
        for der in described.message.certificates if described.version > held.version else ():
            fault = certificates.fault_of(described.grid, der)
            if fault:
                raise Refusal("CERTIFICATE_MISMATCH", f"A certificate in the newer descriptor: {fault}.")

    def takes_up(self, link: Link, described: Described) -> None:
        """A newer chain counts from here on."""
        link.describe(described)

    def check_open(self, frame: lk.Frame, link: Link) -> tuple[bytes, lk.Open]:
        """The payload bytes and message of a good Open. Raises: Refusal."""
        self.open_alone(frame)
        opened = self.open_payload(envelope.peek(frame.open).payload)
        described = self.open_chain(opened, link.peer)
        self.open_version(opened, described)
        payload = self.open_signed(frame.open, link.signers(described))
        for name in self.OPEN_RULES:
            getattr(self, name)(opened, link)
        self.open_certificates(described, link.peer)
        self.takes_up(link, described)
        return payload, opened

    def first_frame(self, frame: lk.Frame) -> None:
        """The first frame of a stream is an Open."""
        if not frame.open:
            raise Refusal("UNEXPECTED_FRAME", "The first frame of a stream is no Open.")

    def second_open(self) -> None:
        """A second Open on one stream is refused."""
        raise Refusal("UNEXPECTED_FRAME", "A second Open came on one stream.")
