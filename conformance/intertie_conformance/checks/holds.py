"""RFC 0007, sections 3.4 to 3.7: kinds, void entries, orders and grants, judged by the target as provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1.metering_pb2 import PriceLine
from intertie_conformance.checks import check
from intertie_conformance.grid.account import ME
from intertie_conformance.grid.catalog import HOUR_MS
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.amounts import INT64_MAX

K = pb.EntryKind
CRITICAL: Final = (0, 12, 13, 14, 15, 16, 17, 99, 127)
UNCRITICAL: Final = (128, 129, 4_096, 2**31 - 1)

Written = tuple[int, dict[str, Any]]
"""Kind and body of an entry."""


async def expect_void(peer: Peer, rule: str, *entries: Written) -> list[int]:
    """Write entries in one frame and expect each to be refused by `rule`; returns their seqs."""
    seqs = [peer.put(kind, **body) for kind, body in entries]
    peer.flush()
    for seq in seqs:
        await peer.expect_refused(seq, rule)
    return seqs


async def expect_standing(peer: Peer, seqs: Sequence[int]) -> None:
    """What was written is acknowledged and not refused, while a void entry after it is."""
    await expect_void(peer, "ORDER_UNKNOWN", (K.ENTRY_KIND_CANCEL, {"cancel": {"order_seq": 0}}))
    refused = {
        fact.entry.refuse.entry_seq: fact.entry.refuse.rule for fact in peer.facts if fact.entry.HasField("refuse")
    }
    for seq in seqs:
        if seq in refused:
            fail(f"entry {seq} is valid: no refuse", f"a refuse with {refused[seq]}")
    await peer.expect_signed()


async def asked(peer: Peer, **changes: Any) -> int:
    """An order whose work waits for input: its hold stays open until `end`."""
    seq = await ordering.order(peer, "ask", {}, **changes)
    await peer.wait(lambda: _asks(peer, seq), f"an input_request of order {seq}")
    return seq


def _asks(peer: Peer, seq: int) -> bool:
    return any(event.order_seq == seq and event.HasField("input_request") for event in peer.events)


async def end(peer: Peer, *seqs: int) -> None:
    """Cancel orders that wait and expect their ends."""
    for seq in seqs:
        peer.put(K.ENTRY_KIND_CANCEL, cancel={"order_seq": seq})
    peer.flush()
    for seq in seqs:
        await ordering.end_of(peer, seq)


def tariff(peer: Peer, **changes: Any) -> Written:
    """A sound tariff, but for the changes."""
    fields = {"origin": peer.me.fingerprint, "markup_num": 1, "markup_den": 1, "expires_at": now_ms() + HOUR_MS}
    return K.ENTRY_KIND_TARIFF, {"tariff": {**fields, **changes}}


# -- kinds ----------------------------------------------------------------------------------------


@check("IT-LOG-030", role="hostile peer", refusal=True)
async def void_has_no_effect(stage: Stage) -> None:
    """A void order opens no hold, a void grant raises nothing; both stay in the log, also in the next session."""
    peer = await (await stage.peer()).up()
    made, _ = await ordering.make_order(peer, "echo", {}, nonce=b"")
    (order,) = await expect_void(peer, "ORDER_INVALID", (K.ENTRY_KIND_ORDER, {"order": made}))
    await expect_void(peer, "ORDER_UNKNOWN", (K.ENTRY_KIND_CANCEL, {"cancel": {"order_seq": order}}))
    seq = await asked(peer, max_charge=1_000, grant=20)
    await expect_void(peer, "GRANT_INVALID", (K.ENTRY_KIND_GRANT, {"grant": {"order_seq": seq, "amount": 2_000}}))
    grant = peer.put(K.ENTRY_KIND_GRANT, grant={"order_seq": seq, "amount": 30})
    peer.flush()
    await expect_standing(peer, [grant])
    await end(peer, seq)
    await peer.up()
    await ordering.still_sells(peer)


@check("IT-LOG-031", role="hostile peer", refusal=True)
async def critical_kinds(stage: Stage) -> None:
    """Kinds below 128 that are not known, reserved ones included, are refused with UNSUPPORTED_ENTRY."""
    peer = await (await stage.peer()).up()
    await expect_void(peer, "UNSUPPORTED_ENTRY", *((kind, {}) for kind in CRITICAL))
    dispute = {"dispute": {"order_seq": 1, "amount": 1}}
    await expect_void(peer, "UNSUPPORTED_ENTRY", (K.ENTRY_KIND_DISPUTE, dispute), (77, dispute))
    await ordering.still_sells(peer)


@check("IT-LOG-032", role="honest peer")
async def uncritical_kinds(stage: Stage) -> None:
    """Kinds from 128 on, with or without a body, are taken and neither refused nor applied."""
    peer = await (await stage.peer()).up()
    order, _ = await ordering.make_order(peer, "echo", {})
    seqs = [peer.put(kind) for kind in UNCRITICAL]
    seqs.append(peer.put(200, order=order))
    peer.flush()
    await expect_standing(peer, seqs)
    await expect_void(peer, "ORDER_UNKNOWN", (K.ENTRY_KIND_CANCEL, {"cancel": {"order_seq": seqs[-1]}}))


@check("IT-LOG-033", role="hostile peer", refusal=True)
async def other_body(stage: Stage) -> None:
    """An entry without the body that its kind names is refused with ENTRY_MALFORMED."""
    peer = await (await stage.peer()).up()
    order, _ = await ordering.make_order(peer, "echo", {})
    kinds = range(1, 12)
    await expect_void(peer, "ENTRY_MALFORMED", *((kind, {}) for kind in kinds))
    others = [kind for kind in kinds if kind != K.ENTRY_KIND_ORDER]
    await expect_void(peer, "ENTRY_MALFORMED", *((kind, {"order": order}) for kind in others))
    await expect_void(peer, "ENTRY_MALFORMED", (K.ENTRY_KIND_ORDER, {"cancel": {"order_seq": 1}}))
    await ordering.still_sells(peer)


@check("IT-LOG-034", role="hostile peer", refusal=True)
async def each_is_refused(stage: Stage) -> None:
    """Of a frame with several void entries each is refused once, by its seq and its own reason."""
    peer = await (await stage.peer()).up()
    order, _ = await ordering.make_order(peer, "echo", {}, nonce=bytes(15))
    wanted = {
        peer.put(K.ENTRY_KIND_ORDER, order=order): "ORDER_INVALID",
        peer.put(99): "UNSUPPORTED_ENTRY",
        peer.put(K.ENTRY_KIND_CANCEL): "ENTRY_MALFORMED",
        peer.put(K.ENTRY_KIND_CANCEL, cancel={"order_seq": 1_000}): "ORDER_UNKNOWN",
    }
    peer.flush()
    for seq, rule in wanted.items():
        await peer.expect_refused(seq, rule)
    await ordering.still_sells(peer)
    named = [fact.entry.refuse.entry_seq for fact in peer.facts if fact.entry.HasField("refuse")]
    if sorted(named) != sorted(wanted):
        fail(f"one refuse for each of {sorted(wanted)}", f"refusals of {sorted(named)}")


@check("IT-LOG-035", role="hostile peer", refusal=True)
async def void_keeps_link(stage: Stage) -> None:
    """After a void entry of every reason that a payer can cause the same stream goes on."""
    peer = await (await stage.peer()).up()
    order, _ = await ordering.make_order(peer, "echo", {}, grant=-1)
    await expect_void(peer, "ORDER_INVALID", (K.ENTRY_KIND_ORDER, {"order": order}))
    await expect_void(peer, "TARIFF_INVALID", tariff(peer, markup_den=0))
    await expect_void(peer, "ENTRY_MALFORMED", (K.ENTRY_KIND_GRANT, {"order": order}))
    await expect_void(peer, "ORDER_UNKNOWN", (K.ENTRY_KIND_EXPIRE, {"expire": {"order_seq": 1}}))
    await expect_void(peer, "REFUSE_INVALID", (K.ENTRY_KIND_REFUSE, {"refuse": {"entry_seq": 0}}))
    await expect_void(peer, "WITHDRAW_INVALID", (K.ENTRY_KIND_WITHDRAW, {"withdraw": {"entry_seq": 1}}))
    await peer.expect_alive()
    await ordering.still_sells(peer)


@check("IT-LOG-041", role="hostile peer", refusal=True)
async def late_agreement(stage: Stage) -> None:
    """The agreement at another seq than 1 is refused with UNSUPPORTED_ENTRY; at seq 1 it stands."""
    peer = await (await stage.peer()).up()
    if peer.logs.entry(ME, 1).kind != K.ENTRY_KIND_AGREEMENT:
        fail("the suite's own log begins with the agreement", peer.logs.entry(ME, 1))
    again = (K.ENTRY_KIND_AGREEMENT, {"agreement": {"agreement": peer.agreement.sealed}})
    await expect_void(peer, "UNSUPPORTED_ENTRY", again, again)
    await expect_standing(peer, [1])


@check("IT-LOG-042", role="hostile peer", refusal=True)
async def tariffs(stage: Stage) -> None:
    """Tariffs with negative parts, a denominator of 0, or a past expiry are refused with TARIFF_INVALID."""
    peer = await (await stage.peer()).up()
    bad = [{"markup_num": -1}, {"fee": -1}, {"markup_den": 0}, {"markup_den": -1}, {"expires_at": now_ms() - 1}]
    await expect_void(peer, "TARIFF_INVALID", *(tariff(peer, **changes) for changes in bad))
    at = max(now_ms(), peer.logs.at[ME])
    for expires, good in ((at, False), (at + 1, True)):
        kind, body = tariff(peer, expires_at=expires)
        seq = peer.put(kind, at=at, **body)
        peer.flush()
        await (expect_standing(peer, [seq]) if good else peer.expect_refused(seq, "TARIFF_INVALID"))
        at = max(at, peer.logs.at[ME])


# -- orders ---------------------------------------------------------------------------------------


def bad_orders(peer: Peer, at: int) -> dict[str, dict[str, Any]]:
    """What makes an order invalid: name → changes."""
    line = PriceLine(unit="order", num=1, den=1)
    longest = at + peer.terms.max_hold_ms
    return {
        "a grant below zero": {"grant": -1},
        "a grant above max_charge": {"grant": 1_001},
        "max_charge below zero": {"max_charge": -1, "grant": -1},
        "a deadline that is its at": {"deadline": at},
        "a deadline in the past": {"deadline": at - 60_000},
        "a deadline beyond max_hold": {"deadline": longest + 1},
        "a deadline at the end of time": {"deadline": INT64_MAX},
        "an id of 35 characters": {"id": "0" * 35},
        "an id of 37 characters": {"id": "0" * 37},
        "a nonce of 15 bytes": {"nonce": bytes(15)},
        "a nonce of 33 bytes": {"nonce": bytes(33)},
        "a negative price": {"prices": [PriceLine(unit="order", num=-1, den=1)]},
        "a denominator of 0": {"prices": [PriceLine(unit="order", num=1, den=0)]},
        "17 price lines": {"prices": [PriceLine(unit=f"x.u{n}", num=1, den=1) for n in range(17)]},
        "one unit twice": {"prices": [line, line]},
    }


@check("IT-LOG-050", role="hostile peer", refusal=True)
async def order_fields(stage: Stage) -> None:
    """Each broken rule of an order's fields makes it void as ORDER_INVALID; the longest hold stands."""
    peer = await (await stage.peer()).up()
    at = max(now_ms(), peer.logs.at[ME])
    made = {}
    for name, changes in bad_orders(peer, at).items():
        order, _ = await ordering.make_order(peer, "echo", {}, **changes)
        made[peer.put(K.ENTRY_KIND_ORDER, at=at, order=order)] = name
    peer.flush()
    for seq, name in made.items():
        stage.trace.note("suite", f"entry {seq} has {name}")
        await peer.expect_refused(seq, "ORDER_INVALID")
    at = max(now_ms(), peer.logs.at[ME])
    order, data = await ordering.make_order(peer, "echo", {}, deadline=at + peer.terms.max_hold_ms)
    longest = peer.put(K.ENTRY_KIND_ORDER, at=at, input=data, order=order)
    peer.flush()
    await ordering.expect_charged(peer, longest)


