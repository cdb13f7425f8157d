"""Every pair of hold state and entry kind, the refused ones too, and every rule of a log entry (design §7, §9).

A judged entry is North's or South's at seq 20: PAYER's log has the order at seq 1, PROVIDER's what it claims.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from tests.unit.node.core.two_grids import DIGEST, NORTH, START, WINDOW, K, order

from intertie.amounts import INT64_MAX
from intertie.v1 import entry_pb2 as pb
from intertie_node.core.holds import HOLD_TABLE, Hold, HoldState
from intertie_node.core.ledger import RULES, Ledger, LinkTerms

S = HoldState
PAYER, PROVIDER = 0, 1
DUE = START + 5_000 + WINDOW
"""First millisecond at which the order may expire."""
PAYERS = {K.ENTRY_KIND_GRANT: "grant", K.ENTRY_KIND_CANCEL: "cancel", K.ENTRY_KIND_EXPIRE: "expire"}
PROVIDERS = {K.ENTRY_KIND_REJECT: "reject", K.ENTRY_KIND_CHARGE: "charge", K.ENTRY_KIND_CREDIT: "credit"}
BODIES: dict[str, type[Any]] = {name: getattr(pb, name.title()) for name in (PAYERS | PROVIDERS).values()}
CROSSING, SEEN = 8, 15
"""`seen` of an entry whose author does not know, or knows, what ended the hold (at seq 10)."""


def judged(ledger: Ledger, author: int, seq: int, name: str, seen: int, at: int = DUE, **body: Any) -> str | None:
    kind = pb.EntryKind.Value(f"ENTRY_KIND_{name.upper()}")
    message = BODIES[name](order_seq=body.pop("order_seq", 1), **body)
    return ledger.apply(author, seq, pb.Entry(kind=kind, seen=seen, at=at, **{name: message}))


def ledger_of(state: HoldState, claimed: bool = False) -> Ledger:
    """An order of at most 100, granted 50 at seq 1 and 60 at seq 9; 30 claimed at 5 if wanted; ended at 10."""
    ledger = Ledger(LinkTerms(WINDOW, 10_000, 1_000, 100, (10**6, 10**6), (10**6, 10**6)))
    body = order(START, 100, 50)
    del body.prices[:]
    body.prices.add(unit="token", num=1, den=1)
    body.prices.add(unit="byte", num=1, den=2)
    assert ledger.apply(PAYER, 1, pb.Entry(kind=K.ENTRY_KIND_ORDER, at=START, order=body)) is None
    if claimed:
        assert judged(ledger, PROVIDER, 5, "charge", 1, quantities=[30, 0], amount=30) is None
    assert judged(ledger, PAYER, 9, "grant", 5, amount=60) is None
    if state is S.CHARGED:
        assert judged(ledger, PROVIDER, 10, "charge", 9, quantities=[40, 0], amount=40, final=True) is None
    elif state is S.REJECTED:
        assert judged(ledger, PROVIDER, 10, "reject", 9) is None
    elif state is S.EXPIRED:
        assert judged(ledger, PAYER, 10, "expire", 5) is None
    return ledger


FINAL = {"quantities": [40, 1], "amount": 41, "final": True}
Case = tuple[HoldState, bool, str, int, dict[str, Any], str | HoldState]
"""(state, claimed, name, seen, body, new state or reason)."""
CASES: list[Case] = [
    (S.OPEN, False, "grant", SEEN, {"amount": 61}, S.OPEN),
    (S.OPEN, False, "grant", SEEN, {"amount": 100}, S.OPEN),
    (S.OPEN, False, "grant", SEEN, {"amount": 60}, "GRANT_INVALID"),
    (S.OPEN, False, "grant", SEEN, {"amount": 101}, "GRANT_INVALID"),
    (S.OPEN, False, "grant", SEEN, {"amount": 70, "order_seq": 2}, "ORDER_UNKNOWN"),
    (S.OPEN, False, "cancel", SEEN, {}, S.OPEN),
    (S.OPEN, False, "reject", SEEN, {}, S.REJECTED),
    (S.OPEN, True, "reject", SEEN, {}, "REJECT_AFTER_CHARGE"),
    (S.OPEN, False, "reject", 0, {}, "ORDER_UNKNOWN"),
    (S.OPEN, False, "charge", SEEN, {"quantities": [40, 1], "amount": 41}, S.OPEN),
    (S.OPEN, False, "charge", SEEN, FINAL, S.CHARGED),
    (S.OPEN, False, "charge", SEEN, {"quantities": [0, 0], "final": True}, S.CHARGED),
    (S.OPEN, False, "charge", SEEN, {"quantities": [60, 0], "amount": 60}, S.OPEN),
    (S.OPEN, False, "charge", SEEN, {"quantities": [61, 0], "amount": 61}, "CHARGE_BEYOND_GRANT"),
    (S.OPEN, False, "charge", CROSSING, {"quantities": [51, 0], "amount": 51}, "CHARGE_BEYOND_GRANT"),
    (S.OPEN, False, "charge", SEEN, {"quantities": [40, 1], "amount": 40}, "CHARGE_ARITHMETIC"),
    (S.OPEN, False, "charge", SEEN, {"quantities": [40], "amount": 40}, "CHARGE_ARITHMETIC"),
    (S.OPEN, False, "charge", SEEN, {"quantities": [40, -2], "amount": 39}, "CHARGE_ARITHMETIC"),
    (S.OPEN, False, "charge", SEEN, {"quantities": [INT64_MAX] * 2, "amount": 1}, "CHARGE_ARITHMETIC"),
    (S.OPEN, False, "charge", SEEN, {"quantities": [0, 0], "amount": -1}, "CHARGE_BEYOND_GRANT"),
    (S.OPEN, True, "charge", SEEN, {"quantities": [29, 9], "amount": 34}, "CHARGE_DECREASED"),
    (S.OPEN, False, "charge", SEEN, {**FINAL, "order_seq": 2}, "ORDER_UNKNOWN"),
    (S.OPEN, True, "credit", SEEN, {"amount": 30}, S.OPEN),
    (S.OPEN, True, "credit", SEEN, {"amount": 31}, "CREDIT_INVALID"),
    (S.OPEN, True, "credit", SEEN, {"amount": 0}, "CREDIT_INVALID"),
    (S.OPEN, True, "credit", SEEN, {"amount": -1}, "CREDIT_INVALID"),
    (S.OPEN, False, "credit", SEEN, {"amount": 1}, "CREDIT_INVALID"),
    (S.OPEN, True, "expire", SEEN, {}, S.EXPIRED),
    (S.OPEN, False, "expire", SEEN, {"at": DUE - 1}, "EXPIRE_EARLY"),
    (S.CHARGED, False, "grant", CROSSING, {"amount": 61}, S.CHARGED),
    (S.CHARGED, False, "grant", CROSSING, {"amount": 60}, "GRANT_INVALID"),
    (S.CHARGED, False, "grant", SEEN, {"amount": 61}, "ORDER_ENDED"),
    (S.CHARGED, False, "cancel", CROSSING, {}, S.CHARGED),
    (S.CHARGED, False, "cancel", SEEN, {}, "ORDER_ENDED"),
    (S.CHARGED, False, "reject", SEEN, {}, "ORDER_ENDED"),
    (S.CHARGED, False, "charge", SEEN, FINAL, "CHARGE_AFTER_END"),
    (S.CHARGED, False, "credit", SEEN, {"amount": 40}, S.CHARGED),
    (S.CHARGED, False, "credit", SEEN, {"amount": 41}, "CREDIT_INVALID"),
    (S.CHARGED, True, "expire", CROSSING, {}, S.EXPIRED),
    (S.CHARGED, True, "expire", SEEN, {}, "ORDER_ENDED"),
    (S.CHARGED, True, "expire", CROSSING, {"at": DUE - 1}, "EXPIRE_EARLY"),
    (S.REJECTED, False, "grant", CROSSING, {"amount": 61}, S.REJECTED),
    (S.REJECTED, False, "grant", CROSSING, {"amount": 101}, "GRANT_INVALID"),
    (S.REJECTED, False, "grant", SEEN, {"amount": 61}, "ORDER_ENDED"),
    (S.REJECTED, False, "cancel", CROSSING, {}, S.REJECTED),
    (S.REJECTED, False, "cancel", SEEN, {}, "ORDER_ENDED"),
    (S.REJECTED, False, "reject", SEEN, {}, "ORDER_ENDED"),
    (S.REJECTED, False, "charge", SEEN, FINAL, "CHARGE_AFTER_END"),
    (S.REJECTED, False, "credit", SEEN, {"amount": 1}, "CREDIT_INVALID"),
    (S.REJECTED, False, "expire", CROSSING, {}, S.EXPIRED),
    (S.REJECTED, False, "expire", SEEN, {}, "ORDER_ENDED"),
    (S.EXPIRED, False, "grant", SEEN, {"amount": 61}, "ORDER_ENDED"),
    (S.EXPIRED, False, "cancel", SEEN, {}, "ORDER_ENDED"),
    (S.EXPIRED, False, "reject", CROSSING, {}, "CHARGE_EXPIRED"),
    (S.EXPIRED, False, "reject", SEEN, {}, "CHARGE_EXPIRED"),
    (S.EXPIRED, True, "charge", CROSSING, FINAL, "CHARGE_EXPIRED"),
    (S.EXPIRED, True, "charge", SEEN, FINAL, "CHARGE_EXPIRED"),
    (S.EXPIRED, True, "credit", CROSSING, {"amount": 1}, "CHARGE_EXPIRED"),
    (S.EXPIRED, True, "credit", SEEN, {"amount": 30}, S.EXPIRED),
    (S.EXPIRED, True, "credit", SEEN, {"amount": 31}, "CREDIT_INVALID"),
    (S.EXPIRED, False, "expire", SEEN, {}, "ORDER_ENDED"),
]


def test_every_pair_is_in_the_table_and_in_the_cases() -> None:
    pairs = set(product(HoldState, PAYERS | PROVIDERS))
    assert set(HOLD_TABLE) == pairs
    assert {(case[0], pb.EntryKind.Value(f"ENTRY_KIND_{case[2].upper()}")) for case in CASES} == pairs


@pytest.mark.parametrize(("state", "claimed", "name", "seen", "body", "result"), CASES)
def test_transition(
    state: HoldState, claimed: bool, name: str, seen: int, body: dict[str, Any], result: str | HoldState
) -> None:
    ledger = ledger_of(state, claimed)
    hold = ledger.holds[PAYER, 1]
    before = repr((hold, ledger.lanes))
    assert hold.state is state
    body, at = dict(body), body.get("at", DUE)
    body.pop("at", None)
    reason = judged(ledger, PAYER if name in PAYERS.values() else PROVIDER, 20, name, seen, at, **body)
    if isinstance(result, HoldState):
        assert (reason, hold.state) == (None, result)
        check(ledger, hold)
    else:
        assert (reason, repr((hold, ledger.lanes))) == (result, before)


def check(ledger: Ledger, hold: Hold) -> None:
    lane = ledger.lanes[PAYER]
    assert (lane.posted, lane.pending, lane.granted) == (hold.posted, hold.pending, hold.granted)
    assert lane.open == (hold.state is S.OPEN)
    assert hold.pending == (100 - hold.charged if hold.state is S.OPEN else 0)
    assert 0 <= hold.posted <= hold.charged <= hold.grants[-1][1] <= 100


@pytest.mark.parametrize(("state", "name"), list(product(HoldState, BODIES)))
def test_each_side_speaks_only_as_what_it_is(state: HoldState, name: str) -> None:
    author = PROVIDER if name in PAYERS.values() else PAYER
    assert judged(ledger_of(state), author, 20, name, SEEN) == "ORDER_UNKNOWN"


def test_an_expire_drops_what_it_has_not_seen() -> None:
    ledger = ledger_of(S.CHARGED, claimed=True)
    hold = ledger.holds[PAYER, 1]
    assert judged(ledger, PROVIDER, 20, "credit", 9, amount=35) is None
    assert judged(ledger, PAYER, 21, "expire", 7) is None
    assert (hold.charged, hold.posted, hold.state) == (30, 30, S.EXPIRED)
    assert set(ledger.claims[PAYER]) == {5}
    check(ledger, hold)


def test_an_order_without_price_lines_is_charged_nothing() -> None:
    ledger = ledger_of(S.OPEN)
    body = order(START, 100, 50)
    del body.prices[:]
    assert ledger.apply(PAYER, 11, pb.Entry(kind=K.ENTRY_KIND_ORDER, at=START, order=body)) is None
    assert judged(ledger, PROVIDER, 20, "charge", SEEN, order_seq=11, amount=1, final=True) == "CHARGE_ARITHMETIC"
    assert judged(ledger, PROVIDER, 21, "charge", SEEN, order_seq=11, final=True) is None
    assert ledger.holds[PAYER, 11].state is S.CHARGED


# -- kinds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", K.values())
def test_a_kind_without_rule_or_with_another_body_is_void(kind: int) -> None:
    ledger = ledger_of(S.OPEN)
    expected = "ENTRY_MALFORMED" if kind in RULES else "UNSUPPORTED_ENTRY"
    assert ledger.apply(PAYER, 20, pb.Entry(kind=kind)) == expected  # type: ignore[arg-type]
    if kind in RULES:
        other = pb.Entry(kind=kind, checkpoint=pb.Checkpoint())  # type: ignore[arg-type]
        assert ledger.apply(PAYER, 20, other) == "ENTRY_MALFORMED"


@pytest.mark.parametrize(("kind", "reason"), [(127, "UNSUPPORTED_ENTRY"), (128, None), (-1, "UNSUPPORTED_ENTRY")])
def test_kinds_of_newer_versions(kind: int, reason: str | None) -> None:
    assert ledger_of(S.OPEN).apply(PAYER, 20, pb.Entry(kind=kind)) == reason  # type: ignore[arg-type]


def test_the_kinds_of_the_first_version() -> None:
    unbuilt = {"UNSPECIFIED", "DISPUTE", "PAYMENT", "CHECKPOINT", "SETOFF", "VOTE"}
    assert set(RULES) == {kind for name, kind in K.items() if name.removeprefix("ENTRY_KIND_") not in unbuilt}


@pytest.mark.parametrize(
    "change",
    [
        {"grant": 101},
        {"grant": -1},
        {"max_charge": -1, "grant": -1},
        {"deadline": START},
        {"deadline": START + 10_001},
        {"id": "short"},
        {"nonce": bytes(15)},
        {"nonce": bytes(33)},
    ],
)
def test_an_order_out_of_range_is_void(change: dict[str, Any]) -> None:
    body = order(START, 100, 50)
    for field, value in change.items():
        setattr(body, field, value)
    ledger = ledger_of(S.OPEN)
    assert ledger.apply(PAYER, 20, pb.Entry(kind=K.ENTRY_KIND_ORDER, at=START, order=body)) == "ORDER_INVALID"
    assert (PAYER, 20) not in ledger.holds


@pytest.mark.parametrize(
    "prices", [[("a", 1, 0)], [("a", -1, 1)], [("a", 1, 1)] * 2, [(str(n), 1, 1) for n in range(17)]]
)
def test_an_order_with_bad_prices_is_void(prices: list[tuple[str, int, int]]) -> None:
    body = order(START, 100, 50)
    del body.prices[:]
    for unit, num, den in prices:
        body.prices.add(unit=unit, num=num, den=den)
    entry = pb.Entry(kind=K.ENTRY_KIND_ORDER, at=START, order=body)
    assert ledger_of(S.OPEN).apply(PAYER, 20, entry) == "ORDER_INVALID"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"markup_num": 0, "markup_den": 1, "expires_at": START + 1}, None),
        ({"markup_num": -1, "markup_den": 1, "expires_at": START + 1}, "TARIFF_INVALID"),
        ({"markup_num": 1, "markup_den": 0, "expires_at": START + 1}, "TARIFF_INVALID"),
        ({"markup_num": 1, "markup_den": 1, "fee": -1, "expires_at": START + 1}, "TARIFF_INVALID"),
        ({"markup_num": 1, "markup_den": 1, "expires_at": START}, "TARIFF_INVALID"),
    ],
)
def test_tariffs(body: dict[str, int], reason: str | None) -> None:
    ledger = ledger_of(S.OPEN)
    tariff = pb.Tariff(origin=NORTH.fingerprint, catalog=DIGEST, **body)  # type: ignore[arg-type]
    assert ledger.apply(PROVIDER, 20, pb.Entry(kind=K.ENTRY_KIND_TARIFF, at=START, tariff=tariff)) == reason
    assert (20 in ledger.tariffs[PROVIDER]) is (reason is None)


def test_only_the_first_agreement_is_known() -> None:
    entry = pb.Entry(kind=K.ENTRY_KIND_AGREEMENT, agreement=pb.AgreementEntry())
    assert ledger_of(S.OPEN).apply(PAYER, 1, entry) is None
    assert ledger_of(S.OPEN).apply(PAYER, 2, entry) == "UNSUPPORTED_ENTRY"


# -- refusals -----------------------------------------------------------------------------------------


def refusal(ledger: Ledger, target: int, seen: int = SEEN, withdraw: bool = False) -> str | None:
    if withdraw:
        entry = pb.Entry(kind=K.ENTRY_KIND_WITHDRAW, seen=seen, withdraw=pb.Withdraw(entry_seq=target))
    else:
        entry = pb.Entry(kind=K.ENTRY_KIND_REFUSE, seen=seen, refuse=pb.Refuse(entry_seq=target))
    return ledger.apply(PAYER, 20, entry)


@pytest.mark.parametrize("state", [S.OPEN, S.CHARGED, S.EXPIRED])
def test_a_refused_charge_is_posted_and_not_agreed_until_withdrawn(state: HoldState) -> None:
    ledger = ledger_of(state, claimed=True)
    last = 10 if state is S.CHARGED else 5
    charged = 40 if state is S.CHARGED else 30
    assert refusal(ledger, last) is None
    assert refusal(ledger, last) == "REFUSE_INVALID"
    assert (ledger.lanes[PAYER].posted, ledger.settle(PAYER, 10)) == (charged, charged - 10 if last == 10 else 0)
    assert ledger.holds[PAYER, 1].refused
    assert refusal(ledger, last, withdraw=True) is None
    assert refusal(ledger, last, withdraw=True) == "WITHDRAW_INVALID"
    assert ledger.settle(PAYER, 10) == charged


def test_what_can_be_refused() -> None:
    ledger = ledger_of(S.OPEN, claimed=True)
    assert refusal(ledger, 0) == refusal(ledger, SEEN + 1) == "REFUSE_INVALID"
    assert refusal(ledger, 4) is None
    assert refusal(ledger, 4, withdraw=True) == "WITHDRAW_INVALID"
    ledger.signed(PAYER, 5)
    assert refusal(ledger, 5) == refusal(ledger, 4) == "REFUSE_LATE"
    assert ledger.settle(PAYER, 5) == 30


def test_a_late_refusal_of_a_forgotten_charge_is_late() -> None:
    ledger = ledger_of(S.CHARGED)
    ledger.signed(PAYER, 10)
    ledger.settle(PAYER, 10)
    assert ledger.forget((PAYER, 1))
    assert refusal(ledger, 10) == "REFUSE_LATE"


def test_a_hold_is_kept_while_a_refusal_stands_so_that_a_withdrawal_is_judged_by_the_logs() -> None:
    ledger = ledger_of(S.OPEN, claimed=True)
    assert refusal(ledger, 5) is None
    assert judged(ledger, PROVIDER, 10, "charge", 9, quantities=[40, 0], amount=40, final=True) is None
    ledger.signed(PAYER, 10)
    assert ledger.settle(PAYER, 10) == 40
    assert not ledger.forget((PAYER, 1))
    assert refusal(ledger, 5, withdraw=True) is None
    assert ledger.settle(PAYER, 10) == 40
    assert ledger.forget((PAYER, 1))


def test_the_next_valid_charge_replaces_a_refused_one() -> None:
    ledger = ledger_of(S.OPEN, claimed=True)
    assert refusal(ledger, 5) is None
    assert judged(ledger, PROVIDER, 21, "charge", SEEN, quantities=[35, 0], amount=35) is None
    assert (ledger.settle(PAYER, 20), ledger.settle(PAYER, 21)) == (0, 35)


def test_credits_lower_what_is_agreed() -> None:
    ledger = ledger_of(S.CHARGED)
    assert judged(ledger, PROVIDER, 20, "credit", SEEN, amount=15) is None
    assert judged(ledger, PROVIDER, 21, "credit", SEEN, amount=26) == "CREDIT_INVALID"
    assert [ledger.settle(PAYER, acked) for acked in (9, 10, 19, 20)] == [0, 40, 40, 25]
    assert ledger.lanes[PAYER].unagreed == 0
