"""What a relay has promised and claimed, by an own conversion from the tariffs that its two orders name (RFC 0011)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import msgspec
from tests.simulation.balances import LaneBook, Order
from tests.simulation.node import Node

from intertie_node.core.ledger import ME, THEM
from intertie_node.core.world import StoredInvocation

Books = dict[tuple[int, str, int], LaneBook]
"""(grid, link, payer) → the lane as that grid's disk tells it."""


def relayed(judge: Any, node: Node, books: Books) -> None:
    """A relay promises no more than it was promised, and claims what it pays. Raises: Violation."""
    for key, up, down in _pairs(node, books):
        most, told = down_limit(up, down, up.most), f"{node.identity.grid} {key}"
        judge.check(
            down.most == most, "a relay reserves what it was promised", f"{told}: reserves {down.most} of {most}"
        )
        granted, most = down.grants[-1][1], down_limit(up, down, up.grants[-1][1])
        judge.check(
            granted <= most, "a relay grants no more than it was granted", f"{told}: grants {granted} of {most}"
        )
        claimed = [claim.amount for claim in up.claims if claim.final]
        if claimed and not up.expire_seq:
            paid = f"{told}: pays {down.cost()}, charges {claimed[-1]}"
            judge.check(down.cost() <= claimed[-1], "a relay claims what it pays", paid)


def _pairs(node: Node, books: Books) -> Iterator[tuple[str, Order, Order]]:
    """Invocation, upstream order and downstream order of everything that a grid has relayed."""
    for row in node.disk.tables["invocations"].values():
        stored = msgspec.msgpack.decode(row[8], type=StoredInvocation)
        source, sink = stored.source, stored.sink
        if source[0] == "order_source" and sink and sink[0] == "order_sink":
            up = books[node.index, source[1], THEM].orders.get(source[2])
            down = books[node.index, sink[1], ME].orders.get(sink[2])
            if up is not None and down is not None:
                yield row[0], up, down


def down_limit(up: Order, down: Order, amount: int) -> int:
    """What an upstream amount is downstream: less the relay's own fee and a unit a line, without its markup."""
    asked, paid = up.tariff, down.tariff
    markup = Fraction(asked.markup_num, asked.markup_den)
    beyond = Fraction(paid.markup_num, paid.markup_den)
    ratio = markup / beyond if beyond else max(markup, Fraction(1))
    kept = asked.fee - ratio * paid.fee
    return max(0, int((amount - -(-kept // 1) - len(up.prices)) // ratio))
