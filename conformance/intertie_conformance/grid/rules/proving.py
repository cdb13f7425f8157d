"""Execution records: what a payer checks of a final charge, and what an executor states (RFC 0010)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1.metering_pb2 import ENERGY_METHOD_UNKNOWN, ENERGY_METHOD_UNSPECIFIED, Energy, EnergyIntensity
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof, RecordRoot
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_FAILED, TaskState
from intertie_conformance.wire import amounts, envelope, merkle, records
from intertie_conformance.wire.digests import is_multihash
from intertie_conformance.wire.energy import energy_of
from intertie_conformance.wire.refusal import Refusal, decode

if TYPE_CHECKING:
    from intertie_conformance.grid.account import Hold
    from intertie_conformance.grid.catalog import Offered
    from intertie_conformance.grid.identity import Identity
    from intertie_conformance.grid.routes import Route
    from intertie_conformance.wire.descriptors import Described
    from intertie_conformance.wire.keys import PublicKeys

ENDS: Final = frozenset({TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_CANCELED})
ONCE: Final = ("order", "order.failed", "order.canceled")
END_UNITS: Final = {
    TASK_STATE_COMPLETED: "order",
    TASK_STATE_FAILED: "order.failed",
    TASK_STATE_CANCELED: "order.canceled",
}
MAX_PROOF: Final = 16_384
MAX_ROOT: Final = 4_096
MAX_LINES: Final = 16
MAX_BOUNDARY: Final = 256
_UNKNOWN: Final = frozenset({ENERGY_METHOD_UNSPECIFIED, ENERGY_METHOD_UNKNOWN})
_PLACE: Final = re.compile(r"([A-Z]{2}(-[A-Z0-9]{1,3})?)?")


def _unproven(message: str) -> Refusal:
    return Refusal("CHARGE_UNPROVEN", message)


class PayerRules:
    """The checks of a valid final charge, in their order."""

    def claim_state(self, charge: pb.Charge) -> None:
        """A final charge names a terminal state."""
        if charge.state not in ENDS:
            raise _unproven("A final charge names no terminal state.")

    def claim_owes(self, charge: pb.Charge, before: int) -> bool:
        """Whether a record is owed: none for work that did not complete and claims nothing new."""
        return charge.HasField("proof") or charge.state == TASK_STATE_COMPLETED or charge.amount != before

    def claim_present(self, charge: pb.Charge) -> None:
        """There is a proof."""
        if not charge.HasField("proof"):
            raise _unproven("A final charge carries no execution record.")

    def claim_size(self, charge: pb.Charge) -> None:
        """It is not too large."""
        if charge.proof.ByteSize() > MAX_PROOF:
            raise _unproven("The proof of a record is too large.")

    def claim_root_form(self, sealed: bytes) -> None:
        """The root's envelope is not too large and of its type."""
        if len(sealed) > MAX_ROOT or envelope.peek(sealed).payload_type != envelope.RECORD_ROOT:
            raise _unproven("The envelope of a record root is too large or of another type.")

    def claim_root_signed(self, sealed: bytes, keys: PublicKeys) -> None:
        """A signing key of the executor has signed it, no signature is wrong."""
        envelope.signers(envelope.peek(sealed), keys)

    def claim_root_names(self, root: RecordRoot, executor: Described) -> None:
        """It names the executor."""
        if root.executor != executor.fingerprint:
            raise _unproven("A record root names another grid.")

    def claim_root_time(self, sealed: bytes, root: RecordRoot, executor: Described) -> None:
        """A key that signed was valid when it signed."""
        signed = {signature.key_id for signature in envelope.peek(sealed).signatures}
        if not signed & set(executor.keys(root.signed_at)):
            raise _unproven("No key was valid when a record root was signed.")

    def claim_path_form(self, proof: RecordProof, root: RecordRoot) -> None:
        """Root, index and path have the form that the size demands."""
        sizes = {len(root.root), *map(len, proof.path)}
        if sizes != {32} or proof.index >= root.size:
            raise _unproven("A hash of an inclusion path has not 32 bytes, or the index is not in the tree.")

    def claim_path(self, proof: RecordProof, root: RecordRoot) -> None:
        """The path leads from the record to the root."""
        if merkle.root_by(proof.record, proof.index, root.size, list(proof.path)) != root.root:
            raise _unproven("The inclusion path does not lead to the signed root.")

    def claim_executor(self, record: ExecutionRecord, executor: Described) -> None:
        """The record names the executor."""
        if record.executor != executor.fingerprint:
            raise _unproven("A record names another grid.")

    def record_digests(self, record: ExecutionRecord) -> bool:
        """Nonce and digests have their form."""
        outputs = not record.output_digest or is_multihash(record.output_digest)
        both = is_multihash(record.offer_digest) and is_multihash(record.input_digest)
        return 16 <= len(record.nonce) <= 32 and both and outputs

    def record_state(self, record: ExecutionRecord) -> bool:
        """The state is terminal."""
        return record.state in ENDS

    def record_usage(self, record: ExecutionRecord) -> bool:
        """At most 16 lines, ascending, none without a name, none negative."""
        units = [line.unit for line in record.usage]
        sound = len(units) <= MAX_LINES and "" not in units and all(line.quantity >= 0 for line in record.usage)
        return sound and units == sorted(set(units), key=str.encode)

    def record_energy(self, record: ExecutionRecord) -> bool:
        """Bounds are in order, or nothing is known."""
        energy = record.energy
        known = energy.method not in _UNKNOWN
        return not known or 0 <= energy.lower <= energy.millijoules <= energy.upper

    def record_times(self, record: ExecutionRecord) -> bool:
        """It ends after it starts."""
        return 0 <= record.started_at <= record.ended_at

    def record_place(self, record: ExecutionRecord) -> bool:
        """A place is an ISO 3166 code."""
        return _PLACE.fullmatch(record.place) is not None

    RECORD_RULES: tuple[str, ...] = (
        "record_digests",
        "record_state",
        "record_usage",
        "record_energy",
        "record_times",
        "record_place",
    )

    def claim_proven(self, charge: pb.Charge, executor: Described) -> ExecutionRecord:
        """The record that the charge proves to be the executor's. Raises: Refusal CHARGE_UNPROVEN."""
        proof = charge.proof
        self.claim_size(charge)
        try:
            self.claim_root_form(proof.root)
            self.claim_root_signed(proof.root, executor.keys())
            root = decode(RecordRoot, envelope.peek(proof.root).payload, "CHARGE_UNPROVEN")
            self.claim_root_names(root, executor)
            self.claim_root_time(proof.root, root, executor)
            self.claim_path_form(proof, root)
            self.claim_path(proof, root)
        except (Refusal, ValueError) as error:
            raise _unproven(f"The record is not proven: {error}") from None
        record = decode(ExecutionRecord, proof.record, "CHARGE_UNPROVEN")
        self.claim_executor(record, executor)
        for name in self.RECORD_RULES:
            if not getattr(self, name)(record):
                raise _unproven(f"The record breaks {name}.")
        return record

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
        if not self.claim_owes(charge, before):
            return
        self.claim_present(charge)
        record = self.claim_proven(charge, executor)
        self.claim_named(hold, charge, record)
        self.claim_quantities(hold, charge, record)
        self.claim_once(record)

    def refuses_claim(self, refusal: Refusal) -> str | None:
        """The rule by which a charge that fails a check is refused; None: it is agreed to."""
        return refusal.reason


