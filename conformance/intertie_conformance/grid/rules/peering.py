"""What a grid checks in proposals (RFC 0006)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from intertie_conformance.wire import agreements, certificates, descriptors, envelope
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie.v1 import directory_pb2 as dr
    from intertie_conformance.grid.identity import Identity
    from intertie_conformance.grid.link import Link
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

    def proposal_mine(self, agreed: Agreed, me: Identity) -> None:
        """It is a first agreement with this grid, by fingerprint and name."""
        meant = agreed.message.acceptor
        if (meant.fingerprint, meant.grid) != (me.fingerprint, me.grid) or agreed.message.version != 1:
            raise Refusal("AGREEMENT_INVALID", "The proposal is no first agreement with this grid.")

    def proposal_certificates(self, described: Described) -> None:
        """Its certificates keep the profile."""
        for der in described.message.certificates:
            fault = certificates.fault_of(described.grid, der)
            if fault:
                raise Refusal("CERTIFICATE_MISMATCH", f"A certificate in the descriptor: {fault}.")

    def proposal_pinned(self, described: Described, known: Mapping[bytes, Described]) -> None:
        """The chain of a grid that is known only grows."""
        for other in known.values():
            if self.same_grid(other, described):
                self.chain_grows(other, described)

    def same_grid(self, held: Described, described: Described) -> bool:
        """A grid is its fingerprint."""
        return held.fingerprint == described.fingerprint

    def named(self, described: Described, own: str, pinned: Iterable[str], heard: Iterable[str]) -> None:
        """A name belongs to one grid among those that are pinned; what was only heard of does not count."""
        if described.grid == own or described.grid in pinned:
            raise Refusal("DESCRIPTOR_INVALID", f"The name {described.grid} is pinned to another grid.", field="grid")

    def genesis(self, agreed: Agreed) -> bytes:
        """head(0) of both logs."""
        return agreed.genesis

    def knows_proposal(self, agreed: Agreed, accepted: Collection[bytes]) -> bool:
        """A proposal is known by its payload."""
        return agreed.digest in accepted

    def answers_again(self, answer: dr.ProposeResponse) -> dr.ProposeResponse:
        """A repeated proposal has the same answer."""
        return answer

    def receipt_asset(self, asset: str, scale: int) -> tuple[str, int]:
        """The asset and scale of receipts: those of the agreement."""
        return asset, scale

    def ready_after_s(self) -> float:
        """Seconds from the answer ACCEPTED until the link is taken."""
        return 0.0

    def admits(self, links: Collection[Link]) -> None:
        """A new peer is admitted while all links stay."""

    def trusted(self, address: str, listed: list[bytes]) -> list[bytes]:
        """What a dialled peer may present: what its descriptor lists."""
        return listed

    def serves_chain(self, chain: Sequence[bytes], after_version: int) -> Sequence[bytes]:
        """The versions above one."""
        return chain[after_version:]

    def describes(self, me: Identity) -> None:
        """What the own descriptor says."""

    def chain_grows(self, old: Described, new: Described) -> None:
        """No lower version, no other statement at a known one."""
        shared = min(old.version, new.version)
        if old.history[:shared] != new.history[:shared]:
            raise Refusal("DESCRIPTOR_EQUIVOCATION", f"{old.grid} signed two descriptors of one version.")
        if new.version < old.version:
            raise Refusal("DESCRIPTOR_ROLLBACK", f"A newer descriptor of {old.grid} is known.")
