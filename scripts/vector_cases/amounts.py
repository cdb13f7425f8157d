"""Exact arithmetic of value: charges, prices under a tariff, limits a relay converts, totals, decimal text.
Integers are decimal text."""

from __future__ import annotations

from intertie import amounts
from vector_cases.common import Case, hostile, valid

MAX = amounts.INT64_MAX
MIN_TOTAL = -(2**127)


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_charges(), *_prices(), *_limits(), *_totals(), *_texts()]


def _charge_input(prices: list[tuple[int, int]], quantities: list[int]) -> Case:
    lines = [{"num": str(num), "den": str(den)} for num, den in prices]
    return {"prices": lines, "quantities": [str(quantity) for quantity in quantities]}


def _charges() -> list[Case]:
    good: list[tuple[str, str, list[tuple[int, int]], list[int]]] = [
        ("charge-exact", "A price that divides evenly.", [(3, 1)], [14]),
        ("charge-ceil", "A line rounds up.", [(1, 3)], [1]),
        ("charge-per-line", "Each line rounds up alone, then the lines are added.", [(1, 3), (1, 3)], [1, 1]),
        ("charge-zero", "Nothing used costs nothing.", [(5, 7)], [0]),
        ("charge-free", "A price of zero costs nothing.", [(0, 1)], [MAX]),
        ("charge-none", "No lines cost nothing.", [], []),
        ("charge-wide", "The product exceeds 64 bits, the result does not.", [(MAX, MAX)], [MAX]),
        ("charge-max", "The largest charge.", [(1, 1)], [MAX]),
        ("charge-precise", "A floating-point product would be one off.", [(1, 1)], [2**53 + 1]),
        ("charge-mixed", "Tokens and one order.", [(3, 1000), (250, 1)], [1234, 1]),
        (
            "charge-meter",
            "The conformance offer meter: 11 tokens, 2 calls, one order.",
            [(1, 10), (7, 3), (10, 1), (5, 1), (2, 1), (1000, 1), (1, 1)],
            [11, 2, 1, 0, 0, 0, 0],
        ),
    ]
    made = [
        valid(name, text, "charge", given, {"amount": str(amounts.charge(prices, quantities))})
        for name, text, prices, quantities in good
        for given in [_charge_input(prices, quantities)]
    ]
    wrap = "A charge that wraps becomes small or negative: work for nothing, or money created."
    bad: list[tuple[str, str, list[tuple[int, int]], list[int], str, str]] = [
        ("charge-overflow", "The sum exceeds 2^63-1.", [(1, 1), (1, 1)], [MAX, 1], "AMOUNT_OVERFLOW", wrap),
        ("charge-huge", "One line exceeds 2^63-1.", [(MAX, 1)], [2], "AMOUNT_OVERFLOW", wrap),
        ("charge-den-zero", "A denominator of zero.", [(1, 0)], [1], "AMOUNT_INVALID", "A crash on demand."),
        (
            "charge-den-negative",
            "A negative denominator.",
            [(1, -1)],
            [1],
            "AMOUNT_INVALID",
            "A negative charge: the creditor pays.",
        ),
        (
            "charge-num-negative",
            "A negative numerator.",
            [(-1, 1)],
            [1],
            "AMOUNT_INVALID",
            "A negative charge: the creditor pays.",
        ),
        (
            "charge-quantity-negative",
            "A negative quantity lowers the sum.",
            [(9, 1), (9, 1)],
            [5, -4],
            "AMOUNT_INVALID",
            "One line hides another one's cost.",
        ),
        (
            "charge-short",
            "Fewer quantities than price lines.",
            [(1, 1), (1, 1)],
            [1],
            "AMOUNT_INVALID",
            "A line is silently not charged, or charged to one side only.",
        ),
    ]
    return made + [
        hostile(name, text, "charge", _charge_input(prices, quantities), error, attack)
        for name, text, prices, quantities, error, attack in bad
    ]


def _prices() -> list[Case]:
    made = []
    for name, text, numbers in (
        ("price-reduced", "The product is given in lowest terms.", (3, 4, 2, 3)),
        ("price-free", "A price of zero becomes 0/1.", (0, 7, 3, 2)),
        ("price-wide", "The products exceed 64 bits, the lowest terms do not.", (MAX, 3, 3, MAX)),
    ):
        num, den = amounts.scale_price(*numbers)
        names = ("num", "den", "markup_num", "markup_den")
        given = {field: str(value) for field, value in zip(names, numbers, strict=True)}
        made.append(valid(name, text, "scale_price", given, {"num": str(num), "den": str(den)}))
    given = {"num": str(MAX), "den": "2", "markup_num": "3", "markup_den": "1"}
    made.append(
        hostile(
            "price-overflow",
            "The lowest terms exceed 2^63-1.",
            "scale_price",
            given,
            "AMOUNT_OVERFLOW",
            "A price that wraps sells work below its cost.",
        )
    )
    return [*made, *_tariffs()]


