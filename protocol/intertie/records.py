"""Execution records: proving a batch with one signature, and verifying a record from afar (design §9).

The executor signs the Merkle root of a batch; each record travels with its inclusion path. Every hop verifies
the exact bytes it forwards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from intertie import envelope, merkle
from intertie.descriptors import VerifiedDescriptor, signing_keys_at
from intertie.digests import is_multihash
from intertie.encoding import parse
from intertie.errors import IntertieError
from intertie.keys import PrivateKey
from intertie.names import is_place
from intertie.registry import LIMITS
from intertie.v1.metering_pb2 import ENERGY_METHOD_UNKNOWN, ENERGY_METHOD_UNSPECIFIED, Energy, UsageLine
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof, RecordRoot
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_FAILED

MAX_RECORD_BYTES: Final = LIMITS["entry_bytes"].maximum
MAX_ROOT_BYTES: Final = 4096
MAX_LINES: Final = LIMITS["price_lines"].maximum
_ENDS: Final = frozenset({TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_CANCELED})
_UNKNOWN: Final = frozenset({ENERGY_METHOD_UNSPECIFIED, ENERGY_METHOD_UNKNOWN})


class RootCache:
    """Signed roots already verified, the most recently used `capacity` of them: pure memory, not shared.

    Keyed by the executor's exact descriptor and the envelope's bytes, so that a key which a newer descriptor
    no longer lists is not trusted on behalf of an older one.
    """

    __slots__ = ("_capacity", "_roots")

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._roots: OrderedDict[tuple[bytes, bytes], merkle.Prover] = OrderedDict()

    def __len__(self) -> int:
        return len(self._roots)

    def open(self, sealed: bytes, executor: VerifiedDescriptor) -> merkle.Prover:
        """Return the prover of the verified root in `sealed`; raise CHARGE_UNPROVEN as `verify_proof`."""
        key = (executor.digest, sealed)
        root = self._roots.get(key)
        if root is None:
            signed = _open_root(sealed, executor)
            root = self._roots[key] = merkle.Prover(signed.root, signed.size)
            if len(self._roots) > self._capacity:
                self._roots.popitem(last=False)
        else:
            self._roots.move_to_end(key)
        return root


def prove(records: Sequence[bytes], executor: bytes, signed_at: int, key: PrivateKey) -> list[RecordProof]:
    """Return one proof per record, in order, all under one root signed by `key`.

    `records` are the exact bytes of one or more execution records, `executor` the grid's fingerprint,
    `signed_at` milliseconds since the Unix epoch within the key's validity.
    """
    tree = merkle.tree(records)
    root = RecordRoot(executor=executor, root=tree.root, size=tree.size, signed_at=signed_at)
    sealed = envelope.seal(envelope.RECORD_ROOT, root.SerializeToString(deterministic=True), [key])
    return [
        RecordProof(record=record, root=sealed, index=index, path=path)
        for index, (record, path) in enumerate(zip(records, tree.paths(), strict=True))
    ]


def verify_proof(proof: RecordProof, executor: VerifiedDescriptor, cache: RootCache) -> ExecutionRecord:
    """Return the record that `proof` proves to be the executor's own.

    Raises CHARGE_UNPROVEN, its `field` naming the place, if the root is not signed by one of the executor's
    signing keys valid at `signed_at`, the path does not lead to it, or the record is malformed. That a record
    belongs to an order, and its quantities to a charge, is for the caller to check (RECORD_MISMATCH).
    """
    if not cache.open(proof.root, executor).proves(proof.record, proof.index, proof.path):
        raise _unproven("The record's inclusion path does not lead to the signed root.", "path")
    record = parse(ExecutionRecord, proof.record, MAX_RECORD_BYTES, "CHARGE_UNPROVEN")
    if record.executor != executor.fingerprint:
        raise _unproven("The record names another executor.", "executor")
    _check_record(record)
    return record


def _open_root(sealed: bytes, executor: VerifiedDescriptor) -> RecordRoot:
    """Verify and parse a signed root."""
    keys = {signing.key.key_id: signing.key for signing in executor.signing_keys}
    try:
        opened = envelope.unseal(sealed, envelope.RECORD_ROOT, keys, MAX_ROOT_BYTES)
    except IntertieError as error:
        raise _unproven(f"The record root's envelope is refused: {error.message}", "root") from error
    root = parse(RecordRoot, opened.payload, MAX_ROOT_BYTES, "CHARGE_UNPROVEN")
    if root.executor != executor.fingerprint:
        raise _unproven("The record root names another executor.", "root.executor")
    if not set(opened.key_ids) & set(signing_keys_at(executor, root.signed_at)):
        raise _unproven("No signing key was valid when the record root was signed.", "root.signed_at")
    if len(root.root) != merkle.HASH_SIZE:
        raise _unproven("The record root is malformed.", "root")
    return root


def _check_record(record: ExecutionRecord) -> None:
    """Raise CHARGE_UNPROVEN unless every field of a record is in range."""
    field = _faulty_digest(record) or _faulty_field(record)
    if field:
        raise _unproven(f"The record's {field} is out of range.", field)


def _faulty_digest(record: ExecutionRecord) -> str:
    """Return the name of the first field of a record that should be a nonce or a digest and is none, "" if all are."""
    if not 16 <= len(record.nonce) <= 32:
        return "nonce"
    if not is_multihash(record.offer_digest):
        return "offer_digest"
    if not is_multihash(record.input_digest):
        return "input_digest"
    output = record.output_digest
    return "output_digest" if output and not is_multihash(output) else ""


def _faulty_field(record: ExecutionRecord) -> str:
    """Return the name of the first other field of a record that is out of range, "" if none is."""
    if record.state not in _ENDS:
        return "state"
    if not _is_usage(record.usage):
        return "usage"
    if not _is_sound(record.energy):
        return "energy"
    if record.place and not is_place(record.place):
        return "place"
    return "" if 0 <= record.started_at <= record.ended_at else "started_at"


def _is_usage(lines: Sequence[UsageLine]) -> bool:
    """Return whether a record's usage names few units, each once and in order, with no negative quantity."""
    before = ""
    for line in lines:
        unit = line.unit
        if unit <= before or line.quantity < 0:
            return False
        before = unit
    return len(lines) <= MAX_LINES


def _is_sound(energy: Energy) -> bool:
    """Return whether a statement of energy has ordered bounds, or says that nothing is known."""
    if energy.method in _UNKNOWN:
        return True
    return 0 <= energy.lower <= energy.millijoules <= energy.upper


def _unproven(message: str, field: str) -> IntertieError:
    return IntertieError("CHARGE_UNPROVEN", message, field=field)
