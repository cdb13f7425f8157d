"""RFC 0010, section 3.4: what a record says of energy."""

from __future__ import annotations

from intertie.v1.metering_pb2 import (
    ENERGY_METHOD_ATTRIBUTED,
    ENERGY_METHOD_MEASURED,
    ENERGY_METHOD_UNKNOWN,
    ENERGY_METHOD_UNSPECIFIED,
    Energy,
)
from intertie.v1.record_pb2 import ExecutionRecord
from intertie_conformance.checks import check
from intertie_conformance.checks.metering import charged
from intertie_conformance.checks.records import every_end, record_of
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.roles import ordering
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import Absent, fail
from intertie_conformance.wire.energy import UNKNOWN, energy_of


async def energies(stage: Stage) -> list[Energy]:
    """What records of several ends state."""
    peer = await (await stage.peer()).up()
    stepped = await charged(peer, "meter", {"usage": {"sim.step": stage.random.randrange(1, 99)}})
    return [record_of(charge).energy for charge in [*await every_end(peer), stepped]]


async def known_energies(stage: Stage) -> list[Energy]:
    """Those of them that are figures. Raises: Absent if there is none."""
    known = [energy for energy in await energies(stage) if energy.method not in UNKNOWN]
    if not known:
        raise Absent("no record of the conformance offers states a figure: energy is unknown here")
    return known


@check("IT-MTR-030", role="honest peer")
async def bounds_in_order(stage: Stage) -> None:
    """Where energy is known, 0 ≤ lower ≤ millijoules ≤ upper."""
    for energy in await known_energies(stage):
        if not 0 <= energy.lower <= energy.millijoules <= energy.upper:
            fail("bounds in order", str(energy))
        stage.saw("bounds in order")


@check("IT-MTR-031", role="honest peer")
async def unknown_by_name(stage: Stage) -> None:
    """Energy that is not known has the method UNKNOWN: no figure of zero with zero bounds stands for it."""
    for energy in await energies(stage):
        if energy.method == ENERGY_METHOD_UNSPECIFIED:
            fail("the method UNKNOWN, or another one that is stated", "no method")
        if energy.method != ENERGY_METHOD_UNKNOWN and not (energy.millijoules or energy.upper):
            fail("the method UNKNOWN for what is not known", "a figure of zero")
    stage.saw("every record says how its energy became known")


@check("IT-MTR-033", role="honest peer")
async def boundary_stated(stage: Stage) -> None:
    """What is inside a figure is said in at most 256 characters."""
    for energy in await known_energies(stage):
        if not 1 <= len(energy.boundary) <= 256:
            fail("a boundary of 1 to 256 characters", f"{len(energy.boundary)} characters")
        stage.saw(f"boundary {energy.boundary!r}")


@check("IT-MTR-034", role="honest peer")
async def from_intensities(stage: Stage) -> None:
    """Energy that is not measured follows from the offer's intensities."""
    peer = await (await stage.peer()).up()
    offer = await ordering.offer(peer, "meter")
    for usage in ({"sim.step": 7}, {"mcp.call": 3, "sim.step": 7}):
        _follows(stage, offer, record_of(await charged(peer, "meter", {"usage": usage})))


def _follows(stage: Stage, offer: Offered, record: ExecutionRecord) -> None:
    """A record's energy is measured or follows from the offer's intensities."""
    wanted = energy_of(offer.message.energy, {line.unit: line.quantity for line in record.usage})
    got, direct = record.energy, record.energy.method in (ENERGY_METHOD_MEASURED, ENERGY_METHOD_ATTRIBUTED)
    figures = (got.method, got.millijoules, got.lower, got.upper)
    if not direct and figures != (wanted.method, wanted.millijoules, wanted.lower, wanted.upper):
        fail(f"energy from intensities: {wanted}", str(got))
    stage.saw("energy measured" if direct else "energy from intensities")
