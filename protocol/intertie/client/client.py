"""The consumer's client: find an offer, call it, see what it cost (design §1, §3 consumer face)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, Unpack

from intertie.client.catalog import CatalogChange, CatalogWatcher
from intertie.client.channel import bearer, check_security, check_target, open_channel
from intertie.client.events import InvocationItem
from intertie.client.following import Follower
from intertie.client.requests import (
    InvocationOptions,
    check_choice,
    check_number,
    check_size,
    make_invocation,
    make_payload,
    new_id,
)
from intertie.client.results import CallResult, InvocationError, check_outcome, conclude
from intertie.client.retries import with_retries
from intertie.client.searching import SearchOptions, make_search
from intertie.client.stream import CallStream
from intertie.errors import IntertieError
from intertie.paging import PAGE_SIZE, Page, every
from intertie.v1 import account_pb2 as account_pb
from intertie.v1 import catalog_pb2 as catalog_pb
from intertie.v1 import invocation_pb2 as invocation_pb
from intertie.v1.account_pb2 import AccountCharge
from intertie.v1.account_pb2_grpc import AccountServiceStub
from intertie.v1.catalog_pb2 import ListedOffer
from intertie.v1.catalog_pb2_grpc import CatalogServiceStub
from intertie.v1.event_pb2 import InputReply
from intertie.v1.invocation_pb2 import InvocationStatus
from intertie.v1.invocation_pb2_grpc import InvocationServiceStub
from intertie.v1.task_pb2 import TaskState

if TYPE_CHECKING:
    from grpc.aio import Channel, UnaryUnaryMultiCallable

    from intertie.v1.account_pb2_grpc import AccountServiceAsyncStub
    from intertie.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from intertie.v1.invocation_pb2_grpc import InvocationServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")
State = Literal[
    "SUBMITTED", "WORKING", "INPUT_REQUIRED", "AUTH_REQUIRED", "COMPLETED", "FAILED", "CANCELED", "REJECTED"
]

ASK_TIMEOUT_S: Final = 15.0
"""How long a question is repeated while the node cannot be reached."""


class Client:
    """A consumer of one node. Used as an async context manager; one is enough for an application.

    `target` is "host:port" or "unix:/path", `token` the account's. `tls_root` are PEM certificates to trust
    instead of the system's. `insecure` means plaintext, which is refused but on loopback. Raises
    INVALID_ARGUMENT, UNAUTHENTICATED or PERMISSION_DENIED if these do not do.

    Every method raises IntertieError: INVALID_ARGUMENT names the argument in `metadata["field"]`, INPUT_INVALID is an
    input for which there is no JSON, NODE_UNAVAILABLE also a client that is not open or was closed. A misspelt option
    and a missing `max_charge` are errors of the program: TypeError. Iterators raise when they are first read.

    Requests are repeated after transport failures, which is safe since every invocation and reply has its own id; only
    the node itself unreachable for long is NODE_UNAVAILABLE.
    """

    def __init__(self, target: str, token: str, *, tls_root: bytes | None = None, insecure: bool = False) -> None:
        check_security(check_target(target), tls_root=tls_root, insecure=insecure)
        self._target = target
        self._metadata = bearer(token)
        self._tls_root = tls_root
        self._insecure = insecure
        self._channel: Channel | None = None
        self._farewells: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Client({self._target!r})"

    async def __aenter__(self) -> Self:
        channel = open_channel(self._target, tls_root=self._tls_root, insecure=self._insecure)
        self._channel = channel
        self._catalog_stub: CatalogServiceAsyncStub = CatalogServiceStub(channel)
        self._invocations_stub: InvocationServiceAsyncStub = InvocationServiceStub(channel)
        self._accounts_stub: AccountServiceAsyncStub = AccountServiceStub(channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection, after what was cancelled has been told to the node (at most a second)."""
        if self._farewells:
            _, late = await asyncio.wait(self._farewells, timeout=1)
            for task in late:
                task.cancel()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _check_open(self) -> None:
        """Raise NODE_UNAVAILABLE unless the client is open: gRPC's own error of a closed channel has no reason."""
        if self._channel is None:
            raise IntertieError("NODE_UNAVAILABLE", "The client is not open: use `async with Client(...) as client`.")

    @property
    def _catalog(self) -> CatalogServiceAsyncStub:
        self._check_open()
        return self._catalog_stub

    @property
    def _invocations(self) -> InvocationServiceAsyncStub:
        self._check_open()
        return self._invocations_stub

    @property
    def _accounts(self) -> AccountServiceAsyncStub:
        self._check_open()
        return self._accounts_stub

    # --- catalog

    def search(self, text: str = "", **options: Unpack[SearchOptions]) -> AsyncGenerator[ListedOffer]:
        """Yield offers, best first, fetching pages as they are needed.

        `text` are words of name, description and tags. Raises INVALID_ARGUMENT for a kind that there is not,
        AMOUNT_INVALID.
        """
        return every(lambda after: self.search_page(text, after=after, **options))

    async def search_page(
        self, text: str = "", *, after: str = "", size: int = PAGE_SIZE, **options: Unpack[SearchOptions]
    ) -> Page[ListedOffer]:
        """Return at most `size` (1 to 100) offers, `after` the page that named it; raises as `search`."""
        request = make_search(text, after, size, **options)
        answer = await self._ask(self._catalog.Search, request)
        return Page(answer.offers, answer.next_page_token)

    async def get_offer(self, ref: str) -> ListedOffer:
        """Return the offer "grid/name"; raises OFFER_UNKNOWN."""
        answer = await self._ask(self._catalog.Get, catalog_pb.CatalogServiceGetRequest(ref=ref))
        return answer.offer

    def watch(self) -> AsyncGenerator[CatalogChange]:
        """Yield the whole catalog, `Synced`, then every change, through broken connections."""
        return CatalogWatcher(self._catalog, self._metadata).changes()

    # --- invocations

    async def call(
        self, offer: str | ListedOffer, input: Any = None, *, check: bool = True, **options: Unpack[InvocationOptions]
    ) -> CallResult:
        """Invoke `offer` and return how it ended. Streamed pieces are gathered, up to 1 MiB.

        Arguments as of `make_invocation`. Repeated with the same id while the connection fails and time is
        left. Raises InvocationError if it is refused, or unless `check` is false if it ends FAILED or
        REJECTED, or if its end cannot be learned. A cancelled call asks the node to stop the work.
        """
        invocation = make_invocation(offer, input, **options)
        request = invocation_pb.CallRequest(invocation=invocation)
        try:
            response = await with_retries(
                lambda timeout: self._invocations.Call(request, metadata=self._metadata, timeout=timeout),
                invocation.timeout_ms / 1000,
            )
            outcome = check_outcome(response.outcome, invocation.id)
        except asyncio.CancelledError:
            self._stop(invocation.id)
            raise
        except IntertieError as error:
            raise InvocationError.of(error, invocation.id) from None
        return conclude(CallResult(outcome), check)

    async def invoke(
        self, offer: str | ListedOffer, input: Any = None, **options: Unpack[InvocationOptions]
    ) -> AsyncGenerator[InvocationItem]:
        """Invoke `offer` and yield what happens, the end last, whatever state it is; resumes by itself.

        Raises InvocationError if it is refused or its end cannot be learned, EVENTS_GONE among its reasons if
        events are missing without a stated gap. Closing the iterator before the end asks the node to stop.
        """
        invocation = make_invocation(offer, input, **options)
        timeout = invocation.timeout_ms / 1000
        follower = Follower(self._invocations, self._metadata, invocation.id, invocation=invocation, timeout=timeout)
        try:
            async with contextlib.aclosing(follower.items()) as items:
                async for item in items:
                    yield item
        finally:
            if not follower.ended:
                self._stop(invocation.id)

    def subscribe(self, id: str, *, after_seq: int = 0) -> AsyncGenerator[InvocationItem]:
        """Yield events of an invocation with numbers above `after_seq`, the end last; also after the end.

        This is how one that was begun earlier is joined. Closing the iterator leaves the invocation alone.
        """
        return Follower(self._invocations, self._metadata, id, after_seq=check_number(after_seq, "after_seq")).items()

    def stream(self) -> CallStream:
        """Return the fast path for many invocations at once; an async context manager within this one."""
        self._check_open()
        return CallStream(lambda: self._invocations.Stream(metadata=self._metadata))

    async def send_input(
        self, id: str, request: int, reply: Any, *, media_type: str | None = None, reply_id: str | None = None
    ) -> None:
        """Answer an `InputRequested`. `reply_id` is a UUIDv7: the same reply counts once."""
        number = check_number(request, "request")
        body = InputReply(request=number, payload=make_payload(reply, media_type), id=reply_id or new_id())
        await self._ask(self._invocations.SendInput, invocation_pb.SendInputRequest(id=id, reply=body))

    async def cancel(self, id: str, comment: str = "") -> InvocationStatus:
        """Ask to stop and return how the invocation stands; its outcome says how it ended."""
        request = invocation_pb.CancelRequest(id=id, comment=comment[:256])
        return (await self._ask(self._invocations.Cancel, request)).status

    async def get(self, id: str) -> InvocationStatus:
        """Return how an invocation stands; raises NOT_FOUND."""
        request = invocation_pb.InvocationServiceGetRequest(id=id)
        return (await self._ask(self._invocations.Get, request)).status

    def list(self, *states: State) -> AsyncGenerator[InvocationStatus]:
        """Yield the account's invocations, newest first; only those in `states` if any are named."""
        return every(lambda after: self.list_page(*states, after=after))

    async def list_page(self, *states: State, after: str = "", size: int = PAGE_SIZE) -> Page[InvocationStatus]:
        """Return at most `size` (1 to 100) of them, `after` the page that named it."""
        numbers = dict(TaskState.items())
        wanted = [TaskState.ValueType(check_choice(state, numbers, "TASK_STATE_", "states")) for state in states]
        request = invocation_pb.ListRequest(page_size=check_size(size), page_token=after, states=wanted)
        answer = await self._ask(self._invocations.List, request)
        return Page(answer.invocations, answer.next_page_token)

    # --- account

    async def account(self) -> account_pb.GetAccountResponse:
        """Return budget, reserved and spent amounts in minor units of the account's asset."""
        return await self._ask(self._accounts.GetAccount, account_pb.GetAccountRequest())

    def charges(self) -> AsyncGenerator[AccountCharge]:
        """Yield what each invocation cost, newest first."""
        return every(lambda after: self.charges_page(after=after))

    async def charges_page(self, *, after: str = "", size: int = PAGE_SIZE) -> Page[AccountCharge]:
        """Return at most `size` (1 to 100) of them, `after` the page that named it."""
        request = account_pb.ListChargesRequest(page_size=check_size(size), page_token=after)
        answer = await self._ask(self._accounts.ListCharges, request)
        return Page(answer.charges, answer.next_page_token)

    # ---

    async def _ask(self, method: UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        return await with_retries(
            lambda timeout: method(request, metadata=self._metadata, timeout=timeout), ASK_TIMEOUT_S
        )

    def _stop(self, id: str) -> None:
        """Tell the node, in passing, that nobody waits for an invocation any more."""
        if self._channel is None:
            return
        task = asyncio.get_running_loop().create_task(self._tell_stop(id))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _tell_stop(self, id: str) -> None:
        with contextlib.suppress(IntertieError):
            await self.cancel(id, "The consumer has stopped waiting.")
