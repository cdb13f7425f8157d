"""Valid pairs of logs: void or not, and what is owed at the end."""

from __future__ import annotations

from vector_cases.common import NOW, Case, valid
from vector_cases.entries import (
    CLAIM_UNTIL,
    K,
    a,
    b,
    cancel,
    charge,
    credit,
    entry,
    expire,
    given,
    grant,
    order,
    refuse,
    reject,
    signed,
    tariff,
    withdraw,
)

NAMES = ("posted", "pending", "granted", "earned", "agreed")
NOTHING = (0, 0, 0, 0, 0)
Lane = tuple[int, int, int, int, int]


def cases() -> list[Case]:
    """Return every valid case of the area."""
    return [*_charging(), *_crossing(), *_refusing(), *_others()]


def _case(name: str, text: str, steps: list[Case], lane: Lane, voids: dict[int, str] | None = None) -> Case:
    """A case in which side a pays: `lane` are its amounts, `voids` reasons by position among the entries."""
    entries = [step for step in steps if "entry" in step]
    void = [(voids or {}).get(position, "") for position in range(len(entries))]
    lanes = {side: dict(zip(NAMES, map(str, sums), strict=True)) for side, sums in (("a", lane), ("b", NOTHING))}
    return valid(name, text, "judge", given(*steps), {"void": void, **lanes})


def _charging() -> list[Case]:
    full = [a(order()), b(charge(0, 10, 15)), a(grant(100, seen=1)), b(charge(1, 20, 40, final=True, seen=2))]
    return [
        _case("order", "An order reserves its maximum charge.", [a(order())], (0, 100, 40, 0, 0)),
        _case("charge", "A charge moves its amount from pending to posted.", full[:2], (15, 85, 40, 15, 15)),
        _case("charge-to-grant", "All that is granted.", [a(order()), b(charge(1, 20, 40))], (40, 60, 40, 40, 40)),
        _case("grant", "A grant rises up to the maximum charge.", full[:3], (15, 85, 100, 15, 15)),
        _case("final", "A final charge releases the rest.", full, (40, 0, 0, 0, 40)),
        _case("final-zero", "A final charge of nothing.", [a(order()), b(charge(0, 0, 0, final=True))], NOTHING),
        _case("reject", "A reject releases all.", [a(order()), b(reject())], NOTHING),
        _case("cancel", "A cancel changes no amount.", [a(order()), a(cancel())], (0, 100, 40, 0, 0)),
        _case("rounding", "One token costs 3/2, charged as 2.", [a(order()), b(charge(0, 1, 2))], (2, 98, 40, 2, 2)),
        _case(
            "credit",
            "A credit lowers what is posted and agreed, not what is reserved.",
            [a(order()), b(charge(0, 20, 30)), b(credit(12))],
            (18, 70, 40, 30, 18),
        ),
        _case(
            "credit-after-final",
            "Also after the end.",
            [a(order()), b(charge(0, 20, 30, final=True)), b(credit(30))],
            NOTHING,
        ),
        _case(
            "credits-add-up",
            "Credits are counted together.",
            [a(order()), b(charge(0, 20, 30, final=True)), b(credit(10)), b(credit(20))],
            NOTHING,
        ),
        _case(
            "two-orders",
            "A lane is the sum over its orders.",
            [a(order()), a(order()), b(charge(0, 10, 15, seen=2)), b(charge(1, 0, 10, True, 2, 2))],
            (25, 85, 40, 15, 25),
        ),
    ]


def _crossing() -> list[Case]:
    late = "Its author had not seen the end: no fault, no effect."
    return [
        _case(
            "grant-crosses-final",
            late,
            [a(order()), b(charge(1, 0, 10, final=True)), a(grant(60, seen=0))],
            (10, 0, 0, 0, 10),
        ),
        _case("cancel-crosses-reject", late, [a(order()), b(reject()), a(cancel(seen=0))], NOTHING),
        _case("expire", "The hold ends at claim_until.", [a(order()), a(expire())], NOTHING),
        _case(
            "expire-keeps-seen",
            "What the payer had seen stays.",
            [a(order()), b(charge(0, 10, 15)), a(expire(seen=1))],
            (15, 0, 0, 0, 15),
        ),
        _case(
            "expire-drops-unseen",
            "Charges beyond its seen are dropped, also one that came first.",
            [a(order()), b(charge(0, 10, 15)), b(charge(0, 20, 30)), a(expire(seen=1))],
            (15, 0, 0, 0, 15),
        ),
        _case(
            "expire-beats-unseen-final",
            "Also a final one.",
            [a(order()), b(charge(1, 0, 10, final=True)), a(expire(seen=0))],
            NOTHING,
        ),
        _case(
            "expire-drops-unseen-credit",
            "Credits beyond its seen are dropped too.",
            [a(order()), b(charge(0, 20, 30)), b(credit(10)), a(expire(seen=1))],
            (30, 0, 0, 0, 30),
        ),
        _case(
            "expire-met-first",
            "The same logs met in the other order: the same amounts.",
            [a(order()), b(charge(0, 10, 15)), a(expire(seen=1)), b(charge(0, 20, 30)), b(entry(200, seen=1))],
            (15, 0, 0, 0, 15),
            {3: "CHARGE_EXPIRED"},
        ),
        _case(
            "credit-after-seen-expire",
            "A credit whose author had seen the expire counts.",
            [a(order()), b(charge(0, 20, 30)), a(expire(seen=1)), b(credit(10, seen=2, at=CLAIM_UNTIL))],
            (20, 0, 0, 0, 20),
        ),
    ]


