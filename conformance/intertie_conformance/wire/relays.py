"""How amounts convert between both sides of a relayed order, and the id that it gets downstream (RFC 0011)."""

from __future__ import annotations

import hashlib
import hmac
from fractions import Fraction
from math import ceil
from typing import Final, NamedTuple

from intertie.v1 import entry_pb2 as pb
from intertie.v1.envelope_pb2 import Problem

_HOP: Final = b"intertie/v1/hop\x00"
REASON: Final = 64
MESSAGE: Final = 1_024
ENTRIES: Final = 16
KEY: Final = 64
VALUE: Final = 256
"""Most characters, and most metadata entries, of a problem that is passed on."""


class Rate(NamedTuple):
    """Conversion of one relayed order."""

    ratio: Fraction
    fee: int
    """The relay's own fee an order, minor units upstream."""
    lines: int

    @property
    def usable(self) -> bool:
        """Whether the upstream tariff covers the downstream one."""
        return self.ratio >= 1 and self.fee >= 0

    def down(self, amount: int) -> int:
        """What may be reserved or granted downstream for `amount` upstream."""
        return max(0, (Fraction(amount - self.fee - self.lines) / self.ratio).__floor__())

    def up(self, amount: int) -> int:
        """What covers `amount` downstream, upstream."""
        return ceil(amount * self.ratio) + self.fee + self.lines


def rate(upstream: pb.Tariff, downstream: pb.Tariff, lines: int) -> Rate:
    """The rate of an order under both tariffs, usable or not."""
    ratio = Fraction(upstream.markup_num, upstream.markup_den)
    below = Fraction(downstream.markup_num, downstream.markup_den)
    ratio = ratio / below if below else max(ratio, Fraction(1))
    fee = upstream.fee - ratio * downstream.fee
    return Rate(ratio, ceil(fee) if fee >= 0 else -1, lines)


def resold(downstream: pb.Tariff, markup: Fraction, fee: int) -> tuple[int, int, int]:
    """(numerator, denominator, fee) that a relay advertises on top of a tariff."""
    factor = Fraction(downstream.markup_num, downstream.markup_den) * markup
    return factor.numerator, factor.denominator, ceil(downstream.fee * markup) + fee


def hop_id(secret: bytes, at: int, head: bytes, attempt: int = 0) -> str:
    """The downstream id for the upstream order that was written at `at` and ended its log with `head`."""
    made = hmac.new(secret, _HOP + head + attempt.to_bytes(4, "big"), hashlib.sha256).digest()
    raw = bytearray(at.to_bytes(6, "big") + made[:10])
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def cut(problem: Problem) -> Problem:
    """A problem of a neighbour as it is passed on."""
    made = Problem(reason=problem.reason[:REASON], message=problem.message[:MESSAGE])
    for key in sorted(problem.metadata)[:ENTRIES]:
        made.metadata[key[:KEY]] = problem.metadata[key][:VALUE]
    return made
