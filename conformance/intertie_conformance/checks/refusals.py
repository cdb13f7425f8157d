"""RFC 0007, section 3.8: refusals and withdrawals, as the target judges those of its payer."""

from __future__ import annotations

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.checks import check
from intertie_conformance.checks.holds import Written, expect_standing, expect_void
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail

K = pb.EntryKind


def refuse(seq: int, rule: str = "RECORD_MISMATCH") -> Written:
    """A refusal of an entry of the target."""
    return K.ENTRY_KIND_REFUSE, {"refuse": {"entry_seq": seq, "rule": rule}}


def withdraw(seq: int) -> Written:
    """A withdrawal of a refusal."""
    return K.ENTRY_KIND_WITHDRAW, {"withdraw": {"entry_seq": seq}}


async def unsigned_charge(peer: Peer) -> int:
    """An order that is charged; the suite has not acknowledged its final charge. Returns the charge's seq."""
    peer.answers = False
    order = await ordering.order(peer, "echo", {"x": 1})
    fact = await ordering.end_of(peer, order)
    if fact.void is not None or not fact.entry.charge.amount:
        fail(f"a valid charge of order {order} above 0", fact.entry)
    peer.answers = True
    return fact.seq


def put(peer: Peer, written: Written) -> int:
    """Write an entry; it goes out with the next frame."""
    return peer.put(written[0], **written[1])


@check("IT-LOG-080", role="hostile peer", refusal=True)
async def refusals(stage: Stage) -> None:
    """Refusals that name nothing, come twice or too late are void by name; one in time stands."""
    peer = await (await stage.peer()).up()
    charge = await unsigned_charge(peer)
    good = put(peer, refuse(charge))
    bad = {put(peer, refuse(seq)): seq for seq in (charge, 0, peer.logs.seq(THEM) + 1)}
    peer.flush()
    for seq in bad:
        await peer.expect_refused(seq, "REFUSE_INVALID")
    await expect_standing(peer, [good])
    await expect_void(peer, "REFUSE_LATE", refuse(charge))


@check("IT-LOG-080", role="hostile peer", refusal=True)
async def late_refusal(stage: Stage) -> None:
    """A refusal of a charge that a signature has agreed to is void as REFUSE_LATE, and what was agreed stays."""
    peer = await (await stage.peer()).up()
    charge = await unsigned_charge(peer)
    peer.put(200)
    peer.flush()
    await peer.expect_signed()
    owed = peer.logs.account.agreed(ME, peer.logs.seq(THEM))
    await expect_void(peer, "REFUSE_LATE", refuse(charge))
    if peer.logs.account.agreed(ME, peer.logs.seq(THEM)) != owed:
        fail(f"{owed} is still agreed", "another total")


@check("IT-LOG-080", role="hostile peer", refusal=True)
async def withdrawals(stage: Stage) -> None:
    """A standing refusal is withdrawn once; every other withdrawal is void as WITHDRAW_INVALID."""
    peer = await (await stage.peer()).up()
    charge = await unsigned_charge(peer)
    before = peer.logs.account.agreed(ME, peer.logs.seq(THEM))
    put(peer, refuse(charge))
    peer.flush()
    await peer.expect_signed()
    await expect_void(peer, "WITHDRAW_INVALID", withdraw(0), withdraw(1), withdraw(peer.logs.seq(THEM) + 9))
    good = put(peer, withdraw(charge))
    peer.flush()
    await expect_standing(peer, [good])
    await expect_void(peer, "WITHDRAW_INVALID", withdraw(charge))
    if peer.logs.account.agreed(ME, peer.logs.seq(THEM)) != before:
        fail(f"{before} is owed again", "another total")


@check("IT-LOG-080", role="honest peer")
async def refusal_of_other_entries(stage: Stage) -> None:
    """A refusal of an entry that is no charge has no effect: in time it stands, later it is void as REFUSE_LATE."""
    peer = await (await stage.peer()).up()
    peer.answers = False
    reject = await ordering.end_of(peer, await ordering.order(peer, "refuse", {}))
    peer.answers = True
    again = refuse(reject.seq, "ORDER_ENDED")
    seqs = [put(peer, again), put(peer, again)]
    peer.flush()
    await expect_standing(peer, seqs)
    await expect_void(peer, "REFUSE_LATE", again)
    await ordering.still_sells(peer)


@check("IT-LOG-090", role="honest peer")
async def refused_totals(stage: Stage) -> None:
    """Totals of the suite with claims refused, withdrawn and replaced are those that the target computes."""
    peer = await (await stage.peer()).up()
    await ordering.still_sells(peer)
    charge = await unsigned_charge(peer)
    put(peer, refuse(charge))
    peer.flush()
    await peer.expect_signed()
    await ordering.still_sells(peer)
    put(peer, withdraw(charge))
    peer.flush()
    await peer.expect_signed()


@check("IT-LOG-090", role="honest peer")
async def refused_final(stage: Stage) -> None:
    """With the final charge refused the payer owes the last charge that it has not refused."""
    peer = await (await stage.peer()).up()
    order = await ordering.order(peer, "meter", {"usage": {"sim.step": 40}, "steps": 4}, grant=25)
    claim = await peer.expect_entry(
        K.ENTRY_KIND_CHARGE, lambda f: f.entry.charge.order_seq == order, f"a claim of order {order} within its grant"
    )
    await peer.expect_signed()
    peer.answers = False
    peer.put(K.ENTRY_KIND_GRANT, grant={"order_seq": order, "amount": 1_000})
    peer.flush()
    final = await ordering.end_of(peer, order)
    peer.answers = True
    put(peer, refuse(final.seq))
    peer.flush()
    await peer.expect_signed()
    last = peer.logs.account.holds[ME, order].claims[-2]
    if (
        last.seq < claim.seq
        or peer.logs.account.rules.agreed(peer.logs.account.holds[ME, order], final.seq) != last.amount
    ):
        fail(f"{last.amount} is owed for order {order}", "another amount")
    await ordering.still_sells(peer)
