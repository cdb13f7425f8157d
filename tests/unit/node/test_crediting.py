"""A credit goes back all the way to whoever has paid, and no relay loses or gains by it (design §9)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.line import ECHO, Line
from tests.kit.sim_node import Listener, SimNode, echo
from tests.unit.node.test_misdeeds import check_books

from intertie.amounts import INT64_MAX
from intertie.errors import IntertieError
from intertie.v1.envelope_pb2 import Payload
from intertie_node.core import executing, selling
from intertie_node.core.crediting import returned
from intertie_node.core.effects import Changes, Effects
from intertie_node.core.holds import Claim, Hold, HoldState, Terms
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.work import StartWork

MARKUP = {"markup_num": 3, "markup_den": 2, "fee": 3}


class Sold:
    """Alice at north has paid 18 for what south sold to hub for 10."""

    def __init__(self, **hub: Any) -> None:
        self.line = Line(**{**MARKUP, **hub})
        self.listener = self.buy()

    def buy(self) -> Listener:
        listener = self.line.north.invoke(ECHO)
        self.line.net.run()
        assert listener.outcome is not None
        return listener

    def credit(self, amount: int, node: SimNode | None = None, peer: SimNode | None = None) -> str:
        """South, or another node, takes back part of the last order; returns why that is refused."""
        seller = node or self.line.south
        link = seller.link(peer or self.line.hub)
        seq = max(seq for payer, seq in self._orders(seller, link.name) if payer == THEM)
        said: list[str] = []

        def step(fx: Effects) -> None:
            try:
                selling.credit(seller.world, link, seq, amount, "sorry", fx)
            except IntertieError as error:
                said.append(error.reason)

        seller.submit(step)
        self.line.net.run()
        return "".join(said)

    @staticmethod
    def _orders(node: SimNode, link: str) -> list[tuple[int, int]]:
        return [(row[1], row[2]) for row in node.store.all_rows("holds") if row[0] == link]

    def debts(self) -> tuple[int, int]:
        """What north owes hub, and hub south: agreed by both."""
        line = self.line
        lanes = [
            (line.hub.link(line.north).ledger.lanes[THEM], line.north.link(line.hub).ledger.lanes[ME]),
            (line.south.link(line.hub).ledger.lanes[THEM], line.hub.link(line.south).ledger.lanes[ME]),
        ]
        for a, b in lanes:
            assert a.posted == a.agreed == b.posted == b.agreed
        return lanes[0][0].posted, lanes[1][0].posted

    def spent(self) -> int:
        """What alice's budget has spent; her receipt says the same."""
        account = self.line.north.world.books.accounts["alice"]
        assert account.reserved == 0
        row = self.line.north.store.row("accounts", ("alice",))
        assert row is not None
        assert row[4] == account.spent
        return account.spent

    def receipt(self) -> int:
        (row,) = self.line.north.store.all_rows("invocations")
        assert self.listener.outcome is not None
        outcome = copy.copy(self.listener.outcome)
        outcome.ParseFromString(row[9])
        return outcome.receipt.charge

    def check(self) -> None:
        for node in (self.line.north, self.line.hub, self.line.south):
            check_books(node)
            total = [sum(balance[side] for balance in node.world.books.balances.values()) for side in (0, 1)]
            assert total[0] == total[1]


def test_a_credit_goes_back_to_the_consumer() -> None:
    sold = Sold()
    assert (sold.debts(), sold.spent(), sold.receipt()) == ((18, 10), 18, 18)
    sold.credit(3)
    assert (sold.debts(), sold.spent(), sold.receipt()) == ((14, 7), 14, 14), "3 * 3/2 = 4.5, rounded down"
    sold.credit(1)
    assert (sold.debts(), sold.spent(), sold.receipt()) == ((12, 6), 12, 12), "4 * 3/2 = 6 in all"
    sold.credit(6)
    assert (sold.debts(), sold.spent(), sold.receipt()) == ((3, 0), 3, 3), "the relay keeps its fee"
    assert sold.credit(1) == "CREDIT_INVALID"
    assert not sold.line.north.world.invocations
    sold.check()


def test_credits_that_come_while_another_is_being_committed_are_given_back_once_each() -> None:
    """The ended call is brought back for the first, and stays until the last of them is durable."""
    sold = Sold()
    north, hub, net = sold.line.north, sold.line.hub, sold.line.net
    link, turns = hub.link(north), north.turns
    seq = max(seq for payer, seq in sold._orders(hub, link.name) if payer == THEM)

    def take_credit() -> None:
        hub.submit(lambda fx: selling.credit(hub.world, link, seq, 1, "sorry", fx) and None)
        hub.batch()
        net._deliver()
        turns.compute()

    def land(changes: Changes | None) -> None:
        assert changes is not None
        north.store.commit(changes)
        turns.landed()

    take_credit()
    first = turns.launch()
    take_credit()
    land(first)
    take_credit()
    land(turns.launch())
    net.run()
    assert (sold.debts()[0], sold.spent(), sold.receipt()) == (15, 15, 15)
    assert not north.world.invocations
    sold.check()


@settings(max_examples=25)
@given(
    num=st.integers(10, 40),
    fee=st.integers(0, 5),
    credits=st.lists(st.integers(1, 10), min_size=1, max_size=6),
)
def test_no_conversion_profits_its_initiator(num: int, fee: int, credits: list[int]) -> None:
    sold = Sold(markup_num=num, markup_den=10, fee=fee)
    left, given_back = 10, 0
    before = sold.debts()
    for amount in credits:
        if sold.credit(amount) == "":
            left, given_back = left - amount, given_back + amount
    upstream, downstream = sold.debts()
    assert downstream == left
    assert before[0] - upstream == given_back * num // 10
    assert 0 <= upstream - downstream <= before[0] - before[1]
    assert sold.spent() == sold.receipt() == upstream
    sold.check()


