"""Exact arithmetic of value (design §5 rule 3, §9).

Amounts are int64 minor units of an asset, quantities int64 atoms of a unit, prices rationals `num/den` in
minor units per atom. Intermediates are exact Python integers; only results are range-checked. There are no
floats and nothing wraps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import gcd
from typing import Final

from intertie.errors import IntertieError

INT64_MAX: Final = 2**63 - 1
TOTAL_SIZE: Final = 16
MAX_SCALE: Final = 9
_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,18})(?:\.([0-9]{1,9}))?")


def check_amount(value: int) -> int:
    """Return `value` if it lies in 0..2^63-1; raise AMOUNT_INVALID if it does not."""
    if 0 <= value <= INT64_MAX:
        return value
    raise IntertieError("AMOUNT_INVALID", f"An amount must lie between 0 and {INT64_MAX}, not {_shown(value)}.")


def check_price(num: int, den: int) -> None:
    """Raise AMOUNT_INVALID unless `num` lies in 0..2^63-1 and `den` in 1..2^63-1."""
    if not (0 <= num <= INT64_MAX and 1 <= den <= INT64_MAX):
        raise IntertieError("AMOUNT_INVALID", f"A price or factor of {_shown(num)}/{_shown(den)} is out of range.")


def exact_charge(prices: Sequence[tuple[int, int]], quantities: Sequence[int]) -> int:
    """Return the sum over the lines of ceil(quantity · num / den), exact and unchecked: minor units.

    Only for as many operands that are known to be in range; `charge` checks them.
    """
    total = 0
    for (num, den), quantity in zip(prices, quantities, strict=True):
        total -= quantity * num // -den
    return total


def charge(prices: Sequence[tuple[int, int]], quantities: Sequence[int]) -> int:
    """Return the cumulative charge in minor units: the sum over the lines of ceil(quantity · num / den).

    `prices` are (num, den) and `quantities` cumulative atoms, line by line. Raises AMOUNT_INVALID if their
    numbers differ or an operand is out of range, AMOUNT_OVERFLOW if the sum exceeds 2^63-1.
    """
    if len(prices) != len(quantities):
        raise IntertieError(
            "AMOUNT_INVALID", f"A charge of {len(prices)} price lines has {len(quantities)} quantities."
        )
    total = 0
    for (num, den), quantity in zip(prices, quantities, strict=True):
        if not (0 <= num <= INT64_MAX and 0 < den <= INT64_MAX and 0 <= quantity <= INT64_MAX):
            raise IntertieError(
                "AMOUNT_INVALID", f"A charge line {_shown(quantity)} x {_shown(num)}/{_shown(den)} is out of range."
            )
        total -= quantity * num // -den
    return _fit(total)


def scale_price(num: int, den: int, markup_num: int, markup_den: int) -> tuple[int, int]:
    """Return the price num/den times the markup, in lowest terms.

    Raises AMOUNT_INVALID if an operand is out of range, AMOUNT_OVERFLOW if a reduced term exceeds 2^63-1.
    """
    check_price(num, den)
    check_price(markup_num, markup_den)
    return _reduce(num * markup_num, den * markup_den)


def apply_tariff(
    lines: Sequence[tuple[str, int, int]], markup_num: int, markup_den: int, fee: int
) -> list[tuple[str, int, int]]:
    """Return an offer's price lines (unit, num, den) under a tariff, in lowest terms and in the same order.

    Every price is multiplied by the markup; then `fee` minor units are added to the unit "order", which is
    appended if it is missing and the fee is not 0. Raises as `scale_price`, AMOUNT_INVALID for a bad fee.
    """
    check_amount(fee)
    priced = [(unit, *scale_price(num, den, markup_num, markup_den)) for unit, num, den in lines]
    if fee and not any(unit == "order" for unit, _, _ in priced):
        priced.append(("order", 0, 1))
    return [
        (unit, *_reduce(num + fee * den, den)) if unit == "order" else (unit, num, den) for unit, num, den in priced
    ]


def convert_limit(amount: int, fee_own: int, lines: int, ratio_num: int, ratio_den: int) -> int:
    """Return what a relay may grant or reserve downstream for `amount` minor units upstream (design §9).

    That is max(0, floor((amount - fee_own - lines) / ratio)): `fee_own` is the relay's fee an order, `ratio`
    its markup, `lines` the number of price lines, each of which may round up by less than one unit. Raises
    AMOUNT_INVALID if an operand is out of range or the ratio is 0 (nothing upstream would bound the
    spending), AMOUNT_OVERFLOW if the result exceeds 2^63-1.
    """
    check_amount(amount)
    check_amount(fee_own)
    check_amount(lines)
    check_price(ratio_num, ratio_den)
    if ratio_num == 0:
        raise IntertieError("AMOUNT_INVALID", "A limit cannot be converted at a markup of 0.", field="markup_num")
    return _fit(max(0, (amount - fee_own - lines) * ratio_den // ratio_num))


def total_to_bytes(total: int) -> bytes:
    """Return `total` as 16 bytes, two's complement, big-endian; raise AMOUNT_OVERFLOW if it does not fit."""
    try:
        return total.to_bytes(TOTAL_SIZE, "big", signed=True)
    except OverflowError:
        raise IntertieError("AMOUNT_OVERFLOW", f"The total {_shown(total)} does not fit 128 bits.") from None


