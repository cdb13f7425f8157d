"""Energy of an invocation from what its offer states per atom (RFC 0010, section 3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from intertie.v1.metering_pb2 import (
    ENERGY_METHOD_ATTRIBUTED,
    ENERGY_METHOD_ESTIMATED,
    ENERGY_METHOD_MEASURED,
    ENERGY_METHOD_UNKNOWN,
    ENERGY_METHOD_UNSPECIFIED,
    Energy,
    EnergyIntensity,
)
from intertie_conformance.wire.amounts import INT64_MAX

UNKNOWN: Final = (ENERGY_METHOD_UNSPECIFIED, ENERGY_METHOD_UNKNOWN)
STRENGTH: Final = (ENERGY_METHOD_MEASURED, ENERGY_METHOD_ATTRIBUTED, ENERGY_METHOD_ESTIMATED)
OUTCOMES: Final = ("order", "order.failed", "order.canceled")


def energy_of(intensities: Iterable[EnergyIntensity], usage: Mapping[str, int]) -> Energy:
    """The energy of `usage` (unit → atoms), of method UNKNOWN where it does not follow."""
    stated = {item.unit: item.per_atom for item in intensities}
    used = {unit: usage[unit] for unit in sorted(usage) if usage[unit] and unit in stated}
    missing = [unit for unit, quantity in usage.items() if quantity and unit not in stated and unit not in OUTCOMES]
    if not used or missing or any(stated[unit].method in UNKNOWN for unit in used):
        return Energy(method=ENERGY_METHOD_UNKNOWN)
    sums = [sum(getattr(stated[u], part) * q for u, q in used.items()) for part in ("millijoules", "lower", "upper")]
    if sums[2] > INT64_MAX:
        return Energy(method=ENERGY_METHOD_UNKNOWN)
    method = max((stated[unit].method for unit in used), key=STRENGTH.index)
    boundary = "; ".join(dict.fromkeys(stated[unit].boundary for unit in used))[:256]
    return Energy(method=method, millijoules=sums[0], lower=sums[1], upper=sums[2], boundary=boundary)
