"""Exact arithmetic of value: int64 results, unbounded intermediates, no floats (RFC 0003)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

INT64_MAX: Final = 2**63 - 1
Price = tuple[str, int, int]
"""(unit, num, den): num/den minor units an atom."""


def charge(prices: Sequence[Price], quantities: Sequence[int]) -> int:
    """The sum over the lines of ceil(quantity * num / den)."""
    return sum(-(-quantity * num // den) for (_, num, den), quantity in zip(prices, quantities, strict=True))


def under_tariff(prices: Sequence[Price], markup_num: int, markup_den: int, fee: int) -> list[Price]:
    """Prices under a tariff, in lowest terms; the fee is added to the unit "order", appended if it is missing."""
    factor = Fraction(markup_num, markup_den)
    priced = {unit: Fraction(num, den) * factor for unit, num, den in prices}
    if fee:
        priced["order"] = priced.get("order", Fraction(0)) + fee
    return [(unit, price.numerator, price.denominator) for unit, price in priced.items()]
