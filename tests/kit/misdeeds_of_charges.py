"""What a hostile peer may do with charges, with the name by which a node answers; see `tests.kit.misdeeds`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.kit.misdeeds import INT64_MAX, STRANGER, Misdeed
from tests.kit.rogue import K, Rogue

from intertie.v1 import entry_pb2 as pb
from intertie.v1.task_pb2 import TASK_STATE_FAILED, TASK_STATE_WORKING


def _charged(usage: Mapping[str, int], final: bool = True, **changes: Any) -> Callable[[Rogue, int], int]:
    return lambda rogue, seq: _charge(rogue, rogue.claim(seq, usage, final, **changes))


def _charge(rogue: Rogue, body: pb.Charge) -> int:
    seq = rogue.write(K.ENTRY_KIND_CHARGE, charge=body)
    rogue.say()
    return seq


def _proven(usage: Mapping[str, int], **changes: Any) -> Callable[[Rogue, int], int]:
    """A charge for `usage` with a record that says otherwise."""
    return lambda rogue, seq: _charge(rogue, rogue.claim(seq, usage, proof=rogue.proof(seq, usage, **changes)))


def _of_another_order(rogue: Rogue, seq: int) -> int:
    proof = rogue.proof(seq, {"order": 1}, nonce=bytes(16))
    return _charge(rogue, rogue.claim(seq, {"order": 1}, proof=proof))


def _bent_proof(rogue: Rogue, seq: int) -> int:
    proof = rogue.proof(seq, {"order": 1})
    proof.index = 1
    return _charge(rogue, rogue.claim(seq, {"order": 1}, proof=proof))


def _garbage_record(rogue: Rogue, seq: int) -> int:
    proof = rogue.proof(seq, {"order": 1})
    proof.record = b"\xff\xff\xff"
    return _charge(rogue, rogue.claim(seq, {"order": 1}, proof=proof))


def _garbage_root(rogue: Rogue, seq: int) -> int:
    proof = rogue.proof(seq, {"order": 1})
    proof.root = b"\xff\xff\xff"
    return _charge(rogue, rogue.claim(seq, {"order": 1}, proof=proof))


def _missing_quantity(rogue: Rogue, seq: int) -> int:
    body = rogue.claim(seq, {"order": 1})
    del body.quantities[:]
    return _charge(rogue, body)


def _falling_charge(rogue: Rogue, seq: int) -> int:
    _charge(rogue, rogue.claim(seq, {"llm.output.token": 100}, final=False))
    return _charge(rogue, rogue.claim(seq, {"llm.output.token": 50}, final=False))


def _many(rogue: Rogue, seq: int) -> int:
    usage = {"order": 1, "llm.output.token": 5}
    return _charge(rogue, rogue.claim(seq, usage, proof=rogue.proof(seq, {**usage, "llm.output.token": 4})))


VOID_CHARGES: Mapping[str, Misdeed] = {
    "beyond the grant": Misdeed(_charged({"order": 1, "llm.output.token": 10_000}), "CHARGE_BEYOND_GRANT"),
    "amount below zero": Misdeed(_charged({"order": 1}, amount=-10), "CHARGE_BEYOND_GRANT"),
    "arithmetic wrong": Misdeed(_charged({"order": 1}, amount=11), "CHARGE_ARITHMETIC"),
    "quantity below zero": Misdeed(_charged({"order": 1}, quantities=[-1, 1], amount=9), "CHARGE_ARITHMETIC"),
    "quantity too large": Misdeed(_charged({"order": 1}, quantities=[INT64_MAX] * 2), "CHARGE_ARITHMETIC"),
    "quantities missing": Misdeed(_missing_quantity, "CHARGE_ARITHMETIC"),
    "falling": Misdeed(_falling_charge, "CHARGE_DECREASED"),
}
"""Claims that are void: the order stays open."""

UNPROVEN_CHARGES: Mapping[str, Misdeed] = {
    "no record": Misdeed(lambda r, s: _charge(r, _without(r.claim(s, {"order": 1}), "proof")), "CHARGE_UNPROVEN"),
    "no state": Misdeed(_charged({"order": 1}, state=0), "CHARGE_UNPROVEN"),
    "state that is no end": Misdeed(_charged({"order": 1}, state=TASK_STATE_WORKING), "CHARGE_UNPROVEN"),
    "record signed by a stranger": Misdeed(_proven({"order": 1}, key=STRANGER), "CHARGE_UNPROVEN"),
    "record of an unknown executor": Misdeed(
        _proven({"order": 1}, executor=b"\x12\x20" + bytes(32)), "CHARGE_UNPROVEN"
    ),
    "record is garbage": Misdeed(_garbage_record, "CHARGE_UNPROVEN"),
    "root is garbage": Misdeed(_garbage_root, "CHARGE_UNPROVEN"),
    "record not in the tree": Misdeed(_bent_proof, "CHARGE_UNPROVEN"),
    "record with a short nonce": Misdeed(_proven({"order": 1}, nonce=b"x"), "CHARGE_UNPROVEN"),
    "record of another order": Misdeed(_of_another_order, "RECORD_MISMATCH"),
    "record of another offer": Misdeed(_proven({"order": 1}, offer_digest=b"\x12\x20" + bytes(32)), "RECORD_MISMATCH"),
    "record of another input": Misdeed(_proven({"order": 1}, input_digest=b"\x12\x20" + bytes(32)), "RECORD_MISMATCH"),
    "record of another state": Misdeed(_proven({"order": 1}, state=TASK_STATE_FAILED), "RECORD_MISMATCH"),
    "quantities differ": Misdeed(_many, "RECORD_MISMATCH"),
    "one order counted twice": Misdeed(_charged({"order": 2}), "RECORD_MISMATCH"),
}
"""Final claims whose proof does not hold: refused before they are acknowledged, never agreed, never charged."""


def _without(body: pb.Charge, field: str) -> pb.Charge:
    body.ClearField(field)
    return body


def _after_final(kind: int, **body: Any) -> Callable[[Rogue, int], int]:
    def act(rogue: Rogue, seq: int) -> int:
        _charge(rogue, rogue.claim(seq, {"order": 1}))
        for value in body.values():
            value.order_seq = seq
        made = rogue.write(kind, **body)
        rogue.say()
        return made

    return act


def _charge_twice(rogue: Rogue, seq: int) -> int:
    body = rogue.claim(seq, {"order": 1})
    _charge(rogue, body)
    return _charge(rogue, body)


AFTER_END: Mapping[str, Misdeed] = {
    "charged twice": Misdeed(_charge_twice, "CHARGE_AFTER_END"),
    "credit beyond the charge": Misdeed(
        _after_final(K.ENTRY_KIND_CREDIT, credit=pb.Credit(amount=11)), "CREDIT_INVALID"
    ),
    "credit of nothing": Misdeed(_after_final(K.ENTRY_KIND_CREDIT, credit=pb.Credit(amount=0)), "CREDIT_INVALID"),
    "credit below zero": Misdeed(_after_final(K.ENTRY_KIND_CREDIT, credit=pb.Credit(amount=-5)), "CREDIT_INVALID"),
    "reject after the end": Misdeed(_after_final(K.ENTRY_KIND_REJECT, reject=pb.Reject()), "ORDER_ENDED"),
}
"""After a sound final charge of 10: void, and the charge stands."""
