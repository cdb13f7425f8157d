"""How a relay converts amounts between an upstream and a downstream order. Integers are decimal text; a tariff is
markup and fee."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

from vector_cases.common import Case, hostile, valid

Tariff = tuple[int, int, int]
"""Markup numerator and denominator, fee."""


def cases() -> list[Case]:
    """Return every case of the area."""
    return [*_rates(), *_bad_rates(), *_amounts(), *_bad_amounts()]


def _tariff(tariff: Tariff) -> Case:
    return {name: str(value) for name, value in zip(("markup_num", "markup_den", "fee"), tariff, strict=True)}


def _rate(upstream: Tariff, downstream: Tariff) -> tuple[Fraction, Fraction]:
    """Return the ratio and the own fee before it is rounded up."""
    ratio = Fraction(*upstream[:2])
    ratio = ratio / Fraction(*downstream[:2]) if downstream[0] else max(ratio, Fraction(1))
    return ratio, upstream[2] - ratio * downstream[2]


def _rates() -> list[Case]:
    made = []
    rows: tuple[tuple[str, str, Tariff, Tariff], ...] = (
        ("same", "The same tariff on both sides: nothing is kept back.", (1, 1, 0), (1, 1, 0)),
        ("markup", "A tenth more, and a fee of 5.", (11, 10, 5), (1, 1, 0)),
        ("chained", "Two markups in a row; the downstream fee is marked up too.", (121, 100, 21), (11, 10, 5)),
        ("fraction", "An own fee that is no whole number is rounded up.", (4, 3, 10), (1, 1, 1)),
        ("exact", "The upstream fee just covers the downstream one.", (3, 2, 3), (1, 1, 2)),
        ("fee-alone", "Downstream costs a fee alone: one to one, less the fees.", (0, 1, 10), (0, 1, 4)),
        ("fee-alone-now", "The same under an upstream tariff of before.", (11, 10, 5), (0, 1, 4)),
        ("terms", "The ratio is given in lowest terms.", (10, 4, 0), (5, 4, 0)),
    )
    for name, text, upstream, downstream in rows:
        ratio, fee = _rate(upstream, downstream)
        output = {"ratio_num": str(ratio.numerator), "ratio_den": str(ratio.denominator), "fee_own": str(ceil(fee))}
        given = {"upstream": _tariff(upstream), "downstream": _tariff(downstream)}
        made.append(valid(f"rate-{name}", text, "rate", given, output))
    return made


def _bad_rates() -> list[Case]:
    loss = "A relay pays its provider more than its payer owes it."
    rows: tuple[tuple[str, str, Tariff, Tariff], ...] = (
        ("cheaper", "The downstream markup has risen above the upstream one.", (11, 10, 5), (12, 10, 0)),
        ("fee", "The downstream fee has risen above what the upstream one covers.", (11, 10, 5), (1, 1, 5)),
        ("free", "Nothing is charged upstream for work that costs downstream.", (0, 1, 0), (1, 1, 0)),
    )
    return [
        hostile(
            f"rate-{name}",
            text,
            "rate",
            {"upstream": _tariff(upstream), "downstream": _tariff(downstream)},
            "PRICE_CHANGED",
            loss,
        )
        for name, text, upstream, downstream in rows
    ]


def _given(amount: int, fee: int, lines: int, ratio: Fraction) -> Case:
    return {
        "amount": str(amount),
        "fee_own": str(fee),
        "lines": str(lines),
        "ratio_num": str(ratio.numerator),
        "ratio_den": str(ratio.denominator),
    }


def _amounts() -> list[Case]:
    made = []
    tenth = Fraction(11, 10)
    for name, text, amount, fee, lines, ratio in (
        ("maximum", "The maximum charge of the worked example.", 1000, 5, 2, tenth),
        ("grant", "The grant of the worked example.", 100, 5, 2, tenth),
        ("tiny", "Less than the fee and a unit a line: nothing may be spent.", 6, 5, 2, tenth),
        ("edge", "Exactly the fee and a unit a line.", 7, 5, 2, tenth),
        ("plain", "Without fee, lines and markup nothing changes.", 2**63 - 1, 0, 0, Fraction(1)),
    ):
        output = {"amount": str(max(0, floor((amount - fee - lines) / ratio)))}
        made.append(valid(f"down-{name}", text, "down", _given(amount, fee, lines, ratio), output))
    for name, text, amount, fee, lines, ratio in (
        ("asked", "What a provider asks for, as it is asked for upstream.", 400, 5, 2, tenth),
        ("back", "What down-maximum gives costs no more upstream than it came from.", 902, 5, 2, tenth),
        ("one", "A minor unit is rounded up.", 1, 0, 0, tenth),
    ):
        output = {"amount": str(ceil(amount * ratio) + fee + lines)}
        made.append(valid(f"up-{name}", text, "up", _given(amount, fee, lines, ratio), output))
    return made


def _bad_amounts() -> list[Case]:
    unbound = "A relay spends without bound for an upstream that owes nothing."
    wrap = "A limit that wraps allows everything or nothing."
    return [
        hostile("down-zero", "A ratio of zero.", "down", _given(1000, 0, 1, Fraction(0)), "AMOUNT_INVALID", unbound),
        hostile("down-negative", "A negative amount.", "down", _given(-1, 0, 1, Fraction(1)), "AMOUNT_INVALID", wrap),
    ]