def _refusing() -> list[Case]:
    refused = [a(order()), b(charge(0, 10, 15)), a(refuse(1, 1))]
    return [
        _case("refuse", "A refused charge stays posted and is not agreed.", refused, (15, 85, 40, 15, 0)),
        _case("withdraw", "A withdrawal agrees after all.", [*refused, a(withdraw(1, 1))], (15, 85, 40, 15, 15)),
        _case(
            "refuse-and-next",
            "The next valid charge takes the place of a refused one.",
            [*refused, b(charge(0, 20, 30, seen=2))],
            (30, 70, 40, 30, 30),
        ),
        _case(
            "refuse-second",
            "Agreed is the last charge that is not refused.",
            [a(order()), b(charge(0, 10, 15)), b(charge(0, 20, 30)), a(refuse(2, 2))],
            (30, 70, 40, 30, 15),
        ),
        _case(
            "refuse-and-credit",
            "Agreed is at most what credits have left.",
            [a(order()), b(charge(0, 10, 15)), b(charge(0, 20, 30)), a(refuse(2, 2)), b(credit(20, seen=2))],
            (10, 70, 40, 30, 10),
        ),
        _case(
            "refuse-again",
            "After a withdrawal a charge may be refused again, until it is acknowledged.",
            [*refused, a(withdraw(1, 1)), a(refuse(1, 1))],
            (15, 85, 40, 15, 0),
        ),
        _case(
            "refuse-dropped",
            "A refusal of a charge that an expire has dropped has no effect.",
            [a(order()), b(charge(0, 10, 15)), a(expire()), a(refuse(1, 1))],
            NOTHING,
        ),
        _case(
            "withdraw-expired",
            "A refusal may be withdrawn after the hold has expired.",
            [*refused, a(expire(seen=1)), a(withdraw(1, 1))],
            (15, 0, 0, 0, 15),
        ),
        _case(
            "refuse-void",
            "A refusal of an entry that is no charge has no effect.",
            [a(order()), b(tariff()), a(refuse(1, 1))],
            (0, 100, 40, 0, 0),
        ),
    ]


def _others() -> list[Case]:
    void = [a(order()), b(charge(0, 10, 14)), b(charge(0, 10, 15))]
    return [
        _case("uncritical", "An unknown kind from 128 on has no effect.", [a(entry(200))], NOTHING),
        _case("uncritical-body", "Whatever its body.", [a(entry(128, tariff={"fee": -1}))], NOTHING),
        _case("tariff", "A tariff moves nothing.", [b(tariff())], NOTHING),
        _case(
            "agreement",
            "The first entry may be the agreement.",
            [a(entry(K.ENTRY_KIND_AGREEMENT, agreement={}))],
            NOTHING,
        ),
        _case(
            "agreement-unread",
            "Nor is it read, or asked who wrote it.",
            [b(entry(K.ENTRY_KIND_AGREEMENT, agreement={"agreement": b"no envelope"}))],
            NOTHING,
        ),
        _case("kind-cut", "A kind of 33 bits counts by its low 32.", [a(b"\x08\xc8\x81\x80\x80\x10")], NOTHING),
        _case(
            "id-characters",
            "Characters are code points, neither bytes nor UTF-16 units.",
            [a(order(id="\U0001f50c" * 36))],
            (0, 100, 40, 0, 0),
        ),
        _case("no-lines", "An order without price lines.", [a(order(prices=[]))], (0, 100, 40, 0, 0)),
        _case(
            "charge-repeated",
            "The same claim again is a claim.",
            [a(order()), b(charge(0, 10, 15)), b(charge(0, 10, 15))],
            (15, 85, 40, 15, 15),
        ),
        _case(
            "void-then-valid", "A void charge leaves no trace.", void, (15, 85, 40, 15, 15), {1: "CHARGE_ARITHMETIC"}
        ),
        _case(
            "void-order",
            "Nothing can be said about a void order.",
            [a(order(grant=101)), b(reject())],
            NOTHING,
            {0: "ORDER_INVALID", 1: "ORDER_UNKNOWN"},
        ),
        _case(
            "signatures-move-nothing",
            "Acknowledging changes no amount.",
            [a(order()), signed("b", 1), b(charge(0, 10, 15)), signed("a", 1)],
            (15, 85, 40, 15, 15),
        ),
        _case(
            "longest-hold",
            "A deadline at the agreed longest time.",
            [a(order(deadline=NOW + 3_600_000))],
            (0, 100, 40, 0, 0),
        ),
    ]
