"""The payer and the offline verifier judge final charges alike (design §9, execution records)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.node.core.two_grids import DIGEST, LONGEST, SOUTH, START, WINDOW

from intertie.errors import IntertieError
from intertie.records import RootCache, prove
from intertie.v1 import entry_pb2 as pb
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_WORKING
from intertie_node.core.buying import check_claim
from intertie_node.core.holds import Hold, open_hold
from intertie_node.core.proofs import PROVEN, WITHOUT, check_proof
from intertie_node.core.world import World


def hold_of(unit: str) -> Hold:
    order = pb.Order(id="x" * 36, offer_digest=DIGEST, max_charge=9, grant=9, deadline=START + 1, nonce=bytes(16))
    order.input.digest = DIGEST
    order.prices.add(unit=unit, num=1, den=1)
    hold = open_hold(0, 1, START, order, WINDOW, LONGEST)
    assert isinstance(hold, Hold)
    return hold


def charge_of(unit: str, quantity: int, **changes: Any) -> pb.Charge:
    """A final charge of so much of one unit, with South's record."""
    record = ExecutionRecord(
        executor=SOUTH.fingerprint,
        nonce=bytes(16),
        offer_digest=DIGEST,
        input_digest=DIGEST,
        state=TASK_STATE_COMPLETED,
        usage=[{"unit": unit, "quantity": quantity}],
    )
    proof = prove([record.SerializeToString()], SOUTH.fingerprint, START, SOUTH.key)[0]
    fields = {"state": TASK_STATE_COMPLETED, "proof": proof, "quantities": [quantity], "amount": quantity}
    return pb.Charge(order_seq=1, final=True, **{**fields, **changes})  # type: ignore[arg-type]


def oversized() -> pb.Charge:
    charge = charge_of("order", 1)
    charge.proof.path.extend([bytes(32)] * 600)
    return charge


CHARGES = {
    "sound": (charge_of("order", 1), ""),
    "two tokens": (charge_of("llm.output.token", 2), ""),
    "two orders": (charge_of("order", 2), "RECORD_MISMATCH"),
    "two failures": (charge_of("order.failed", 2), "RECORD_MISMATCH"),
    "two cancellations": (charge_of("order.canceled", 2), "RECORD_MISMATCH"),
    "another quantity": (charge_of("order", 1, quantities=[0]), "RECORD_MISMATCH"),
    "oversized": (oversized(), "CHARGE_UNPROVEN"),
    "no record": (charge_of("order", 1, proof=None), "CHARGE_UNPROVEN"),
    "not ended": (charge_of("order", 1, state=TASK_STATE_WORKING), "CHARGE_UNPROVEN"),
    "nothing done": (charge_of("order", 0, proof=None, state=TASK_STATE_CANCELED), ""),
}


def reason_of(judge: Any) -> tuple[str, object]:
    try:
        return "", judge()
    except IntertieError as error:
        return error.reason, None


@pytest.mark.parametrize("name", CHARGES)
def test_payer_and_verifier_judge_a_final_charge_alike(name: str) -> None:
    charge, wanted = CHARGES[name]
    unit = {"two failures": "order.failed", "two cancellations": "order.canceled", "two tokens": "llm.output.token"}
    hold = hold_of(unit.get(name, "order"))
    executors = {SOUTH.fingerprint: SOUTH.descriptor}
    offers = {DIGEST: SimpleNamespace(origin=SOUTH.fingerprint)}
    world = SimpleNamespace(catalog=SimpleNamespace(offers=offers), executors=executors, roots=RootCache())
    paid, record = reason_of(lambda: check_claim(cast(World, world), hold, charge, 0))
    found, outcome = reason_of(lambda: check_proof(hold.terms, charge, 0, SOUTH.fingerprint, executors, RootCache()))
    assert (paid, found) == (wanted, wanted)
    if not wanted:
        assert outcome == (PROVEN if record else WITHOUT)


def test_a_verifier_without_the_executor_s_descriptor_sees_what_does_not_need_it() -> None:
    hold = hold_of("order")
    for name in ("two orders", "oversized"):
        charge, wanted = CHARGES[name]
        assert reason_of(lambda charge=charge: check_proof(hold.terms, charge, 0, None, {}, RootCache()))[0] == wanted
