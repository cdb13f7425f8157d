"""What a grid checks in proposals, and in claims of a provider (RFC 0006, RFC 0010)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_FAILED
from intertie_conformance.wire import agreements, certificates, descriptors, records
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.account import Hold
    from intertie_conformance.wire.agreements import Agreed
    from intertie_conformance.wire.descriptors import Described

ENDS: Final = frozenset({TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_CANCELED})
ONCE: Final = ("order", "order.failed", "order.canceled")


class PeeringRules:
    """Strangers and claims."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        """A verified descriptor chain."""
        return descriptors.read_chain(chain)

    def read_agreement(self, sealed: bytes, proposer: Described) -> Agreed:
        """A verified proposal."""
        return agreements.read(sealed, proposer)

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

    # -- claims of a provider ---------------------------------------------------------------------

    def claim_state(self, charge: pb.Charge) -> None:
        """A final charge names a terminal state."""
        if charge.state not in ENDS:
            raise Refusal("CHARGE_UNPROVEN", "A final charge names no terminal state.")

    def claim_proven(self, charge: pb.Charge, executor: Described) -> ExecutionRecord:
        """Its record is the executor's."""
        return records.proven(charge.proof, executor)

    def claim_named(self, hold: Hold, charge: pb.Charge, record: ExecutionRecord) -> None:
        """The record is about this order."""
        order = hold.order
        named = (record.nonce, record.offer_digest, record.input_digest, record.state)
        if named != (order.nonce, order.offer_digest, order.input.digest, charge.state):
            raise Refusal("RECORD_MISMATCH", "The record is about another order.")

    def claim_quantities(self, hold: Hold, charge: pb.Charge, record: ExecutionRecord) -> None:
        """The record has the charged quantities."""
        usage = {line.unit: line.quantity for line in record.usage}
        if [usage.get(unit, 0) for unit, _, _ in hold.prices] != list(charge.quantities):
            raise Refusal("RECORD_MISMATCH", "The charged quantities are not those of the record.")

    def claim_once(self, record: ExecutionRecord) -> None:
        """One order is counted once."""
        if any(line.quantity > 1 for line in record.usage if line.unit in ONCE):
            raise Refusal("RECORD_MISMATCH", "The record counts one order more than once.")

    def check_claim(self, hold: Hold, charge: pb.Charge, before: int, executor: Described) -> None:
        """Check a valid final charge before it is agreed. Raises: Refusal, the rule of the refusal."""
        self.claim_state(charge)
        if not charge.HasField("proof") and charge.state != TASK_STATE_COMPLETED and charge.amount == before:
            return
        record = self.claim_proven(charge, executor)
        self.claim_named(hold, charge, record)
        self.claim_quantities(hold, charge, record)
        self.claim_once(record)
