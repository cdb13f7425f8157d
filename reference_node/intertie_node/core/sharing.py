"""How a relay's upstreams share the limits of a downstream link (design §9, relay).

No upstream may use more of a downstream limit than its share while there is another one. What an upstream uses
is counted over the open and unsettled orders that were placed for it; what it has been charged, in its own cost
account. Both are looked at only where a limit is used beyond one share.
"""

from msgspec import Struct

from intertie.errors import IntertieError
from intertie_node.core.blinding import upstream_caller
from intertie_node.core.holds import OPEN
from intertie_node.core.invocations import Invocation
from intertie_node.core.ledger import ME
from intertie_node.core.link import Link
from intertie_node.core.world import Use, World


class _Limit(Struct, frozen=True):
    """One limit of a downstream link."""

    name: str
    whole: int
    used: int
    """By all upstreams and consumers."""
    new: int


def upstream_of(caller: str) -> str:
    """Name of the link over which an order came that was passed on; "" for an own consumer's."""
    return caller.split(":")[1] if caller.startswith("link:") else ""


def cost_account(link: Link, caller: str) -> str:
    """The books' account of what an order on this link costs: each upstream has its own."""
    upstream = upstream_of(caller)
    return f"{link.accounts.cost}/{upstream}" if upstream else link.accounts.cost


def check_share(world: World, link: Link, inv: Invocation, max_charge: int, grant: int) -> None:
    """Check that an upstream's new order leaves the others theirs. Raises: IntertieError SHARE_EXCEEDED."""
    upstream = upstream_of(inv.spec.caller)
    if not upstream or not _is_shared(world, link):
        return
    lane, terms = link.ledger.lanes[ME], link.terms
    limits = (
        _Limit("credit limit", terms.credit_limit[ME], lane.gross, max_charge),
        _Limit("max_unagreed", terms.max_unagreed[ME], lane.unagreed, grant),
        _Limit("open orders", min(terms.max_open_holds, link.their_limits.orders), lane.open, 1),
    )
    if any(limit.used + limit.new > _share(world, limit.whole) for limit in limits):
        use = _use(world, link, upstream)
        used = (use.pending + _posted(world, link, upstream), use.unagreed, use.open)
        for limit, own in zip(limits, used, strict=True):
            _check(world, link, limit, own)


def _check(world: World, link: Link, limit: _Limit, own: int) -> None:
    share = _share(world, limit.whole)
    if own + limit.new > share:
        raise IntertieError(
            "SHARE_EXCEEDED",
            f"{own + limit.new} of the {limit.name} with {link.peer.grid} is above one upstream's share of {share}.",
            limit=str(share),
            used=str(own),
            requested=str(limit.new),
        )


def room(world: World, link: Link, inv: Invocation, more: int) -> int:
    """How much of `more` may be granted downstream for an order now, minor units."""
    upstream, left = upstream_of(inv.spec.caller), min(link.room(ME), more)
    if left <= 0 or not upstream or not _is_shared(world, link):
        return max(0, left)
    share = _share(world, link.terms.max_unagreed[ME])
    if link.ledger.lanes[ME].unagreed + left <= share:
        return left
    return max(0, min(left, share - _use(world, link, upstream).unagreed))


def note(world: World, link: Link, inv: Invocation, orders: int, max_charge: int, grant: int) -> None:
    """Count what is being placed or granted in this batch, where uses have been counted already."""
    uses = world.uses.get(link.name)
    if uses is not None:
        use = uses.setdefault(upstream_of(inv.spec.caller), Use())
        use.open, use.pending, use.unagreed = use.open + orders, use.pending + max_charge, use.unagreed + grant


def _is_shared(world: World, link: Link) -> bool:
    """Whether orders may come over more than one other link."""
    links = world.links
    return len(links) > 2 and sum(name != link.name and name not in world.suspended for name in links) > 1


def _share(world: World, limit: int) -> int:
    num, den = world.settings.share
    return limit * num // den


def _posted(world: World, link: Link, upstream: str) -> int:
    debits, credits_ = world.books.balances.get((f"{link.accounts.cost}/{upstream}", link.asset), (0, 0))
    return debits - credits_


def _use(world: World, link: Link, upstream: str) -> Use:
    """What an upstream uses; counted once a batch."""
    uses = world.uses.get(link.name)
    if uses is None:
        uses = world.uses[link.name] = {}
        for (payer, _), hold in link.ledger.holds.items():
            if payer != ME:
                continue
            use = uses.setdefault(upstream_of(upstream_caller(world.secret, hold.terms.account)), Use())
            is_open = hold.state is OPEN
            use.open += is_open
            use.pending += hold.pending
            use.unagreed += hold.granted - (hold.charged if is_open else 0) + hold.posted - hold.agreed
    return uses.get(upstream) or Use()
