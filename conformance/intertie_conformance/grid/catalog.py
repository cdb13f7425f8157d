"""Offers of the suite's grids: their bytes, signed roots, advertisements; and what others advertise (RFC 0008)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from intertie.v1 import catalog_pb2 as ct
from intertie.v1.catalog_pb2 import Advertisement, CatalogRoot, Offer, OriginRoute
from intertie.v1.metering_pb2 import ENERGY_METHOD_ESTIMATED, Energy
from intertie_conformance.wire import envelope
from intertie_conformance.wire.amounts import INT64_MAX, Price
from intertie_conformance.wire.digests import multihash

if TYPE_CHECKING:
    from intertie_conformance.grid.identity import Identity

HOUR_MS: Final = 3_600_000
ASSET: Final = ("XTS", 6)
METERED: Final = ("llm.output.token", "mcp.call", "rag.query", "sim.step")
_BASE: Final[list[Price]] = [("order", 10, 1), ("order.failed", 2, 1), ("order.canceled", 5, 1)]


class Offered(NamedTuple):
    """An offer with its exact bytes."""

    data: bytes
    message: Offer
    digest: bytes

    @property
    def prices(self) -> list[Price]:
        """Its price lines."""
        return [(line.unit, line.num, line.den) for line in self.message.prices]

    @classmethod
    def of(cls, data: bytes) -> Offered:
        """Decode an offer."""
        return cls(data, Offer.FromString(data), multihash(data))


def _object(properties: dict[str, object], *required: str) -> dict[str, object]:
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": list(required)} if required else made


def _integer(least: int, most: int) -> dict[str, object]:
    return {"type": "integer", "minimum": least, "maximum": most}


_MESSAGE: Final = {"type": "string", "maxLength": 256}
_OFFERS: Final[dict[str, tuple[list[str], dict[str, object], list[Price]]]] = {
    "echo": (["idempotent"], {}, []),
    "delay": (["idempotent", "cancelable"], _object({"ms": _integer(0, 600_000)}, "ms"), []),
    "meter": (
        ["idempotent"],
        _object(
            {"usage": _object({unit: _integer(0, INT64_MAX) for unit in METERED}), "steps": _integer(1, 1_000)}, "usage"
        ),
        [("llm.output.token", 1, 10), ("rag.query", 1000, 1), ("mcp.call", 7, 3), ("sim.step", 1, 1)],
    ),
    "stream": (
        ["streaming", "idempotent", "cancelable"],
        _object(
            {"chunks": _integer(0, 10_000), "bytes": _integer(1, 16_384), "delay_ms": _integer(0, 10_000)},
            "chunks",
            "bytes",
        ),
        [("text.output.byte", 1, 10)],
    ),
    "ask": (["input-required"], _object({"prompt": _MESSAGE}), []),
    "fail": (
        ["idempotent"],
        _object({"message": _MESSAGE, "steps": _integer(0, 1_000), "as": {"enum": ["failure", "tool-error"]}}),
        [("sim.step", 1, 1)],
    ),
    "refuse": (["idempotent"], _object({"message": _MESSAGE}), []),
}
"""The conformance offers: features, schema of the input, prices beside those of orders."""


_ENERGY: Final = {
    "meter": {
        "sim.step": Energy(method=ENERGY_METHOD_ESTIMATED, millijoules=2, lower=1, upper=3, boundary="conformance")
    }
}
"""Energy per atom that a conformance offer states."""


def input_schema(name: str) -> bytes:
    """The input schema of a conformance offer by its full name."""
    return json.dumps(_OFFERS[name.removeprefix("conformance/")][1]).encode()


def conformance_offers(origin: bytes) -> list[Offered]:
    """The conformance offers of a grid."""
    return [_offer(origin, name, *parts) for name, parts in _OFFERS.items()]


def _offer(origin: bytes, name: str, features: list[str], schema: dict[str, object], prices: list[Price]) -> Offered:
    made = Offer(
        kind=ct.OFFER_KIND_TOOL,
        name=f"conformance/{name}",
        description=f"The conformance offer {name}.",
        tags=["conformance"],
        input_schema=json.dumps(schema).encode(),
        features=features,
        asset=ASSET[0],
        scale=ASSET[1],
        charge_on=ct.CHARGE_ON_USAGE,
        input_bytes=16_384,
        max_duration_ms=600_000,
        origin=origin,
    )
    for unit, num, den in [*_BASE, *prices]:
        made.prices.add(unit=unit, num=num, den=den)
    for unit, per_atom in _ENERGY.get(name, {}).items():
        made.energy.add(unit=unit).per_atom.CopyFrom(per_atom)
    return Offered.of(made.SerializeToString())


def seal_root(me: Identity, now: int, offers: Iterable[bytes], /, **changes: object) -> bytes:
    """The signed root of offers, given by digest; `changes` replace fields."""
    fields: dict[str, object] = {
        "origin": me.fingerprint,
        "version": now,
        "expires_at": now + HOUR_MS,
        "offers": sorted(offers),
    }
    root = CatalogRoot(**{**fields, **changes})  # type: ignore[arg-type]
    return envelope.seal(envelope.CATALOG_ROOT, root.SerializeToString(), [me.key])


def advertisements(
    me: Identity, root: bytes, tariff_seq: int, epoch: int, **changes: object
) -> Sequence[Advertisement]:
    """One epoch that advertises the own origin; `changes` replace fields of the route."""
    fields: dict[str, object] = {
        "descriptors": me.chain,
        "root": root,
        "path": [me.fingerprint],
        "path_names": [me.grid],
        "tariff_seq": tariff_seq,
    }
    route = OriginRoute(**{**fields, **changes})  # type: ignore[arg-type]
    return [Advertisement(epoch=epoch, route=route), Advertisement(epoch=epoch, end=True)]
