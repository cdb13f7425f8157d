"""The consumer face of the suite's own grid (RFC 0009): own offers, and those of peers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from intertie.v1 import account_pb2 as ac
from intertie.v1 import account_pb2_grpc, catalog_pb2_grpc, invocation_pb2_grpc
from intertie.v1 import invocation_pb2 as iv
from intertie_conformance.grid.catalog import ASSET
from intertie_conformance.grid.consumer_streams import Streaming, follow
from intertie_conformance.grid.invocations import Account, Run
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import abort

if TYPE_CHECKING:
    from intertie_conformance.grid.node import Grid


def account_of(grid: Grid, context: Any) -> Account:
    """Whose call it is. Raises: Refusal."""
    grid.consumer_asks()
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return grid.rules.caller(metadata, grid.face.accounts)


class Invocations(invocation_pb2_grpc.InvocationServiceServicer):
    """InvocationService."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    async def Call(self, request: iv.CallRequest, context: Any) -> iv.CallResponse:
        """Runs to the end."""
        try:
            run = self._grid.face.start(account_of(self._grid, context), request.invocation)
            await self._end(run)
            outcome = self._grid.rules.gathered(run)
            self._grid.rules.call_answers(outcome)
            return iv.CallResponse(outcome=outcome)
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)
            raise

    async def _end(self, run: Run) -> None:
        try:
            while run.outcome is None:
                await run.changed.wait()
        finally:
            if run.outcome is None and not self._grid.rules.goes_on(run):
                run.sink.cancel()

    async def Invoke(self, request: iv.InvokeRequest, context: Any) -> AsyncIterator[iv.InvokeResponse]:
        """Sends events, the outcome last."""
        try:
            face = self._grid.face
            run = face.start(account_of(self._grid, context), request.invocation)
            async for item in follow(run, self._grid.rules.repeated_from(run.repeated)):
                yield iv.InvokeResponse(event=item)
            self._grid.rules.told_all()
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)

    async def Subscribe(self, request: iv.SubscribeRequest, context: Any) -> AsyncIterator[iv.SubscribeResponse]:
        """Sends events above a number, the outcome last."""
        try:
            account = account_of(self._grid, context)
            run = self._grid.rules.known(account, request.id, self._grid.face.runs)
            if run is None:
                self._grid.rules.unknown_subscription()
                return
            async for item in follow(run, request.after_seq):
                yield iv.SubscribeResponse(event=item)
            self._grid.rules.told_all()
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)

    async def Stream(self, requests: AsyncIterator[iv.StreamRequest], context: Any) -> AsyncIterator[iv.StreamResponse]:
        """Many invocations in frames."""
        try:
            streaming = Streaming(self._grid.face, account_of(self._grid, context))
            async for frame in streaming.run(requests):
                yield frame
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)

    async def SendInput(self, request: iv.SendInputRequest, context: Any) -> iv.SendInputResponse:
        """Answers an input request."""
        try:
            self._grid.face.reply(account_of(self._grid, context), request)
            return iv.SendInputResponse()
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)
            raise

    async def Cancel(self, request: iv.CancelRequest, context: Any) -> iv.CancelResponse:
        """Asks to stop."""
        try:
            run = self._grid.face.cancel(account_of(self._grid, context), request)
            return iv.CancelResponse(status=run.status())
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)
            raise

    async def Get(self, request: iv.InvocationServiceGetRequest, context: Any) -> iv.InvocationServiceGetResponse:
        """One invocation as it stands."""
        try:
            run = self._grid.face.run(account_of(self._grid, context), request.id)
            return iv.InvocationServiceGetResponse(status=self._grid.rules.told_status(run.status()))
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)
            raise

    async def List(self, request: iv.ListRequest, context: Any) -> iv.ListResponse:
        """A page of invocations."""
        try:
            account = account_of(self._grid, context)
            page, token = _page(self._grid, account, request, request.states)
            return iv.ListResponse(invocations=[run.status() for run in page], next_page_token=token)
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)
            raise


def _page(grid: Grid, account: Account, request: Any, states: Sequence[int]) -> tuple[list[Run], str]:
    """A page of an account's invocations, and the token of the next one. Raises: Refusal."""
    rules, size = grid.rules, grid.rules.page_size(request.page_size)
    own = [run for run in rules.listed(account, list(grid.face.runs.values())) if rules.in_states(run, states)]
    own = rules.after_token(own, request.page_token)
    page = own[:size]
    return page, rules.next_page(page, len(own) - len(page))


class Accounts(account_pb2_grpc.AccountServiceServicer):
    """AccountService."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    async def GetAccount(self, request: ac.GetAccountRequest, context: Any) -> ac.GetAccountResponse:
        """Budget and spending."""
        try:
            account = account_of(self._grid, context)
            budget, reserved, spent = self._grid.rules.account_now(account)
            made = ac.GetAccountResponse(account=account.name, asset=ASSET[0], scale=ASSET[1])
            made.budget, made.reserved, made.spent = budget, reserved, spent
            return made
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)
            raise

    async def ListCharges(self, request: ac.ListChargesRequest, context: Any) -> ac.ListChargesResponse:
        """A page of what was charged."""
        try:
            page, token = _page(self._grid, account_of(self._grid, context), request, [])
            made = ac.ListChargesResponse(next_page_token=token)
            for run in page:
                amount = run.outcome.receipt.charge if run.outcome is not None else 0
                made.charges.add(id=run.request.id, offer=run.request.offer, amount=amount, at=run.ended_at)
            return made
        except Refusal as refusal:
            await abort(context, refusal, self._grid.rules.refusal_status)
            raise


def add_consumer_face(server: grpc.aio.Server, grid: Grid) -> None:
    """Serve the consumer face."""
    from intertie_conformance.grid.listing import Catalog

    services: Mapping[str, tuple[Callable[[Any, grpc.aio.Server], None], type[Any]]] = {
        "account": (account_pb2_grpc.add_AccountServiceServicer_to_server, Accounts),
        "catalog": (catalog_pb2_grpc.add_CatalogServiceServicer_to_server, Catalog),
        "invocation": (invocation_pb2_grpc.add_InvocationServiceServicer_to_server, Invocations),
    }
    for name in grid.rules.services():
        add, servicer = services[name]
        add(servicer(grid), server)
