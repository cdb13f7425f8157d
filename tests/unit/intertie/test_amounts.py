"""Properties of value arithmetic (design §5, §9): exact, independent of splits, no gain by conversion."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intertie import amounts
from intertie.amounts import INT64_MAX
from intertie.errors import IntertieError

int64 = st.integers(0, INT64_MAX)
positive = st.integers(1, INT64_MAX)
small = st.integers(0, 10**6)
price = st.tuples(small, st.integers(1, 10**6))


@given(int64, int64, positive)
def test_a_line_is_charged_its_exact_ceiling(quantity: int, num: int, den: int) -> None:
    assert amounts.exact_charge([(num, den)], [quantity]) == math.ceil(Fraction(quantity * num, den))


@given(st.lists(st.tuples(price, small), max_size=16))
def test_charge_is_the_sum_of_ceilings(lines: list[tuple[tuple[int, int], int]]) -> None:
    expected = sum(math.ceil(Fraction(num * quantity, den)) for (num, den), quantity in lines)
    assert amounts.charge([line for line, _ in lines], [quantity for _, quantity in lines]) == expected


@given(price, st.lists(small, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_charge_is_independent_of_how_usage_was_split_or_ordered(line, parts, random) -> None:
    whole = amounts.charge([line], [sum(parts)])
    for _ in range(2):
        cumulative, charged, increments = 0, 0, 0
        for part in parts:
            cumulative += part
            now = amounts.charge([line], [cumulative])
            assert now >= charged
            increments, charged = increments + now - charged, now
        assert increments == whole
        random.shuffle(parts)


@given(st.lists(st.tuples(price, small), min_size=1, max_size=16), st.randoms(use_true_random=False))
def test_charge_is_independent_of_the_order_of_lines(lines, random) -> None:
    def total() -> int:
        return amounts.charge([line for line, _ in lines], [quantity for _, quantity in lines])

    before = total()
    random.shuffle(lines)
    assert total() == before


@given(int64, int64, positive)
def test_charge_is_exact_or_refused(quantity: int, num: int, den: int) -> None:
    exact = math.ceil(Fraction(quantity * num, den))
    if exact <= INT64_MAX:
        assert amounts.charge([(num, den)], [quantity]) == exact
        return
    with pytest.raises(IntertieError) as caught:
        amounts.charge([(num, den)], [quantity])
    assert caught.value.reason == "AMOUNT_OVERFLOW"


@given(int64, positive, int64, positive)
def test_scale_price_is_exact_or_refused(num: int, den: int, markup_num: int, markup_den: int) -> None:
    exact = Fraction(num, den) * Fraction(markup_num, markup_den)
    if max(exact.numerator, exact.denominator) <= INT64_MAX:
        found = amounts.scale_price(num, den, markup_num, markup_den)
        assert found == (exact.numerator, exact.denominator)
        return
    with pytest.raises(IntertieError) as caught:
        amounts.scale_price(num, den, markup_num, markup_den)
    assert caught.value.reason == "AMOUNT_OVERFLOW"


@given(
    lines=st.lists(st.tuples(price, small), max_size=15),
    markup=st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
    fee=small,
    grant=st.integers(0, 10**9),
    origin_fee=small,
)
def test_a_relay_never_pays_more_than_it_is_owed(lines, markup, fee, grant, origin_fee) -> None:
    """Whatever downstream may charge within its converted limit can be charged upstream within its own."""
    downstream = [("order", origin_fee, 1)] + [(f"u{n}", *line) for n, (line, _) in enumerate(lines)]
    upstream = amounts.apply_tariff(downstream, *markup, fee)
    quantities = [1, *(quantity for _, quantity in lines)]
    limit = amounts.convert_limit(grant, fee, len(upstream), *markup)
    paid = amounts.charge([(num, den) for _, num, den in downstream], quantities)
    if 0 < paid <= limit:
        earned = amounts.charge([(num, den) for _, num, den in upstream], quantities)
        assert earned <= grant
        assert earned >= paid * Fraction(*markup) - len(lines) * Fraction(*markup)


@given(int64, small, st.integers(0, 16), price.filter(lambda ratio: ratio[0] > 0))
def test_convert_limit_is_the_exact_floor(amount, fee, lines, ratio) -> None:
    exact = max(0, math.floor((amount - fee - lines) / Fraction(*ratio)))
    if exact <= INT64_MAX:
        assert amounts.convert_limit(amount, fee, lines, *ratio) == exact


@given(st.integers(-(2**127), 2**127 - 1))
def test_totals_come_back(total: int) -> None:
    assert amounts.total_from_bytes(amounts.total_to_bytes(total)) == total


@given(int64, st.integers(0, 9))
def test_decimal_text_comes_back(minor: int, scale: int) -> None:
    text = amounts.format_amount(minor, scale)
    assert amounts.parse_amount(text, scale) == minor
    assert Decimal(text).scaleb(scale) == minor


@given(st.text(), st.integers(0, 9))
def test_any_text_is_an_amount_or_refused(text: str, scale: int) -> None:
    try:
        assert 0 <= amounts.parse_amount(text, scale) <= INT64_MAX
    except IntertieError as error:
        assert error.reason == "AMOUNT_INVALID"


@pytest.mark.parametrize(
    ("minor", "scale", "text"),
    [(0, 0, "0"), (-5, 6, "-0.000005"), (1_500_000, 6, "1.500000"), (12, 1, "1.2"), (2**70, 0, str(2**70))],
)
def test_format_amount(minor: int, scale: int, text: str) -> None:
    assert amounts.format_amount(minor, scale) == text


@pytest.mark.parametrize("value", [-1, INT64_MAX + 1])
def test_check_amount_refuses(value: int) -> None:
    with pytest.raises(IntertieError, match="AMOUNT_INVALID"):
        amounts.check_amount(value)


@pytest.mark.parametrize(("value", "shown"), [(2**63, str(2**63)), (-5, "not -5.")])
def test_an_amount_out_of_range_is_told_in_decimal(value: int, shown: str) -> None:
    with pytest.raises(IntertieError) as caught:
        amounts.check_amount(value)
    assert shown in caught.value.message
    with pytest.raises(IntertieError, match="20001 bits"):  # Python refuses to write that out
        amounts.check_amount(1 << 20_000)