class ExecutorRules:
    """What an executor counts and states."""

    def counts(self, unit: str, quantity: int) -> int:
        """Atoms of a unit by its counting rule."""
        return quantity

    def end_usage(self, usage: Mapping[str, int], state: TaskState.ValueType) -> dict[str, int]:
        """Usage with the outcome unit of how it ended."""
        return {**usage, END_UNITS[state]: 1}

    def end_fits(self, hold: Hold, usage: Mapping[str, int]) -> bool:
        """Whether the outcome unit still fits the grant."""
        quantities = [usage.get(unit, 0) for unit, _, _ in hold.prices]
        return amounts.charge(hold.prices, quantities) <= hold.granted

    def energy(self, usage: Mapping[str, int], intensities: Iterable[EnergyIntensity]) -> Energy:
        """Nothing is measured here: what the offer's intensities give."""
        return energy_of(intensities, usage)

    def record(self, fields: dict[str, object]) -> dict[str, object]:
        """The fields of a record."""
        return fields

    def record_lines(self, usage: Mapping[str, int], prices: list[amounts.Price]) -> list[tuple[str, int]]:
        """Used units in byte order, priced or not."""
        return [(unit, usage[unit]) for unit in sorted(usage, key=str.encode) if usage[unit]]

    def prove(self, record: bytes, me: Identity, now: int) -> RecordProof:
        """A root of its own for each record."""
        return records.prove([record], me.fingerprint, now, me.key)[0]

    def proves(self, state: TaskState.ValueType, amount: int, before: int) -> bool:
        """Whether a final charge carries its record: always."""
        return True

    def claimed(self, quantities: list[int], before: list[int]) -> list[int]:
        """What a charge states: cumulative quantities."""
        return quantities

    def first_grant(self, offer: Offered, max_charge: int, wished: int) -> int:
        """All of it where the offer is charged on completion."""
        from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION

        return max_charge if offer.message.charge_on == CHARGE_ON_COMPLETION else min(wished, max_charge)

    def order_prices_of(self, offer: Offered, route: Route) -> list[amounts.Price]:
        """The lines that an order states."""
        return route.priced(offer)


class ProvingRules(PayerRules, ExecutorRules):
    """Both sides."""
