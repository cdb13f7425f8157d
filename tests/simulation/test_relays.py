"""The judge's own conversion of a relay's limits, by the worked example of RFC 0011."""

from __future__ import annotations

import pytest
from tests.simulation.balances import Order
from tests.simulation.relays import down_limit

from intertie.v1 import entry_pb2 as pb
from intertie.v1.metering_pb2 import PriceLine

LINES = [PriceLine(unit="order", num=16, den=1), PriceLine(unit="llm.output.token", num=11, den=100)]


def order(num: int, den: int, fee: int) -> Order:
    body = pb.Order(max_charge=1_000, prices=LINES)
    return Order(1, pb.Entry(order=body), pb.Tariff(markup_num=num, markup_den=den, fee=fee), 0)


@pytest.mark.parametrize(("amount", "limit"), [(1_000, 902), (100, 84), (7, 0), (0, 0)])
def test_a_limit_is_worth_less_downstream(amount: int, limit: int) -> None:
    assert down_limit(order(11, 10, 5), order(1, 1, 0), amount) == limit


def test_where_the_price_beyond_is_nothing_limits_convert_one_to_one() -> None:
    assert down_limit(order(1, 2, 5), order(0, 1, 0), 100) == 93


def test_a_fee_beyond_counts_with_the_own_markup() -> None:
    assert down_limit(order(11, 10, 8), order(1, 1, 2), 1_000) == 901