@check("IT-LOG-051", role="honest peer")
async def rejected_had_hold(stage: Stage) -> None:
    """A rejected order is known: what is said of it later finds it ended, not unknown."""
    peer = await (await stage.peer()).up()
    seq = await ordering.order(peer, "echo", {}, offer_digest=b"\x12\x20" + stage.random.randbytes(32))
    await ordering.expect_rejected(peer, seq, "OFFER_UNKNOWN")
    await expect_void(peer, "ORDER_ENDED", (K.ENTRY_KIND_CANCEL, {"cancel": {"order_seq": seq}}))


@check("IT-LOG-060", role="hostile peer", refusal=True)
async def unknown_orders(stage: Stage) -> None:
    """Grants, cancels and expires of no order before them are refused with ORDER_UNKNOWN; of one, they stand."""
    peer = await (await stage.peer()).up()
    invalid, _ = await ordering.make_order(peer, "echo", {}, id="")
    (void,) = await expect_void(peer, "ORDER_INVALID", (K.ENTRY_KIND_ORDER, {"order": invalid}))
    for target in (0, 1, void, peer.logs.seq(ME) + 1, 2**63):
        await expect_void(
            peer,
            "ORDER_UNKNOWN",
            (K.ENTRY_KIND_CANCEL, {"cancel": {"order_seq": target}}),
            (K.ENTRY_KIND_GRANT, {"grant": {"order_seq": target, "amount": 5}}),
            (K.ENTRY_KIND_EXPIRE, {"expire": {"order_seq": target}}),
            (K.ENTRY_KIND_CHARGE, {"charge": {"order_seq": target, "quantities": [1], "amount": 1}}),
        )
    await end(peer, await asked(peer))


@check("IT-LOG-062", role="hostile peer", refusal=True)
async def grants(stage: Stage) -> None:
    """A grant that does not rise, or exceeds max_charge, is refused; one that rises to max_charge stands."""
    peer = await (await stage.peer()).up()
    seq = await asked(peer, max_charge=1_000, grant=500)
    bad = [{"grant": {"order_seq": seq, "amount": amount}} for amount in (500, 499, 0, -1, 1_001, INT64_MAX)]
    await expect_void(peer, "GRANT_INVALID", *((K.ENTRY_KIND_GRANT, body) for body in bad))
    raised = peer.put(K.ENTRY_KIND_GRANT, grant={"order_seq": seq, "amount": 1_000})
    peer.flush()
    await expect_standing(peer, [raised])
    await expect_void(peer, "GRANT_INVALID", (K.ENTRY_KIND_GRANT, {"grant": {"order_seq": seq, "amount": 1_000}}))
    await end(peer, seq)
