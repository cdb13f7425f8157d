"""Entries and steps of log vectors: made by hand, so that expectations are the RFC's and not the program's."""

from __future__ import annotations

from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie.v1.metering_pb2 import PriceLine
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from vector_cases.common import NOW, Case, seed

K = pb.EntryKind
CLAIM_WINDOW, MAX_HOLD = 60_000, 3_600_000
DEADLINE = NOW + 10_000
CLAIM_UNTIL = DEADLINE + CLAIM_WINDOW
TERMS = {"claim_window_ms": str(CLAIM_WINDOW), "max_hold_ms": str(MAX_HOLD)}
PRICES = [PriceLine(unit="order", num=10, den=1), PriceLine(unit="llm.output.token", num=3, den=2)]
"""One order costs 10, two tokens cost 3."""


def entry(kind: int, seen: int = 0, at: int = NOW, **body: Any) -> bytes:
    """Exact bytes of an entry."""
    made = pb.Entry(kind=kind, seen=seen, at=at, **body)  # type: ignore[arg-type]
    return made.SerializeToString(deterministic=True)


def order(seen: int = 0, at: int = NOW, **changes: Any) -> bytes:
    """An order of at most 100 with a grant of 40."""
    fields: dict[str, Any] = {
        "id": "0199c82c-c000-7b56-84ca-ab11b999f592",
        "offer_digest": b"\x12\x20" + seed("offer"),
        "tariff_seq": 1,
        "prices": PRICES,
        "max_charge": 100,
        "grant": 40,
        "deadline": DEADLINE,
        "nonce": seed("nonce")[:16],
    }
    return entry(K.ENTRY_KIND_ORDER, seen, at, order=pb.Order(**{**fields, **changes}))


def grant(amount: int, order_seq: int = 1, seen: int = 0, at: int = NOW) -> bytes:
    """The payer raises a grant."""
    return entry(K.ENTRY_KIND_GRANT, seen, at, grant=pb.Grant(order_seq=order_seq, amount=amount))


def cancel(order_seq: int = 1, seen: int = 0, at: int = NOW) -> bytes:
    """The payer asks to stop."""
    return entry(K.ENTRY_KIND_CANCEL, seen, at, cancel=pb.Cancel(order_seq=order_seq))


def reject(order_seq: int = 1, seen: int = 1, at: int = NOW) -> bytes:
    """The provider has done nothing."""
    return entry(K.ENTRY_KIND_REJECT, seen, at, reject=pb.Reject(order_seq=order_seq))


def charge(
    orders: int, tokens: int, amount: int, final: bool = False, order_seq: int = 1, seen: int = 1, at: int = NOW
) -> bytes:
    """The provider's cumulative claim."""
    body = pb.Charge(order_seq=order_seq, quantities=[orders, tokens], amount=amount, final=final)
    if final:
        body.state = TASK_STATE_COMPLETED
    return entry(K.ENTRY_KIND_CHARGE, seen, at, charge=body)


def credit(amount: int, order_seq: int = 1, seen: int = 1, at: int = NOW) -> bytes:
    """The provider takes something back."""
    return entry(K.ENTRY_KIND_CREDIT, seen, at, credit=pb.Credit(order_seq=order_seq, amount=amount))


def expire(order_seq: int = 1, seen: int = 0, at: int = CLAIM_UNTIL) -> bytes:
    """The claim window has passed."""
    return entry(K.ENTRY_KIND_EXPIRE, seen, at, expire=pb.Expire(order_seq=order_seq))


def refuse(entry_seq: int, seen: int, rule: str = "CHARGE_UNPROVEN") -> bytes:
    """Not agreed."""
    return entry(K.ENTRY_KIND_REFUSE, seen, refuse=pb.Refuse(entry_seq=entry_seq, rule=rule))


def withdraw(entry_seq: int, seen: int) -> bytes:
    """Agreed after all."""
    return entry(K.ENTRY_KIND_WITHDRAW, seen, withdraw=pb.Withdraw(entry_seq=entry_seq))


def tariff(**changes: Any) -> bytes:
    """A tariff of 11/10 and a fee of 5, for an hour."""
    fields: dict[str, Any] = {
        "origin": b"\x12\x20" + seed("origin"),
        "markup_num": 11,
        "markup_den": 10,
        "fee": 5,
        "expires_at": NOW + 3_600_000,
    }
    return entry(K.ENTRY_KIND_TARIFF, tariff=pb.Tariff(**{**fields, **changes}))


def a(data: bytes) -> Case:
    """A step: side a appends. It is the payer in every vector unless one says otherwise."""
    return {"log": "a", "entry": data.hex()}


def b(data: bytes) -> Case:
    """A step: side b appends."""
    return {"log": "b", "entry": data.hex()}


def signed(signer: str, acked: int) -> Case:
    """A step: a signature has acknowledged the other log."""
    return {"signer": signer, "acked": str(acked)}


def given(*steps: Case) -> Case:
    """The input of a vector."""
    return {"terms": TERMS, "steps": list(steps)}
