"""What a provider takes back reaches whoever has paid for it: an upstream grid, or a consumer's budget (design §9).

Nothing here counts what one credit says: the order's hold says how much of the charge is left in all, and that is
compared with what was given back before. So it does not matter how often, or after which restart, that is done.
"""

from intertie.amounts import INT64_MAX
from intertie.v1 import entry_pb2 as pb
from intertie_node.core.blinding import account_of, upstream_caller
from intertie_node.core.effects import Effects
from intertie_node.core.holds import Hold
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.core.placing import kept_rate
from intertie_node.core.selling import credit
from intertie_node.core.sharing import cost_account
from intertie_node.core.sources import ConsumerSource
from intertie_node.core.world import World

OWED = "owed/"
"""Prefix of rows of `settings`: orders whose credits are to be passed on once the upstream link has opened."""


def take_back(world: World, link: Link, body: pb.Credit, seq: int, fx: Effects) -> None:
    """The provider takes back part of its charges: the cost falls, and so does what was claimed for it."""
    hold = link.ledger.find(ME, body.order_seq)
    assert hold is not None, f"credit {seq} is valid, so its order is known"
    inv = world.orders.get((link.name, ME, body.order_seq))
    origin = (link.name, THEM, seq, inv.key if inv else "")
    cost = cost_account(link, upstream_caller(world.secret, hold.terms.account))
    world.books.transfer(fx, link.accounts.payable, cost, body.amount, link.asset, origin)
    pass_on(world, link, hold, fx)


def pass_on(world: World, link: Link, hold: Hold, fx: Effects) -> None:
    """Give back what credits have left of an own order's charge, as far as that has not been done."""
    caller = upstream_caller(world.secret, hold.terms.account)
    if caller:
        _upstream(world, link, hold, caller, fx)
    else:
        _to_consumer(world, link, hold, fx)


def returned(hold: Hold) -> int:
    """By how much credits lower what is agreed for an order, minor units: a refused charge was never agreed to."""
    unrefused = max((claim.amount for claim in hold.claims if not claim.refused), default=0)
    return unrefused - hold.agreed_at(INT64_MAX)


def _upstream(world: World, link: Link, hold: Hold, caller: str, fx: Effects) -> None:
    """Credit the upstream order: the converted amount, rounded down, so that the relay's margin stays."""
    _, name, seq = caller.split(":")
    upstream = world.links.get(name)
    if upstream is None:
        return
    row = f"{OWED}{name}/{link.name}/{hold.seq}"
    if not upstream.can_append:
        world.owed.setdefault(name, set()).add((link.name, hold.seq))
        fx.changes.put("settings", (row,), (row, b""))
        return
    order = upstream.ledger.find(THEM, int(seq))
    if order is None:
        return
    rate = kept_rate(upstream, order, link, hold)
    done = order.credits[-1][1] if order.credits else 0
    amount = min(returned(hold) * rate.num // rate.den - done, order.posted)
    if amount > 0:
        credit(world, upstream, order.seq, amount, "Credited by the provider further down.", fx)


def settle_owed(world: World, upstream: Link, fx: Effects) -> None:
    """The upstream link may be written to: pass on what came meanwhile."""
    for name, seq in sorted(world.owed.pop(upstream.name, ())):
        row = f"{OWED}{upstream.name}/{name}/{seq}"
        fx.changes.put("settings", (row,), None)
        link = world.links.get(name)
        hold = link.ledger.find(ME, seq) if link is not None else None
        if link is not None and hold is not None:
            pass_on(world, link, hold, fx)


def _to_consumer(world: World, link: Link, hold: Hold, fx: Effects) -> None:
    """Give the consumer's budget back what is not owed any more; before the end nothing has been taken of it."""
    account = account_of(world, hold.terms.account)
    inv = world.orders.get((link.name, ME, hold.seq)) or world.find_invocation(f"{hold.terms.id}@{account}")
    if inv is None or not inv.finished or not isinstance(inv.source, ConsumerSource):
        return
    source = inv.source
    amount = source.charged - min(source.charged, hold.agreed_at(INT64_MAX))
    source.charged -= amount
    world.books.release(account, 0, -amount)
    world.books.transfer(fx, "sales", f"consumer/{account}", amount, world.settings.asset, (link.name, ME, 0, inv.key))
    if inv.outcome is not None:
        inv.outcome.receipt.charge = source.charged
        fx.reply(world.forget, inv)
    world.touch(inv)
