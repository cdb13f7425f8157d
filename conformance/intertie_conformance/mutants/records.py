"""Executors that break RFC 0010, sections 3.4 to 3.7: energy and records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from intertie.v1.metering_pb2 import (
    ENERGY_METHOD_ESTIMATED,
    ENERGY_METHOD_MEASURED,
    ENERGY_METHOD_UNSPECIFIED,
    Energy,
    EnergyIntensity,
)
from intertie.v1.record_pb2 import RecordProof
from intertie.v1.task_pb2 import TASK_STATE_FAILED, TaskState
from intertie_conformance.grid.identity import DAY_MS, Identity
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import records
from intertie_conformance.wire.amounts import Price
from intertie_conformance.wire.digests import multihash


@mutant("IT-MTR-025", also=("IT-MTR-060",))
class OtherRecord(Rules):
    """States more in the record than it charges."""

    def record_lines(self, usage: Mapping[str, int], prices: list[Price]) -> list[tuple[str, int]]:
        return [(unit, quantity + (unit == "mcp.call")) for unit, quantity in super().record_lines(usage, prices)]


@mutant("IT-MTR-040")
class UnsaltedOutput(Rules):
    """Digests an output that nobody salted."""

    def record(self, fields: dict[str, object]) -> dict[str, object]:
        return {**fields, "output_digest": multihash(b"{}")}


@mutant("IT-MTR-040", also=("IT-MTR-060",))
class RecordWithoutNonce(Rules):
    """Puts a nonce of its own into the record."""

    def record(self, fields: dict[str, object]) -> dict[str, object]:
        return {**fields, "nonce": bytes(16)}


@mutant("IT-MTR-040", also=("IT-MTR-060",))
class UnsortedUsage(Rules):
    """Lists usage in the order of the price lines."""

    def record_lines(self, usage: Mapping[str, int], prices: list[Price]) -> list[tuple[str, int]]:
        return list(reversed(super().record_lines(usage, prices)))


@mutant("IT-MTR-041")
class PricedRecord(Rules):
    """Adds the price to its records, in a field that nobody knows."""

    def prove(self, record: bytes, me: Identity, now: int) -> RecordProof:
        return super().prove(record + b"\xa0\x06\x0a", me, now)


@mutant("IT-MTR-042", also=("IT-MTR-060",))
class OtherPlace(Rules):
    """Names a place in its records that the offer does not state."""

    def record(self, fields: dict[str, object]) -> dict[str, object]:
        return {**fields, "place": "ZZ"}


@mutant("IT-MTR-050", also=("IT-MTR-060",))
class RootKeySigns(Rules):
    """Signs record roots with the root key."""

    def prove(self, record: bytes, me: Identity, now: int) -> RecordProof:
        return records.prove([record], me.fingerprint, now, me.root)[0]


@mutant("IT-MTR-050", also=("IT-MTR-060",))
class Backdates(Rules):
    """Signs record roots at a time when its key was not valid."""

    def prove(self, record: bytes, me: Identity, now: int) -> RecordProof:
        return super().prove(record, me, now - 30 * DAY_MS)


@mutant("IT-MTR-051", also=("IT-MTR-060",))
class LargeRoot(Rules):
    """Pads the envelope of a root beyond 4,096 bytes."""

    def prove(self, record: bytes, me: Identity, now: int) -> RecordProof:
        made = super().prove(record, me, now)
        made.root += b"\x7a\x88\x27" + bytes(5_000)
        return made


@mutant("IT-MTR-052", also=("IT-MTR-060",))
class PathFromElsewhere(Rules):
    """Gives a record the path of its neighbour."""

    def prove(self, record: bytes, me: Identity, now: int) -> RecordProof:
        mine, other = records.prove([record, b"another"], me.fingerprint, now, me.key)
        return RecordProof(record=mine.record, root=mine.root, index=1, path=other.path)


@mutant(
    "IT-MTR-060",
    also=(
        "IT-MTR-025",
        "IT-MTR-030",
        "IT-MTR-031",
        "IT-MTR-033",
        "IT-MTR-040",
        "IT-MTR-041",
        "IT-MTR-050",
        "IT-MTR-051",
    ),
)
class UnprovenFailure(Rules):
    """Proves only what completed."""

    def proves(self, state: TaskState.ValueType, amount: int, before: int) -> bool:
        return state != TASK_STATE_FAILED


@mutant("IT-MTR-030", also=("IT-MTR-034", "IT-MTR-060"))
class LooseBounds(Rules):
    """States a figure above its upper bound."""

    def energy(self, usage: Mapping[str, int], intensities: Iterable[EnergyIntensity]) -> Energy:
        return Energy(method=ENERGY_METHOD_MEASURED, millijoules=9, lower=1, upper=5, boundary="process-cpu")


@mutant("IT-MTR-031")
class MadeUpZero(Rules):
    """States a measured zero for what it does not know."""

    def energy(self, usage: Mapping[str, int], intensities: Iterable[EnergyIntensity]) -> Energy:
        return Energy(method=ENERGY_METHOD_MEASURED, boundary="process-cpu")


@mutant("IT-MTR-031", also=("IT-MTR-034",))
class NoMethod(Rules):
    """Names no method."""

    def energy(self, usage: Mapping[str, int], intensities: Iterable[EnergyIntensity]) -> Energy:
        return Energy(method=ENERGY_METHOD_UNSPECIFIED)


@mutant("IT-MTR-033")
class NoBoundary(Rules):
    """Does not say what is inside a figure."""

    def energy(self, usage: Mapping[str, int], intensities: Iterable[EnergyIntensity]) -> Energy:
        return Energy(method=ENERGY_METHOD_MEASURED, millijoules=5, lower=1, upper=9)


@mutant("IT-MTR-034")
class InventsEnergy(Rules):
    """Estimates without an intensity to go by."""

    def energy(self, usage: Mapping[str, int], intensities: Iterable[EnergyIntensity]) -> Energy:
        return Energy(method=ENERGY_METHOD_ESTIMATED, millijoules=5, lower=1, upper=9, boundary="guessed")
