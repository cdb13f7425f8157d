"""The machines that are tables: every pair of state and message, the refused ones too (design §11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.kit.identities import Identity
from tests.kit.network import Network
from tests.kit.rogue import K, Rogue
from tests.kit.sim_node import SimNode

from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1 import task_pb2 as ts
from intertie.v1.task_pb2 import TaskState
from intertie_node.core.catalog import Catalog, Route
from intertie_node.core.invocations import Invocation, Spec
from intertie_node.core.opening import OPENING_TABLE, Phase, Signal, Step, stays
from intertie_node.core.peering import PEERING_TABLE, PeeringAct, PeeringState, after
from intertie_node.core.standing import EXPECTED, FADED, ROUTE_TABLE, RouteSignal, Standing, standing_of
from intertie_node.core.tasks import SIGNAL_OF_END, TASK_TABLE, TERMINAL, TaskSignal

MAL = Identity("mal.example")

# -- opening ------------------------------------------------------------------------------------------


class Scene:
    """A node whose link with a scripted peer is in a phase."""

    def __init__(self, phase: Phase) -> None:
        self.net = Network()
        self.node: SimNode = self.net.add("north.example")
        self.net.peer(MAL, self.node)
        self.net.start()
        self.rogue = self.net.rogue(self.node, MAL)
        self.link = self.node.link()
        if phase is Phase.OPENING:
            self.rogue.mute = True
            self.net.answer(self.rogue, self.node)
            self.net.run()
        elif phase is not Phase.DOWN:
            self.net.dial(self.rogue, self.node)
            target = lk.Cursor(seq=9, head=bytes(32))
            self.rogue.open(**({} if phase is Phase.OPEN else {"own": target}))
            self.net.run()
        assert self.link.phase is phase
        self.wire = self.link.connection

    def second(self) -> Rogue:
        """Another stream of the same peer."""
        rogue = self.net.rogue(self.node, MAL)
        rogue.relax = True
        self.net.dial(rogue, self.node)
        return rogue


def _dialled(scene: Scene) -> str:
    """The node dials another stream."""
    rogue = scene.net.rogue(scene.node, MAL)
    rogue.relax = True
    rogue.hear = lambda data: rogue.heard.append(lk.Frame.FromString(data))  # type: ignore[method-assign]
    scene.net.answer(rogue, scene.node)
    scene.net.run()
    return rogue.heard[-1].close.reason or ("open" if rogue.heard[-1].open else "")


def _open_frame(scene: Scene) -> str:
    rogue = scene.rogue if scene.link.phase is Phase.OPENING else scene.second()
    if scene.link.phase is Phase.OPENING:
        scene.rogue.send(scene.rogue.seal(scene.rogue.make_open()))
    else:
        rogue.open()
    scene.net.run()
    return rogue.closed


def _entry_frame(scene: Scene) -> str:
    rogue = scene.rogue if scene.wire is not None else scene.second()
    rogue.relax = True
    body = pb.Tariff(origin=MAL.fingerprint, markup_num=1, markup_den=1, expires_at=2**50)
    rogue.write(K.ENTRY_KIND_TARIFF, tariff=body)
    rogue.say()
    scene.net.run()
    return rogue.closed


def _lost(scene: Scene) -> str:
    if scene.wire is not None:
        scene.net.cut(scene.wire)
    scene.net.run()
    return ""


def _caught_up(scene: Scene) -> str:
    scene.link.caught_up()
    return ""


ACTS = {
    Signal.DIALLED: _dialled,
    Signal.OPEN_FRAME: _open_frame,
    Signal.ENTRY_FRAME: _entry_frame,
    Signal.LOST: _lost,
    Signal.CAUGHT_UP: _caught_up,
}
ANSWERS: dict[Step, set[str]] = {
    Step.SEND_OPEN: {"open"},
    Step.ANSWER_OPEN: {""},
    Step.TAKE_OPEN: {""},
    Step.CONTEND: {"", "SUPERSEDED"},
    Step.RECEIVE: {""},
    Step.RESET: {""},
    Step.IGNORE: {"", "SUPERSEDED"},
    Step.UNEXPECTED: {"UNEXPECTED_FRAME"},
}


def test_the_opening_table_is_whole() -> None:
    assert set(OPENING_TABLE) == {(phase, signal) for phase in Phase for signal in Signal}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("signal", Signal)
def test_opening(phase: Phase, signal: Signal) -> None:
    """The link does what the table says; an opening that can complete does so at once."""
    step, wanted = OPENING_TABLE[phase, signal]
    if step is Step.FINISH:
        return  # never by itself: it is the end of the steps that lead there
    scene = Scene(phase)
    answer = ACTS[signal](scene)
    assert answer in ANSWERS[step]
    if step in (Step.ANSWER_OPEN, Step.TAKE_OPEN, Step.CONTEND):
        assert scene.link.phase in (Phase.OPEN, wanted)
    else:
        assert scene.link.phase is wanted


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("mine", [False, True])
@pytest.mark.parametrize("smaller", [False, True])
def test_of_two_crossing_streams_one_stays_and_both_sides_agree(done: bool, mine: bool, smaller: bool) -> None:
    """Each side calls the other's stream the second one."""
    here = stays(mine, smaller, done)
    if done or not mine:
        assert not here
    else:
        there = stays(True, not smaller, False)
        assert here is not there


