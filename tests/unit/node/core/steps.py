"""Random steps of two grids for hypothesis: what each may do in its own view of the link, and some rogue entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st
from tests.unit.node.core.two_grids import NORTH, PRICES, WEST, K, Side, World, claim, order

from intertie.amounts import charge
from intertie.v1 import entry_pb2 as pb
from intertie.v1.task_pb2 import TASK_STATE_FAILED
from intertie_node.core.holds import Claim, Hold, HoldState
from intertie_node.core.ledger import ME, THEM

Step = tuple[int, str, int, int]
Act = Callable[[World, int, int, int], object]
ENDED = (HoldState.CHARGED, HoldState.REJECTED, HoldState.EXPIRED)


def _pick(items: Sequence[Hold], n: int) -> Hold | None:
    return items[n % len(items)] if items else None


def _sold(own: Side, *states: HoldState) -> list[Hold]:
    """Holds of orders that this provider has seen."""
    return [hold for hold in own.holds(THEM, *states) if hold.seq <= own.seen]


def _order(world: World, side: int, a: int, b: int) -> None:
    body = order(world.now, a, b % (a + 1), len(world.sides[side].ledger.holds))
    world.sides[side].write(world.now, K.ENTRY_KIND_ORDER, order=body)


def _grant(world: World, side: int, a: int, b: int) -> None:
    own = world.sides[side]
    hold = _pick(own.holds(ME, HoldState.OPEN), a)
    if hold and hold.granted < hold.terms.max_charge:
        amount = hold.granted + 1 + b % (hold.terms.max_charge - hold.granted)
        own.write(world.now, K.ENTRY_KIND_GRANT, grant=pb.Grant(order_seq=hold.seq, amount=amount))


def _cancel(world: World, side: int, a: int, b: int) -> None:
    hold = _pick(world.sides[side].holds(ME, HoldState.OPEN), a)
    if hold:
        world.sides[side].write(world.now, K.ENTRY_KIND_CANCEL, cancel=pb.Cancel(order_seq=hold.seq))


def _reject(world: World, side: int, a: int, b: int) -> None:
    hold = _pick([h for h in _sold(world.sides[side], HoldState.OPEN) if not h.claims], a)
    if hold:
        world.sides[side].write(world.now, K.ENTRY_KIND_REJECT, reject=pb.Reject(order_seq=hold.seq))


def _quantities(hold: Hold, b: int) -> list[int]:
    before = hold.claims[-1].quantities if hold.claims else (0, 0)
    return [before[0] + b, before[1] + 13 * b]


def _charge(final: bool) -> Act:
    def act(world: World, side: int, a: int, b: int) -> None:
        own = world.sides[side]
        hold = _pick(_sold(own, HoldState.OPEN), a)
        if hold is None:
            return
        quantities = _quantities(hold, b)
        if charge([p[1:] for p in PRICES], quantities) > hold.grant_at(own.seen):
            quantities = _quantities(hold, 0)
        body = claim(hold.seq, quantities, final, (own.own, WEST)[b % 2])
        if final and not any(quantities):
            body = pb.Charge(order_seq=hold.seq, quantities=quantities, final=True, state=TASK_STATE_FAILED)
        own.write(world.now, K.ENTRY_KIND_CHARGE, charge=body)

    return act


def _credit(world: World, side: int, a: int, b: int) -> None:
    own = world.sides[side]
    crossed = [h for h in _sold(own, HoldState.EXPIRED) if h.ended_seq > own.seen]
    hold = _pick([h for h in _sold(own, *HoldState) if h.posted and h not in crossed], a)
    if hold:
        body = pb.Credit(order_seq=hold.seq, amount=1 + b % hold.posted)
        own.write(world.now, K.ENTRY_KIND_CREDIT, credit=body)


def _claims(own: Side, refused: bool, after: int) -> list[Claim]:
    return [c for h in own.holds(ME, *HoldState) for c in h.claims if c.refused is refused and c.seq > after]


def _refuse(world: World, side: int, a: int, b: int) -> None:
    own = world.sides[side]
    claims = [claim for claim in _claims(own, False, own.ledger.acked[ME]) if claim.seq <= own.seen]
    if claims:
        body = pb.Refuse(entry_seq=claims[a % len(claims)].seq, rule="RECORD_MISMATCH")
        own.write(world.now, K.ENTRY_KIND_REFUSE, refuse=body)


def _withdraw(world: World, side: int, a: int, b: int) -> None:
    claims = _claims(world.sides[side], True, 0)
    if claims:
        body = pb.Withdraw(entry_seq=claims[a % len(claims)].seq)
        world.sides[side].write(world.now, K.ENTRY_KIND_WITHDRAW, withdraw=body)


def _expire(world: World, side: int, a: int, b: int) -> None:
    hold = _pick(world.sides[side].holds(ME, HoldState.OPEN), a)
    if hold:
        world.now = max(world.now, hold.terms.claim_until)
        world.sides[side].write(world.now, K.ENTRY_KIND_EXPIRE, expire=pb.Expire(order_seq=hold.seq))


def _tariff(world: World, side: int, a: int, b: int) -> None:
    body = pb.Tariff(origin=NORTH.fingerprint, markup_num=a, markup_den=1 + b, expires_at=world.now + 9)
    world.sides[side].write(world.now, K.ENTRY_KIND_TARIFF, tariff=body)


def _rogue(world: World, side: int, a: int, b: int) -> None:
    """An entry that may well be void."""
    own, seq = world.sides[side], 1 + a % 8
    beyond = pb.Charge(order_seq=seq, quantities=[7 * b, 0], amount=3 * b, final=a % 2 == 1)
    wrong = pb.Charge(order_seq=seq, quantities=[b, b], amount=b)
    huge = pb.Charge(order_seq=seq, quantities=[2**63 - 1, 2**63 - 1], amount=1)
    late = world.lossless or seq > own.ledger.acked[ME]
    bodies: list[tuple[int, dict[str, object]]] = [
        *[(K.ENTRY_KIND_CHARGE, {"charge": beyond})] * 4,
        (K.ENTRY_KIND_CHARGE, {"charge": wrong}),
        (K.ENTRY_KIND_CHARGE, {"charge": huge}),
        (K.ENTRY_KIND_CREDIT, {"credit": pb.Credit(order_seq=seq, amount=b)}),
        (K.ENTRY_KIND_GRANT, {"grant": pb.Grant(order_seq=seq, amount=b)}),
        (K.ENTRY_KIND_CANCEL, {"cancel": pb.Cancel(order_seq=seq)}),
        (K.ENTRY_KIND_REJECT, {"reject": pb.Reject(order_seq=seq)}),
        (K.ENTRY_KIND_EXPIRE, {"expire": pb.Expire(order_seq=seq)}),
        (K.ENTRY_KIND_REFUSE, {"refuse": pb.Refuse(entry_seq=seq if late else 0)}),
        (K.ENTRY_KIND_WITHDRAW, {"withdraw": pb.Withdraw(entry_seq=seq)}),
        (K.ENTRY_KIND_ORDER, {"order": order(world.now, 5, 9)}),
        (K.ENTRY_KIND_ORDER, {"charge": wrong}),
        (K.ENTRY_KIND_PAYMENT, {"payment": pb.Payment(amount=1)}),
        (200, {}),
    ]
    kind, body = bodies[(a // 8) % len(bodies)]
    own.rogue(world.now, kind, **body)


def _wait(world: World, side: int, a: int, b: int) -> None:
    world.now += a * 10


ACTS: dict[str, Act] = {
    "order": _order,
    "grant": _grant,
    "cancel": _cancel,
    "reject": _reject,
    "charge": _charge(False),
    "final": _charge(True),
    "credit": _credit,
    "refuse": _refuse,
    "withdraw": _withdraw,
    "expire": _expire,
    "tariff": _tariff,
    "rogue": _rogue,
    "wait": _wait,
    "send": lambda world, side, a, b: world.send(side),
    "hear": lambda world, side, a, b: world.hear(side),
    "take": lambda world, side, a, b: world.take(side),
    "handle": lambda world, side, a, b: world.sides[side].handle(world.now, 1 + b % 3),
    "tell": lambda world, side, a, b: (world.send(side), world.hear(1 - side)),
    "reconnect": lambda world, side, a, b: world.reconnect(),
}
_OFTEN = [
    "order",
    "charge",
    "charge",
    "final",
    "expire",
    "credit",
    "refuse",
    "tell",
    "tell",
    "send",
    "hear",
    "rogue",
    "take",
]


def steps(shortest: int = 15, longest: int = 40) -> st.SearchStrategy[list[Step]]:
    """Lists of (side, act, two numbers)."""
    names = st.sampled_from([*_OFTEN, *ACTS])
    step = st.tuples(st.integers(0, 1), names, st.integers(0, 200), st.integers(0, 60))
    return st.lists(step, min_size=shortest, max_size=longest)


def begin() -> World:
    """Each side has ordered from the other, twice, and knows it."""
    world = World()
    for side in (0, 1):
        for grant in (200, 40):
            _order(world, side, 200, grant)
        act(world, (side, "tell", 0, 0))
    return world


def act(world: World, step: Step) -> None:
    """Do one step."""
    side, name, a, b = step
    ACTS[name](world, side, a, b)
