"""Execution records proven by a signed Merkle root, and proofs that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intertie import digests, envelope, records
from intertie.v1.metering_pb2 import (
    ENERGY_METHOD_ESTIMATED,
    ENERGY_METHOD_MEASURED,
    ENERGY_METHOD_UNKNOWN,
    Energy,
    EnergyIntensity,
    EnergyMethod,
    UsageLine,
)
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof, RecordRoot
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_WORKING
from vector_cases.common import DAY, NOW, Case, grid, hostile, key, seed, valid

SIZE = 5


def cases() -> list[Case]:
    """Return every case of the area."""
    made = [
        valid(
            f"proof-{index}",
            f"Record {index} of {SIZE}.",
            "verify_proof",
            _given(proof),
            {"record": proof.record.hex()},
        )
        for index, proof in enumerate(_proofs())
    ]
    return [*made, *_bad_proofs(), *_bad_roots(), *_bad_records(), *_energies()]


def _energies() -> list[Case]:
    """Energy of usage from intensities per atom; figures are absent where nothing is known."""
    steps = _intensity("sim.step", ENERGY_METHOD_MEASURED, (12, 10, 15), "server-wall-plug")
    query = _intensity("rag.query", ENERGY_METHOD_ESTIMATED, (5, 2, 9), "process-cpu")
    huge = _intensity("sim.step", ENERGY_METHOD_MEASURED, (2**62, 2**62, 2**62), "process-cpu")
    sum_of_both = Energy(
        method=ENERGY_METHOD_ESTIMATED, millijoules=41, lower=32, upper=54, boundary="process-cpu; server-wall-plug"
    )
    alone = Energy(method=ENERGY_METHOD_MEASURED, millijoules=36, lower=30, upper=45, boundary="server-wall-plug")
    unknown = Energy(method=ENERGY_METHOD_UNKNOWN)
    rows: list[tuple[str, str, list[EnergyIntensity], dict[str, int], Energy]] = [
        (
            "sum",
            "The weakest method names the sum.",
            [steps, query],
            {"order": 1, "rag.query": 1, "sim.step": 3},
            sum_of_both,
        ),
        ("outcome", "An outcome unit needs no intensity.", [steps], {"order": 1, "sim.step": 3}, alone),
        ("unused", "An intensity of a unit that was not used.", [steps, query], {"rag.query": 0, "sim.step": 3}, alone),
        ("none", "The offer states none: unknown, not zero.", [], {"order": 1, "sim.step": 3}, unknown),
        ("missing", "A used unit has none: unknown.", [steps], {"rag.query": 1, "sim.step": 3}, unknown),
        ("nothing", "Only an outcome unit was used: unknown.", [steps], {"order": 1}, unknown),
        ("overflow", "The sum exceeds 2^63-1: unknown, not wrapped.", [huge], {"sim.step": 2}, unknown),
    ]
    return [
        valid(
            f"energy-{name}",
            text,
            "energy",
            {
                "intensities": [each.SerializeToString(deterministic=True).hex() for each in intensities],
                "usage": {unit: str(quantity) for unit, quantity in usage.items()},
            },
            {"energy": energy.SerializeToString(deterministic=True).hex()},
        )
        for name, text, intensities, usage, energy in rows
    ]


def _intensity(
    unit: str, method: EnergyMethod.ValueType, figures: tuple[int, int, int], boundary: str
) -> EnergyIntensity:
    millijoules, lower, upper = figures
    per_atom = Energy(method=method, millijoules=millijoules, lower=lower, upper=upper, boundary=boundary)
    return EnergyIntensity(unit=unit, per_atom=per_atom)


def _record(number: int = 0) -> ExecutionRecord:
    nonce = seed(f"order {number}")[:16]
    return ExecutionRecord(
        executor=grid("north")[1].fingerprint,
        nonce=nonce,
        offer_digest=digests.multihash(b"offer"),
        input_digest=digests.salted(nonce, b"input"),
        output_digest=digests.salted(nonce, b"output"),
        state=TASK_STATE_COMPLETED,
        usage=[UsageLine(unit="order", quantity=1), UsageLine(unit="text.output.byte", quantity=6)],
        energy=Energy(method=ENERGY_METHOD_MEASURED, millijoules=12, lower=10, upper=15, boundary="process-cpu"),
        place="DE",
        started_at=NOW,
        ended_at=NOW + 25,
    )


def _bytes(record: ExecutionRecord) -> bytes:
    return record.SerializeToString(deterministic=True)


def _prove(batch: list[bytes], signed_at: int = NOW + 30, signer: str = "north signing") -> list[RecordProof]:
    return records.prove(batch, grid("north")[1].fingerprint, signed_at, key(signer))


def _proofs() -> list[RecordProof]:
    return _prove([_bytes(_record(number)) for number in range(SIZE)])


def _given(proof: RecordProof) -> Case:
    return {"proof": proof.SerializeToString(deterministic=True).hex(), "executor": [grid("north")[0].hex()]}


def _bad_proofs() -> list[Case]:
    def changed(change: Callable[[RecordProof], Any]) -> RecordProof:
        proof = _proofs()[2]
        change(proof)
        return proof

    more = _record(2)
    more.usage[1].quantity = 600
    forged = "Usage is charged that the executor never stated."
    again = "One record is charged twice."
    rows: list[tuple[str, str, RecordProof, str]] = [
        ("usage", "A higher quantity.", changed(lambda p: setattr(p, "record", _bytes(more))), forged),
        ("index", "Another index.", changed(lambda p: setattr(p, "index", 3)), again),
        ("path", "A node is missing.", changed(lambda p: p.path.pop()), forged),
        ("no-root", "No root.", changed(lambda p: p.ClearField("root")), forged),
        (
            "other-root",
            "The root of another batch.",
            changed(lambda p: setattr(p, "root", _prove([b"x"])[0].root)),
            forged,
        ),
        (
            "reencoded",
            "The same fields in other bytes.",
            changed(lambda p: setattr(p, "record", p.record + b"\x4a\x02DE")),
            "One record has two digests.",
        ),
    ]
    return [
        hostile(name, text, "verify_proof", _given(proof), "CHARGE_UNPROVEN", attack)
        for name, text, proof, attack in rows
    ]


def _bad_roots() -> list[Case]:
    forged = "Usage is charged that the executor never stated."
    batch = [_bytes(_record())]

    def resealed(change: Callable[[RecordRoot], Any]) -> RecordProof:
        proof = _prove(batch)[0]
        root = RecordRoot.FromString(envelope.peek_unverified(proof.root)[1])
        change(root)
        proof.root = envelope.seal(
            envelope.RECORD_ROOT, root.SerializeToString(deterministic=True), [key("north signing")]
        )
        return proof

    rows: list[tuple[str, str, RecordProof, str]] = [
        ("signer", "Signed by another grid.", _prove(batch, signer="south signing")[0], forged),
        ("root-key", "Signed by the root key.", _prove(batch, signer="north root")[0], forged),
        (
            "early",
            "Signed before the key's validity.",
            _prove(batch, NOW - 1)[0],
            "A future key rewrites the past.",
        ),
        (
            "late",
            "Signed after the key's validity.",
            _prove(batch, NOW + 366 * DAY)[0],
            "A stolen old key still signs.",
        ),
        ("size", "A size of zero.", resealed(lambda r: setattr(r, "size", 0)), forged),
        ("short", "A root of 31 bytes.", resealed(lambda r: setattr(r, "root", r.root[:31])), forged),
        (
            "executor",
            "A root that names another grid.",
            resealed(lambda r: setattr(r, "executor", digests.multihash(b""))),
            forged,
        ),
    ]
    return [
        hostile(f"root-{name}", text, "verify_proof", _given(proof), "CHARGE_UNPROVEN", attack)
        for name, text, proof, attack in rows
    ]


def _bad_records() -> list[Case]:
    two = "Two sides read one record differently."
    rows: list[tuple[str, str, Callable[[ExecutionRecord], Any], str]] = [
        (
            "executor",
            "Another executor.",
            lambda r: setattr(r, "executor", digests.multihash(b"")),
            "Work of one grid is shown as another's.",
        ),
        ("nonce", "No nonce.", lambda r: r.ClearField("nonce"), "One record serves many orders."),
        ("state", "A state that is not terminal.", lambda r: setattr(r, "state", TASK_STATE_WORKING), two),
        ("unsorted", "Units out of order.", lambda r: r.usage.reverse(), two),
        ("repeated", "A unit twice.", lambda r: r.usage.insert(0, UsageLine(unit="order", quantity=9)), two),
        ("negative", "A negative quantity.", lambda r: setattr(r.usage[0], "quantity", -1), two),
        (
            "digest",
            "A cut digest.",
            lambda r: setattr(r, "input_digest", r.input_digest[:20]),
            "Another input fits the record.",
        ),
        ("backwards", "It ended before it started.", lambda r: setattr(r, "ended_at", NOW - 1), two),
        (
            "energy",
            "Bounds in the wrong order.",
            lambda r: setattr(r.energy, "lower", 13),
            "Energy claims mean nothing.",
        ),
        (
            "energy-method",
            "The same under a method that no reader knows.",
            lambda r: r.energy.MergeFrom(Energy(method=99, lower=13)),  # type: ignore[arg-type]
            "Energy claims mean nothing.",
        ),
        (
            "place",
            "A place that is none.",
            lambda r: setattr(r, "place", "elsewhere"),
            "Place policy is evaded.",
        ),
    ]
    made = []
    for name, text, change, attack in rows:
        change(record := _record())
        proof = _prove([_bytes(record)])[0]
        made.append(hostile(f"record-{name}", text, "verify_proof", _given(proof), "CHARGE_UNPROVEN", attack))
    garbage = _prove([b"\xff\xff"])[0]
    text = "Bytes that are no record."
    return [*made, hostile("record-garbage", text, "verify_proof", _given(garbage), "CHARGE_UNPROVEN", two)]
