"""Orders as their provider admits them, with everything that it looks at: the first broken check names the reason. A
`lane` is the payer's, this order included; `now` is the provider's clock at arrival."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from intertie import amounts, digests
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION, CHARGE_ON_USAGE, OFFER_KIND_TOOL, Offer
from intertie.v1.metering_pb2 import PriceLine
from vector_cases.common import NOW, Case, grid, hostile, seed, valid

INPUT = b'{"query":"link"}'
NONCE = seed("admitted order")[:16]
TARIFF = (11, 10, 5)
EXPIRES = NOW + 3_600_000
SKEW = 1_000
PLAIN = (("order", 10, 1), ("rag.query", 1000, 1))

Change = Callable[["Scene"], Any]


class Scene:
    """An order that is admitted, and what its provider looks at; each case changes something."""

    def __init__(self) -> None:
        self.input = INPUT
        self.order = pb.Order(
            id="0199c82c-c000-706a-9898-8db931826751",
            tariff_seq=4,
            max_charge=5000,
            grant=2000,
            deadline=NOW + 60_000,
            hop_limit=8,
            path=["north.example"],
            nonce=NONCE,
        )
        self.order.input.CopyFrom(_described(INPUT))
        self.offer = Offer(
            kind=OFFER_KIND_TOOL,
            name="docs/ask",
            charge_on=CHARGE_ON_USAGE,
            origin=grid("south")[1].fingerprint,
            asset="XTS",
            scale=6,
        )
        self.price(PLAIN)
        self.now = NOW + 20
        self.stated: Case = {
            "own": {"grid": "south.example", "inline_bytes": 16_384, "orders": 64},
            "state": {"draining": 0, "suspended": 0},
            "terms": {
                "credit_limit": "10000",
                "max_unagreed": "3000",
                "max_open_holds": "100",
                "max_skew_ms": str(SKEW),
            },
            "lane": {"gross": "5000", "unagreed": "2000", "open": "1"},
        }
        self.tariff = {"seq": "4", "origin": grid("south")[1].fingerprint.hex(), "expires_at": str(EXPIRES)}

    def price(self, lines: tuple[tuple[str, int, int], ...]) -> None:
        """Have the offer state these lines and the order the same under the tariff."""
        del self.offer.prices[:], self.order.prices[:]
        self.offer.prices.extend(PriceLine(unit=unit, num=num, den=den) for unit, num, den in lines)
        under = amounts.apply_tariff(lines, *TARIFF)
        self.order.prices.extend(PriceLine(unit=unit, num=num, den=den) for unit, num, den in under)

    def given(self) -> Case:
        """The whole as a vector's input."""
        offer = self.offer.SerializeToString(deterministic=True)
        if not self.order.offer_digest:
            self.order.offer_digest = digests.multihash(offer)
        entry = pb.Entry(kind=pb.ENTRY_KIND_ORDER, seen=4, at=NOW, order=self.order)
        markup = dict(zip(("markup_num", "markup_den", "fee"), map(str, TARIFF), strict=True))
        return {
            "order": entry.SerializeToString(deterministic=True).hex(),
            "input": self.input.hex(),
            "offer": offer.hex(),
            "tariff": {**self.tariff, **markup},
            "now": str(self.now),
            **self.stated,
        }


def _described(data: bytes) -> Any:
    order = pb.Order()
    order.input.media_type, order.input.size = "application/json", len(data)
    order.input.digest = digests.salted(NONCE, data)
    return order.input


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_admitted(), *_rejected(), *_precedence()]


def _made(change: Change) -> Case:
    change(scene := Scene())
    return scene.given()


def _put(part: str, name: str, value: str | int) -> Change:
    return lambda scene: scene.stated[part].update({name: value})


def _set(name: str, value: Any) -> Change:
    return lambda scene: setattr(scene.order, name, value)


def _both(*changes: Change) -> Change:
    return lambda scene: [change(scene) for change in changes]


def _completion(scene: Scene) -> None:
    scene.offer.charge_on = CHARGE_ON_COMPLETION
    scene.order.max_charge = scene.order.grant = 2000


def _admitted() -> list[Case]:
    rows: tuple[tuple[str, str, Change], ...] = (
        ("plain", "An ordinary order.", lambda s: None),
        ("completion", "Charged on completion: the whole is granted.", _completion),
        ("credit", "Exactly the credit limit.", _put("lane", "gross", "10000")),
        ("grant", "A grant of exactly max_unagreed.", _put("terms", "max_unagreed", "2000")),
        ("orders", "Exactly as many orders as are taken.", _put("lane", "open", "64")),
        ("skew", "The tariff expired within the skew.", lambda s: setattr(s, "now", EXPIRES + SKEW)),
        ("least", "Exactly what one order costs.", _both(_set("max_charge", 16), _set("grant", 16))),
        ("path", "The longest path.", lambda s: s.order.path.extend(f"g{n}.example" for n in range(15))),
    )
    made = []
    for name, text, change in rows:
        # A tariff that has just expired is met by an order whose deadline lies after it.
        late = name == "skew"
        given = _made(_both(change, _set("deadline", EXPIRES + 60_000)) if late else change)
        made.append(valid(name, text, "admit", given, {"result": "admitted"}))
    wait = _put("lane", "unagreed", "3001")
    text = "No room under max_unagreed at the moment: it waits."
    return [*made, valid("wait", text, "admit", _made(wait), {"result": "waits"})]


