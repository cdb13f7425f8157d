"""Two grids and a stranger with either one's file see the same account, whatever crosses (design §9, invariant 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from tests.unit.node.core.small_link import repaired
from tests.unit.node.core.steps import Step, act, begin, steps
from tests.unit.node.core.two_grids import (
    K,
    World,
    entries_of,
    file_of,
    records_of,
    verify,
)

from intertie.v1 import export_pb2 as xp
from intertie_node.core.holds import HoldState
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link_report import PROPOSER, LinkReport

SLOW = settings(max_examples=150)
FEWER = settings(SLOW, max_examples=50)


def run(script: Sequence[Step]) -> World:
    world = begin()
    for step in script:
        act(world, step)
        check_invariants(world)
    return world


def check_invariants(world: World) -> None:
    """Design §9, invariants 2, 4 and 17, in each side's own view."""
    for side in world.sides:
        for payer, lane in enumerate(side.ledger.lanes):
            holds = side.holds(payer, *HoldState)
            assert lane.posted == sum(hold.posted for hold in holds)
            assert lane.pending == sum(hold.pending for hold in holds) >= 0
            assert lane.agreed == sum(hold.agreed for hold in holds) <= sum(hold.charged for hold in holds)
            assert lane.open == len(side.holds(payer, HoldState.OPEN))
            for hold in holds:
                assert 0 <= hold.agreed <= hold.charged <= hold.grants[-1][1] <= hold.terms.max_charge
                assert 0 <= hold.posted <= hold.charged
                assert 0 <= hold.pending <= hold.terms.max_charge


def check_ends(world: World) -> None:
    """Design §9, invariant 3: each hold that has ended was ended by exactly one entry that is not void."""
    side = world.sides[0]
    ends: Counter[tuple[int, int]] = Counter()
    for author in (ME, THEM):
        for seq, entry in enumerate(entries_of(side, author), start=1):
            if seq in side.tally.void[author]:
                continue
            if entry.kind == K.ENTRY_KIND_EXPIRE:
                ends[author, entry.expire.order_seq] += 1
            elif entry.kind == K.ENTRY_KIND_REJECT or (entry.kind == K.ENTRY_KIND_CHARGE and entry.charge.final):
                body = entry.reject if entry.kind == K.ENTRY_KIND_REJECT else entry.charge
                ends[1 - author, body.order_seq] += 1
    assert ends == {key: 1 for key, hold in side.ledger.holds.items() if hold.state is not HoldState.OPEN}


def account(report: LinkReport) -> object:
    """What does not depend on who exported: one side may hold signatures that the other never received."""
    assert report.fault is None
    return [(s.grid, s.entries, s.acked, s.void, s.refused) for s in report.sides], report.lanes, report.proofs


@SLOW
@given(steps())
def test_both_sides_and_a_stranger_see_the_same_account(script: list[Step]) -> None:
    world = run(script)
    for side in world.sides:
        assert verify(side.export()).fault is None
    world.settle()
    check_invariants(world)
    check_ends(world)
    north, south = world.sides
    assert north.mirrored(False) == south.mirrored(True)
    reports = [verify(side.export()) for side in world.sides]
    assert account(reports[0]) == account(reports[1])
    for lane, live in zip(reports[0].lanes, north.ledger.lanes, strict=True):
        assert (lane.posted, lane.pending, lane.agreed) == (live.posted, live.pending, live.agreed)
        assert lane.charged - lane.credited == lane.posted
    assert reports[0].sides[PROPOSER].void == reports[1].sides[PROPOSER].void
    for side, found in enumerate(reports[0].sides):
        assert {each.seq: each.reason for each in found.void} == north.tally.void[side]


@FEWER
@given(steps())
def test_the_order_of_groups_in_the_file_changes_nothing(script: list[Step]) -> None:
    world = run(script)
    world.settle()
    records = records_of(world.sides[0].export())
    groups = records[1:-1]
    for first in (xp.EXPORT_SIDE_PROPOSER, xp.EXPORT_SIDE_ACCEPTOR):
        ordered = sorted(groups, key=lambda data: xp.ExportRecord.FromString(data).group.side != first)
        assert account(verify(repaired([records[0], *ordered]))) == account(verify(file_of(records)))
