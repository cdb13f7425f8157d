"""Offers as their receiver checks them, and signed catalog roots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intertie import digests, envelope
from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION, CHARGE_ON_USAGE, OFFER_KIND_TOOL, CatalogRoot, Offer
from intertie.v1.metering_pb2 import PriceLine
from vector_cases.common import DAY, NOW, Case, grid, hostile, key, valid

LONGEST = 128


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_offers(), *_bad_offers(), *_roots(), *_bad_roots()]


def _origin() -> bytes:
    return grid("north")[1].fingerprint


def _offer() -> Offer:
    return Offer(
        kind=OFFER_KIND_TOOL,
        name="docs/ask",
        description="Answers from a folder of documents.",
        tags=["search"],
        version="1",
        input_schema=b'{"type":"object","properties":{"query":{"type":"string"}},"required":["query"]}',
        features=["idempotent"],
        prices=[PriceLine(unit="order", num=10, den=1), PriceLine(unit="rag.query", num=1000, den=1)],
        asset="XTS",
        scale=6,
        charge_on=CHARGE_ON_USAGE,
        place="DE",
        origin=_origin(),
    )


def _bytes(offer: Offer) -> bytes:
    return offer.SerializeToString(deterministic=True)


def _changed(change: Callable[[Offer], Any]) -> bytes:
    change(offer := _offer())
    return _bytes(offer)


def _given(data: bytes) -> Case:
    return {"origin": _origin().hex(), "offer": data.hex()}


def _lines(count: int) -> list[PriceLine]:
    return [PriceLine(unit=f"x-unit-{number:02d}", num=1, den=1) for number in range(count)]


def _reprice(offer: Offer, lines: int) -> None:
    offer.ClearField("prices")
    offer.prices.extend(_lines(lines))


def _offers() -> list[Case]:
    rows: tuple[tuple[str, str, Callable[[Offer], Any]], ...] = (
        ("plain", "An ordinary offer.", lambda o: None),
        ("completion", "Charged on completion.", lambda o: setattr(o, "charge_on", CHARGE_ON_COMPLETION)),
        ("free", "No price lines: it costs nothing.", lambda o: o.ClearField("prices")),
        ("zero", "A price of zero.", lambda o: setattr(o.prices[0], "num", 0)),
        ("sixteen", "The most price lines.", lambda o: _reprice(o, 16)),
        ("long-name", "The longest name.", lambda o: setattr(o, "name", "a" * LONGEST)),
    )
    made = [_valid(name, text, _changed(change)) for name, text, change in rows]
    text = "The same fields in other bytes: another offer."
    return [*made, _valid("reencoded", text, _bytes(_offer()) + b"\x62\x02DE")]


def _valid(name: str, text: str, data: bytes) -> Case:
    offer = Offer.FromString(data)
    lines = [{"unit": line.unit, "num": str(line.num), "den": str(line.den)} for line in offer.prices]
    output = {"digest": digests.multihash(data).hex(), "name": offer.name, "prices": lines}
    return valid(f"offer-{name}", text, "offer", _given(data), output)


def _bad_offers() -> list[Case]:
    other = "Work of one grid is sold under another's name."
    counted = "One quantity is charged twice, or to one side only."
    less = "A negative price: the seller pays."
    rows: tuple[tuple[str, str, Callable[[Offer], Any], str], ...] = (
        ("origin", "Another grid's fingerprint.", lambda o: setattr(o, "origin", digests.multihash(b"")), other),
        ("no-origin", "No fingerprint.", lambda o: o.ClearField("origin"), other),
        ("no-name", "No name.", lambda o: o.ClearField("name"), "Nobody can refer to it, yet it can be ordered."),
        (
            "name",
            "A name of 129 characters.",
            lambda o: setattr(o, "name", "a" * (LONGEST + 1)),
            "Catalogs and screens of others are filled with one name.",
        ),
        ("repeated", "A unit in two price lines.", lambda o: setattr(o.prices[1], "unit", "order"), counted),
        (
            "seventeen",
            "One price line too many.",
            lambda o: _reprice(o, 17),
            "An honest payer writes an order that is void.",
        ),
        ("negative", "A negative price.", lambda o: setattr(o.prices[0], "num", -1), less),
        ("den-zero", "A denominator of zero.", lambda o: setattr(o.prices[0], "den", 0), "A crash on demand."),
        ("den-negative", "A negative denominator.", lambda o: setattr(o.prices[0], "den", -1), less),
    )
    made = [
        hostile(f"offer-{name}", text, "offer", _given(_changed(change)), "INVALID_ARGUMENT", attack)
        for name, text, change, attack in rows
    ]
    garbage = hostile(
        "offer-garbage",
        "Bytes that are no offer.",
        "offer",
        _given(b"\xff\xff"),
        "INVALID_ARGUMENT",
        "Two sides read one offer differently.",
    )
    return [*made, garbage]


def _listed() -> list[bytes]:
    return sorted(digests.multihash(name.encode()) for name in ("first", "second", "third"))


def _root(**changes: Any) -> CatalogRoot:
    fields = {"origin": _origin(), "version": 7, "expires_at": NOW + DAY, "offers": _listed()}
    return CatalogRoot(**{**fields, **changes})


def _sealed(root: CatalogRoot, signer: str = "north signing", kind: str = envelope.CATALOG_ROOT) -> bytes:
    return envelope.seal(kind, root.SerializeToString(deterministic=True), [key(signer)])


def _root_input(sealed: bytes, now: int = NOW) -> Case:
    return {"root": sealed.hex(), "descriptors": [grid("north")[0].hex()], "now": str(now)}


def _roots() -> list[Case]:
    made = []
    for name, text, root, now in (
        ("plain", "Three offers.", _root(), NOW),
        ("empty", "A grid that sells nothing.", _root(offers=[]), NOW),
        ("last", "The last millisecond before it expires.", _root(), NOW + DAY - 1),
    ):
        payload = root.SerializeToString(deterministic=True)
        output = {"digest": digests.multihash(payload).hex(), "offers": [digest.hex() for digest in root.offers]}
        made.append(valid(f"root-{name}", text, "root", _root_input(_sealed(root), now), output))
    return made


def _bad_roots() -> list[Case]:
    forged = "A neighbour sells what the origin never offered."
    stale = "Offers that were withdrawn are sold on."
    twice = "One catalog has two digests, or counts an offer twice."
    first, second, third = _listed()
    rows: tuple[tuple[str, str, bytes, int, str, str], ...] = (
        ("signer", "Signed by another grid.", _sealed(_root(), "south signing"), NOW, "SIGNATURE_INVALID", forged),
        ("root-key", "Signed by the root key.", _sealed(_root(), "north root"), NOW, "SIGNATURE_INVALID", forged),
        (
            "old-key",
            "The signing key is valid no longer.",
            _sealed(_root()),
            NOW + 366 * DAY,
            "SIGNATURE_INVALID",
            stale,
        ),
        (
            "origin",
            "It names another grid.",
            _sealed(_root(origin=digests.multihash(b""))),
            NOW,
            "INVALID_ARGUMENT",
            forged,
        ),
        ("expired", "It has expired just now.", _sealed(_root()), NOW + DAY, "INVALID_ARGUMENT", stale),
        (
            "unsorted",
            "Digests out of order.",
            _sealed(_root(offers=[second, first, third])),
            NOW,
            "INVALID_ARGUMENT",
            twice,
        ),
        ("repeated", "A digest twice.", _sealed(_root(offers=[first, first, second])), NOW, "INVALID_ARGUMENT", twice),
        (
            "type",
            "In an envelope of another type.",
            _sealed(_root(), kind=envelope.RECORD_ROOT),
            NOW,
            "INVALID_ARGUMENT",
            "One signature vouches for two documents.",
        ),
    )
    return [
        hostile(f"root-{name}", text, "root", _root_input(sealed, now), error, attack)
        for name, text, sealed, now, error, attack in rows
    ]
