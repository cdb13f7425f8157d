"""Whether the execution record of a final charge holds (design §9, execution records). Pure."""

from collections.abc import Mapping

from intertie.descriptors import VerifiedDescriptor
from intertie.encoding import parse
from intertie.errors import IntertieError
from intertie.records import MAX_RECORD_BYTES, RootCache, verify_proof
from intertie.v1 import entry_pb2 as pb
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_FAILED
from intertie_node.core.holds import Terms

PROVEN, ABSENT, WITHOUT = "", "executor absent", "without record"
"""Outcomes of `check_proof` that are no fault."""
_TERMINAL = frozenset({TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_CANCELED})


def check_proof(
    terms: Terms,
    body: pb.Charge,
    before: int,
    origin: bytes | None,
    executors: Mapping[bytes, VerifiedDescriptor],
    roots: RootCache,
) -> str:
    """Return PROVEN, ABSENT or WITHOUT for the record of a final charge.

    `before` is what the order was charged already, minor units: work that was not completed and claims nothing
    beyond it owes no record. `origin` is the fingerprint that the order's tariff names, None if it is not known;
    `executors` the grids whose records can be checked. Raises: IntertieError CHARGE_UNPROVEN, RECORD_MISMATCH.
    """
    if body.state not in _TERMINAL:
        raise IntertieError("CHARGE_UNPROVEN", "The final charge names no terminal state.")
    if not body.HasField("proof"):
        if body.amount == before and body.state != TASK_STATE_COMPLETED:
            return WITHOUT
        raise IntertieError("CHARGE_UNPROVEN", "The final charge carries no execution record.")
    record = parse(ExecutionRecord, body.proof.record, MAX_RECORD_BYTES, "CHARGE_UNPROVEN")
    executor = executors.get(record.executor)
    if executor is not None:
        verify_proof(body.proof, executor, roots)
    _compare(terms, body, origin, record)
    return PROVEN if executor is not None else ABSENT


def _compare(terms: Terms, body: pb.Charge, origin: bytes | None, record: ExecutionRecord) -> None:
    named = (record.nonce, record.offer_digest, record.input_digest, record.state)
    if named != (terms.nonce, terms.offer_digest, terms.input_digest, body.state):
        raise IntertieError("RECORD_MISMATCH", "The execution record is about another order.")
    if origin is not None and record.executor != origin:
        raise IntertieError("RECORD_MISMATCH", "The execution record is not the origin's.")
    usage = {line.unit: line.quantity for line in record.usage}
    if [usage.get(unit, 0) for unit in terms.units] != list(body.quantities):
        raise IntertieError("RECORD_MISMATCH", "The charged quantities differ from the execution record's.")
