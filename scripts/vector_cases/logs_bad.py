"""Pairs of logs whose last entry is void."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie.v1.metering_pb2 import PriceLine
from vector_cases.common import NOW, Case, hostile
from vector_cases.entries import (
    CLAIM_UNTIL,
    PRICES,
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

Row = tuple[str, str, list[Case], str, str]
"""Name, description, steps, reason, attack."""


def cases() -> list[Case]:
    """Return every hostile case of the area."""
    rows = [
        *_kinds(),
        *_tariffs(),
        *_orders(),
        *_unknown(),
        *_payers(),
        *_charges(),
        *_ends(),
        *_credits(),
        *_refusals(),
    ]
    return [hostile(name, text, "judge", given(*steps), reason, attack) for name, text, steps, reason, attack in rows]


def _kinds() -> list[Row]:
    unknown, body = "One side counts what the other does not know.", "Readers take the entry for two different things."
    return [
        ("kind-zero", "No kind.", [a(entry(0))], "UNSUPPORTED_ENTRY", unknown),
        (
            "kind-dispute",
            "Defined, not built.",
            [a(entry(12, dispute={"order_seq": 1, "amount": 1}))],
            "UNSUPPORTED_ENTRY",
            unknown,
        ),
        (
            "kind-payment",
            "Defined, not built.",
            [b(entry(13, payment={"rail": "bank", "amount": 1}))],
            "UNSUPPORTED_ENTRY",
            "A debt is paid by a sentence.",
        ),
        ("kind-127", "The last critical kind.", [a(entry(127))], "UNSUPPORTED_ENTRY", unknown),
        ("kind-negative", "A negative kind.", [a(entry(-1))], "UNSUPPORTED_ENTRY", unknown),
        (
            "body-other",
            "An order's kind with a grant's body.",
            [a(entry(3, grant={"order_seq": 1}))],
            "ENTRY_MALFORMED",
            body,
        ),
        ("body-none", "A charge without body.", [a(order()), b(entry(7, seen=1))], "ENTRY_MALFORMED", body),
        (
            "agreement-late",
            "An agreement as second entry.",
            [a(order()), a(entry(1, agreement={}))],
            "UNSUPPORTED_ENTRY",
            "Terms change without a countersignature being looked at.",
        ),
    ]


def _tariffs() -> list[Row]:
    attack = "A price that is negative or endless, or a division by zero."
    return [
        (f"tariff-{name}", text, [b(tariff(**change))], "TARIFF_INVALID", attack)
        for name, text, change in (
            ("markup-negative", "A negative markup.", {"markup_num": -1}),
            ("markup-den-zero", "A markup over zero.", {"markup_den": 0}),
            ("markup-den-negative", "A negative denominator.", {"markup_den": -1}),
            ("fee-negative", "A negative fee.", {"fee": -1}),
            ("expired", "It expires when it is written.", {"expires_at": NOW}),
        )
    ]


def _orders() -> list[Row]:
    money, time, form = (
        "A hold that is negative or that nothing bounds.",
        "Money is bound for ever, or the hold is dead from the start.",
        "Two orders cannot be told apart, or a record fits many.",
    )
    many = [PriceLine(unit=f"x-{n}", num=1, den=1) for n in range(17)]
    return [
        (f"order-{name}", text, [a(order(**change))], "ORDER_INVALID", attack)
        for name, text, change, attack in (
            ("grant-beyond", "More granted than reserved.", {"grant": 101}, money),
            ("grant-negative", "A negative grant.", {"grant": -1}, money),
            ("max-negative", "A negative maximum.", {"max_charge": -1, "grant": -1}, money),
            ("price-negative", "A negative price.", {"prices": [PriceLine(unit="order", num=-1, den=1)]}, money),
            (
                "price-den-zero",
                "A price over zero.",
                {"prices": [PriceLine(unit="order", num=1, den=0)]},
                "A crash on demand.",
            ),
            (
                "price-den-negative",
                "A negative denominator.",
                {"prices": [PriceLine(unit="order", num=1, den=-1)]},
                money,
            ),
            (
                "unit-twice",
                "One unit in two lines.",
                {"prices": [PRICES[0], PRICES[0]]},
                "The same work is charged twice.",
            ),
            ("lines-17", "Seventeen price lines.", {"prices": many}, "One entry costs any amount of arithmetic."),
            ("deadline-now", "A deadline that is not later.", {"deadline": NOW}, time),
            ("deadline-far", "A deadline beyond the agreed time.", {"deadline": NOW + 3_600_001}, time),
            ("deadline-overflow", "claim_until would overflow.", {"deadline": 2**63 - 1}, time),
            ("id-short", "An id of 35 characters.", {"id": "0199c82c-c000-7b56-84ca-ab11b999f59"}, form),
            ("id-bytes", "An id of 36 bytes in 18 characters.", {"id": "\u00e9" * 18}, form),
            ("id-none", "No id.", {"id": ""}, form),
            ("nonce-15", "A nonce of 15 bytes.", {"nonce": bytes(15)}, form),
            ("nonce-33", "A nonce of 33 bytes.", {"nonce": bytes(33)}, form),
        )
    ]


def _unknown() -> list[Row]:
    attack = "A claim on an order that was never given."
    return [
        (f"unknown-{name}", text, steps, "ORDER_UNKNOWN", attack)
        for name, text, steps in (
            ("grant", "A grant of an order that does not exist.", [a(grant(50, order_seq=1))]),
            ("grant-self", "A grant that names itself.", [a(order()), a(grant(50, order_seq=2))]),
            ("grant-other", "A grant of an entry that is no order.", [a(tariff()), a(grant(50))]),
            ("charge-none", "A charge of an order that does not exist.", [b(charge(0, 1, 2, seen=0))]),
            (
                "charge-unseen",
                "A charge of an order that its author had not seen.",
                [a(order()), b(charge(0, 1, 2, seen=0))],
            ),
            ("charge-own", "A charge of an own order.", [b(order()), b(charge(0, 1, 2, seen=0))]),
            ("charge-zero", "A charge of seq 0.", [a(order()), b(charge(0, 1, 2, order_seq=0))]),
            ("expire", "An expire of no order.", [a(expire(order_seq=0))]),
        )
    ]


def _payers() -> list[Row]:
    rise, ended = (
        "A provider is told less than it was granted, or more than is reserved.",
        "An ended hold is opened again.",
    )
    done = [a(order()), b(charge(1, 0, 10, final=True))]
    return [
        ("grant-same", "A grant that does not rise.", [a(order()), a(grant(40))], "GRANT_INVALID", rise),
        ("grant-lower", "A grant that falls.", [a(order()), a(grant(39))], "GRANT_INVALID", rise),
        ("grant-beyond", "A grant above the maximum charge.", [a(order()), a(grant(101))], "GRANT_INVALID", rise),
        ("grant-ended", "A grant by one who had seen the end.", [*done, a(grant(50, seen=1))], "ORDER_ENDED", ended),
        (
            "grant-late-lower",
            "A crossing grant is judged like any other.",
            [*done, a(grant(40, seen=0))],
            "GRANT_INVALID",
            rise,
        ),
        (
            "grant-expired",
            "A grant after the own expire.",
            [a(order()), a(expire()), a(grant(50, at=CLAIM_UNTIL))],
            "ORDER_ENDED",
            ended,
        ),
        ("cancel-ended", "A cancel by one who had seen the end.", [*done, a(cancel(seen=1))], "ORDER_ENDED", ended),
        (
            "cancel-expired",
            "A cancel after the own expire.",
            [a(order()), a(expire()), a(cancel(at=CLAIM_UNTIL))],
            "ORDER_ENDED",
            ended,
        ),
    ]


def _charges() -> list[Row]:
    sums, less, more = (
        "More is charged than was used.",
        "A charge that was agreed to is taken out of sight.",
        "The provider takes more than it was allowed.",
    )
    one = [a(order()), b(charge(0, 10, 15))]
    short = pb.Charge(order_seq=1, quantities=[1], amount=10)
    return [
        ("charge-high", "An amount above the sum.", [a(order()), b(charge(0, 10, 16))], "CHARGE_ARITHMETIC", sums),
        (
            "charge-low",
            "An amount below the sum.",
            [a(order()), b(charge(0, 10, 14))],
            "CHARGE_ARITHMETIC",
            "Two sides keep different books.",
        ),
        (
            "charge-floor",
            "One token rounded down.",
            [a(order()), b(charge(0, 1, 1))],
            "CHARGE_ARITHMETIC",
            "Two sides keep different books.",
        ),
        (
            "charge-short",
            "A quantity is missing.",
            [a(order()), b(entry(7, seen=1, charge=short))],
            "CHARGE_ARITHMETIC",
            sums,
        ),
        (
            "charge-negative",
            "A negative quantity.",
            [a(order()), b(charge(2, -10, 5))],
            "CHARGE_ARITHMETIC",
            "One line hides another one's cost.",
        ),
        ("charge-fallen", "A quantity falls.", [*one, b(charge(1, 0, 10))], "CHARGE_DECREASED", less),
        ("charge-beyond", "More than is granted.", [a(order()), b(charge(0, 27, 41))], "CHARGE_BEYOND_GRANT", more),
        (
            "charge-unseen-grant",
            "A grant that its author had not seen.",
            [a(order()), a(grant(60)), b(charge(0, 30, 45, seen=1))],
            "CHARGE_BEYOND_GRANT",
            more,
        ),
        (
            "charge-amount-negative",
            "A negative amount.",
            [a(order()), b(charge(0, 0, -1))],
            "CHARGE_BEYOND_GRANT",
            "The creditor pays.",
        ),
    ]


def _ends() -> list[Row]:
    again, late, early = (
        "Work that has ended is charged again.",
        "A claim without end hangs over the payer.",
        "A hold is taken away while the provider works.",
    )
    done, out = [a(order()), b(charge(1, 0, 10, final=True))], [a(order()), a(expire())]
    return [
        (
            "charge-after-final",
            "A charge after the final one.",
            [*done, b(charge(1, 10, 25))],
            "CHARGE_AFTER_END",
            again,
        ),
        (
            "charge-after-reject",
            "A charge after a reject.",
            [a(order()), b(reject()), b(charge(0, 1, 2))],
            "CHARGE_AFTER_END",
            again,
        ),
        ("charge-expired", "A charge that crossed an expire.", [*out, b(charge(0, 1, 2))], "CHARGE_EXPIRED", late),
        (
            "charge-expired-seen",
            "A charge by one who had seen the expire.",
            [*out, b(charge(0, 1, 2, seen=2))],
            "CHARGE_EXPIRED",
            late,
        ),
        ("reject-expired", "A reject after an expire.", [*out, b(reject(seen=2))], "CHARGE_EXPIRED", late),
        (
            "reject-charged",
            "A reject after a charge.",
            [a(order()), b(charge(0, 1, 2)), b(reject())],
            "REJECT_AFTER_CHARGE",
            "Work was done, charged and is said not to have been done.",
        ),
        ("reject-ended", "A reject after the final charge.", [*done, b(reject())], "ORDER_ENDED", again),
        ("reject-twice", "A second reject.", [a(order()), b(reject()), b(reject())], "ORDER_ENDED", again),
        (
            "expire-early",
            "One millisecond before claim_until.",
            [a(order()), a(expire(at=CLAIM_UNTIL - 1))],
            "EXPIRE_EARLY",
            early,
        ),
        ("expire-ended", "An expire by one who had seen the end.", [*done, a(expire(seen=1))], "ORDER_ENDED", early),
        ("expire-twice", "A second expire.", [*out, a(expire())], "ORDER_ENDED", early),
    ]


def _credits() -> list[Row]:
    attack = "Taking back more than was charged turns the debt around."
    one = [a(order()), b(charge(0, 10, 15))]
    return [
        ("credit-zero", "A credit of nothing.", [*one, b(credit(0))], "CREDIT_INVALID", attack),
        ("credit-negative", "A negative credit.", [*one, b(credit(-1))], "CREDIT_INVALID", "A credit raises the debt."),
        ("credit-beyond", "More than is charged.", [*one, b(credit(16))], "CREDIT_INVALID", attack),
        (
            "credit-sum",
            "Two credits beyond what is charged.",
            [*one, b(credit(10)), b(credit(6))],
            "CREDIT_INVALID",
            attack,
        ),
        (
            "credit-rejected",
            "A credit on a rejected order.",
            [a(order()), b(reject()), b(credit(1))],
            "CREDIT_INVALID",
            attack,
        ),
        (
            "credit-crossed",
            "A credit that crossed an expire.",
            [*one, a(expire(seen=1)), b(credit(5))],
            "CHARGE_EXPIRED",
            "Two sides that met it in another order keep different books.",
        ),
    ]


def _refusals() -> list[Row]:
    form, late = "A refusal hangs in the air and is filled later.", "A payer takes back what it has signed."
    one = [a(order()), b(charge(0, 10, 15))]
    return [
        ("refuse-zero", "A refusal of seq 0.", [*one, a(refuse(0, 1))], "REFUSE_INVALID", form),
        ("refuse-unseen", "A refusal of an entry beyond its seen.", [*one, a(refuse(1, 0))], "REFUSE_INVALID", form),
        ("refuse-twice", "A charge refused twice.", [*one, a(refuse(1, 1)), a(refuse(1, 1))], "REFUSE_INVALID", form),
        (
            "refuse-late",
            "A refusal after the signature that acknowledged the charge.",
            [*one, signed("a", 1), a(refuse(1, 1))],
            "REFUSE_LATE",
            late,
        ),
        (
            "refuse-after-withdraw",
            "The same after a withdrawal.",
            [*one, a(refuse(1, 1)), signed("a", 1), a(withdraw(1, 1)), a(refuse(1, 1))],
            "REFUSE_LATE",
            late,
        ),
        (
            "refuse-late-other",
            "A late refusal of an entry that is no charge: whoever has forgotten what stood there judges the same.",
            [a(order()), b(tariff()), signed("a", 1), a(refuse(1, 1))],
            "REFUSE_LATE",
            "Two sides that keep their books for different times call different entries void.",
        ),
        ("withdraw-none", "A withdrawal without a refusal.", [*one, a(withdraw(1, 1))], "WITHDRAW_INVALID", form),
        (
            "withdraw-dropped",
            "A withdrawal that names a charge which an expire has dropped.",
            [*one, a(expire()), a(withdraw(1, 1))],
            "WITHDRAW_INVALID",
            form,
        ),
        (
            "withdraw-twice",
            "A second withdrawal.",
            [*one, a(refuse(1, 1)), a(withdraw(1, 1)), a(withdraw(1, 1))],
            "WITHDRAW_INVALID",
            form,
        ),
        (
            "withdraw-other",
            "A withdrawal of the other side's refusal.",
            [*one, a(refuse(1, 1)), b(withdraw(1, 1))],
            "WITHDRAW_INVALID",
            "A creditor agrees for its debtor.",
        ),
    ]