def test_it_is_passed_on_when_the_upstream_link_opens() -> None:
    """Also if hub ends in between, more than once."""
    sold = Sold()
    line = sold.line
    line.restart(line.hub)
    line.connect(line.hub, line.south)
    sold.credit(4)
    assert sold.line.hub.world.owed
    line.restart(line.hub)
    line.connect(line.hub, line.south)
    line.connect(line.hub, line.north)
    assert (sold.debts(), sold.spent(), sold.receipt()) == ((12, 6), 12, 12)
    assert not line.hub.world.owed
    assert not [row for row in line.hub.store.all_rows("settings") if row[0].startswith("owed/")]
    line.restart(line.hub)
    line.connect(line.hub, line.north)
    line.connect(line.hub, line.south)
    assert sold.debts() == (12, 6)
    sold.check()


@pytest.mark.parametrize("order", [["north", "south"], ["south", "north"]])
def test_a_relay_restored_to_before_the_credit_gives_it_once(order: list[str]) -> None:
    sold = Sold()
    older = sold.line.backup(sold.line.hub)
    sold.credit(4)
    assert sold.debts() == (12, 6)
    sold.line.restart(sold.line.hub, older)
    for name in order:
        sold.line.connect(sold.line.hub, getattr(sold.line, name))
    assert (sold.debts(), sold.spent()) == ((12, 6), 12)
    sold.check()


def test_a_consumers_grid_restored_to_before_the_credit() -> None:
    sold = Sold()
    older = sold.line.backup(sold.line.north)
    sold.credit(4)
    sold.line.restart(sold.line.north, older)
    sold.line.connect(sold.line.north, sold.line.hub)
    assert (sold.debts(), sold.spent(), sold.receipt()) == ((12, 6), 12, 12)
    sold.check()


def test_a_credit_of_the_relay_itself_counts() -> None:
    sold = Sold()
    sold.credit(5, sold.line.hub, sold.line.north)
    assert (sold.debts(), sold.spent()) == ((13, 10), 13)
    sold.credit(2)
    assert (sold.debts(), sold.spent()) == ((13, 8), 13), "2 * 3/2 = 3 of the 5 already given"
    sold.credit(8)
    assert (sold.debts(), sold.spent()) == ((3, 0), 3)
    sold.check()


def test_a_credit_while_the_work_runs() -> None:
    """Something has been charged, part of it is credited, and more is charged at the end."""
    line = Line(**MARKUP)
    held: list[StartWork] = []
    line.south.backends["echo"] = lambda node, work: held.append(work)
    sold = Sold.__new__(Sold)
    sold.line = line
    sold.listener = line.north.invoke(ECHO, first_grant=100)
    line.net.run()

    def meter(inv: Any, fx: Effects) -> None:
        executing.metered(line.south.world, inv, {"llm.output.token": 2_000}, None, lambda error: None, fx)

    for _ in range(2):
        line.south.report(held[0].invocation, meter)
        line.net.run()
        line.net.wait(1_000)
    hold = next(iter(line.south.link().ledger.holds.values()))
    assert hold.posted > 0, "what was used before the grant ran out has been charged"
    assert sold.credit(20) == ""
    assert line.north.world.books.accounts["alice"].spent == 0
    echo(line.south, held[0])
    line.net.run()
    line.net.wait(4_000)
    assert sold.listener.outcome is not None
    up, down = sold.debts()
    assert sold.spent() == sold.receipt() == up
    assert down == hold.charged - 20
    assert up - down == (hold.charged * 3 + 1) // 2 + 3 - hold.charged - 10, "the margin less that of the credit"
    sold.check()


def test_a_refused_charge_gives_nothing_back() -> None:
    """What was never agreed to was never passed on."""
    sold = Sold()
    line = sold.line
    real = executing.prove

    def spoilt(*arguments: Any) -> Any:
        proofs = real(*arguments)
        for proof in proofs:
            proof.record = proof.record[:-1] + bytes([proof.record[-1] ^ 1])
        return proofs

    executing.prove = spoilt  # type: ignore[assignment]
    try:
        listener = line.north.invoke(ECHO)
        line.net.run()
    finally:
        executing.prove = real
    assert listener.outcome is not None
    assert listener.outcome.receipt.charge == 0
    before = line.hub.link(line.north).ledger.lanes[THEM].posted
    assert sold.credit(6) == ""
    assert line.hub.link(line.north).ledger.lanes[THEM].posted == before
    assert line.hub.link(line.south).ledger.lanes[ME].agreed == 10
    assert line.north.world.books.accounts["alice"].spent == 18


def test_a_large_credit_is_exact() -> None:
    terms = Terms("", b"", 1, b"", (), (), INT64_MAX, 0, 0, b"", "")
    claims = (Claim(1, 5, (), False), Claim(2, INT64_MAX, (), True))
    hold = Hold(ME, 1, terms, ((1, INT64_MAX),), HoldState.CHARGED, claims, ((3, INT64_MAX - 1),))
    assert returned(hold) == INT64_MAX - 1
    hold.claims = (claims[0], Claim(2, INT64_MAX, (), True, refused=True))
    assert returned(hold) == 4


def test_what_was_paid_for_keeps_its_output() -> None:
    sold = Sold()
    sold.credit(10)
    assert sold.listener.outcome is not None
    assert sold.listener.outcome.output == Payload(media_type="application/json", data=b"{}")
