"""Whether the execution record of a final charge holds (design §9, execution records). Pure.

The payer and the verifier of exported links judge by the same two functions, `owes_record` and `check_record`;
they differ only in whose descriptors are at hand.
"""

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
MAX_PROOF_BYTES = 16 * 1024
"""Largest record with its proof: a relay's own claim, which carries it on, must fit an entry too."""
ONCE = ("order", "order.canceled", "order.failed")
"""Units of which an order has at most one: relays put their fee on the first."""
_TERMINAL = frozenset({TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_CANCELED})


def owes_record(body: pb.Charge, before: int) -> bool:
    """Whether a final charge owes a record, and has one of a sound size; False where it neither owes nor has one.

    None is owed for work that was not completed and claims nothing beyond `before`, what the order was charged
    already, minor units. Raises: IntertieError CHARGE_UNPROVEN.
    """
    if body.state not in _TERMINAL:
        raise IntertieError("CHARGE_UNPROVEN", "The final charge names no terminal state.", field="state")
    if not body.HasField("proof"):
        if body.amount == before and body.state != TASK_STATE_COMPLETED:
            return False
        raise IntertieError("CHARGE_UNPROVEN", "The final charge carries no execution record.", field="proof")
    if body.proof.ByteSize() > MAX_PROOF_BYTES:
        message = f"The record and its proof may have {MAX_PROOF_BYTES} bytes."
        raise IntertieError("CHARGE_UNPROVEN", message, field="proof")
    return True


def check_record(terms: Terms, body: pb.Charge, record: ExecutionRecord) -> None:
    """Compare a proven record with its order and with the charge that carries it. Raises: RECORD_MISMATCH."""
    named = (record.nonce, record.offer_digest, record.input_digest, record.state)
    if named != (terms.nonce, terms.offer_digest, terms.input_digest, body.state):
        raise IntertieError("RECORD_MISMATCH", "The execution record is about another order.")
    usage = {line.unit: line.quantity for line in record.usage}
    if [usage.get(unit, 0) for unit in terms.units] != body.quantities[:]:
        message = "The charged quantities differ from the execution record's."
        raise IntertieError("RECORD_MISMATCH", message, field="quantities")
    if max([usage.get(unit, 0) for unit in ONCE]) > 1:
        raise IntertieError("RECORD_MISMATCH", "The execution record counts one order more than once.", field="usage")


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
    if not owes_record(body, before):
        return WITHOUT
    record = parse(ExecutionRecord, body.proof.record, MAX_RECORD_BYTES, "CHARGE_UNPROVEN")
    executor = executors.get(record.executor)
    if executor is not None:
        verify_proof(body.proof, executor, roots)
    check_record(terms, body, record)
    if origin is not None and record.executor != origin:
        raise IntertieError("RECORD_MISMATCH", "The execution record is not the origin's.", field="executor")
    return PROVEN if executor is not None else ABSENT
