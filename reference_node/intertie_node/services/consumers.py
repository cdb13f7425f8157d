"""The node's answers to its consumers (`ports.Consumers`): known ids, pages, budgets (design §5 rule 4, §9)."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import msgspec

from intertie.errors import IntertieError, to_problem
from intertie.ids import parse_uuid7
from intertie.v1 import account_pb2 as ac
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.catalog_pb2 import ListedOffer, SearchRequest, SearchResponse
from intertie_node.core import consuming
from intertie_node.core.effects import Effects
from intertie_node.core.grid import Grid
from intertie_node.core.invocations import Invocation
from intertie_node.core.placing import out_of_reach
from intertie_node.core.recovery import revive
from intertie_node.core.sources import ConsumerSource
from intertie_node.core.world import StoredInvocation, World
from intertie_node.ports import Clock, Store, Subscription
from intertie_node.services.clock import wall_clock
from intertie_node.services.naming import place_in_list
from intertie_node.services.searching import listed, search
from intertie_node.services.waiting import durable

Submit = Callable[[Callable[[Effects], None]], None]
MAX_PAGE = 100
DEFAULT_PAGE = 20
MAX_RECENT = 20_000
DRAIN_POLL_S = 0.05


class ConsumerDesk:
    """Serves consumers from memory where it can, from the store where it must."""

    def __init__(self, grid: Grid, store: Store, submit: Submit, retention_ms: int, clock: Clock = wall_clock) -> None:
        self._grid = grid
        self._store = store
        self._submit = submit
        self._retention_ms = retention_ms
        self._clock = clock
        # Own consumers' ids alone: those of peers' orders may be anything.
        newest = max((store.newest_invocation_id(row[0]) for row in store.all_rows("accounts")), default="")
        self._recent: OrderedDict[str, int] = OrderedDict()
        """Keys met lately → time of the id, oldest first; a plain dict would be slow to find its first key."""
        self._watermark = parse_uuid7(newest[:36]) if newest else 0
        """Ids made later than this, and not met lately, are new for certain: the store need not be asked."""

    @property
    def _world(self) -> World:
        return self._grid.world

    def account(self, token: str) -> str:
        """Account of a bearer token. Raises: IntertieError UNAUTHENTICATED (RFC 0009, IT-INV-004)."""
        name = self._world.books.by_token.get(hashlib.sha256(token.encode()).digest())
        account = self._world.books.accounts.get(name) if name else None
        if account is None or account.revoked:
            raise IntertieError("UNAUTHENTICATED", "The token is unknown or revoked: intertie token create makes one.")
        return account.name

    # -- invocations ------------------------------------------------------------------------------

    def invoke(self, account: str, request: iv.Invocation, subscription: Subscription) -> None:
        """Start or join an invocation."""
        key = f"{request.id}@{account}"
        try:
            made_at = parse_uuid7(request.id)
            new = self._is_new(key, made_at)
        except IntertieError as error:
            subscription.push(iv.InvocationEvent(id=request.id, refused=to_problem(error)))
            return

        def step(fx: Effects) -> None:
            sure = new and made_at > self._world.adopted_until
            if not sure and self._known(key, fx) is None and self._is_expired(request.id):
                message = "The id is older than the retention of ids; make a new one."
                expired = to_problem(IntertieError("ID_EXPIRED", message, id=request.id))
                fx.reply(subscription.push, iv.InvocationEvent(id=request.id, refused=expired))
            else:
                consuming.invoke(self._world, account, request, subscription, fx)

        self._submit(step)

    def _is_new(self, key: str, made_at: int) -> bool:
        """Whether an id is new for certain, so that the store need not be asked; it is met now."""
        if key in self._world.invocations or key in self._recent:
            return False
        self._meet(key, made_at)
        return made_at > self._watermark and made_at >= self._clock() - self._retention_ms

    def _is_expired(self, invocation: str) -> bool:
        return parse_uuid7(invocation) < self._clock() - self._retention_ms

    def _known(self, key: str, fx: Effects) -> Invocation | None:
        """An invocation from memory or, for a while, from the store.

        Within a step only: before it, the one may become the other.
        """
        inv = self._world.invocations.get(key)
        if inv is None:
            row = self._store.row("invocations", (key,))
            inv = revive(self._world, row) if row is not None else None
            self._world.at(fx.now + consuming.KEEP_ENDED_MS, "forget", key)
        return inv

    def _meet(self, key: str, made_at: int) -> None:
        self._recent[key] = made_at
        if len(self._recent) > MAX_RECENT:
            _, made_at = self._recent.popitem(last=False)
            self._watermark = max(self._watermark, made_at)

    def subscribe(self, account: str, invocation: str, after: int, subscription: Subscription) -> None:
        """Send events above `after`, then the outcome."""

        def step(fx: Effects) -> None:
            inv = self._known(f"{invocation}@{account}", fx)
            if inv is None:
                error = IntertieError("NOT_FOUND", "No invocation with this id is known.")
                fx.reply(subscription.push, iv.InvocationEvent(id=invocation, refused=to_problem(error)))
            else:
                consuming.subscribe(self._world, inv, subscription, after, fx)

        self._submit(step)

    def unsubscribe(self, account: str, invocation: str, subscription: Subscription) -> None:
        """The consumer listens no longer."""

        def step(fx: Effects) -> None:
            inv = self._world.invocations.get(f"{invocation}@{account}")
            if inv is not None:
                consuming.unsubscribe(inv, subscription)

        self._submit(step)

    def consumed(self, account: str, invocation: str, size: int) -> None:
        """Events have been taken: as many bytes more may come."""

        def step(fx: Effects) -> None:
            inv = self._world.invocations.get(f"{invocation}@{account}")
            if inv is not None and inv.sink is not None:
                inv.sink.credit(self._world, inv, size, fx)

        self._submit(step)

    async def send_input(self, account: str, request: iv.SendInputRequest) -> None:
        """Answer an input request; returns when the answer is durable or on its way."""
        await self._with(account, request.id, lambda inv, fx: consuming.send_input(self._world, inv, request.reply, fx))

    async def cancel(self, account: str, request: iv.CancelRequest) -> iv.InvocationStatus:
        """Ask to stop."""
        await self._with(
            account,
            request.id,
            lambda inv, fx: consuming.cancel(self._world, inv, request.comment, fx),
            missing_ok=True,
        )
        return await self.get(account, request.id)

    async def _with(
        self, account: str, invocation: str, act: Callable[[Invocation, Effects], None], *, missing_ok: bool = False
    ) -> None:
        """Run a step on an invocation in memory and wait until its batch is durable."""

        def step(fx: Effects) -> None:
            inv = self._world.invocations.get(f"{invocation}@{account}")
            if inv is not None:
                act(inv, fx)
            elif not missing_ok:
                raise IntertieError("NOT_FOUND", "No running invocation with this id is known.")

        await durable(self._submit, step)

    async def caught_up(self) -> None:
        """Return once everything asked for so far has been acted upon, durable or not."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def step(fx: Effects) -> None:
            if not reached.done():
                reached.set_result(None)

        self._submit(step)
        await reached

    async def drain(self, seconds: float) -> None:
        """Wait until no consumer listens for an outcome any more, at most `seconds`."""
        until = monotonic() + seconds
        while self._listened_to() and monotonic() < until:  # noqa: ASYNC110 - nothing says when the last one has ended
            await asyncio.sleep(DRAIN_POLL_S)

    def _listened_to(self) -> bool:
        """Whether a consumer waits for the outcome of an invocation."""
        sources = (inv.source for inv in self._world.invocations.values())
        return any(isinstance(source, ConsumerSource) and source.listening for source in sources)

    # -- reading ----------------------------------------------------------------------------------

    async def get(self, account: str, invocation: str) -> iv.InvocationStatus:
        """One invocation as it stands. Raises: IntertieError NOT_FOUND."""
        inv = self._world.invocations.get(f"{invocation}@{account}")
        if inv is not None:
            return live_status(inv)
        row = self._store.row("invocations", (f"{invocation}@{account}",))
        if row is None:
            raise IntertieError("NOT_FOUND", "No invocation with this id is known.")
        return stored_status(row)

    async def list(self, account: str, request: iv.ListRequest) -> iv.ListResponse:
        """A page of invocations, newest first."""
        limit = page_size(request.page_size)
        after = place_in_list(request.page_token)
        rows = self._store.invocations_page(account, after, limit + 1, list(request.states))
        page = iv.ListResponse(invocations=[stored_status(row) for row in rows[:limit]])
        if len(rows) > limit:
            page.next_page_token = rows[limit - 1][0]
        return page

    def search(self, request: SearchRequest) -> SearchResponse:
        """A page of offers."""
        return search(self._world, request, self._clock())

    def offer(self, ref: str) -> ListedOffer:
        """One offer. Raises: OFFER_UNKNOWN, PEER_UNAVAILABLE or NO_ROUTE while it is out of reach."""
        known = self._world.catalog.find(ref)
        if not self._world.catalog.in_reach(known):
            raise out_of_reach(self._world, known)
        return listed(self._world, known, self._clock())

    def catalog_version(self) -> int:
        """Rises with every change of the catalog."""
        return self._world.catalog.version

    def status(self, account: str) -> ac.GetAccountResponse:
        """Budget and spending."""
        held = self._world.books.accounts[account]
        return ac.GetAccountResponse(
            account=account,
            asset=self._world.settings.asset,
            scale=self._world.settings.scale,
            budget=held.budget,
            reserved=held.reserved,
            spent=held.spent,
        )

    async def charges(self, account: str, request: ac.ListChargesRequest) -> ac.ListChargesResponse:
        """A page of what was charged, newest first."""
        limit = page_size(request.page_size)
        rows = self._store.invocations_page(account, place_in_list(request.page_token), limit + 1, [])
        page = ac.ListChargesResponse()
        for row in rows[:limit]:
            status = stored_status(row)
            page.charges.add(id=status.id, offer=status.offer, amount=status.receipt.charge, at=status.ended_at)
        if len(rows) > limit:
            page.next_page_token = rows[limit - 1][0]
        return page


