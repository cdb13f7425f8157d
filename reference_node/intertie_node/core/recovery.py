"""Bringing a node back: rows into memory, lost own orders, work that was running (design §7 Open, §9 crash)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from intertie.ids import parse_uuid7
from intertie.v1 import entry_pb2 as pb
from intertie.v1.event_pb2 import InputReply
from intertie.v1.invocation_pb2 import Outcome
from intertie.v1.task_pb2 import TASK_STATE_FAILED, TASK_STATE_REJECTED
from intertie_node.core import buying, crediting, executing, selling
from intertie_node.core.blinding import account_of
from intertie_node.core.effects import Effects
from intertie_node.core.holds import OPEN
from intertie_node.core.invocations import Invocation, Sink, Source, Spec, unpacked
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.core.pair import Fact
from intertie_node.core.rejoining import keep_orphan, order_of
from intertie_node.core.sinks import LocalSink, OrderSink, Rate
from intertie_node.core.sources import ConsumerSource, OrderSource
from intertie_node.core.tasks import SIGNAL_OF_END, TaskSignal
from intertie_node.core.world import Orphan, StoredInvocation, World


def revive(world: World, row: Sequence[Any]) -> Invocation:
    """Rebuild an invocation from its row and keep it in memory."""
    _, _, _, _, state, _, ended_at, _, record, outcome = row
    stored = msgspec.msgpack.decode(record, type=StoredInvocation)
    inv = Invocation(stored.spec, _source(world, stored.source), _sink(world, stored))
    inv.state, inv.ended_at, inv.last_event, inv.finished = (
        state,
        ended_at,
        stored.last_event,
        stored.finished,
    )
    inv.outcome = Outcome.FromString(outcome) if outcome else None
    if stored.reply:
        inv.reply = InputReply.FromString(stored.reply)
        inv.asked = inv.reply.request
    world.keep(inv)
    for row_, payer in ((stored.source, THEM), (stored.sink or ("",), ME)):
        if row_[0] in ("order_source", "order_sink"):
            world.orders[row_[1], payer, row_[2]] = inv
    return inv


def _source(world: World, row: Sequence[Any]) -> Source:
    if row[0] == "order_source":
        return OrderSource(world.links[row[1]], row[2], unpacked(row[3]))
    _, account, prices, grant, reserved, charged, end = row
    source = ConsumerSource(account, tuple((u, n, d) for u, n, d in prices), grant, reserved)
    source.charged, source.end = charged, unpacked(end)
    return source


def _sink(world: World, stored: StoredInvocation) -> Sink | None:
    row = stored.sink
    if row is None:
        return None
    if row[0] == "order_sink":
        return OrderSink(world.links[row[1]], row[2], msgspec.convert(row[3], type=Rate))
    sink = LocalSink(stored.spec.nonce, world.settings.event_credit)
    sink.started_at, sink.usage = row[1], dict(row[2])
    sink.next = stored.last_event + 1
    return sink


def load_invocations(world: World, rows: Sequence[Sequence[Any]], fx: Effects) -> None:
    """At process start: bring active invocations back and set their timers."""
    world.started_at = fx.now
    for row in rows:
        inv = revive(world, row)
        sink = inv.sink
        if isinstance(sink, OrderSink):
            patience = max(inv.spec.deadline, fx.now) if inv.finished else inv.spec.deadline
            world.at(patience + world.settings.grace_ms, "unknown", inv.key)
            if inv.finished:
                world.at(fx.now, "result", inv.key)
        elif isinstance(sink, LocalSink) and isinstance(inv.source, ConsumerSource) and not inv.ended:
            executing.recover(world, inv, fx)
    for link in world.links.values():
        for (payer, seq), hold in link.ledger.holds.items():
            if payer == ME and hold.state is OPEN:
                world.at(hold.terms.claim_until, "expire", f"{link.name}:{seq}")


def recover_link(world: World, link: Link, fx: Effects) -> None:
    """A link is open for the first time since the process started: end or rerun what was sold over it."""
    _align(world, link, fx)
    for (name, payer, _), inv in list(world.orders.items()):
        source, sink = inv.source, inv.sink
        if name != link.name or payer != THEM or inv.finished or not isinstance(source, OrderSource):
            continue
        hold = source.hold
        if source.end is not None:
            source.conclude(world, inv, fx)
            fx.reply(world.forget, inv)
        elif hold is None or hold.state is not OPEN:
            _ended(world, inv, TASK_STATE_FAILED, fx)
        elif isinstance(sink, LocalSink) and not sink.running:
            sink.stopping = "CANCELED" if hold.canceled else sink.stopping
            executing.recover(world, inv, fx)
        elif sink is None and inv.key not in world.recovering and inv not in world.waiting.get(link.name, ()):
            selling.decide(world, link, inv, order_of(inv), fx)
    selling.decide_recovered(world, fx)
    crediting.settle_owed(world, link, fx)


def _align(world: World, link: Link, fx: Effects) -> None:
    """Book what only the logs still know: entries that came back to a restored node."""
    mine, theirs = link.ledger.lanes
    to, origin = link.accounts, (link.name, ME, 0, "")
    world.books.align(fx, to.receivable, to.revenue, theirs.posted, link.asset, origin)
    world.books.align(fx, to.payable, to.cost, -mine.posted, link.asset, origin)


def _ended(world: World, inv: Invocation, state: int, fx: Effects) -> None:
    """What was sold has ended, as the log says, without this node's knowing."""
    inv.signal(SIGNAL_OF_END[state], fx.now) or inv.signal(TaskSignal.FAILED, fx.now)
    inv.finished = True
    world.touch(inv)
    fx.reply(world.forget, inv)


