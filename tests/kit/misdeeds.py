"""What a hostile peer may do on a link, one table for each face of it, with the name by which a node answers.

Used over memory (every row, exact state compared) and over sockets. An act says what a `Rogue` sends; it is
given the rogue, whose link is open, and an offer of the node or the seq of an order that the node has placed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.kit.rogue import K, Rogue

from intertie import envelope
from intertie.digests import salted
from intertie.keys import PrivateKey
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event
from intertie.v1.task_pb2 import TASK_STATE_FAILED, TASK_STATE_WORKING
from intertie_node.core.catalog import KnownOffer
from intertie_node.core.ledger import ME, THEM

STRANGER = PrivateKey.from_seed(b"a key that nobody knows.........")
INT64_MAX = 2**63 - 1


class Misdeed(NamedTuple):
    """An act and its name in the answer."""

    act: Callable[..., Any]
    reason: str


# -- opening ------------------------------------------------------------------------------------------


def _open(**changes: Any) -> Callable[[Rogue], None]:
    return lambda rogue: rogue.open(**changes)


def _raw_open(rogue: Rogue, payload: bytes) -> None:
    rogue.send(rogue.seal(payload))


def _open_with_more(rogue: Rogue) -> None:
    frame = lk.Frame.FromString(rogue.seal(rogue.make_open()))
    frame.ping = 7
    rogue.send(frame.SerializeToString())


def _limited(**changes: int) -> Callable[[Rogue], None]:
    def act(rogue: Rogue) -> None:
        limits = lk.Limits()
        limits.CopyFrom(rogue.limits)
        for name, value in changes.items():
            setattr(limits, name, value)
        rogue.open(limits=limits)

    return act


def _cursor(rogue: Rogue, which: str, seq: int) -> None:
    log = rogue.pair.logs[ME if which == "own" else THEM]
    rogue.open(**{which: lk.Cursor(seq=log.seq + seq, head=b"\x07" * 32)})


OPENS: Mapping[str, Misdeed] = {
    "frame before open": Misdeed(lambda r: r.send(lk.Frame(ping=1).SerializeToString()), "UNEXPECTED_FRAME"),
    "entries before open": Misdeed(
        lambda r: (r.write(K.ENTRY_KIND_TARIFF, tariff=pb.Tariff(markup_den=1, expires_at=2**60)), r.say()),
        "UNEXPECTED_FRAME",
    ),
    "no frame": Misdeed(lambda r: r.send(b"\xff\xfe\xfd"), "FRAME_MALFORMED"),
    "empty frame": Misdeed(lambda r: r.send(b""), "UNEXPECTED_FRAME"),
    "oversize": Misdeed(lambda r: r.send(lk.Frame(open=bytes(300_000)).SerializeToString()), "FRAME_TOO_LARGE"),
    "open is no envelope": Misdeed(lambda r: r.send(lk.Frame(open=b"\xff" * 40).SerializeToString()), "*"),
    "open is no Open": Misdeed(lambda r: _raw_open(r, b"\xff" * 40), "FRAME_MALFORMED"),
    "open with more in the frame": Misdeed(_open_with_more, "FRAME_MALFORMED"),
    "signed by a stranger": Misdeed(lambda r: r.send(r.seal(r.make_open(), STRANGER)), "SIGNATURE_INVALID"),
    "another payload type": Misdeed(
        lambda r: r.send(
            lk.Frame(open=envelope.seal(envelope.AGREEMENT, r.make_open(), [r.own.key])).SerializeToString()
        ),
        "INVALID_ARGUMENT",
    ),
    "wrong genesis": Misdeed(_open(genesis=bytes(32)), "UNKNOWN_GENESIS"),
    "short nonce": Misdeed(_open(nonce=b"short"), "FRAME_MALFORMED"),
    "short head": Misdeed(_open(own=lk.Cursor(seq=0, head=b"")), "FRAME_MALFORMED"),
    "unknown required feature": Misdeed(_open(required_features=["teleport"]), "UNSUPPORTED_FEATURE"),
    "clock far ahead": Misdeed(lambda r: r.open(clock=r.now() + 60_000), "CLOCK"),
    "clock beyond time": Misdeed(_open(clock=INT64_MAX), "CLOCK"),
    "no limits": Misdeed(_open(limits=lk.Limits()), "FRAME_MALFORMED"),
    "frames too small": Misdeed(_limited(frame_bytes=1_024), "FRAME_MALFORMED"),
    "inline too small": Misdeed(_limited(inline_bytes=16), "FRAME_MALFORMED"),
    "other head at the own seq": Misdeed(lambda r: _cursor(r, "own", 0), "LOG_FORK"),
    "other head at the node's seq": Misdeed(lambda r: _cursor(r, "other", 0), "LOG_FORK"),
}
"""Said first on a new stream. "*" stands for any of the malformed reasons."""


# -- frames -------------------------------------------------------------------------------------------


def _tariff(rogue: Rogue, **fields: Any) -> int:
    body = pb.Tariff(origin=rogue.fingerprint, markup_num=1, markup_den=1, expires_at=2**60)
    return rogue.write(K.ENTRY_KIND_TARIFF, tariff=body, **fields)


def _signed(**changes: Any) -> Callable[[Rogue, KnownOffer], None]:
    def act(rogue: Rogue, offer: KnownOffer) -> None:
        _tariff(rogue)
        rogue.say(rogue.signature(**changes))

    return act


def _spoiled(spoil: Callable[[lk.Frame], Any]) -> Callable[[Rogue, KnownOffer], None]:
    """A good frame with one entry, spoiled after signing."""

    def act(rogue: Rogue, offer: KnownOffer) -> None:
        _tariff(rogue)
        frame = rogue.frame()
        spoil(frame)
        rogue.send(frame.SerializeToString())

    return act


def _flip(frame: lk.Frame) -> None:
    value = frame.signature.signatures[0].value
    frame.signature.signatures[0].value = bytes([value[0] ^ 1]) + value[1:]


def _entry(**fields: Any) -> Callable[[Rogue, KnownOffer], None]:
    return lambda rogue, offer: (_tariff(rogue, **fields), rogue.say())


def _raw_entry(data: bytes) -> Callable[[Rogue, KnownOffer], None]:
    return lambda rogue, offer: (rogue.append(data), rogue.say())


def _twice(first: dict[str, Any], second: dict[str, Any]) -> Callable[[Rogue, KnownOffer], None]:
    return lambda rogue, offer: (_tariff(rogue, **first), _tariff(rogue, **second), rogue.say())


def _gap(rogue: Rogue, offer: KnownOffer) -> None:
    _tariff(rogue)
    frame = rogue.frame()
    frame.first_seq += 1
    rogue.send(frame.SerializeToString())


def _equivocate(rogue: Rogue, offer: KnownOffer) -> None:
    """Two entries at one seq, both signed: the second after the first has been sent."""
    log = rogue.pair.logs[ME]
    before = (log.seq, log.head, log.seen, log.at)
    _tariff(rogue)
    rogue.say()
    log.seq, log.head, log.seen, log.at = before
    rogue.append(pb.Entry(kind=200, seen=rogue.pair.logs[THEM].seq, at=rogue.now()).SerializeToString())
    rogue.say(rogue.signature(seq=log.seq, head=log.head))


def _returned_forgery(rogue: Rogue, offer: KnownOffer) -> None:
    """An entry that the node never wrote, returned to it as its own."""
    theirs = rogue.pair.logs[THEM]
    data = pb.Entry(kind=200, seen=0, at=rogue.now()).SerializeToString()
    frame = lk.Frame(first_returned=theirs.seq + 1, returned=[data])
    frame.returned_signature.CopyFrom(rogue.signature(seq=theirs.seq + 1))
    rogue.send(frame.SerializeToString())


def _returned_with_entries(rogue: Rogue, offer: KnownOffer) -> None:
    _tariff(rogue)
    frame = rogue.frame()
    frame.first_returned = 1
    frame.returned.append(b"")
    frame.returned_signature.CopyFrom(frame.signature)
    rogue.send(frame.SerializeToString())


def _second_open(rogue: Rogue, offer: KnownOffer) -> None:
    rogue.send(rogue.seal(rogue.my_open))


def _event(**fields: Any) -> Callable[[Rogue, KnownOffer], None]:
    return lambda rogue, offer: rogue.send(lk.Frame(events=[Event(**fields)]).SerializeToString())


FRAMES: Mapping[str, Misdeed] = {
    "no protobuf": Misdeed(lambda r, o: r.send(b"\xff\xfe\xfd"), "FRAME_MALFORMED"),
    "oversize": Misdeed(lambda r, o: r.send(lk.Frame(entries=[bytes(300_000)]).SerializeToString()), "FRAME_TOO_LARGE"),
    "second open": Misdeed(_second_open, "UNEXPECTED_FRAME"),
    "no signature": Misdeed(_spoiled(lambda f: f.ClearField("signature")), "SIGNATURE_INVALID"),
    "broken signature": Misdeed(_spoiled(_flip), "SIGNATURE_INVALID"),
    "signature of no key": Misdeed(_spoiled(lambda f: f.signature.ClearField("signatures")), "SIGNATURE_INVALID"),
    "signed by a stranger": Misdeed(_signed(key=STRANGER), "SIGNATURE_INVALID"),
    "of another session": Misdeed(_signed(session=bytes(32)), "SIGNATURE_INVALID"),
    "session of a wrong length": Misdeed(_spoiled(lambda f: setattr(f.signature, "session", b"x")), "*"),
    "total of a wrong length": Misdeed(_spoiled(lambda f: setattr(f.signature, "agreed_total", b"x")), "*"),
    "total too high": Misdeed(_signed(total=5), "TOTAL_MISMATCH"),
    "total below zero": Misdeed(_signed(total=-1), "TOTAL_MISMATCH"),
    "seq beyond": Misdeed(_signed(seq=99), "SIGNATURE_INVALID"),
    "acknowledges the future": Misdeed(_signed(acked=99), "SIGNATURE_INVALID"),
    "wrong own head": Misdeed(_signed(head=bytes(32)), "LOG_FORK"),
    "wrong head of the node": Misdeed(_signed(acked_head=bytes(32)), "LOG_FORK"),
    "entry changed after signing": Misdeed(
        _spoiled(lambda f: f.entries.__setitem__(0, f.entries[0] + b"\x98\x06\x01")), "LOG_FORK"
    ),
    "gap in seq": Misdeed(_gap, "LOG_GAP"),
    "seq zero": Misdeed(_spoiled(lambda f: f.ClearField("first_seq")), "LOG_GAP"),
    "equivocating entry": Misdeed(_equivocate, "LOG_FORK"),
    "seen beyond": Misdeed(lambda r, o: _entry(seen=r.pair.logs[THEM].seq + 1)(r, o), "SEEN_INVALID"),
    "seen falls": Misdeed(_entry(seen=0), "SEEN_INVALID"),
    "at falls": Misdeed(lambda r, o: _twice({}, {"at": r.now() - 5_000})(r, o), "AT_DECREASED"),
    "at below zero": Misdeed(_entry(at=-5), "AT_DECREASED"),
    "at of the future": Misdeed(lambda r, o: _entry(at=r.now() + 60_000)(r, o), "CLOCK"),
    "entry is no protobuf": Misdeed(_raw_entry(b"\xff\xff"), "ENTRY_MALFORMED"),
    "entry too large": Misdeed(_raw_entry(b"\x0a" + bytes(70_000)), "ENTRY_MALFORMED"),
    "forged returned entry": Misdeed(_returned_forgery, "*"),
    "returned and own entries": Misdeed(_returned_with_entries, "FRAME_MALFORMED"),
    "returned without signature": Misdeed(
        lambda r, o: r.send(lk.Frame(first_returned=1, returned=[b"x"]).SerializeToString()), "SIGNATURE_INVALID"
    ),
    "oversize event": Misdeed(
        _event(order_seq=1, number=1, chunk={"payload": {"data": bytes(100_000)}}), "PAYLOAD_TOO_LARGE"
    ),
}
"""Said on an open link: each closes it by that name and changes nothing. "*": any of the named ones."""


# -- orders -------------------------------------------------------------------------------------------


def _ordered(data: bytes = b"{}", **changes: Any) -> Callable[[Rogue, KnownOffer], int]:
    return lambda rogue, offer: rogue.buy(offer, data, **changes)


def _late(rogue: Rogue, offer: KnownOffer) -> int:
    """Written in time, sent after its deadline: not void, but nothing can be done about it any more."""
    at = max(rogue.now() - 900, rogue.pair.logs[ME].at)
    order = rogue.order(offer, deadline=at + 1)
    seq = rogue.write(K.ENTRY_KIND_ORDER, order=order, at=at)
    rogue.say(inputs=[lk.OrderInput(order_seq=seq, data=b"{}")])
    return seq


def _without_input(rogue: Rogue, offer: KnownOffer) -> int:
    seq = rogue.write(K.ENTRY_KIND_ORDER, order=rogue.order(offer))
    rogue.say()
    return seq


def _other_input(rogue: Rogue, offer: KnownOffer) -> int:
    seq = rogue.write(K.ENTRY_KIND_ORDER, order=rogue.order(offer))
    rogue.say(inputs=[lk.OrderInput(order_seq=seq, data=b"[]")])
    return seq


def _cheaper(rogue: Rogue, offer: KnownOffer) -> int:
    prices = [{"unit": unit, "num": 0, "den": 1} for unit, _, _ in offer.prices]
    return rogue.buy(offer, prices=prices)


def _sized(size: int) -> Callable[[Rogue, KnownOffer], int]:
    def act(rogue: Rogue, offer: KnownOffer) -> int:
        nonce = bytes(16)
        described = {"media_type": "application/json", "digest": salted(nonce, b"{}"), "size": size}
        return rogue.buy(offer, nonce=nonce, input=described)

    return act


def _encoded(rogue: Rogue, offer: KnownOffer) -> int:
    nonce = bytes(16)
    described = {"media_type": "text/plain", "digest": salted(nonce, b"{}"), "size": 2, "encoding": "gzip"}
    return rogue.buy(offer, nonce=nonce, input=described)


ORDERS: Mapping[str, Misdeed] = {
    "deadline has passed": Misdeed(_late, "DEADLINE_EXCEEDED"),
    "id is no uuid": Misdeed(_ordered(id="x" * 36), "ID_INVALID"),
    "id of version 4": Misdeed(_ordered(id="0190f000-0000-4000-8000-000000000000"), "ID_INVALID"),
    "unknown offer": Misdeed(_ordered(offer_digest=b"\x12\x20" + bytes(32)), "OFFER_UNKNOWN"),
    "offer named by no digest": Misdeed(_ordered(offer_digest=b"d" * 40_000), "OFFER_UNKNOWN"),
    "unknown tariff": Misdeed(
        lambda r, o: r.buy(o, prices=[{"unit": u, "num": n, "den": d} for u, n, d in o.prices], tariff_seq=99),
        "PRICE_CHANGED",
    ),
    "cheaper than the tariff": Misdeed(_cheaper, "PRICE_CHANGED"),
    "input missing": Misdeed(_without_input, "INPUT_INVALID"),
    "another input": Misdeed(_other_input, "INPUT_INVALID"),
    "input of another size": Misdeed(_sized(3), "INPUT_INVALID"),
    "size below zero": Misdeed(_sized(-1), "INPUT_INVALID"),
    "size too large": Misdeed(_sized(1 << 40), "INPUT_TOO_LARGE"),
    "unknown encoding": Misdeed(_encoded, "INPUT_INVALID"),
    "too little for one order": Misdeed(_ordered(max_charge=1, grant=1), "BUDGET_EXCEEDED"),
    "hop limit too high": Misdeed(_ordered(hop_limit=17), "HOP_LIMIT"),
    "path too long": Misdeed(_ordered(path=[f"g{n}.example" for n in range(17)]), "HOP_LIMIT"),
    "place not allowed": Misdeed(_ordered(policy={"places": ["AQ"]}), "POLICY_VIOLATION"),
}
"""Valid entries that cannot be served: each is rejected by that name."""

VOID_ORDERS: Mapping[str, Callable[[Rogue, KnownOffer], pb.Entry]] = {
    "grant beyond the maximum": lambda r, o: _as_entry(r.order(o, grant=1_001)),
    "maximum below zero": lambda r, o: _as_entry(r.order(o, max_charge=-1, grant=-1)),
    "deadline before the order": lambda r, o: _as_entry(r.order(o, deadline=r.now() - 1)),
    "deadline beyond max_hold": lambda r, o: _as_entry(r.order(o, deadline=r.now() + 100 * 86_400_000)),
    "deadline beyond time": lambda r, o: _as_entry(r.order(o, deadline=INT64_MAX)),
    "short id": lambda r, o: _as_entry(r.order(o, id="short")),
    "short nonce": lambda r, o: _as_entry(r.order(o, nonce=b"short")),
    "price without denominator": lambda r, o: _as_entry(r.order(o, prices=[{"unit": "order", "num": 1}])),
    "a unit twice": lambda r, o: _as_entry(r.order(o, prices=[{"unit": "order", "num": 1, "den": 1}] * 2)),
    "too many lines": lambda r, o: _as_entry(
        r.order(o, prices=[{"unit": f"u{n}", "num": 1, "den": 1} for n in range(17)])
    ),
}
"""Orders that break a rule of entries: void, answered by `refuse` with ORDER_INVALID."""


def _as_entry(order: pb.Order) -> pb.Entry:
    return pb.Entry(kind=K.ENTRY_KIND_ORDER, order=order)


VOID_ENTRIES: Mapping[str, tuple[pb.Entry, str]] = {
    "unknown critical kind": (pb.Entry(kind=99), "UNSUPPORTED_ENTRY"),
    "no kind": (pb.Entry(), "UNSUPPORTED_ENTRY"),
    "kind below zero": (pb.Entry(kind=-7), "UNSUPPORTED_ENTRY"),
    "dispute": (pb.Entry(kind=K.ENTRY_KIND_DISPUTE, dispute={"order_seq": 1, "amount": 1}), "UNSUPPORTED_ENTRY"),
    "payment": (pb.Entry(kind=K.ENTRY_KIND_PAYMENT, payment={"rail": "x", "amount": 5}), "UNSUPPORTED_ENTRY"),
    "late agreement": (pb.Entry(kind=K.ENTRY_KIND_AGREEMENT, agreement={}), "UNSUPPORTED_ENTRY"),
    "body of another kind": (pb.Entry(kind=K.ENTRY_KIND_TARIFF, cancel={"order_seq": 1}), "ENTRY_MALFORMED"),
    "no body": (pb.Entry(kind=K.ENTRY_KIND_CHARGE), "ENTRY_MALFORMED"),
    "tariff without denominator": (pb.Entry(kind=K.ENTRY_KIND_TARIFF, tariff={"markup_num": 1}), "TARIFF_INVALID"),
    "grant for no order": (pb.Entry(kind=K.ENTRY_KIND_GRANT, grant={"order_seq": 77, "amount": 1}), "ORDER_UNKNOWN"),
    "cancel of no order": (pb.Entry(kind=K.ENTRY_KIND_CANCEL, cancel={"order_seq": 77}), "ORDER_UNKNOWN"),
    "charge for no order": (pb.Entry(kind=K.ENTRY_KIND_CHARGE, charge={"order_seq": 1, "amount": 1}), "ORDER_UNKNOWN"),
    "reject of no order": (pb.Entry(kind=K.ENTRY_KIND_REJECT, reject={"order_seq": 1}), "ORDER_UNKNOWN"),
    "credit for no order": (pb.Entry(kind=K.ENTRY_KIND_CREDIT, credit={"order_seq": 1, "amount": 1}), "ORDER_UNKNOWN"),
    "refuse of the future": (pb.Entry(kind=K.ENTRY_KIND_REFUSE, refuse={"entry_seq": 999}), "REFUSE_INVALID"),
    "withdraw of nothing": (pb.Entry(kind=K.ENTRY_KIND_WITHDRAW, withdraw={"entry_seq": 1}), "WITHDRAW_INVALID"),
    "grant for an order beyond all": (
        pb.Entry(kind=K.ENTRY_KIND_GRANT, grant={"order_seq": 2**64 - 1, "amount": 1}),
        "ORDER_UNKNOWN",
    ),
    "cancel of an order beyond all": (
        pb.Entry(kind=K.ENTRY_KIND_CANCEL, cancel={"order_seq": 2**64 - 1}),
        "ORDER_UNKNOWN",
    ),
    "charge for an order beyond all": (
        pb.Entry(kind=K.ENTRY_KIND_CHARGE, charge={"order_seq": 2**64 - 1}),
        "ORDER_UNKNOWN",
    ),
    "expire of no order": (pb.Entry(kind=K.ENTRY_KIND_EXPIRE, expire={"order_seq": 77}), "ORDER_UNKNOWN"),
}
"""Entries that are void wherever they stand after the first: the node refuses each by that rule and goes on."""


# -- charges ------------------------------------------------------------------------------------------


def _charged(usage: Mapping[str, int], final: bool = True, **changes: Any) -> Callable[[Rogue, int], int]:
    return lambda rogue, seq: _charge(rogue, rogue.claim(seq, usage, final, **changes))


def _charge(rogue: Rogue, body: pb.Charge) -> int:
    seq = rogue.write(K.ENTRY_KIND_CHARGE, charge=body)
    rogue.say()
    return seq


def _proven(usage: Mapping[str, int], **changes: Any) -> Callable[[Rogue, int], int]:
    """A charge for `usage` with a record that says otherwise."""
    return lambda rogue, seq: _charge(rogue, rogue.claim(seq, usage, proof=rogue.proof(seq, usage, **changes)))


def _of_another_order(rogue: Rogue, seq: int) -> int:
    proof = rogue.proof(seq, {"order": 1}, nonce=bytes(16))
    return _charge(rogue, rogue.claim(seq, {"order": 1}, proof=proof))


def _bent_proof(rogue: Rogue, seq: int) -> int:
    proof = rogue.proof(seq, {"order": 1})
    proof.index = 1
    return _charge(rogue, rogue.claim(seq, {"order": 1}, proof=proof))


def _garbage_record(rogue: Rogue, seq: int) -> int:
    proof = rogue.proof(seq, {"order": 1})
    proof.record = b"\xff\xff\xff"
    return _charge(rogue, rogue.claim(seq, {"order": 1}, proof=proof))


def _garbage_root(rogue: Rogue, seq: int) -> int:
    proof = rogue.proof(seq, {"order": 1})
    proof.root = b"\xff\xff\xff"
    return _charge(rogue, rogue.claim(seq, {"order": 1}, proof=proof))


def _missing_quantity(rogue: Rogue, seq: int) -> int:
    body = rogue.claim(seq, {"order": 1})
    del body.quantities[:]
    return _charge(rogue, body)


def _falling_charge(rogue: Rogue, seq: int) -> int:
    _charge(rogue, rogue.claim(seq, {"llm.output.token": 100}, final=False))
    return _charge(rogue, rogue.claim(seq, {"llm.output.token": 50}, final=False))


def _many(rogue: Rogue, seq: int) -> int:
    usage = {"order": 1, "llm.output.token": 5}
    return _charge(rogue, rogue.claim(seq, usage, proof=rogue.proof(seq, {**usage, "llm.output.token": 4})))


VOID_CHARGES: Mapping[str, Misdeed] = {
    "beyond the grant": Misdeed(_charged({"order": 1, "llm.output.token": 10_000}), "CHARGE_BEYOND_GRANT"),
    "amount below zero": Misdeed(_charged({"order": 1}, amount=-10), "CHARGE_BEYOND_GRANT"),
    "arithmetic wrong": Misdeed(_charged({"order": 1}, amount=11), "CHARGE_ARITHMETIC"),
    "quantity below zero": Misdeed(_charged({"order": 1}, quantities=[-1, 1], amount=9), "CHARGE_ARITHMETIC"),
    "quantity too large": Misdeed(_charged({"order": 1}, quantities=[INT64_MAX] * 2), "CHARGE_ARITHMETIC"),
    "quantities missing": Misdeed(_missing_quantity, "CHARGE_ARITHMETIC"),
    "falling": Misdeed(_falling_charge, "CHARGE_DECREASED"),
}
"""Claims that are void: the order stays open."""

UNPROVEN_CHARGES: Mapping[str, Misdeed] = {
    "no record": Misdeed(lambda r, s: _charge(r, _without(r.claim(s, {"order": 1}), "proof")), "CHARGE_UNPROVEN"),
    "no state": Misdeed(_charged({"order": 1}, state=0), "CHARGE_UNPROVEN"),
    "state that is no end": Misdeed(_charged({"order": 1}, state=TASK_STATE_WORKING), "CHARGE_UNPROVEN"),
    "record signed by a stranger": Misdeed(_proven({"order": 1}, key=STRANGER), "CHARGE_UNPROVEN"),
    "record of an unknown executor": Misdeed(
        _proven({"order": 1}, executor=b"\x12\x20" + bytes(32)), "CHARGE_UNPROVEN"
    ),
    "record is garbage": Misdeed(_garbage_record, "CHARGE_UNPROVEN"),
    "root is garbage": Misdeed(_garbage_root, "CHARGE_UNPROVEN"),
    "record not in the tree": Misdeed(_bent_proof, "CHARGE_UNPROVEN"),
    "record with a short nonce": Misdeed(_proven({"order": 1}, nonce=b"x"), "CHARGE_UNPROVEN"),
    "record of another order": Misdeed(_of_another_order, "RECORD_MISMATCH"),
    "record of another offer": Misdeed(_proven({"order": 1}, offer_digest=b"\x12\x20" + bytes(32)), "RECORD_MISMATCH"),
    "record of another input": Misdeed(_proven({"order": 1}, input_digest=b"\x12\x20" + bytes(32)), "RECORD_MISMATCH"),
    "record of another state": Misdeed(_proven({"order": 1}, state=TASK_STATE_FAILED), "RECORD_MISMATCH"),
    "quantities differ": Misdeed(_many, "RECORD_MISMATCH"),
    "one order counted twice": Misdeed(_charged({"order": 2}), "RECORD_MISMATCH"),
}
"""Final claims whose proof does not hold: refused before they are acknowledged, never agreed, never charged."""


def _without(body: pb.Charge, field: str) -> pb.Charge:
    body.ClearField(field)
    return body


def _after_final(kind: int, **body: Any) -> Callable[[Rogue, int], int]:
    def act(rogue: Rogue, seq: int) -> int:
        _charge(rogue, rogue.claim(seq, {"order": 1}))
        for value in body.values():
            value.order_seq = seq
        made = rogue.write(kind, **body)
        rogue.say()
        return made

    return act


def _charge_twice(rogue: Rogue, seq: int) -> int:
    body = rogue.claim(seq, {"order": 1})
    _charge(rogue, body)
    return _charge(rogue, body)


AFTER_END: Mapping[str, Misdeed] = {
    "charged twice": Misdeed(_charge_twice, "CHARGE_AFTER_END"),
    "credit beyond the charge": Misdeed(
        _after_final(K.ENTRY_KIND_CREDIT, credit=pb.Credit(amount=11)), "CREDIT_INVALID"
    ),
    "credit of nothing": Misdeed(_after_final(K.ENTRY_KIND_CREDIT, credit=pb.Credit(amount=0)), "CREDIT_INVALID"),
    "credit below zero": Misdeed(_after_final(K.ENTRY_KIND_CREDIT, credit=pb.Credit(amount=-5)), "CREDIT_INVALID"),
    "reject after the end": Misdeed(_after_final(K.ENTRY_KIND_REJECT, reject=pb.Reject()), "ORDER_ENDED"),
}
"""After a sound final charge of 10: void, and the charge stands."""
