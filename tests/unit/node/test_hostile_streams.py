"""Hostile peers in memory and virtual time: what they do to the stream and with events."""

from __future__ import annotations

import pytest
from tests.kit.rogue import K
from tests.kit.sim_node import is_open, snapshot
from tests.unit.node.test_misdeeds import MAL, Scene

from intertie.v1 import link_pb2 as lk
from intertie.v1 import task_pb2 as ts
from intertie.v1.event_pb2 import Event
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.opening import Phase

# -- the session ------------------------------------------------------------------------------------


def test_a_bad_open_on_a_second_stream_leaves_the_first_alone() -> None:
    scene = Scene().opened()
    second = scene.net.rogue(scene.node, MAL)
    scene.net.dial(second, scene.node)
    second.open(genesis=scene.rogue.genesis, clock=2**60)
    scene.net.run()
    assert second.closed == "CLOCK"
    assert not scene.rogue.closed
    assert is_open(scene.node, MAL)
    scene.rogue.buy(scene.offer)
    scene.net.run()
    assert scene.rogue.entries(K.ENTRY_KIND_CHARGE)
    scene.check_calm()


def test_a_good_open_on_a_second_stream_takes_over() -> None:
    scene = Scene().opened()
    scene.rogue.buy(scene.offer)
    scene.net.run()
    old_send = scene.rogue.send
    scene.net.dial(scene.rogue, scene.node)
    scene.rogue.open()
    scene.net.run()
    assert is_open(scene.node, MAL)
    old_send(lk.Frame(ping=3).SerializeToString())  # the old stream is dead
    scene.net.run()
    assert scene.rogue.pair.logs[THEM].seq == scene.node.link(MAL).pair.logs[ME].seq
    scene.check_calm()


def test_a_cursor_beyond_everything_is_named_once_nothing_more_comes() -> None:
    """It holds more of this log, it says, and then signs without having returned it."""
    scene = Scene()
    scene.rogue.open(other=lk.Cursor(seq=9, head=bytes(32)))
    scene.net.run()
    assert not scene.rogue.closed
    scene.rogue.say(scene.rogue.signature())
    scene.net.run()
    assert scene.rogue.closed == "CURSOR_AHEAD"
    scene.net.dial(scene.rogue, scene.node)
    scene.rogue.open()
    scene.net.run()
    assert is_open(scene.node, MAL)
    scene.check_calm()


def test_a_cursor_beyond_everything_is_named_after_a_silence() -> None:
    scene = Scene()
    scene.rogue.open(other=lk.Cursor(seq=9, head=bytes(32)))
    for _ in range(29):
        scene.net.wait(1_000)
        scene.rogue.send(lk.Frame(pong=1).SerializeToString())
    assert not scene.rogue.closed
    scene.net.wait(2_000)
    assert scene.rogue.closed == "CURSOR_AHEAD"
    scene.check_calm()


def test_a_replayed_stream_changes_nothing() -> None:
    """The bytes of a whole session, sent once more: its Open is heard, the rest is of another session."""
    scene = Scene()
    said: list[bytes] = []
    inner = scene.rogue.send

    def tee(frame: bytes) -> None:
        said.append(frame)
        inner(frame)

    scene.rogue.send = tee
    scene.opened()
    scene.rogue.buy(scene.offer)
    scene.net.run()
    lane = scene.node.link(MAL).ledger.lanes[THEM]
    assert lane.agreed == 10
    replayer = scene.net.rogue(scene.node, MAL)
    replayer.answers, replayer.relax = False, True
    scene.net.dial(replayer, scene.node)
    before = scene.node.link(MAL).pair.logs[THEM].seq, lane.posted
    for frame in said:
        replayer.send(frame)
        scene.net.run()
    assert (scene.node.link(MAL).pair.logs[THEM].seq, lane.posted) == before
    assert replayer.closed == "SIGNATURE_INVALID"
    scene.check_calm()


