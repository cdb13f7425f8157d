"""How offers are shown."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from intertie.v1.catalog_pb2 import ListedOffer
    from intertie_node.operator_api import OfferView


def brief(view: "OfferView") -> Sequence[str]:
    """An offer as a row of a table."""
    price = ", ".join(f"{_number(price)}/{unit}" for unit, price in view.prices.items() if price != "0")
    return (view.ref, view.kind, price or ("free" if view.prices or view.path else "no way"), " → ".join(view.path),
            view.description.splitlines()[0][:60] if view.description else "")  # fmt: skip


def _number(price: str) -> str:
    value = Fraction(price)
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.4g}"


def full(found: "ListedOffer") -> dict[str, Any]:
    """An offer with its schemas, as plain values."""
    from intertie_node.services.views import offer

    shown = msgspec.to_builtins(offer(found))
    return {
        **shown,
        "digest": found.digest.hex(),
        "origin": found.origin,
        "origin_fingerprint": found.origin_fingerprint.hex(),
        "input_schema": _schema(found.offer.input_schema),
        "output_schema": _schema(found.offer.output_schema),
        "input_bytes": found.offer.input_bytes,
        "max_duration_ms": found.offer.max_duration_ms,
        "data_policy": found.offer.data_policy,
    }


def _schema(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data) if data else None
    except msgspec.DecodeError:
        return None


def pairs(found: "ListedOffer") -> Iterator[tuple[str, str]]:
    """An offer, a line each."""
    shown = full(found)
    asset = f"minor units of {found.offer.asset} (10^-{found.offer.scale})"
    yield "offer", found.ref
    yield "kind", str(shown["kind"])
    yield "description", found.offer.description
    yield "version", found.offer.version
    yield "way", " → ".join(found.path)
    yield "place", found.offer.place
    yield "features", ", ".join(found.offer.features)
    yield "tags", ", ".join(found.offer.tags)
    for unit, price in shown["prices"].items():
        yield f"price of {unit}", f"{price} {asset}"
    for name in ("input_schema", "output_schema"):
        if shown[name] is not None:
            yield name.replace("_", " "), msgspec.json.encode(shown[name]).decode()
    yield "digest", str(shown["digest"])
