"""The operation "admit" of the vectors of orders, carried out by the node's core over stated surroundings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import Offer
from intertie_node.core import selling
from intertie_node.core.catalog import KnownOffer, known_offer
from intertie_node.core.holds import lines_of
from intertie_node.core.ledger import TariffTerms
from intertie_node.core.link import Link
from intertie_node.core.world import World

Given = dict[str, Any]
LINK = "link"


def admit(given: Given) -> Given:
    """Say whether the order is admitted or waits. Raises: IntertieError as the node rejects it."""
    order = pb.Entry.FromString(bytes.fromhex(given["order"])).order
    data = bytes.fromhex(given["offer"])
    offer = known_offer(Offer.FromString(data).origin, given["own"]["grid"], data)
    world, link = _world(given, offer), _link(given)
    lines = lines_of(tuple((line.unit, line.num, line.den) for line in order.prices))
    stated, now = (lines.units, lines.prices), int(given["now"])
    selling._check(cast(World, world), cast(Link, link), order, stated, bytes.fromhex(given["input"]), now)
    waits = int(given["lane"]["unagreed"]) > int(given["terms"]["max_unagreed"])
    return {"result": "waits" if waits else "admitted"}


def _world(given: Given, offer: KnownOffer) -> SimpleNamespace:
    own, state = given["own"], given["state"]

    def offer_of(digest: bytes) -> KnownOffer:
        if digest != offer.digest:
            raise IntertieError("OFFER_UNKNOWN", "No offer with this digest is known here.")
        return offer

    limits = SimpleNamespace(inline_bytes=own["inline_bytes"], orders=own["orders"])
    return SimpleNamespace(
        draining=bool(state["draining"]),
        suspended={LINK} if state["suspended"] else set(),
        own=SimpleNamespace(grid=own["grid"], limits=limits),
        settings=SimpleNamespace(max_input_bytes=1 << 20),
        fingerprint=offer.origin,
        offer_of=offer_of,
        check_input=lambda schema, data: None,
    )


def _link(given: Given) -> SimpleNamespace:
    lane = SimpleNamespace(**{name: int(value) for name, value in given["lane"].items()})
    stated = {name: int(value) for name, value in given["terms"].items()}
    tariff = given["tariff"]
    terms = TariffTerms(
        bytes.fromhex(tariff["origin"]),
        *(int(tariff[name]) for name in ("markup_num", "markup_den", "fee", "expires_at")),
    )
    return SimpleNamespace(
        name=LINK,
        ledger=SimpleNamespace(lanes=(None, lane), tariffs=({int(tariff["seq"]): terms}, {})),
        terms=SimpleNamespace(
            credit_limit=(0, stated["credit_limit"]),
            max_unagreed=(0, stated["max_unagreed"]),
            max_open_holds=stated["max_open_holds"],
            max_skew_ms=stated["max_skew_ms"],
        ),
    )
