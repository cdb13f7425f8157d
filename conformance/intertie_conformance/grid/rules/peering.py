"""What a grid checks in proposals (RFC 0006)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from intertie_conformance.wire import agreements, certificates, descriptors, envelope
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.wire.agreements import Agreed
    from intertie_conformance.wire.descriptors import Described


class PeeringRules:
    """Strangers."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        """A verified descriptor chain."""
        return descriptors.read_chain(chain)

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        """A verified proposal."""
        return agreements.read(sealed, proposer)

    def countersigned(self, sealed: bytes, key: Key) -> bytes:
        """The proposal with the own signature over the same bytes."""
        return envelope.add_signature(sealed, key)

    def proposal_mine(self, agreed: Agreed, fingerprint: bytes) -> None:
        """It is a first agreement with this grid."""
        if agreed.message.acceptor.fingerprint != fingerprint or agreed.message.version != 1:
            raise Refusal("AGREEMENT_INVALID", "The proposal is no first agreement with this grid.")

    def proposal_certificates(self, described: Described) -> None:
        """Its certificates keep the profile."""
        for der in described.message.certificates:
            fault = certificates.fault_of(described.grid, der)
            if fault:
                raise Refusal("CERTIFICATE_MISMATCH", f"A certificate in the descriptor: {fault}.")

    def proposal_pinned(self, described: Described, known: Mapping[bytes, Described]) -> None:
        """A name stays with its fingerprint, a chain only grows."""
        for other in known.values():
            if other.fingerprint == described.fingerprint:
                self.chain_grows(other, described)
            elif other.grid == described.grid:
                raise Refusal("DESCRIPTOR_INVALID", f"The name {described.grid} is pinned to another grid.")

    def chain_grows(self, old: Described, new: Described) -> None:
        """No lower version, no other statement at a known one."""
        shared = min(old.version, new.version)
        if old.history[:shared] != new.history[:shared]:
            raise Refusal("DESCRIPTOR_EQUIVOCATION", f"{old.grid} signed two descriptors of one version.")
        if new.version < old.version:
            raise Refusal("DESCRIPTOR_ROLLBACK", f"A newer descriptor of {old.grid} is known.")