# -- routes -------------------------------------------------------------------------------------------

KEY = ("link", b"origin")


def route(epoch: int) -> Route:
    return Route(*KEY, "south.example", (), (), 1, b"", b"", (b"offer",), 0, (), epoch)


STANDS: dict[Standing, Route | None] = {
    Standing.CURRENT: route(3),
    Standing.EXPECTED: route(EXPECTED),
    Standing.FADED: route(FADED),
    Standing.GONE: None,
}
HAPPENS: dict[RouteSignal, Callable[[Catalog], object]] = {
    RouteSignal.NAMED: lambda catalog: catalog.put_route(route(4)),
    RouteSignal.OMITTED: lambda catalog: catalog.fade_routes("link", keep_epoch=4),
    RouteSignal.LINK_LOST: lambda catalog: catalog.fade_routes("link"),
    RouteSignal.LINK_OPEN: lambda catalog: catalog.expect_routes("link"),
    RouteSignal.EXPIRED: lambda catalog: catalog.expire(list(catalog.routes.values())),
    RouteSignal.REFUSED: lambda catalog: catalog.refuse_route(KEY, "why"),
}


def test_the_route_table_is_whole() -> None:
    assert set(ROUTE_TABLE) == {(standing, signal) for standing in Standing for signal in RouteSignal}


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("signal", RouteSignal)
def test_route(standing: Standing, signal: RouteSignal) -> None:
    """A route moves as the table says; one over another link, and a round that names it, leave it alone."""
    catalog, stands = Catalog(), STANDS[standing]
    other = replace(route(3), link="other")
    catalog.put_route(other)
    if stands is not None:
        catalog.put_route(replace(stands))
    HAPPENS[signal](catalog)
    found = catalog.routes.get(KEY)
    now = Standing.GONE if found is None else standing_of(found.epoch)
    assert now is ROUTE_TABLE[standing, signal]
    assert (now is Standing.GONE and standing is not Standing.GONE) == (KEY in catalog.past)
    if signal is not RouteSignal.EXPIRED:
        assert catalog.routes[other.link, other.origin] == other


# -- tasks --------------------------------------------------------------------------------------------

STATES = [state for state in TaskState.values() if state]
SPEC = Spec("", "", "", b"", b"", b"", "", b"", 0, 0, 0, 0, 0, (), ())


def test_the_task_table_is_whole() -> None:
    assert set(TASK_TABLE) == {(state, signal) for state in STATES for signal in TaskSignal}
    assert set(SIGNAL_OF_END) == set(TERMINAL)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("signal", TaskSignal)
def test_task(state: int, signal: TaskSignal) -> None:
    nobody: Any = None
    inv = Invocation(SPEC, nobody)
    inv.state = state
    wanted = TASK_TABLE[state, signal]
    assert inv.signal(signal, 7) is (wanted is not None)
    assert inv.state == (state if wanted is None else wanted)
    assert inv.ended is (inv.state in TERMINAL)
    assert inv.ended_at == (7 if wanted in TERMINAL else 0)


@given(st.lists(st.sampled_from(TaskSignal)))
def test_the_first_terminal_signal_decides(signals: list[TaskSignal]) -> None:
    nobody: Any = None
    inv = Invocation(SPEC, nobody)
    end = 0
    for now, signal in enumerate(signals, start=1):
        inv.signal(signal, now)
        if inv.ended and not end:
            end, ended_at = inv.state, now
        if end:
            assert (inv.state, inv.ended_at) == (end, ended_at)
    assert inv.state in STATES


def test_work_once_started_is_never_rejected_after_input_was_asked() -> None:
    assert TASK_TABLE[ts.TASK_STATE_INPUT_REQUIRED, TaskSignal.REJECTED] is None


# -- peerings -----------------------------------------------------------------------------------------


def test_the_peering_table_is_whole() -> None:
    assert set(PEERING_TABLE) == {(state, act) for state in PeeringState for act in PeeringAct}


@pytest.mark.parametrize("state", PeeringState)
@pytest.mark.parametrize("act", PeeringAct)
def test_peering(state: PeeringState, act: PeeringAct) -> None:
    wanted = PEERING_TABLE[state, act]
    if wanted is None:
        with pytest.raises(IntertieError) as caught:
            after(state, act)
        assert caught.value.reason == "INVALID_ARGUMENT"
        assert state.name.lower() in caught.value.message
    else:
        assert after(state, act) is wanted


@given(st.lists(st.sampled_from(PeeringAct)))
def test_a_terminated_or_refused_peering_stays_so(acts: list[PeeringAct]) -> None:
    state, last = PeeringState.PROPOSED, None
    for act in acts:
        try:
            state = after(state, act)
        except IntertieError:
            continue
        assert last is None, "something came after the end"
        last = state if state in (PeeringState.TERMINATED, PeeringState.REFUSED) else None
