"""What a hostile peer may do in opening a link and with its frames, with the name by which a node answers.

Orders and charges have files of their own: `misdeeds_of_orders`, `misdeeds_of_charges`.

Used over memory (every row, exact state compared) and over sockets. An act says what a `Rogue` sends; it is
given the rogue, whose link is open, and an offer of the node or the seq of an order that the node has placed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.kit.rogue import K, Rogue

from intertie import envelope
from intertie.keys import PrivateKey
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event
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
