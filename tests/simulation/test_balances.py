"""The judge's own arithmetic: what two logs say of one order, in the cases where its rules are easily got wrong."""

from __future__ import annotations

from typing import Any

from tests.simulation.balances import LaneBook

from intertie.v1 import entry_pb2 as pb
from intertie.v1.metering_pb2 import PriceLine

K = pb.EntryKind
WINDOW, LONGEST = 1_000, 60_000
PRICE = PriceLine(unit="order", num=10, den=1)


def order(**fields: Any) -> pb.Entry:
    body = pb.Order(id="x" * 36, max_charge=100, grant=100, deadline=5_000, nonce=bytes(16), prices=[PRICE], **fields)
    return pb.Entry(kind=K.ENTRY_KIND_ORDER, at=1_000, order=body)


def expire(seen: int, at: int = 6_000) -> pb.Entry:
    return pb.Entry(kind=K.ENTRY_KIND_EXPIRE, seen=seen, at=at, expire=pb.Expire(order_seq=1))


def charge(seen: int, final: bool = True) -> pb.Entry:
    body = pb.Charge(order_seq=1, quantities=[1], amount=10, final=final)
    return pb.Entry(kind=K.ENTRY_KIND_CHARGE, seen=seen, at=2_000, charge=body)


def reject(seen: int) -> pb.Entry:
    return pb.Entry(kind=K.ENTRY_KIND_REJECT, seen=seen, at=2_000, reject=pb.Reject(order_seq=1))


def refuse(seen: int) -> pb.Entry:
    return pb.Entry(
        kind=K.ENTRY_KIND_REFUSE, seen=seen, at=3_000, refuse=pb.Refuse(entry_seq=1, rule="CHARGE_UNPROVEN")
    )


def withdraw() -> pb.Entry:
    return pb.Entry(kind=K.ENTRY_KIND_WITHDRAW, seen=1, at=4_000, withdraw=pb.Withdraw(entry_seq=1))


def book(payer: list[pb.Entry], provider: list[pb.Entry]) -> LaneBook:
    logs = ([entry.SerializeToString() for entry in log] for log in (payer, provider))
    made = LaneBook(*logs, WINDOW, LONGEST)
    made.sign([(len(payer), len(provider))])
    return made


def test_what_has_crossed_an_expire_is_no_fault_even_if_another_one_has_seen_it() -> None:
    made = book([order(), expire(0), expire(1, 7_000)], [reject(1)])
    assert made.void == ({3: "an expire of what had ended"}, {})
    assert made.orders[1].expire_seq == 2
    assert not made.orders[1].rejected


def test_what_comes_after_a_seen_expire_is_void() -> None:
    made = book([order(), expire(0)], [charge(2)])
    assert made.void == ({}, {1: "a charge that is for what has expired"})
    assert made.posted() == 0


def test_an_early_expire_ends_nothing() -> None:
    made = book([order(), expire(0, 5_999)], [charge(2)])
    assert made.void == ({2: "an expire that is early, or of nothing"}, {})
    assert (made.posted(), made.agreed(2, 1)) == (10, 10)


def test_what_an_operator_agrees_to_by_withdrawing_costs_whoever_asked_nothing() -> None:
    refused = book([order(), refuse(1)], [charge(1)])
    withdrawn = book([order(), refuse(1), withdraw()], [charge(1)])
    assert (refused.agreed(2, 1), refused.orders[1].cost()) == (0, 0)
    assert (withdrawn.agreed(3, 1), withdrawn.orders[1].cost()) == (10, 0)
    assert book([order()], [charge(1)]).orders[1].cost() == 10


def test_a_refusal_after_its_charge_was_acknowledged_is_void() -> None:
    made = LaneBook(
        *([e.SerializeToString() for e in log] for log in ([order(), refuse(1)], [charge(1)])), WINDOW, LONGEST
    )
    made.sign([(1, 1), (2, 1)])
    assert made.void[0] == {2: "a refusal that comes too late, or twice"}
    assert made.agreed(2, 1) == 10