def page_size(asked: int) -> int:
    """A page size within limits. Raises: IntertieError INVALID_ARGUMENT."""
    if asked > MAX_PAGE:
        raise IntertieError("INVALID_ARGUMENT", f"page_size must lie between 0 and {MAX_PAGE}.", field="page_size")
    return asked or DEFAULT_PAGE


def live_status(inv: Invocation) -> iv.InvocationStatus:
    """An invocation in memory as it stands."""
    status = iv.InvocationStatus(
        id=inv.spec.id,
        offer=inv.spec.offer,
        state=inv.state,  # type: ignore[arg-type]
        created_at=inv.spec.created_at,
        ended_at=inv.ended_at,
    )
    if isinstance(inv.source, ConsumerSource):
        status.reserved = inv.source.reserved
        status.receipt.charge = inv.source.charged
    return _with_outcome(status, inv.outcome)


def stored_status(row: Sequence[Any]) -> iv.InvocationStatus:
    """An invocation's row as it stands."""
    stored = msgspec.msgpack.decode(row[8], type=StoredInvocation)
    status = iv.InvocationStatus(id=stored.spec.id, offer=row[3], state=row[4], created_at=row[5], ended_at=row[6])
    if stored.source[0] == "consumer":
        status.reserved = stored.source[4]
        status.receipt.charge = stored.source[5]
    return _with_outcome(status, iv.Outcome.FromString(row[9]) if row[9] else None)


def _with_outcome(status: iv.InvocationStatus, outcome: iv.Outcome | None) -> iv.InvocationStatus:
    if outcome is not None:
        status.receipt.CopyFrom(outcome.receipt)
        if outcome.HasField("problem"):
            status.problem.CopyFrom(outcome.problem)
    return status
