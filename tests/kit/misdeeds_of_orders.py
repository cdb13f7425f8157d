"""What a hostile peer may do with orders and other entries, with its name in the answer; see `tests.kit.misdeeds`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.kit.misdeeds import INT64_MAX, Misdeed
from tests.kit.rogue import K, Rogue

from intertie.digests import salted
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie_node.core.catalog import KnownOffer
from intertie_node.core.ledger import ME


def _ordered(data: bytes = b"{}", **changes: Any) -> Callable[[Rogue, KnownOffer], int]:
    return lambda rogue, offer: rogue.buy(offer, data, **changes)


def _late(rogue: Rogue, offer: KnownOffer) -> int:
    """Written in time, sent after its deadline: not void, but nothing can be done about it any more."""
    at = max(rogue.now() - 900, rogue.pair.logs[ME].at)
    order = rogue.order(offer, deadline=at + 1)
    seq = rogue.write(K.ENTRY_KIND_ORDER, order=order, at=at)
    rogue.say(inputs=[lk.OrderInput(order_seq=seq, data=b"{}")])
    return seq


def _without_input(rogue: Rogue, offer: KnownOffer) -> int:
    seq = rogue.write(K.ENTRY_KIND_ORDER, order=rogue.order(offer))
    rogue.say()
    return seq


def _other_input(rogue: Rogue, offer: KnownOffer) -> int:
    seq = rogue.write(K.ENTRY_KIND_ORDER, order=rogue.order(offer))
    rogue.say(inputs=[lk.OrderInput(order_seq=seq, data=b"[]")])
    return seq


def _cheaper(rogue: Rogue, offer: KnownOffer) -> int:
    prices = [{"unit": unit, "num": 0, "den": 1} for unit, _, _ in offer.prices]
    return rogue.buy(offer, prices=prices)


def _sized(size: int) -> Callable[[Rogue, KnownOffer], int]:
    def act(rogue: Rogue, offer: KnownOffer) -> int:
        nonce = bytes(16)
        described = {"media_type": "application/json", "digest": salted(nonce, b"{}"), "size": size}
        return rogue.buy(offer, nonce=nonce, input=described)

    return act


def _encoded(rogue: Rogue, offer: KnownOffer) -> int:
    nonce = bytes(16)
    described = {"media_type": "text/plain", "digest": salted(nonce, b"{}"), "size": 2, "encoding": "gzip"}
    return rogue.buy(offer, nonce=nonce, input=described)


ORDERS: Mapping[str, Misdeed] = {
    "deadline has passed": Misdeed(_late, "DEADLINE_EXCEEDED"),
    "id is no uuid": Misdeed(_ordered(id="x" * 36), "ID_INVALID"),
    "id of version 4": Misdeed(_ordered(id="0190f000-0000-4000-8000-000000000000"), "ID_INVALID"),
    "unknown offer": Misdeed(_ordered(offer_digest=b"\x12\x20" + bytes(32)), "OFFER_UNKNOWN"),
    "offer named by no digest": Misdeed(_ordered(offer_digest=b"d" * 40_000), "OFFER_UNKNOWN"),
    "unknown tariff": Misdeed(
        lambda r, o: r.buy(o, prices=[{"unit": u, "num": n, "den": d} for u, n, d in o.prices], tariff_seq=99),
        "PRICE_CHANGED",
    ),
    "cheaper than the tariff": Misdeed(_cheaper, "PRICE_CHANGED"),
    "input missing": Misdeed(_without_input, "INPUT_INVALID"),
    "another input": Misdeed(_other_input, "INPUT_INVALID"),
    "input of another size": Misdeed(_sized(3), "INPUT_INVALID"),
    "size below zero": Misdeed(_sized(-1), "INPUT_INVALID"),
    "size too large": Misdeed(_sized(1 << 40), "INPUT_TOO_LARGE"),
    "unknown encoding": Misdeed(_encoded, "INPUT_INVALID"),
    "too little for one order": Misdeed(_ordered(max_charge=1, grant=1), "BUDGET_EXCEEDED"),
    "hop limit too high": Misdeed(_ordered(hop_limit=17), "HOP_LIMIT"),
    "path too long": Misdeed(_ordered(path=[f"g{n}.example" for n in range(17)]), "HOP_LIMIT"),
    "place not allowed": Misdeed(_ordered(policy={"places": ["AQ"]}), "POLICY_VIOLATION"),
}
"""Valid entries that cannot be served: each is rejected by that name."""

VOID_ORDERS: Mapping[str, Callable[[Rogue, KnownOffer], pb.Entry]] = {
    "grant beyond the maximum": lambda r, o: _as_entry(r.order(o, grant=1_001)),
    "maximum below zero": lambda r, o: _as_entry(r.order(o, max_charge=-1, grant=-1)),
    "deadline before the order": lambda r, o: _as_entry(r.order(o, deadline=r.now() - 1)),
    "deadline beyond max_hold": lambda r, o: _as_entry(r.order(o, deadline=r.now() + 100 * 86_400_000)),
    "deadline beyond time": lambda r, o: _as_entry(r.order(o, deadline=INT64_MAX)),
    "short id": lambda r, o: _as_entry(r.order(o, id="short")),
    "short nonce": lambda r, o: _as_entry(r.order(o, nonce=b"short")),
    "price without denominator": lambda r, o: _as_entry(r.order(o, prices=[{"unit": "order", "num": 1}])),
    "a unit twice": lambda r, o: _as_entry(r.order(o, prices=[{"unit": "order", "num": 1, "den": 1}] * 2)),
    "too many lines": lambda r, o: _as_entry(
        r.order(o, prices=[{"unit": f"u{n}", "num": 1, "den": 1} for n in range(17)])
    ),
}
"""Orders that break a rule of entries: void, answered by `refuse` with ORDER_INVALID."""


def _as_entry(order: pb.Order) -> pb.Entry:
    return pb.Entry(kind=K.ENTRY_KIND_ORDER, order=order)


VOID_ENTRIES: Mapping[str, tuple[pb.Entry, str]] = {
    "unknown critical kind": (pb.Entry(kind=99), "UNSUPPORTED_ENTRY"),
    "no kind": (pb.Entry(), "UNSUPPORTED_ENTRY"),
    "kind below zero": (pb.Entry(kind=-7), "UNSUPPORTED_ENTRY"),
    "dispute": (pb.Entry(kind=K.ENTRY_KIND_DISPUTE, dispute={"order_seq": 1, "amount": 1}), "UNSUPPORTED_ENTRY"),
    "payment": (pb.Entry(kind=K.ENTRY_KIND_PAYMENT, payment={"rail": "x", "amount": 5}), "UNSUPPORTED_ENTRY"),
    "late agreement": (pb.Entry(kind=K.ENTRY_KIND_AGREEMENT, agreement={}), "UNSUPPORTED_ENTRY"),
    "body of another kind": (pb.Entry(kind=K.ENTRY_KIND_TARIFF, cancel={"order_seq": 1}), "ENTRY_MALFORMED"),
    "no body": (pb.Entry(kind=K.ENTRY_KIND_CHARGE), "ENTRY_MALFORMED"),
    "tariff without denominator": (pb.Entry(kind=K.ENTRY_KIND_TARIFF, tariff={"markup_num": 1}), "TARIFF_INVALID"),
    "grant for no order": (pb.Entry(kind=K.ENTRY_KIND_GRANT, grant={"order_seq": 77, "amount": 1}), "ORDER_UNKNOWN"),
    "cancel of no order": (pb.Entry(kind=K.ENTRY_KIND_CANCEL, cancel={"order_seq": 77}), "ORDER_UNKNOWN"),
    "charge for no order": (pb.Entry(kind=K.ENTRY_KIND_CHARGE, charge={"order_seq": 1, "amount": 1}), "ORDER_UNKNOWN"),
    "reject of no order": (pb.Entry(kind=K.ENTRY_KIND_REJECT, reject={"order_seq": 1}), "ORDER_UNKNOWN"),
    "credit for no order": (pb.Entry(kind=K.ENTRY_KIND_CREDIT, credit={"order_seq": 1, "amount": 1}), "ORDER_UNKNOWN"),
    "refuse of the future": (pb.Entry(kind=K.ENTRY_KIND_REFUSE, refuse={"entry_seq": 999}), "REFUSE_INVALID"),
    "withdraw of nothing": (pb.Entry(kind=K.ENTRY_KIND_WITHDRAW, withdraw={"entry_seq": 1}), "WITHDRAW_INVALID"),
    "grant for an order beyond all": (
        pb.Entry(kind=K.ENTRY_KIND_GRANT, grant={"order_seq": 2**64 - 1, "amount": 1}),
        "ORDER_UNKNOWN",
    ),
    "cancel of an order beyond all": (
        pb.Entry(kind=K.ENTRY_KIND_CANCEL, cancel={"order_seq": 2**64 - 1}),
        "ORDER_UNKNOWN",
    ),
    "charge for an order beyond all": (
        pb.Entry(kind=K.ENTRY_KIND_CHARGE, charge={"order_seq": 2**64 - 1}),
        "ORDER_UNKNOWN",
    ),
    "expire of no order": (pb.Entry(kind=K.ENTRY_KIND_EXPIRE, expire={"order_seq": 77}), "ORDER_UNKNOWN"),
}
"""Entries that are void wherever they stand after the first: the node refuses each by that rule and goes on."""
