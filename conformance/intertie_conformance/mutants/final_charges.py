"""Payers that break RFC 0010, section 3.7: each leaves one row of Table 1 out."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof, RecordRoot
from intertie_conformance.grid.account import Hold
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import merkle
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.keys import PublicKeys
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-MTR-062")
class AnyEndState(Rules):
    """Takes a final charge of any state."""

    def claim_state(self, charge: pb.Charge) -> None:
        return


@mutant("IT-MTR-062", also=("IT-MTR-064",))
class NoProofOwed(Rules):
    """Asks for no proof of a charge that carries none."""

    def claim_owes(self, charge: pb.Charge, before: int) -> bool:
        return charge.HasField("proof")


@mutant("IT-MTR-062")
class LargeProof(Rules):
    """Takes proofs of any size."""

    def claim_size(self, charge: pb.Charge) -> None:
        return


@mutant("IT-MTR-062")
class AnyRootEnvelope(Rules):
    """Takes a record root in an envelope of any size and type."""

    def claim_root_form(self, sealed: bytes) -> None:
        return


@mutant("IT-MTR-062")
class UnsignedRoot(Rules):
    """Does not verify who has signed a record root."""

    def claim_root_signed(self, sealed: bytes, keys: PublicKeys) -> None:
        return


@mutant("IT-MTR-062")
class ForeignRoot(Rules):
    """Takes a record root that names another grid."""

    def claim_root_names(self, root: RecordRoot, executor: Described) -> None:
        return


@mutant("IT-MTR-062")
class KeyOfAnyTime(Rules):
    """Takes a root that was signed when the key was not valid."""

    def claim_root_time(self, sealed: bytes, root: RecordRoot, executor: Described) -> None:
        return


@mutant("IT-MTR-062")
class LoosePath(Rules):
    """Follows a path upwards without regard to index and size."""

    def claim_path(self, proof: RecordProof, root: RecordRoot) -> None:
        try:
            super().claim_path(proof, root)
        except ValueError:
            return


@mutant("IT-MTR-062", also=("IT-MTR-064",))
class UnprovenPath(Rules):
    """Does not follow the path to the root."""

    def claim_path(self, proof: RecordProof, root: RecordRoot) -> None:
        merkle.leaf_hash(proof.record)


@mutant("IT-MTR-062")
class ForeignRecord(Rules):
    """Takes a record that names another grid."""

    def claim_executor(self, record: ExecutionRecord, executor: Described) -> None:
        return


@mutant("IT-MTR-062")
class AnyDigests(Rules):
    """Takes digests of any form in a record."""

    def record_digests(self, record: ExecutionRecord) -> bool:
        return True


@mutant("IT-MTR-062")
class AnyUsage(Rules):
    """Takes usage lines in any order and number."""

    def record_usage(self, record: ExecutionRecord) -> bool:
        return True


@mutant("IT-MTR-062")
class AnyBounds(Rules):
    """Takes energy bounds in any order."""

    def record_energy(self, record: ExecutionRecord) -> bool:
        return True


@mutant("IT-MTR-062")
class AnyTimes(Rules):
    """Takes a record that ends before it starts."""

    def record_times(self, record: ExecutionRecord) -> bool:
        return True


@mutant("IT-MTR-062", also=("IT-MTR-064",))
class AnotherOrdersRecord(Rules):
    """Takes the record of another order."""

    def claim_named(self, hold: Hold, charge: pb.Charge, record: ExecutionRecord) -> None:
        return


@mutant("IT-MTR-062", also=("IT-MTR-064",))
class OtherQuantities(Rules):
    """Takes a charge for more than its record counts."""

    def claim_quantities(self, hold: Hold, charge: pb.Charge, record: ExecutionRecord) -> None:
        return


@mutant("IT-MTR-062")
class TwoOrdersInOne(Rules):
    """Takes a record that counts one order twice."""

    def claim_once(self, record: ExecutionRecord) -> None:
        return


@mutant("IT-MTR-062")
class AnyRecordState(Rules):
    """Takes a record of any state."""

    def record_state(self, record: ExecutionRecord) -> bool:
        return True


@mutant("IT-MTR-062")
class AnyPlace(Rules):
    """Takes a record of any place."""

    def record_place(self, record: ExecutionRecord) -> bool:
        return True


@mutant("IT-MTR-062", also=("IT-MTR-064",))
class OneReason(Rules):
    """Refuses by one reason, whatever failed."""

    def refuses_claim(self, refusal: Refusal) -> str | None:
        return "CHARGE_UNPROVEN"


@mutant("IT-MTR-064", also=("IT-MTR-062",))
class AgreesToAll(Rules):
    """Notes a fault of a final charge and agrees to it nevertheless."""

    def refuses_claim(self, refusal: Refusal) -> str | None:
        return None
