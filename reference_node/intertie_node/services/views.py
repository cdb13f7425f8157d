"""The node's state as its operator sees it: plain functions from state to structs of the operator API."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from intertie import agreements, envelope
from intertie.descriptors import VerifiedDescriptor, verify_history
from intertie.registry import ASSETS
from intertie.v1.agreement_pb2 import Agreement
from intertie.v1.catalog_pb2 import ListedOffer, OfferKind
from intertie.v1.invocation_pb2 import InvocationStatus
from intertie.v1.task_pb2 import TaskState
from intertie_node import operator_api as api
from intertie_node.core.books import Account
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.core.peering import PeeringState, link_terms
from intertie_node.core.world import World
from intertie_node.operator_api import Amount
from intertie_node.services.consumers import stored_status
from intertie_node.services.peerings import INCOMING, OUTGOING, Offered, Proposal

STATES: Final[dict[int, str]] = {number: name.removeprefix("TASK_STATE_") for name, number in TaskState.items()}
DIRECTIONS: Final = {INCOMING: "incoming", OUTGOING: "outgoing"}


def descriptor(verified: VerifiedDescriptor, chain: Sequence[bytes]) -> api.DescriptorView:
    """A verified descriptor."""
    return api.DescriptorView(
        grid=verified.grid,
        fingerprint=verified.fingerprint.hex(),
        version=verified.version,
        place=verified.place,
        public_endpoints=verified.public_endpoints,
        peer_endpoints=verified.peer_endpoints,
        certificates=[hashlib.sha256(der).hexdigest() for der in verified.certificates],
        signing_keys=[signing.key.key_id.hex() for signing in verified.signing_keys],
        chain=tuple(chain),
    )


def peering(link: Link, state: PeeringState, closed: str) -> api.PeeringView:
    """A peering and its link."""
    mine, theirs = link.pair.logs
    return api.PeeringView(
        genesis=link.name,
        grid=link.peer.grid,
        fingerprint=link.peer.fingerprint.hex(),
        state=state.name,
        link=link.phase.value,
        closed=closed,
        asset=link.asset,
        scale=link.scale,
        own_entries=mine.seq,
        their_entries=theirs.seq,
        we_owe=_lane(link, ME),
        they_owe=_lane(link, THEM),
    )


def _lane(link: Link, payer: int) -> api.LaneView:
    lane = link.ledger.lanes[payer]
    return api.LaneView(
        posted=Amount(lane.posted),
        pending=Amount(lane.pending),
        agreed=Amount(lane.agreed),
        unagreed=Amount(lane.unagreed),
        open_holds=lane.open,
        credit_limit=Amount(link.terms.credit_limit[payer]),
        max_unagreed=Amount(link.terms.max_unagreed[payer]),
    )


def proposal(stored: Proposal, own: VerifiedDescriptor) -> api.ProposalView:
    """A proposal of either direction."""
    return api.ProposalView(
        digest=stored.digest.hex(),
        direction=DIRECTIONS[stored.direction],
        grid=stored.grid,
        fingerprint=stored.fingerprint.hex(),
        state=stored.state.name,
        at=stored.at,
        terms=_terms(stored, own),
    )


def _terms(stored: Proposal, own: VerifiedDescriptor) -> api.Terms:
    peer = verify_history(stored.descriptors)
    stated = Agreement.FromString(envelope.peek_unverified(stored.agreement)[1])
    proposer = own if stated.proposer.fingerprint == own.fingerprint else peer
    countersigned = stored.state is PeeringState.ACTIVE
    parties = (proposer, peer if proposer is own else own) if countersigned else (proposer,)
    agreement = agreements.verify(stored.agreement, *parties)
    terms = link_terms(agreement, own.fingerprint)
    return api.Terms(
        asset=agreement.asset,
        scale=agreement.scale,
        our_credit_limit=Amount(terms.credit_limit[ME]),
        their_credit_limit=Amount(terms.credit_limit[THEM]),
        our_max_unagreed=Amount(terms.max_unagreed[ME]),
        their_max_unagreed=Amount(terms.max_unagreed[THEM]),
        claim_window_ms=terms.claim_window_ms,
        max_skew_ms=terms.max_skew_ms,
        max_open_holds=terms.max_open_holds,
        max_hold_ms=terms.max_hold_ms,
    )


def offered(request: api.ProposeRequest, defaults: Offered) -> Offered:
    """The terms of a request; what it leaves out is as in `defaults`."""
    said = {
        name: int(value) for name in Offered.__struct_fields__ if (value := getattr(request, name, None)) is not None
    }
    return msgspec.structs.replace(defaults, **said)


def account(held: Account) -> api.AccountView:
    """A consumer account."""
    return api.AccountView(
        account=held.name,
        budget=Amount(held.budget),
        reserved=Amount(held.reserved),
        spent=Amount(held.spent),
        left=Amount(held.left),
        created_at=held.created_at,
        revoked_at=held.revoked,
    )


def invocation(row: Sequence[Any], world: World) -> api.InvocationView:
    """A row of `invocations`."""
    caller = caller_of(row)
    if not caller.startswith("link:"):
        return of_status(stored_status(row), caller, is_order=False)
    link = world.links.get(caller.split(":")[1])
    return of_status(stored_status(row), link.peer.grid if link else caller, is_order=True)


def caller_of(row: Sequence[Any]) -> str:
    """Who asked for an invocation: its key is "id@caller"."""
    return str(row[0]).partition("@")[2]


def of_status(status: InvocationStatus, caller: str, *, is_order: bool) -> api.InvocationView:
    """An invocation as it stands."""
    receipt = status.receipt
    named = status.problem if status.HasField("problem") else None
    return api.InvocationView(
        id=status.id,
        caller=caller,
        is_order=is_order,
        offer=status.offer,
        state=state_name(status.state),
        created_at=status.created_at,
        ended_at=status.ended_at,
        reserved=Amount(status.reserved),
        charge=Amount(receipt.charge),
        executed_by=receipt.executed_by,
        path=list(receipt.path),
        problem=api.Problem(named.reason, named.message, dict(named.metadata)) if named else None,
    )


def state_name(state: int) -> str:
    """A task state as operators write it."""
    return STATES.get(state, str(state))


def trial_balances(world: World) -> list[api.TrialBalance]:
    """One for each asset that the books know."""
    by_asset: dict[str, list[api.BalanceView]] = {world.settings.asset: []}
    for (name, asset), (debits, credits_) in sorted(world.books.balances.items()):
        _, _, links = name.partition("/")
        peer, _, upstream = links.partition("/")
        grids = (_grid_of(peer, world), _grid_of(upstream, world))
        view = api.BalanceView(name, grids[0], Amount(debits), Amount(credits_), grids[1])
        by_asset.setdefault(asset, []).append(view)
    return [_trial(asset, _scale(asset, world), accounts) for asset, accounts in by_asset.items()]


def _trial(asset: str, scale: int, accounts: list[api.BalanceView]) -> api.TrialBalance:
    debits, credits_ = sum(a.debits for a in accounts), sum(a.credits for a in accounts)
    return api.TrialBalance(
        asset=asset,
        scale=scale,
        debits=Amount(debits),
        credits=Amount(credits_),
        balanced=debits == credits_,
        accounts=accounts,
    )


def _grid_of(link_name: str, world: World) -> str:
    link = world.links.get(link_name)
    return link.peer.grid if link else ""


def _scale(asset: str, world: World) -> int:
    links = (link.scale for link in world.links.values() if link.asset == asset)
    if asset == world.settings.asset:
        return world.settings.scale
    return ASSETS[asset].scale if asset in ASSETS else next(links, 0)


def offer(item: ListedOffer) -> api.OfferView:
    """An offer of the catalog."""
    kind = OfferKind.Name(item.offer.kind) if item.offer.kind in OfferKind.values() else "OFFER_KIND_UNSPECIFIED"
    return api.OfferView(
        ref=item.ref,
        kind=kind.removeprefix("OFFER_KIND_").lower(),
        description=item.offer.description,
        version=item.offer.version,
        asset=item.offer.asset,
        scale=item.offer.scale,
        prices={line.unit: f"{line.num}/{line.den}" if line.den != 1 else str(line.num) for line in item.prices},
        path=list(item.path),
        place=item.offer.place,
        features=list(item.offer.features),
        tags=list(item.offer.tags),
    )


def count_states(world: World) -> dict[str, int]:
    """State → invocations in memory."""
    counts: dict[str, int] = {}
    for inv in world.invocations.values():
        name = state_name(inv.state)
        counts[name] = counts.get(name, 0) + 1
    return counts


def paged(items: Iterable[api.T], key: Any, after: str, limit: int) -> api.Page[api.T]:
    """A page of items in order of their key."""
    ordered = sorted((item for item in items if key(item) > after), key=key)
    return api.Page(ordered[:limit], key(ordered[limit - 1]) if len(ordered) > limit else "")