def test_entries_that_are_held_already_are_skipped() -> None:
    scene = Scene().opened()
    seq = scene.rogue.buy(scene.offer)
    scene.net.run()
    first, entries, _ = scene.rogue.groups[0]
    before = snapshot(scene.node)
    frame = lk.Frame(first_seq=first, entries=entries, signature=scene.rogue.signature())
    scene.rogue.send(frame.SerializeToString())
    scene.net.run()
    assert is_open(scene.node, MAL)
    assert len([f for f in scene.rogue.entries(K.ENTRY_KIND_CHARGE) if f.entry.charge.order_seq == seq]) == 1
    assert snapshot(scene.node)[2:] == before[2:]
    scene.check_calm()


def test_a_silent_peer_is_pinged_then_closed() -> None:
    scene = Scene().opened()
    scene.net.wait(11_000, tick=1_000)
    assert any(frame.ping for frame in scene.rogue.heard)
    scene.net.wait(21_000, tick=1_000)
    assert scene.rogue.closed == "SILENT_PEER"
    assert not is_open(scene.node, MAL)
    assert is_open(scene.node, scene.south)
    scene.check_calm()


def test_a_peer_that_dials_no_open_after_ours_is_closed() -> None:
    scene = Scene()
    scene.net.cut(scene.net.wires[-1])
    scene.net.answer(scene.rogue, scene.node)
    scene.rogue.hear = lambda data: scene.rogue.heard.append(lk.Frame.FromString(data))  # type: ignore[method-assign]
    scene.net.run()
    assert scene.node.link(MAL).phase is Phase.OPENING
    scene.net.wait(31_000, tick=1_000)
    assert scene.rogue.heard[-1].close.reason == "SILENT_PEER"
    scene.check_calm()


def test_a_claim_to_hold_more_than_was_written_keeps_the_link_shut_alone() -> None:
    scene = Scene()
    theirs = scene.rogue.pair.logs[THEM]
    scene.rogue.open(other=lk.Cursor(seq=theirs.seq + 5, head=bytes(32)))
    scene.net.run()
    assert scene.node.link(MAL).phase is Phase.CATCHING_UP
    scene.check_calm()


# -- events -----------------------------------------------------------------------------------------


EXTREMES = {
    "unknown body": Event(order_seq=1, number=3),
    "resume of nothing": Event(order_seq=2**64 - 1, resume={"after_seq": 2**64 - 1, "credit": -1}),
    "resume of an ended order": Event(order_seq=1, resume={"after_seq": 2**64 - 1, "credit": 2**63 - 1}),
    "resume below zero": Event(order_seq=1, resume={"after_seq": 0, "credit": -(2**63)}),
    "huge credit": Event(order_seq=1, byte_credit={"bytes": 2**63 - 1}),
    "negative credit": Event(order_seq=1, byte_credit={"bytes": -(2**63)}),
    "reply to nothing": Event(order_seq=1, input_reply={"request": 7, "payload": {"data": b"x"}}),
    "result of an own order": Event(order_seq=1, number=1, result={"state": ts.TASK_STATE_COMPLETED}),
    "grant needed of nothing": Event(order_seq=9, grant_needed={"amount": 2**63 - 1}),
    "number of the future": Event(order_seq=1, number=2**64 - 1, chunk={"payload": {"data": b"x"}}),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("ended", [False, True])
def test_absurd_events_do_nothing(name: str, ended: bool) -> None:
    scene = Scene()
    if not ended:
        scene.node.backends["echo"] = lambda node, work: None
    scene.opened()
    scene.rogue.buy(scene.offer)
    scene.net.run()
    scene.rogue.send(lk.Frame(events=[EXTREMES[name]]).SerializeToString())
    scene.net.run()
    assert is_open(scene.node, MAL)
    if ended:
        scene.check_calm()


def test_absurd_requests_for_a_grant_are_clamped() -> None:
    scene = Scene().selling()
    listener, order = scene.ordered(first_grant=1)
    for amount in (-(2**63), 0, 2**63 - 1):
        scene.rogue.send(lk.Frame(events=[Event(order_seq=order, grant_needed={"amount": amount})]).SerializeToString())
        scene.net.run()
    hold = scene.node.link(MAL).ledger.holds[ME, order]
    assert hold.granted == hold.terms.max_charge == 1_000
    assert listener.outcome is None
    scene.check_calm()
