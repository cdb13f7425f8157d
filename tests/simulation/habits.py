"""What hostile grids do: to those who order of them, and of their own accord (see `plan.HABITS`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.kit import misdeeds, misdeeds_of_charges, misdeeds_of_orders
from tests.kit.rogue import K
from tests.simulation.runs import TOKEN

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event, InputReply, InputRequest
from intertie.v1.task_pb2 import TASK_STATE_CANCELED
from intertie_node.core.holds import HoldState
from intertie_node.core.ledger import THEM

if TYPE_CHECKING:
    from tests.simulation.hostile import Face, HostileGrid

CHATTER = 400
"""So many times, half a millisecond apart, the same is said again."""
RAISED = 6
"""So many open holds are granted everything at a time."""


# -- habits of a provider -----------------------------------------------------------------------------


def _overcharge(grid: HostileGrid, face: Face, seq: int) -> None:
    deed = grid.rng.choice(list(misdeeds_of_charges.VOID_CHARGES.values()))
    deed.act(face, seq)


def asking(seq: int) -> Event:
    return Event(order_seq=seq, number=1, input_request=InputRequest(request=1, prompt="more?"))


def _charge_twice(grid: HostileGrid, face: Face, seq: int) -> None:
    if grid.rng.random() < 0.3:
        _stop_and_ask(face, seq)
        return
    grid.rng.choice(list(misdeeds_of_charges.AFTER_END.values())).act(face, seq)


def _stop_and_ask(face: Face, seq: int) -> None:
    """Claim that the work was stopped, and ask for its input in the same frame."""
    ended: dict[str, Any] = {"state": TASK_STATE_CANCELED}
    body = face.claim(seq, {}, state=TASK_STATE_CANCELED, proof=face.proof(seq, {}, **ended))
    face.write(K.ENTRY_KIND_CHARGE, charge=body)
    face.say(events=[asking(seq)])


def _forge(grid: HostileGrid, face: Face, seq: int) -> None:
    if grid.rng.random() < 0.3:
        grid.later(face, grid.rng.choice((20, 700, 2_000)), lambda: _forge_an_end(grid, face, seq))
    else:
        grid.rng.choice(list(misdeeds_of_charges.UNPROVEN_CHARGES.values())).act(face, seq)


def _forge_an_end(grid: HostileGrid, face: Face, seq: int) -> None:
    """Claim a part, as it may be, and soon after that an end that nothing proves."""
    part, end = face.claim(seq, {TOKEN: 10}, final=False), face.claim(seq, {TOKEN: 10, "order": 1})
    end.ClearField("proof")
    face.write(K.ENTRY_KIND_CHARGE, charge=part)
    face.say()
    grid.later(face, grid.rng.choice((5, 300)), lambda: _end_unproven(face, end))


def _end_unproven(face: Face, end: pb.Charge) -> None:
    face.write(K.ENTRY_KIND_CHARGE, charge=end)
    face.say()


def _charge_late(grid: HostileGrid, face: Face, seq: int) -> None:
    face.write(K.ENTRY_KIND_CHARGE, charge=face.claim(seq, {"order": 1, TOKEN: 10}))
    face.say()


SERVICE: dict[str, Callable[[HostileGrid, Face, int], None]] = {
    "overcharge": _overcharge,
    "charge_twice": _charge_twice,
    "forge": _forge,
    "charge_late": _charge_late,
}


# -- habits of its own accord -------------------------------------------------------------------------


def _equivocate(grid: HostileGrid, face: Face) -> None:
    if grid.rng.random() < 0.3:
        misdeeds.FRAMES["equivocating entry"].act(face, None)


def _lie_after_truth(grid: HostileGrid, face: Face) -> None:
    """A frame with a sound order, or a sound charge, and a lie behind it: nothing of it may remain."""
    open_ = [key[1] for key, hold in face.ledger.holds.items() if key[0] == THEM and hold.state is HoldState.OPEN]
    saved = face.pair.logs[0].copy()
    face.ledger.begin()
    if open_:
        face.write(K.ENTRY_KIND_CHARGE, charge=face.claim(open_[0], {"order": 1}))
    else:
        face.write(K.ENTRY_KIND_ORDER, order=face.order(grid.known(face)))
    face.say(face.signature(total=77))
    face.groups.pop()
    face.pair.logs[0].restore(saved)
    face.ledger.roll_back()


def _forge_frame(grid: HostileGrid, face: Face) -> None:
    if grid.rng.random() < 0.3:
        _lie_after_truth(grid, face)
    if grid.rng.random() < 0.2:
        grid.rng.choice(list(misdeeds.FRAMES.values())).act(face, grid.known(face))


def _replay(grid: HostileGrid, face: Face) -> None:
    assert face.end is not None
    for frame in grid.rng.sample(face.told, min(len(face.told), 5)):
        face.end.send(frame)


def _flood(grid: HostileGrid, face: Face) -> None:
    if grid.rng.random() < 0.8:
        _chatter(grid, face)
    for number in range(40):
        event = Event(order_seq=number, number=number, chunk={"payload": {"data": b"x" * 500}})  # type: ignore[arg-type]
        face.send(lk.Frame(ping=number, events=[event] * 5).SerializeToString())
    for entry, _ in list(misdeeds_of_orders.VOID_ENTRIES.values())[: grid.rng.randrange(20)]:
        made = pb.Entry()
        made.CopyFrom(entry)
        made.seen, made.at = face.pair.logs[THEM].seq, max(face.now(), face.pair.logs[0].at)
        face.append(made.SerializeToString(), made)
    face.say()


def _chatter(grid: HostileGrid, face: Face) -> None:
    """Answer again and again what was asked, or not, of work that is refused, done or cancelled amid that."""
    name, end = grid.rng.choice((("echo", "refuse"), ("stream", "refuse"), ("ask", "done"), ("ask", "hang")))
    seq = grid.buy(face, grid.neighbour(face).own_offer(name), end)
    event = Event(order_seq=seq, input_reply=InputReply(request=int(name == "ask"), payload={"data": b'"yes"'}))  # type: ignore[arg-type]
    frame = lk.Frame(events=[event]).SerializeToString()
    for number in range(CHATTER):
        grid.later(face, 0.5 * number, lambda: face.send(frame))
    if end == "refuse":
        return
    grid.later(face, grid.rng.choice((20, 60)), _canceling(face, seq))


def _jam(grid: HostileGrid, face: Face) -> None:
    """Holds that are never granted anything, as many as the limits take; some are cancelled, all expire on the dot."""
    for _ in range(6):
        grant = grid.rng.choice((0, 1, 300, 300, 2_000))
        seq = grid.buy(face, max_charge=2_000, grant=grant, deadline=grid.now() + 9_000)
        if grid.rng.random() < 0.3:
            grid.later(face, grid.rng.choice((400, 2_000)), _canceling(face, seq))
        grid.sim.after(9_050 + face.ledger.terms.claim_window_ms, lambda seq=seq: _expire(face, seq))


def _canceling(face: Face, seq: int) -> Callable[[], None]:
    return lambda: _say(face, K.ENTRY_KIND_CANCEL, cancel=pb.Cancel(order_seq=seq))


def _say(face: Face, kind: int, **body: Any) -> None:
    face.write(kind, **body)
    face.say()


def _expire(face: Face, seq: int) -> None:
    """Expire a hold, also while the link is down: what is signed goes out when it opens again."""
    hold = face.ledger.holds.get((0, seq))
    if hold is not None and hold.state is HoldState.OPEN:
        with suppress(KeyError):
            _say(face, K.ENTRY_KIND_EXPIRE, expire=pb.Expire(order_seq=seq))


def _raise_grants(grid: HostileGrid, face: Face) -> None:
    """Order, let work be done, and never agree to what it cost."""
    if face.blind_at is None and "withhold" in grid.habits and grid.rng.random() < 0.5:
        face.blind_at = face.pair.logs[THEM].seq
    open_ = [hold for (payer, _), hold in face.ledger.holds.items() if payer == 0 and hold.state is HoldState.OPEN]
    for hold in open_[-RAISED:]:
        face.write(K.ENTRY_KIND_GRANT, grant=pb.Grant(order_seq=hold.seq, amount=hold.terms.max_charge))
    for _ in range(3):
        stream = grid.neighbour(face).own_offer("stream")
        grid.buy(face, stream, "done", tokens=300, max_charge=400, grant=grid.rng.choice((50, 350)))


def _misorder(grid: HostileGrid, face: Face) -> None:
    """Orders that cannot be served, or are void."""
    offer = grid.known(face)
    if grid.rng.random() < 0.5:
        grid.rng.choice(list(misdeeds_of_orders.ORDERS.values())).act(face, offer)
    else:
        made = grid.rng.choice(list(misdeeds_of_orders.VOID_ORDERS.values()))(face, offer)
        face.write(K.ENTRY_KIND_ORDER, order=made.order)
        face.say()


def _speak_of_the_ended(grid: HostileGrid, face: Face) -> None:
    """Grants, cancels, expiries, charges, credits and rejects for orders that may have ended long ago."""
    holds = list(face.ledger.holds)
    for payer, seq in grid.rng.sample(holds, min(len(holds), 3)):
        kind, body = grid.rng.choice(WORDS_OF_PAYERS if payer == 0 else WORDS_OF_PROVIDERS)
        face.write(kind, **body(face, seq))
    face.say()


WORDS_OF_PAYERS: tuple[tuple[int, Callable[[Face, int], dict[str, Any]]], ...] = (
    (K.ENTRY_KIND_GRANT, lambda face, seq: {"grant": pb.Grant(order_seq=seq, amount=300)}),
    (K.ENTRY_KIND_CANCEL, lambda face, seq: {"cancel": pb.Cancel(order_seq=seq)}),
    (K.ENTRY_KIND_EXPIRE, lambda face, seq: {"expire": pb.Expire(order_seq=seq)}),
)
WORDS_OF_PROVIDERS: tuple[tuple[int, Callable[[Face, int], dict[str, Any]]], ...] = (
    (K.ENTRY_KIND_CHARGE, lambda face, seq: {"charge": face.claim(seq, {"order": 1})}),
    (K.ENTRY_KIND_CREDIT, lambda face, seq: {"credit": pb.Credit(order_seq=seq, amount=1)}),
    (K.ENTRY_KIND_REJECT, lambda face, seq: {"reject": pb.Reject(order_seq=seq)}),
)


INITIATIVE: dict[str, Callable[[HostileGrid, Face], None]] = {
    "equivocate": _equivocate,
    "forge": _forge_frame,
    "replay": _replay,
    "flood": _flood,
    "jam": _jam,
    "withhold": _raise_grants,
    "refuse_all": _raise_grants,
    "overcharge": _misorder,
    "charge_twice": _speak_of_the_ended,
    "charge_late": _speak_of_the_ended,
}
