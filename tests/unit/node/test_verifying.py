"""What the verifier of exported links reports, and which dishonesty it finds (design §7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.node.core.small_link import owing, reason, repaired, resigned, small, talk
from tests.unit.node.core.two_grids import (
    AGREEMENT,
    NORTH,
    SOUTH,
    START,
    WEST,
    K,
    World,
    claim,
    order,
    records_of,
    verify,
)

from intertie.amounts import total_from_bytes
from intertie.chain import entry_head
from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import export_pb2 as xp
from intertie.v1.task_pb2 import TASK_STATE_FAILED
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link_report import ACCEPTOR, PROPOSER


@pytest.mark.parametrize("exporter", [0, 1])
def test_what_a_report_says(exporter: int) -> None:
    report = verify(small().sides[exporter].export())
    assert (report.ok, report.genesis, report.asset, report.scale) == (True, AGREEMENT.genesis, "XTS", 6)
    assert report.exporter == (NORTH, SOUTH)[exporter].fingerprint
    north, south = report.sides
    assert (north.grid, south.grid, north.entries, south.entries) == ("north.example", "south.example", 2, 5)
    owes, is_owed = report.lanes
    assert (owes.charged, owes.credited, owes.posted, owes.pending, owes.agreed) == (31, 0, 31, 0, 31)
    assert (owes.holds["CHARGED"], is_owed.holds["EXPIRED"], is_owed.posted) == (1, 1, 0)
    assert (report.proofs.proven, report.proofs.faulty) == (1, [])


def test_a_link_without_entries_can_be_exported() -> None:
    world = World()
    assert reason(world.sides[0].export()) == ""
    world.sides[1].write(START, K.ENTRY_KIND_ORDER, order=order(START, 9, 9))
    assert verify(world.sides[1].export()).sides[ACCEPTOR].entries == 0


# -- dishonest grids ----------------------------------------------------------------------------------


def test_a_dishonest_total_is_found_live_and_in_a_file() -> None:
    world, (_, _, honest) = owing()
    assert total_from_bytes(honest.agreed_total) == 3
    *records, _ = records_of(world.sides[1].export())
    record = xp.ExportRecord.FromString(records[-1])
    record.group.signature = resigned(honest, 2).SerializeToString()
    fault = verify(repaired([*records[:-1], record.SerializeToString()])).fault
    assert fault is not None
    assert (fault.reason, fault.side, fault.seq) == ("TOTAL_MISMATCH", ACCEPTOR, 1)


def test_a_refused_group_leaves_nothing_behind() -> None:
    """The honest signature is taken after a dishonest one was refused."""
    world, (first, entries, honest) = owing()
    north = world.sides[0]
    before = north.mirrored(False)
    for _ in range(2):
        with pytest.raises(IntertieError, match="TOTAL_MISMATCH"):
            north.take((first, entries, resigned(honest, 2)))
        assert north.mirrored(False) == before
        assert not any(north.ledger.forget(key) for key in north.ledger.retirable)
    north.take((first, entries, honest))
    assert north.ledger.lanes[THEM].agreed == 3


def test_a_charge_beyond_the_grant_is_void_and_not_counted() -> None:
    world = small()
    world.sides[0].write(START, K.ENTRY_KIND_ORDER, order=order(START, 100, 10))
    talk(world)
    beyond = pb.Charge(order_seq=3, quantities=[70, 0], amount=30)
    assert world.sides[1].rogue(START + 99_999, K.ENTRY_KIND_CHARGE, charge=beyond) == "CHARGE_BEYOND_GRANT"
    world.settle()
    report = verify(world.sides[0].export())
    south = report.sides[ACCEPTOR]
    assert [(each.seq, each.reason) for each in south.void] == [(6, "CHARGE_BEYOND_GRANT")]
    assert [(each.seq, each.reason) for each in south.refused] == [(6, "CHARGE_BEYOND_GRANT")]
    assert report.lanes[PROPOSER].posted == 31


def test_a_grant_that_crosses_a_charge_does_not_cover_it() -> None:
    world = World()
    north, south = world.sides
    north.write(START, K.ENTRY_KIND_ORDER, order=order(START, 100, 10))
    talk(world)
    north.write(START, K.ENTRY_KIND_GRANT, grant=pb.Grant(order_seq=1, amount=100))
    beyond = pb.Charge(order_seq=1, quantities=[70, 0], amount=30)
    assert south.rogue(START, K.ENTRY_KIND_CHARGE, charge=beyond) == "CHARGE_BEYOND_GRANT"
    world.settle()
    assert north.mirrored(False) == south.mirrored(True)
    assert verify(north.export()).lanes[PROPOSER].posted == 0


@pytest.mark.parametrize("kind", ["charge", "credit", "reject"])
def test_what_an_expire_crosses_is_void_on_both_sides(kind: str) -> None:
    """The payer refuses it, which is valid on both sides too."""
    world = World()
    north, south = world.sides
    north.write(START, K.ENTRY_KIND_ORDER, order=order(START, 100, 50))
    talk(world)
    if kind == "credit":
        south.write(START, K.ENTRY_KIND_CHARGE, charge=claim(1, [70, 0]))
        talk(world)
    late = START + 99_999
    bodies = {
        "charge": claim(1, [77, 0], True, SOUTH),
        "credit": pb.Credit(order_seq=1, amount=5),
        "reject": pb.Reject(order_seq=1),
    }
    number = pb.EntryKind.Value(f"ENTRY_KIND_{kind.upper()}")
    seq = south.write(late, number, **{kind: bodies[kind]})
    north.write(late, K.ENTRY_KIND_EXPIRE, expire=pb.Expire(order_seq=1))
    world.settle()
    assert north.mirrored(False) == south.mirrored(True)
    report = verify(south.export())
    assert [(each.seq, each.reason) for each in report.sides[ACCEPTOR].void] == [(seq, "CHARGE_EXPIRED")]
    assert report.sides[PROPOSER].void == []
    assert report.lanes[PROPOSER].agreed == report.lanes[PROPOSER].posted == (30 if kind == "credit" else 0)


def test_an_author_cannot_have_seen_less_than_it_has_signed_for() -> None:
    """Or a payer could expire a charge away that it has agreed to."""
    world, group = owing()
    north, south = world.sides
    north.take(group)
    entry = pb.Entry(kind=K.ENTRY_KIND_EXPIRE, seen=0, at=START + 99_999, expire=pb.Expire(order_seq=1))
    data, log = entry.SerializeToString(), south.pair.logs[ME]
    south.ledger.apply(ME, 2, entry)
    log.push(entry.seen, entry.at, data)
    with pytest.raises(IntertieError, match="SEEN_INVALID"):
        north.take((2, [data], south.pair.sign(bytes(32), SOUTH.key, south.rows)))
    assert north.ledger.lanes[THEM].agreed == 3


def test_a_signature_acknowledges_what_its_entries_have_seen() -> None:
    world, group = owing()
    north, south = world.sides
    north.take(group)
    world.send(0)
    world.hear(1)
    south.write(START, K.ENTRY_KIND_ORDER, order=order(START, 9, 9))
    first, entries, signature = south.sign()
    north.write(START, K.ENTRY_KIND_CREDIT, credit=pb.Credit(order_seq=1, amount=1))
    entry = pb.Entry.FromString(entries[0])
    assert entry.seen == signature.acked
    entry.seen += 1
    entries = [entry.SerializeToString()]
    signature.head = entry_head(group[2].head, entries[0])
    with pytest.raises(IntertieError, match=r"SIGNATURE_INVALID.*has seen"):
        north.take((first, entries, resigned(signature, 3)))


# -- execution records and keys -----------------------------------------------------------------------


def test_records_of_absent_executors_are_counted_apart() -> None:
    world = small(by=WEST)
    report = verify(world.sides[0].export())
    assert [each.reason for each in report.proofs.faulty] == ["RECORD_MISMATCH"]  # the tariff names South as origin
    world.sides[0].write(START, K.ENTRY_KIND_ORDER, order=order(START, 100, 50))
    world.sides[0].write(START, K.ENTRY_KIND_ORDER, order=order(START, 100, 50))
    talk(world)
    at = START + 99_999
    world.sides[1].write(at, K.ENTRY_KIND_CHARGE, charge=claim(3, [7, 0], True, WEST))
    nothing = pb.Charge(order_seq=4, quantities=[0, 0], final=True, state=TASK_STATE_FAILED)
    world.sides[1].write(at, K.ENTRY_KIND_CHARGE, charge=nothing)
    world.settle()
    proofs = verify(world.sides[1].export()).proofs
    assert (proofs.proven, proofs.executor_absent, proofs.without_record) == (0, 1, 1)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda body: body.ClearField("proof"), "CHARGE_UNPROVEN"),
        (lambda body: body.ClearField("state"), "CHARGE_UNPROVEN"),
        (lambda body: setattr(body.proof, "record", body.proof.record + b"\x4a\x02DE"), "CHARGE_UNPROVEN"),
        (lambda body: setattr(body.proof, "index", 1), "CHARGE_UNPROVEN"),
        (lambda body: setattr(body, "state", TASK_STATE_FAILED), "RECORD_MISMATCH"),
        (lambda body: body.quantities.__setitem__(1, 2), "RECORD_MISMATCH"),
    ],
)
def test_a_record_that_does_not_hold_is_reported(spoil: Callable[[pb.Charge], object], found: str) -> None:
    world = small()
    world.sides[0].write(START, K.ENTRY_KIND_ORDER, order=order(START, 100, 50))
    talk(world)
    body = claim(3, [7, 1], True, SOUTH)
    spoil(body)
    world.sides[1].write(START + 99_999, K.ENTRY_KIND_CHARGE, charge=body)
    world.settle()
    report = verify(world.sides[0].export())
    assert report.ok
    assert [(each.side, each.seq, each.reason) for each in report.proofs.faulty] == [(ACCEPTOR, 6, found)]


def test_a_refused_charge_is_posted_and_not_agreed() -> None:
    report = verify(small(refused=True).sides[1].export())
    assert [(each.seq, each.reason) for each in report.sides[ACCEPTOR].refused] == [(4, "RECORD_MISMATCH")]
    assert (report.lanes[PROPOSER].posted, report.lanes[PROPOSER].agreed) == (31, 3)


def test_a_key_that_had_expired_signs_nothing() -> None:
    world = small()
    world.sides[0].rogue(2**60 + 1, K.ENTRY_KIND_CANCEL, cancel=pb.Cancel(order_seq=2))
    world.settle()
    fault = verify(world.sides[0].export()).fault
    assert fault is not None
    assert (fault.reason, fault.side) == ("SIGNATURE_INVALID", PROPOSER)
    assert "expired" in fault.message