def _other_input(scene: Scene) -> None:
    scene.input = INPUT[:-1] + b" "


def _cheaper(scene: Scene) -> None:
    scene.order.prices[1].num -= 1


def _swapped(scene: Scene) -> None:
    lines = [scene.order.prices[1], scene.order.prices[0]]
    copies = [PriceLine(unit=line.unit, num=line.num, den=line.den) for line in lines]
    del scene.order.prices[:]
    scene.order.prices.extend(copies)


def _unreduced(scene: Scene) -> None:
    scene.order.prices[1].num, scene.order.prices[1].den = 2200, 2


_REJECTED: tuple[tuple[str, str, Change, str, str], ...] = (
    ("draining", "The node is shutting down.", _put("state", "draining", 1), "NODE_DRAINING", "work"),
    ("suspended", "The peering takes no orders.", _put("state", "suspended", 1), "PEERING_SUSPENDED", "credit"),
    ("deadline", "The deadline is now.", lambda s: setattr(s, "now", NOW + 60_000), "DEADLINE_EXCEEDED", "work"),
    ("id", "An id in capitals.", _set("id", "0199C82C-C000-706A-9898-8DB931826751"), "ID_INVALID", "twice"),
    ("credit", "One above the credit limit.", _put("lane", "gross", "10001"), "CREDIT_LIMIT", "credit"),
    ("grant", "A grant that can never fit.", _put("terms", "max_unagreed", "1999"), "UNAGREED_LIMIT", "credit"),
    ("orders", "One order too many.", _put("lane", "open", "65"), "TOO_MANY_ORDERS", "memory"),
    ("holds", "One hold too many.", _put("terms", "max_open_holds", "0"), "TOO_MANY_ORDERS", "memory"),
    ("loop", "It has passed this grid.", lambda s: s.order.path.append("south.example"), "LOOP", "round"),
    ("hops", "A hop limit above 16.", _set("hop_limit", 17), "HOP_LIMIT", "round"),
    (
        "path",
        "A path of 17 names.",
        lambda s: s.order.path.extend(f"g{number}.example" for number in range(16)),
        "HOP_LIMIT",
        "round",
    ),
    (
        "size",
        "It promises more than is taken.",
        lambda s: setattr(s.order.input, "size", 16_385),
        "INPUT_TOO_LARGE",
        "memory",
    ),
    ("large", "More comes than is taken.", lambda s: setattr(s, "input", b"a" * 16_385), "INPUT_TOO_LARGE", "memory"),
    ("other-input", "Another input than promised.", _other_input, "INPUT_INVALID", "input"),
    ("no-input", "No input.", lambda s: setattr(s, "input", b""), "INPUT_INVALID", "input"),
    ("encoding", "An encoding.", lambda s: setattr(s.order.input, "encoding", "gzip"), "INPUT_INVALID", "input"),
    ("offer", "Another offer's digest.", _set("offer_digest", digests.multihash(b"")), "OFFER_UNKNOWN", "price"),
    ("tariff", "A tariff that was never written.", _set("tariff_seq", 3), "PRICE_CHANGED", "price"),
    (
        "origin",
        "A tariff of another origin.",
        lambda s: s.tariff.update(origin=grid("north")[1].fingerprint.hex()),
        "PRICE_CHANGED",
        "price",
    ),
    ("cheaper", "A lower price than the tariff's.", _cheaper, "PRICE_CHANGED", "price"),
    ("swapped", "Price lines in another order.", _swapped, "PRICE_CHANGED", "price"),
    ("unreduced", "The same price, not in lowest terms.", _unreduced, "PRICE_CHANGED", "price"),
    (
        "expired",
        "The tariff expired before the skew.",
        _both(lambda s: setattr(s, "now", EXPIRES + SKEW + 1), _set("deadline", EXPIRES + 60_000)),
        "PRICE_CHANGED",
        "price",
    ),
    (
        "completion",
        "Charged on completion, and not all is granted.",
        lambda s: setattr(s.offer, "charge_on", CHARGE_ON_COMPLETION),
        "GRANT_INVALID",
        "work",
    ),
    (
        "least",
        "Less than one order costs.",
        _both(_set("max_charge", 15), _set("grant", 15)),
        "BUDGET_EXCEEDED",
        "work",
    ),
)
_ATTACKS = {
    "work": "Work is done that nobody will pay for.",
    "credit": "More is owed than the provider is ready to lose.",
    "twice": "One order has two ids, or none that can be found.",
    "memory": "A peer fills the provider's memory.",
    "round": "One order goes round in a circle and is worked on many times.",
    "input": "The record proves another input than the one worked on.",
    "price": "Work is bought below its price.",
}


def _rejected() -> list[Case]:
    return [
        hostile(f"bad-{name}", text, "admit", _made(change), error, _ATTACKS[attack])
        for name, text, change, error, attack in _REJECTED
    ]


def _precedence() -> list[Case]:
    """Two faults each: the check that comes first names the reason."""
    made = []
    neighbours = [
        row for row in _REJECTED if row[0] not in ("holds", "path", "large", "no-input", "origin", "completion")
    ]
    for first, second in pairwise(neighbours):
        if first[3] == second[3]:
            continue
        name, text = f"first-{first[0]}-{second[0]}", f"{first[1]} {second[1]} The former is named."
        attack = "Two nodes name different reasons, so that who relays them is blamed."
        made.append(hostile(name, text, "admit", _made(_both(second[2], first[2])), first[3], attack))
    return made