def adopt(world: World, link: Link, fact: Fact, fx: Effects) -> None:
    """An own entry came back that this node had lost (restored from an older copy)."""
    act = _ADOPT.get(fact.entry.kind)
    if act is not None and fact.void is None:
        act(world, link, fact, fx)


def _adopt_end(world: World, link: Link, fact: Fact, fx: Effects) -> None:
    """An own final charge or reject: what was sold has ended."""
    if fact.entry.kind == pb.ENTRY_KIND_REJECT:
        seq, state = fact.entry.reject.order_seq, TASK_STATE_REJECTED
    elif fact.entry.charge.final:
        seq, state = fact.entry.charge.order_seq, fact.entry.charge.state
    else:
        return
    inv = world.orders.get((link.name, THEM, seq))
    if inv is not None and not inv.finished:
        _ended(world, inv, state, fx)


def _adopt_expire(world: World, link: Link, fact: Fact, fx: Effects) -> None:
    """An own expire: the order's hold has ended."""
    hold = link.ledger.find(ME, fact.entry.expire.order_seq)
    if hold is not None:
        buying.expired(world, link, hold, fx)


def _adopt_order(world: World, link: Link, fact: Fact, fx: Effects) -> None:
    """An own order: a consumer's is taken up again, a relay's waits for the order that it was placed for."""
    order = fact.entry.order
    hold = link.ledger.find(ME, fact.seq)
    if hold is None or (link.name, ME, fact.seq) in world.orders:
        return
    world.at(hold.terms.claim_until, "expire", f"{link.name}:{fact.seq}")
    account = account_of(world, order.account)
    if not account:
        keep_orphan(world, order.id, Orphan(link.name, fact.seq), fx)
        return
    offer = world.catalog.offers.get(order.offer_digest)
    prices = tuple((line.unit, line.num, line.den) for line in order.prices)
    spec = Spec(
        id=order.id,
        caller=account,
        offer=offer.ref if offer else "",
        offer_digest=order.offer_digest,
        nonce=order.nonce,
        input_digest=order.input.digest,
        media_type=order.input.media_type,
        input=b"",
        max_charge=order.max_charge,
        grant=order.grant,
        deadline=order.deadline,
        created_at=fact.entry.at,
        hop_limit=order.hop_limit,
        path=(),
        places=tuple(order.policy.places),
    )
    world.adopted_until = max(world.adopted_until, parse_uuid7(order.id))
    source = ConsumerSource(account, prices, order.grant, 0)
    inv = Invocation(spec, source, OrderSink(link, fact.seq, Rate()))
    inv.signal(TaskSignal.STARTED, fx.now)
    world.orders[link.name, ME, fact.seq] = inv
    world.add(inv)
    world.at(max(order.deadline, fx.now) + world.settings.grace_ms, "unknown", inv.key)


_ADOPT: Mapping[int, Callable[[World, Link, Fact, Effects], None]] = {
    pb.ENTRY_KIND_ORDER: _adopt_order,
    pb.ENTRY_KIND_CHARGE: _adopt_end,
    pb.ENTRY_KIND_REJECT: _adopt_end,
    pb.ENTRY_KIND_EXPIRE: _adopt_expire,
}
"""What is done about an own entry that came back, by kind; the ledger has taken it already."""
