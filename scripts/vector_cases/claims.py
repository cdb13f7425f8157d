"""Final charges as their payer checks them against the order and the executor's record. `order` and `charge` are
serialized entries, `before` is what the order was charged already; `record` is empty where none is owed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intertie import digests, records
from intertie.v1 import entry_pb2 as pb
from intertie.v1.metering_pb2 import ENERGY_METHOD_UNKNOWN, Energy, PriceLine, UsageLine
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof
from intertie.v1.task_pb2 import (
    TASK_STATE_CANCELED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_REJECTED,
)
from vector_cases.common import NOW, Case, grid, hostile, key, seed, valid

NONCE = seed("order nonce")[:16]
LINES = (("llm.output.token", 1, 10), ("order", 10, 1), ("order.failed", 2, 1))
Change = Callable[[Any], Any]


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_good(), *_bad_charges(), *_bad_records()]


def _order() -> pb.Entry:
    order = pb.Order(
        id="0199c82c-c000-706a-9898-8db931826751",
        offer_digest=digests.multihash(b"offer"),
        tariff_seq=1,
        prices=[PriceLine(unit=unit, num=num, den=den) for unit, num, den in LINES],
        max_charge=1000,
        grant=1000,
        deadline=NOW + 60_000,
        hop_limit=8,
        nonce=NONCE,
    )
    order.input.media_type, order.input.size = "application/json", 5
    order.input.digest = digests.salted(NONCE, b"input")
    return pb.Entry(kind=pb.ENTRY_KIND_ORDER, seen=1, at=NOW, order=order)


def _record() -> ExecutionRecord:
    return ExecutionRecord(
        executor=grid("north")[1].fingerprint,
        nonce=NONCE,
        offer_digest=digests.multihash(b"offer"),
        input_digest=digests.salted(NONCE, b"input"),
        output_digest=digests.salted(NONCE, b"output"),
        state=TASK_STATE_COMPLETED,
        usage=[UsageLine(unit="llm.output.token", quantity=8000), UsageLine(unit="order", quantity=1)],
        energy=Energy(method=ENERGY_METHOD_UNKNOWN),
        started_at=NOW + 5,
        ended_at=NOW + 25,
    )


def _proof(record: ExecutionRecord, signer: str = "north signing") -> RecordProof:
    data = record.SerializeToString(deterministic=True)
    return records.prove([data], grid("north")[1].fingerprint, NOW + 30, key(signer))[0]


def _charge(proof: RecordProof | None, **changes: Any) -> pb.Entry:
    fields = {"order_seq": 2, "quantities": [8000, 1, 0], "amount": 810, "final": True, "state": TASK_STATE_COMPLETED}
    body = pb.Charge(**{**fields, **changes}, proof=proof)
    return pb.Entry(kind=pb.ENTRY_KIND_CHARGE, seen=2, at=NOW + 30, charge=body)


def _given(charge: pb.Entry, before: int = 0) -> Case:
    return {
        "order": _order().SerializeToString(deterministic=True).hex(),
        "charge": charge.SerializeToString(deterministic=True).hex(),
        "before": str(before),
        "executor": [grid("north")[0].hex()],
    }


def _ended(state: int, usage: list[UsageLine]) -> RecordProof:
    record = _record()
    record.state = state  # type: ignore[assignment]
    del record.usage[:]
    record.usage.extend(usage)
    return _proof(record)


def _good() -> list[Case]:
    failed = _ended(TASK_STATE_FAILED, [UsageLine(unit="order.failed", quantity=1)])
    unpriced = _record()
    unpriced.usage.append(UsageLine(unit="text.output.byte", quantity=31))
    rows: tuple[tuple[str, str, pb.Entry, int], ...] = (
        ("completed", "Tokens and one order.", _charge(_proof(_record())), 0),
        ("after-partial", "Part of it was charged before.", _charge(_proof(_record())), 500),
        (
            "failed",
            "Failed, with the price of a failure.",
            _charge(failed, quantities=[0, 0, 1], amount=2, state=TASK_STATE_FAILED),
            0,
        ),
        (
            "no-record",
            "Failed without a claim: no record is owed.",
            _charge(None, quantities=[0, 0, 0], amount=0, state=TASK_STATE_FAILED),
            0,
        ),
        (
            "no-record-canceled",
            "Canceled with nothing beyond what was charged before: no record is owed.",
            _charge(None, quantities=[100, 0, 0], amount=10, state=TASK_STATE_CANCELED),
            10,
        ),
        ("unpriced", "A unit that the order does not price is not charged.", _charge(_proof(unpriced)), 0),
    )
    return [
        valid(name, text, "final_charge", _given(charge, before), {"record": charge.charge.proof.record.hex()})
        for name, text, charge, before in rows
    ]


def _bad_charges() -> list[Case]:
    free = "Work that nobody vouches for is charged."
    rows: tuple[tuple[str, str, pb.Entry, int, str, str], ...] = (
        (
            "state",
            "It names no terminal state of work.",
            _charge(_proof(_record()), state=TASK_STATE_REJECTED),
            0,
            "CHARGE_UNPROVEN",
            "A rejected order is charged.",
        ),
        ("no-proof", "Completed without a record.", _charge(None), 0, "CHARGE_UNPROVEN", free),
        (
            "completed-for-nothing",
            "Completed without a record, at no charge.",
            _charge(None, quantities=[0, 0, 0], amount=0),
            0,
            "CHARGE_UNPROVEN",
            "A relay says that work was done which nobody has done.",
        ),
        (
            "failed-for-more",
            "Failed, without a record, for more than was charged before.",
            _charge(None, quantities=[100, 0, 0], amount=10, state=TASK_STATE_FAILED),
            9,
            "CHARGE_UNPROVEN",
            free,
        ),
        (
            "signer",
            "The root is signed by another grid.",
            _charge(_proof(_record(), "south signing")),
            0,
            "CHARGE_UNPROVEN",
            "A relay invents the work of the origin.",
        ),
        (
            "quantities",
            "A higher quantity than the record's.",
            _charge(_proof(_record()), quantities=[9000, 1, 0], amount=910),
            0,
            "RECORD_MISMATCH",
            "A relay charges more than the executor counted.",
        ),
        (
            "lower",
            "A lower quantity than the record's.",
            _charge(_proof(_record()), quantities=[7000, 1, 0], amount=710),
            0,
            "RECORD_MISMATCH",
            "The record proves another charge than the one agreed to.",
        ),
        (
            "other-state",
            "The record says another state.",
            _charge(_proof(_record()), state=TASK_STATE_FAILED),
            0,
            "RECORD_MISMATCH",
            "Completed work is kept and reported as failed, or the other way round.",
        ),
    )
    return [
        hostile(name, text, "final_charge", _given(charge, before), error, attack)
        for name, text, charge, before, error, attack in rows
    ]


def _bad_records() -> list[Case]:
    reused = "One record is charged for two orders."
    rows: tuple[tuple[str, str, Change, list[int], int, str], ...] = (
        (
            "nonce",
            "The record of another order.",
            lambda r: setattr(r, "nonce", seed("other")[:16]),
            [8000, 1, 0],
            810,
            reused,
        ),
        (
            "offer",
            "The record of another offer.",
            lambda r: setattr(r, "offer_digest", digests.multihash(b"other")),
            [8000, 1, 0],
            810,
            "Cheap work is charged as another.",
        ),
        (
            "input",
            "The record of another input.",
            lambda r: setattr(r, "input_digest", digests.salted(NONCE, b"other")),
            [8000, 1, 0],
            810,
            "Work on another input is charged.",
        ),
        (
            "orders",
            "An order counted twice.",
            lambda r: setattr(r.usage[1], "quantity", 2),
            [8000, 2, 0],
            820,
            "A fee for each order is charged more than once.",
        ),
    )
    made = []
    for name, text, change, quantities, amount, attack in rows:
        change(record := _record())
        charge = _charge(_proof(record), quantities=quantities, amount=amount)
        made.append(hostile(f"record-{name}", text, "final_charge", _given(charge), "RECORD_MISMATCH", attack))
    return made
