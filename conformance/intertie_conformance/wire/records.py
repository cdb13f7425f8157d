"""Execution records under a signed Merkle root (RFC 0010)."""

from __future__ import annotations

from collections.abc import Sequence

from intertie.v1.record_pb2 import ExecutionRecord, RecordProof, RecordRoot
from intertie_conformance.wire import envelope, merkle
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.refusal import Refusal, decode


def prove(records: Sequence[bytes], executor: bytes, signed_at: int, key: Key) -> list[RecordProof]:
    """One proof a record, in order, all under one root."""
    root = RecordRoot(executor=executor, root=merkle.root(records), size=len(records), signed_at=signed_at)
    sealed = envelope.seal(envelope.RECORD_ROOT, root.SerializeToString(deterministic=True), [key])
    return [
        RecordProof(record=record, root=sealed, index=index, path=merkle.path(records, index))
        for index, record in enumerate(records)
    ]


def proven(proof: RecordProof, executor: Described) -> ExecutionRecord:
    """The record that `proof` proves to be the executor's. Raises: Refusal CHARGE_UNPROVEN."""
    try:
        payload = envelope.unseal(proof.root, envelope.RECORD_ROOT, executor.keys())
        root = decode(RecordRoot, payload, "CHARGE_UNPROVEN")
        led = merkle.root_by(proof.record, proof.index, root.size, list(proof.path))
        envelope.signers(envelope.peek(proof.root), executor.keys(root.signed_at))
    except (Refusal, ValueError) as error:
        raise Refusal("CHARGE_UNPROVEN", f"The record is not proven: {error}") from None
    record = decode(ExecutionRecord, proof.record, "CHARGE_UNPROVEN")
    if led != root.root or not root.executor == record.executor == executor.fingerprint:
        raise Refusal("CHARGE_UNPROVEN", "The record is not the executor's.")
    return record
