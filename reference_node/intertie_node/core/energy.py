"""Energy of one invocation from what its offer states per atom (design §9). Unknown is legal, a made-up zero is not."""

from collections.abc import Iterable, Mapping
from typing import Final

from intertie.registry import UNITS
from intertie.v1.metering_pb2 import (
    ENERGY_METHOD_ATTRIBUTED,
    ENERGY_METHOD_ESTIMATED,
    ENERGY_METHOD_MEASURED,
    ENERGY_METHOD_UNKNOWN,
    Energy,
    EnergyIntensity,
)

WEAKEST_FIRST: Final = (ENERGY_METHOD_ESTIMATED, ENERGY_METHOD_ATTRIBUTED, ENERGY_METHOD_MEASURED)
"""A sum is known no better than the least known of its parts."""
MAX_BOUNDARY: Final = 256
INT64_MAX: Final = 2**63 - 1


def energy_of(intensities: Iterable[EnergyIntensity], usage: Mapping[str, int]) -> Energy:
    """Return the energy of `usage` (unit → atoms), or one of method UNKNOWN.

    It is known if every unit that was used has an intensity; a unit of kind "outcome" counts an end, not
    work, and needs none. Where nothing that was used has one, and where a figure exceeds int64, it is unknown.
    """
    stated = {each.unit: each.per_atom for each in intensities}
    if not stated:
        return Energy(method=ENERGY_METHOD_UNKNOWN)
    used = {unit: usage[unit] for unit in sorted(usage) if usage[unit]}
    parts = [(stated[unit], quantity) for unit, quantity in used.items() if unit in stated]
    if not parts or any(unit not in stated and not _is_outcome(unit) for unit in used):
        return Energy(method=ENERGY_METHOD_UNKNOWN)
    methods = {per.method for per, _ in parts}
    method = next((each for each in WEAKEST_FIRST if each in methods), ENERGY_METHOD_UNKNOWN)
    upper = sum(per.upper * quantity for per, quantity in parts)
    if upper > INT64_MAX or not methods <= set(WEAKEST_FIRST):
        return Energy(method=ENERGY_METHOD_UNKNOWN)
    return Energy(
        method=method,
        millijoules=sum(per.millijoules * quantity for per, quantity in parts),
        lower=sum(per.lower * quantity for per, quantity in parts),
        upper=upper,
        boundary="; ".join(dict.fromkeys(per.boundary for per, _ in parts))[:MAX_BOUNDARY],
    )


def _is_outcome(unit: str) -> bool:
    return unit in UNITS and UNITS[unit].kind == "outcome"
