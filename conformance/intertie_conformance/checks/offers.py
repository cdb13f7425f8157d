"""RFC 0008, sections 3.1 and 3.2: what the target offers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from intertie.v1 import catalog_pb2 as ct
from intertie_conformance.checks import check
from intertie_conformance.checks.roots import sync
from intertie_conformance.registry import table
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.amounts import INT64_MAX

NAME = re.compile(r"[a-z0-9._/-]{1,128}")
TAG = re.compile(r"[a-z0-9._-]{1,64}")
PLACE = re.compile(r"([A-Z]{2}(-[A-Z0-9]{1,3})?)?")
PRIVATE = re.compile(r"x-[\x21-\x7e]{1,62}")
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


async def own(stage: Stage) -> tuple[Peer, list[ct.Offer]]:
    """A peer of the target, and the target's offers."""
    peer = await (await stage.peer()).up()
    found = [offer.message for offer in (await ordering.offers(peer)).values()]
    if not found:
        fail("offers of the target", "none")
    return peer, found


@check("IT-CAT-001", role="honest peer")
async def offers_name_origin(stage: Stage) -> None:
    """Every offer carries the target's fingerprint."""
    peer, offers = await own(stage)
    wrong = [offer.name for offer in offers if offer.origin != peer.peer.fingerprint]
    if wrong:
        fail("the target's fingerprint in each offer", f"another one in {wrong}")
    stage.saw(f"{len(offers)} offers name the target as origin")


@check("IT-CAT-002", role="honest peer")
async def different_names(stage: Stage) -> None:
    """No two offers of one root have the same name."""
    peer, _ = await own(stage)
    names = [ct.Offer.FromString(item.offer).name for item in await sync(peer) if item.WhichOneof("item") == "offer"]
    if len(set(names)) != len(names):
        fail("different names", sorted(names))
    stage.saw(f"{len(names)} different names")


@check("IT-CAT-003", role="honest peer")
async def fields_in_range(stage: Stage) -> None:
    """Every field of every offer is within the rules of the table."""
    _, offers = await own(stage)
    for offer in offers:
        for name, good in rules_of(offer).items():
            if not good:
                fail(f"{name} of {offer.name} as the table says", f"{offer}"[:300])
    stage.saw(f"{len(offers)} offers keep the table")


def rules_of(offer: ct.Offer) -> dict[str, bool]:
    """The table of section 3.1, field by field."""
    units, features = table("units"), table("features")
    schemas = (offer.input_schema, offer.output_schema)
    return {
        "kind": 1 <= offer.kind <= 4,
        "name": NAME.fullmatch(offer.name) is not None,
        "description": len(offer.description) <= 4_096,
        "tags": len(offer.tags) <= 32 and all(TAG.fullmatch(tag) for tag in offer.tags),
        "version": len(offer.version) <= 64,
        "schemas": all(len(schema) <= 65_536 for schema in schemas) and all(map(_is_schema, schemas)),
        "features": all(features.get(name, {}).get("where") == "offer" for name in offer.features),
        "prices": len(offer.prices) <= 16 and all(p.num >= 0 and 1 <= p.den <= INT64_MAX for p in offer.prices),
        "units": all(p.unit in units or PRIVATE.fullmatch(p.unit) for p in offer.prices),
        "charge_on": offer.charge_on in (ct.CHARGE_ON_USAGE, ct.CHARGE_ON_COMPLETION),
        "place": PLACE.fullmatch(offer.place) is not None,
        "data_policy": len(offer.data_policy) <= 64,
        "energy": len({item.unit for item in offer.energy}) == len(offer.energy),
    }


def _is_schema(data: bytes) -> bool:
    try:
        return not data or isinstance(json.loads(data), dict | bool)
    except ValueError:
        return False


@check("IT-CAT-004", role="honest peer")
async def one_line_a_unit(stage: Stage) -> None:
    """No offer prices a unit twice."""
    _, offers = await own(stage)
    for offer in offers:
        units = [line.unit for line in offer.prices]
        if len(set(units)) != len(units):
            fail(f"one line a unit in {offer.name}", units)
    stage.saw(f"{len(offers)} offers price no unit twice")


@check("IT-CAT-018", role="honest peer")
async def references_within(stage: Stage) -> None:
    """No schema refers to anything beyond itself."""
    _, offers = await own(stage)
    for offer in offers:
        for schema in (offer.input_schema, offer.output_schema):
            outward = [ref for ref in _references(json.loads(schema or b"{}")) if not str(ref).startswith("#")]
            if outward:
                fail(f"references that begin with # in {offer.name}", outward)
    stage.saw(f"the schemas of {len(offers)} offers stand alone")


def _references(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in REFERENCES:
                yield item
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
