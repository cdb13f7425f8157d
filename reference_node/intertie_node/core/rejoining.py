"""A restored relay and the orders that it may have placed before (design §5 rule 4, §7 Open, §9 relay).

A node restored from an older copy meets an upstream order anew, and learns from its other links, in whatever
order they open, whether it had placed an order for it: the downstream id follows from the upstream entry. Until
every link has opened once, an order that this process did not see being written is not decided. What has come back
is durable until it is joined: the upstream order may come after another restart.
"""

import msgspec

from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie_node.core.effects import Effects
from intertie_node.core.holds import OPEN
from intertie_node.core.invocations import End, Invocation, packed
from intertie_node.core.ledger import ME
from intertie_node.core.link import Link
from intertie_node.core.placing import kept_rate, relay_order_id
from intertie_node.core.sinks import OrderSink
from intertie_node.core.sources import OrderSource
from intertie_node.core.tasks import TaskSignal
from intertie_node.core.world import Orphan, World, problem

ORPHAN = "orphan/"
"""Prefix of rows of `settings`: own orders that came back before those for which they had been placed, by id."""


def keep_orphan(world: World, order_id: str, orphan: Orphan, fx: Effects) -> None:
    """Keep an own order until the order for which it was placed is met, also over a restart."""
    world.orphans[order_id] = orphan
    row = ORPHAN + order_id
    fx.changes.put("settings", (row,), (row, msgspec.msgpack.encode((orphan.link, orphan.seq, packed(orphan.end)))))


def note_end(world: World, link: Link, order_seq: int, end: End, fx: Effects) -> None:
    """Keep how an own order ended whose cause this restored node has not met again yet."""
    for order_id, orphan in world.orphans.items():
        if (orphan.link, orphan.seq) == (link.name, order_seq):
            keep_orphan(world, order_id, Orphan(orphan.link, orphan.seq, end), fx)


def _orphan_of(world: World, order_id: str) -> Orphan | None:
    """The own order with this id that came back, if its log holds it again."""
    orphan = world.orphans.get(order_id)
    hold = world.links[orphan.link].ledger.find(ME, orphan.seq) if orphan is not None else None
    return orphan if hold is not None and hold.terms.id == order_id else None


def keep_back(world: World, inv: Invocation, order: pb.Order, fx: Effects) -> bool:
    """Join an order with the one placed for it before, or keep it until that is known; False if it is new."""
    source = inv.source
    assert isinstance(source, OrderSource)
    offer = world.catalog.offers.get(order.offer_digest)
    if offer is not None and offer.origin == world.fingerprint:
        return False
    if rejoin(world, inv, source, fx):
        return True
    if not world.settings.relay or source.seq > source.link.met_upto or _all_known(world, source):
        return False
    world.recovering[inv.key] = (inv, order)
    world.at(max(fx.now, _latest(world, source, order)), "recover", inv.key)
    return True


def _all_known(world: World, source: OrderSource) -> bool:
    """Whether every link that an order could have been placed over has opened since the process started."""
    return all(link is source.link for link in world.unheard())


def _latest(world: World, source: OrderSource, order: pb.Order) -> int:
    """When no downstream order can be claimed any more: the same margin as when one is placed."""
    terms = source.link.terms
    claim_until = order.deadline + terms.claim_window_ms
    return claim_until - world.settings.tolerated_outage_ms - 2 * terms.max_skew_ms


def rejoin(world: World, inv: Invocation, source: OrderSource, fx: Effects) -> bool:
    """Join an order with the one that this node had placed for it before it was restored; True if there is one."""
    order_id = relay_order_id(world, inv.spec.created_at, inv.spec.digest)
    orphan = _orphan_of(world, order_id)
    if orphan is None:
        return False
    del world.orphans[order_id]
    fx.changes.put("settings", (ORPHAN + order_id,), None)
    link, upstream = world.links[orphan.link], source.hold
    down = link.ledger.find(ME, orphan.seq)
    assert upstream is not None and down is not None
    sink = inv.sink = OrderSink(link, orphan.seq, kept_rate(source.link, upstream, link, down))
    inv.signal(TaskSignal.STARTED, fx.now)
    world.touch(inv)
    if orphan.end is None:
        world.orders[link.name, ME, orphan.seq] = inv
        sink.resume(world, inv, 0, world.settings.event_credit, fx)
        sink.reopened(world, inv, fx)
    else:
        source.end = orphan.end
        source.conclude(world, inv, fx)
        fx.reply(world.forget, inv)
    return True


def take_decidable(world: World, fx: Effects) -> list[tuple[Invocation, pb.Order]]:
    """A link has opened: join what can be joined now; returns what has never been placed, to be decided."""
    fresh = []
    for key, (inv, order) in list(world.recovering.items()):
        source = inv.source
        assert isinstance(source, OrderSource)
        hold = source.hold
        if inv.finished or hold is None or hold.state is not OPEN or rejoin(world, inv, source, fx):
            del world.recovering[key]
        elif _all_known(world, source):
            del world.recovering[key]
            fresh.append((inv, order))
    return fresh


def give_up(world: World, inv: Invocation, fx: Effects) -> None:
    """What was placed for this order, if anything, can be claimed no longer: no work is known of."""
    if world.recovering.pop(inv.key, None) is not None and not inv.finished:
        error = problem("PEER_UNAVAILABLE", "The way down did not open in time after a restart.")
        inv.source.reject(world, inv, error, fx)
        fx.reply(world.forget, inv)


def order_of(inv: Invocation) -> pb.Order:
    """What was ordered, as far as its checks ask for it, from what a restarted node holds.

    Raises: IntertieError ORDER_UNKNOWN if its hold is not there.
    """
    source, spec = inv.source, inv.spec
    hold = source.hold if isinstance(source, OrderSource) else None
    if hold is None:
        raise IntertieError("ORDER_UNKNOWN", f"No order stands behind {inv.key}.")
    order = pb.Order(
        id=spec.id,
        offer_digest=spec.offer_digest,
        tariff_seq=hold.terms.tariff_seq,
        max_charge=spec.max_charge,
        grant=spec.grant,
        deadline=spec.deadline,
        hop_limit=spec.hop_limit,
        path=spec.path,
        nonce=spec.nonce,
    )
    order.input.digest, order.input.size = spec.input_digest, len(spec.input)
    return order
