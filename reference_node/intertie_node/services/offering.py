"""The bytes of an own offer: what a backend says, priced, placed and measured as the configuration says (design §8)."""

from collections.abc import Mapping
from typing import Any

from intertie.v1 import catalog_pb2 as ct
from intertie.v1.metering_pb2 import (
    ENERGY_METHOD_ATTRIBUTED,
    ENERGY_METHOD_ESTIMATED,
    ENERGY_METHOD_MEASURED,
    Energy,
)
from intertie_node.config import Config, EnergyTable, Terms
from intertie_node.ports import Kind, OfferSpec

KINDS: Mapping[Kind, ct.OfferKind.ValueType] = {
    "agent": ct.OFFER_KIND_AGENT,
    "tool": ct.OFFER_KIND_TOOL,
    "model": ct.OFFER_KIND_MODEL,
    "environment": ct.OFFER_KIND_ENVIRONMENT,
}
METHODS = {
    "measured": ENERGY_METHOD_MEASURED,
    "attributed": ENERGY_METHOD_ATTRIBUTED,
    "estimated": ENERGY_METHOD_ESTIMATED,
}
CHARGES = {"usage": ct.CHARGE_ON_USAGE, "completion": ct.CHARGE_ON_COMPLETION}


def build_offer(spec: OfferSpec, terms: Terms, config: Config, origin: bytes) -> bytes:
    """Bytes of an offer: what the backend says, priced and placed as the configuration says."""
    offer = ct.Offer(
        kind=KINDS[spec.kind],
        name=spec.name,
        description=spec.description,
        tags=sorted({*spec.tags, *terms.tags}),
        version=spec.version,
        input_schema=spec.input_schema,
        output_schema=spec.output_schema,
        features=sorted(spec.features),
        asset=config.asset.name,
        scale=config.asset.scale,
        charge_on=CHARGES[terms.charge_on],
        place=terms.place if terms.place is not None else config.grid.place,
        data_policy=terms.data_policy,
        input_bytes=config.limits.input_bytes,
        max_duration_ms=spec.max_duration_ms,
        captured_type=spec.captured_type,
        captured=spec.captured,
        origin=origin,
    )
    _add_prices(offer, terms.prices)
    _add_energy(offer, terms.energy)
    return offer.SerializeToString(deterministic=True)


def _add_prices(offer: ct.Offer, prices: Mapping[str, Any]) -> None:
    for unit in sorted(prices):
        offer.prices.add(unit=unit, num=prices[unit].numerator, den=prices[unit].denominator)


def _add_energy(offer: ct.Offer, energy: Mapping[str, EnergyTable]) -> None:
    for unit in sorted(energy):
        table = energy[unit]
        offer.energy.add(unit=unit).per_atom.CopyFrom(
            Energy(
                method=METHODS[table.method],
                millijoules=table.millijoules,
                lower=table.lower,
                upper=table.upper,
                boundary=table.boundary,
            )
        )
