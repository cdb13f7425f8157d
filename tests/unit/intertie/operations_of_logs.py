"""The operations of vectors about logs, carried out by the reference node's core; the expectations are made by hand."""

from __future__ import annotations

from typing import Any

from intertie import envelope
from intertie.amounts import INT64_MAX
from intertie.encoding import parse
from intertie.errors import IntertieError
from intertie.keys import PublicKey
from intertie.v1.entry_pb2 import Entry
from intertie.v1.link_pb2 import Cursor, HeadSignature, Open
from intertie_node.core import opening
from intertie_node.core.ledger import Ledger, LinkTerms
from intertie_node.core.pair import LogPair

Given = dict[str, Any]
SIDES = {"a": 0, "b": 1}
WIDE = (2**63 - 1, 2**63 - 1)


def judge(given: Given) -> Given:
    """Apply the steps; raise the reason of the last entry if it is void."""
    terms = given["terms"]
    ledger = Ledger(LinkTerms(int(terms["claim_window_ms"]), int(terms["max_hold_ms"]), 0, 1_000_000, WIDE, WIDE))
    seqs, void = [0, 0], []
    for step in given["steps"]:
        if "signer" in step:
            signer, acked = SIDES[step["signer"]], int(step["acked"])
            ledger.settle(signer, acked)
            ledger.signed(signer, acked)
            continue
        side = SIDES[step["log"]]
        seqs[side] += 1
        void.append(ledger.apply(side, seqs[side], Entry.FromString(bytes.fromhex(step["entry"]))) or "")
    if void[-1] and not any(void[:-1]):
        raise IntertieError(void[-1], "The last entry is void.")
    return {"void": void, **{name: _lane(ledger, side, seqs[1 - side]) for name, side in SIDES.items()}}


def _lane(ledger: Ledger, payer: int, acked: int) -> Given:
    ledger.settle(payer, acked)
    lane = ledger.lanes[payer]
    return {name: str(getattr(lane, name)) for name in ("posted", "pending", "granted", "earned", "agreed")}


class _Nowhere:
    """Keeps no rows."""

    def entry(self, side: int, seq: int, data: bytes, head: bytes) -> None:
        pass

    def signature(self, signer: int, signature: HeadSignature) -> None:
        pass


def take(given: Given) -> Given:
    """Take the groups as side a; raises what closes the link."""
    terms, now = given["terms"], int(given["now"])
    skew = int(terms["max_skew_ms"])
    keys = [PublicKey.from_spki(bytes.fromhex(given["keys"][side])) for side in SIDES]
    agreed = LinkTerms(int(terms["claim_window_ms"]), int(terms["max_hold_ms"]), skew, 1_000_000, WIDE, WIDE)
    pair = LogPair(bytes.fromhex(given["genesis"]), agreed, lambda side: {keys[side].key_id: keys[side]})

    for group in given["groups"]:
        side, entries = SIDES[group["log"]], [bytes.fromhex(data) for data in group["entries"]]
        signature = HeadSignature.FromString(bytes.fromhex(group["signature"]))
        before = _state(pair)
        try:
            pair.take(side, int(group["first_seq"]), entries, signature, _Nowhere(), now + skew if side else INT64_MAX)
        except IntertieError:
            assert _state(pair) == before, "a refused group leaves no trace"
            raise
    return _state(pair)


def _state(pair: LogPair) -> Given:
    return {
        name: {
            "seq": str(pair.logs[side].seq),
            "head": pair.logs[side].head.hex(),
            "agreed_total": str(pair.ledger.lanes[side].agreed),
        }
        for name, side in SIDES.items()
    }


def check_open_message(given: Given) -> Given:
    """Open the envelope and check what the Open says of itself; the payload."""
    keys = {key.key_id: key for key in (PublicKey.from_spki(bytes.fromhex(spki)) for spki in given["public_keys"])}
    payload = envelope.unseal(bytes.fromhex(given["envelope"]), envelope.OPEN, keys).payload
    opened = parse(Open, payload, envelope.MAX_BYTES, "FRAME_MALFORMED")
    features = frozenset(given["features"])
    opening.check_open(opened, bytes.fromhex(given["genesis"]), int(given["now"]), int(given["max_skew_ms"]), features)
    return {"payload": payload.hex()}


def plan(given: Given) -> Given:
    """What is resent and returned, and when the logs are whole."""
    cursors = Open(own=Cursor(seq=int(given["theirs_own"])), other=Cursor(seq=int(given["theirs_other"])))
    made = opening.plan(int(given["own"]), int(given["other"]), cursors)
    return {
        "resend_after": str(made.resend_after),
        "return_after": str(made.return_after),
        "own_whole_at": str(made.own_target),
        "other_whole_at": str(made.other_target),
    }