def _tariffs() -> list[Case]:
    made = []
    tokens, order = ("llm.output.token", 3, 1000), ("order", 1, 2)
    for name, text, lines, markup, fee in (
        ("tariff-appended", "A fee without an order line appends one.", [tokens], (11, 10), 250),
        ("tariff-added", "A fee is added after the markup.", [order, tokens], (11, 10), 250),
        ("tariff-no-fee", "No fee, no new line.", [tokens], (1, 1), 0),
    ):
        output = [_line(*line) for line in amounts.apply_tariff(lines, *markup, fee)]
        given = {"lines": [_line(*line) for line in lines], "fee": str(fee)}
        given |= {"markup_num": str(markup[0]), "markup_den": str(markup[1])}
        made.append(valid(name, text, "apply_tariff", given, {"lines": output}))
    return made


def _line(unit: str, num: int, den: int) -> Case:
    return {"unit": unit, "num": str(num), "den": str(den)}


def _limits() -> list[Case]:
    names = ("amount", "fee_own", "lines", "ratio_num", "ratio_den")
    made = []
    for name, text, numbers in (
        ("limit-plain", "Fee and one unit a line are kept back.", (1000, 100, 2, 11, 10)),
        ("limit-floor", "The quotient rounds down.", (100, 0, 0, 3, 1)),
        ("limit-none", "Less than the fee: nothing may be spent.", (50, 100, 2, 11, 10)),
        ("limit-discount", "A markup below one allows more downstream.", (90, 0, 0, 9, 10)),
        ("limit-max", "The largest limit.", (MAX, 0, 0, 1, 1)),
    ):
        given = {field: str(value) for field, value in zip(names, numbers, strict=True)}
        output = {"amount": str(amounts.convert_limit(*numbers))}
        made.append(valid(name, text, "convert_limit", given, output))
    for name, text, numbers, error, attack in (
        (
            "limit-zero-ratio",
            "A markup of zero.",
            (1000, 0, 1, 0, 1),
            "AMOUNT_INVALID",
            "A relay spends without bound for an upstream that owes nothing.",
        ),
        (
            "limit-overflow",
            "The converted limit exceeds 2^63-1.",
            (MAX, 0, 0, 1, 2),
            "AMOUNT_OVERFLOW",
            "A limit that wraps refuses or allows everything.",
        ),
        (
            "limit-negative-fee",
            "A negative fee.",
            (1000, -500, 1, 1, 1),
            "AMOUNT_INVALID",
            "A relay spends more than it was granted.",
        ),
    ):
        given = {field: str(value) for field, value in zip(names, numbers, strict=True)}
        made.append(hostile(name, text, "convert_limit", given, error, attack))
    return made


def _totals() -> list[Case]:
    made = []
    for name, total in (
        ("zero", 0),
        ("one", 1),
        ("minus-one", -1),
        ("int64-max", MAX),
        ("beyond-int64", 2**63),
        ("largest", 2**127 - 1),
        ("smallest", MIN_TOTAL),
    ):
        data = {"bytes": amounts.total_to_bytes(total).hex()}
        text = "Sixteen bytes, two's complement, big-endian."
        made.append(valid(f"total-{name}", text, "total", {"total": str(total)}, data))
    lost = "Two sides read one signed total differently."
    return [
        *made,
        hostile(
            "total-overflow",
            "One above the largest.",
            "total",
            {"total": str(2**127)},
            "AMOUNT_OVERFLOW",
            lost,
        ),
        hostile("total-short", "Fifteen bytes.", "total_decode", {"bytes": "00" * 15}, "AMOUNT_INVALID", lost),
        hostile("total-long", "Seventeen bytes.", "total_decode", {"bytes": "00" * 17}, "AMOUNT_INVALID", lost),
        hostile("total-empty", "No bytes.", "total_decode", {"bytes": ""}, "AMOUNT_INVALID", lost),
    ]


def _texts() -> list[Case]:
    made = []
    for text, scale in (("12.5", 6), ("0", 6), ("0.000001", 6), ("7", 0), ("9223372036854.775807", 6)):
        output = {"amount": str(amounts.parse_amount(text, scale))}
        given = {"text": text, "scale": scale}
        made.append(valid(f"text-{text}-scale-{scale}", "Exact decimal.", "parse_amount", given, output))
    attack = "An operator's or a tool's text stands for another amount than the one shown."
    for name, text, scale in (
        ("precise", "0.0000001", 6),
        ("exponent", "1e3", 6),
        ("negative", "-1", 6),
        ("sign", "+1", 6),
        ("space", " 1", 6),
        ("comma", "1,5", 6),
        ("empty", "", 6),
        ("point", "1.", 6),
        ("bare-point", ".5", 6),
        ("zeros", "00.5", 6),
        ("digits", "\u0661", 6),
        ("too-much", "9223372036854.775808", 6),
        ("not-a-number", "NaN", 6),
        ("underscore", "1_000", 6),
        ("newline", "1\n", 6),
        ("scale", "1", 10),
    ):
        given = {"text": text, "scale": scale}
        made.append(hostile(f"text-{name}", "Not such a decimal.", "parse_amount", given, "AMOUNT_INVALID", attack))
    return made