def total_from_bytes(data: bytes) -> int:
    """Return the total that `total_to_bytes` wrote; raise AMOUNT_INVALID unless there are 16 bytes."""
    if len(data) != TOTAL_SIZE:
        raise IntertieError("AMOUNT_INVALID", f"A total must have {TOTAL_SIZE} bytes, not {len(data)}.")
    return int.from_bytes(data, "big", signed=True)


def format_amount(minor: int, scale: int) -> str:
    """Return `minor` units as an exact decimal with `scale` digits after the point (none at scale 0)."""
    check_scale(scale)
    sign, digits = "-" if minor < 0 else "", str(abs(minor)).rjust(scale + 1, "0")
    return sign + (f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits)


def parse_amount(text: str, scale: int) -> int:
    """Return the minor units that a plain decimal such as "12.5" states, exactly.

    Raises AMOUNT_INVALID if the text is not one, is negative, has more than `scale` digits after the point,
    or exceeds 2^63-1 minor units.
    """
    check_scale(scale)
    match = _DECIMAL.fullmatch(text)
    fraction = (match[2] or "") if match else ""
    if match is None or len(fraction) > scale:
        raise IntertieError(
            "AMOUNT_INVALID", f"{text[:60]!r} is not a decimal with at most {scale} digits after the point."
        )
    return check_amount(int(match[1]) * 10**scale + int(fraction.ljust(scale, "0") or "0"))


def check_scale(scale: int) -> int:
    """Return `scale` if it lies in 0..9; raise AMOUNT_INVALID if it does not."""
    if 0 <= scale <= MAX_SCALE:
        return scale
    raise IntertieError("AMOUNT_INVALID", f"A scale must lie between 0 and {MAX_SCALE}, not {scale}.")


def _reduce(num: int, den: int) -> tuple[int, int]:
    """Return num/den in lowest terms; raise AMOUNT_OVERFLOW if a term exceeds 2^63-1."""
    divisor = gcd(num, den)
    return _fit(num // divisor), _fit(den // divisor)


def _shown(value: int) -> str:
    """Return an integer as decimal text; of a huge one only its length, which Python may refuse to write out."""
    size = value.bit_length()
    return str(value) if size <= 256 else f"a number of {size} bits"


def _fit(result: int) -> int:
    """Return a computed, non-negative `result`; raise AMOUNT_OVERFLOW if it exceeds 2^63-1."""
    if result > INT64_MAX:
        raise IntertieError("AMOUNT_OVERFLOW", f"The result {_shown(result)} exceeds {INT64_MAX}.")
    return result
