"""One small link for tests, files with a repaired end, and a dishonest signature."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from tests.unit.node.core.two_grids import (
    AGREEMENT,
    NORTH,
    SOUTH,
    START,
    Group,
    Identity,
    K,
    World,
    claim,
    file_of,
    order,
    verify,
)

from intertie.amounts import total_to_bytes
from intertie.chain import link_signature_bytes
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import export_pb2 as xp
from intertie.v1 import link_pb2 as lk
from intertie_node.core.export_file import framed
from intertie_node.core.verifying import end_record


def small(by: Identity = SOUTH, refused: bool = False) -> World:
    """North orders, South prices, charges in part and finally; then a hold of South's expires."""
    world = World()
    north, south = world.sides
    agreed = pb.AgreementEntry(agreement=AGREEMENT.envelope[:20])
    north.write(START, K.ENTRY_KIND_AGREEMENT, agreement=agreed)
    tariff = pb.Tariff(origin=SOUTH.fingerprint, markup_num=1, markup_den=1, expires_at=START + 9)
    south.write(START, K.ENTRY_KIND_TARIFF, tariff=tariff)
    talk(world)
    seq = north.write(START, K.ENTRY_KIND_ORDER, order=order(START, 100, 50, tariff_seq=1))
    south.write(START, K.ENTRY_KIND_ORDER, order=order(START, 9, 9))
    talk(world)
    south.write(START, K.ENTRY_KIND_CHARGE, charge=claim(seq, [7, 0]))
    final = south.write(START, K.ENTRY_KIND_CHARGE, charge=claim(seq, [70, 1], True, by))
    south.write(START + 99_999, K.ENTRY_KIND_EXPIRE, expire=pb.Expire(order_seq=2))
    world.send(1)
    world.hear(0)
    if refused:
        north.write(START, K.ENTRY_KIND_REFUSE, refuse=pb.Refuse(entry_seq=final, rule="RECORD_MISMATCH"))
    talk(world)
    return world


def talk(world: World) -> None:
    for side in (0, 1):
        world.send(side)
        world.hear(1 - side)


def repaired(records: Sequence[bytes]) -> bytes:
    """A file of these records with the end that an attacker would compute."""
    counts, digest = [0, 0, 0, 0], sha256()
    for data in records:
        digest.update(framed(data))
        try:
            group = xp.ExportRecord.FromString(data).group
        except Exception:
            continue
        place = 2 * (group.side == xp.EXPORT_SIDE_ACCEPTOR)
        counts[place] += len(group.entries)
        counts[place + 1] += bool(group.signature)
    return file_of([*records, end_record((counts[0], counts[1], counts[2], counts[3]), digest.digest())])


def reason(file: bytes) -> str:
    report = verify(file)
    assert report.ok is (report.fault is None)
    return report.fault.reason if report.fault else ""


def resigned(signature: lk.HeadSignature, total: int) -> lk.HeadSignature:
    """South's signature with another total."""
    s = lk.HeadSignature()
    s.CopyFrom(signature)
    s.agreed_total = total_to_bytes(total)
    message = link_signature_bytes(AGREEMENT.genesis, s.session, s.seq, s.head, s.acked, s.acked_head, total)
    s.signatures[0].value = SOUTH.key.sign(message)
    return s


def owing() -> tuple[World, Group]:
    """South has ordered, been charged 3 and agrees in the group that is returned."""
    world = World()
    north, south = world.sides
    south.write(START, K.ENTRY_KIND_ORDER, order=order(START, 100, 50))
    talk(world)
    talk(world)
    north.write(START, K.ENTRY_KIND_CHARGE, charge=claim(1, [7, 0], True, NORTH))
    world.send(0)
    world.hear(1)
    return world, south.sign()
