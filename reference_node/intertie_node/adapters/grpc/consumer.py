"""The consumer face over gRPC: catalog, invocations, account (design §3, §9)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from intertie.errors import IntertieError, from_problem
from intertie.v1 import account_pb2 as ac
from intertie.v1 import account_pb2_grpc, catalog_pb2_grpc, invocation_pb2_grpc
from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import Event
from intertie_node.adapters.grpc.calls import Face, OpenCalls, guarded
from intertie_node.adapters.grpc.frames import wrap
from intertie_node.adapters.grpc.subscriptions import Mailbox, StreamDesk
from intertie_node.ports import Consumers

MAX_COLLECTED_BYTES = 1 << 20
WATCH_INTERVAL_S = 0.2
SERVICE = "intertie.v1.InvocationService"


class InvocationFace(Face, invocation_pb2_grpc.InvocationServiceServicer):
    """InvocationService."""

    @guarded
    async def Call(self, request: iv.CallRequest, context: Any, account: str) -> bytes:
        """Run to the end; streamed pieces are gathered into the output. Returns a serialized CallResponse."""
        mailbox, id = Mailbox(), request.invocation.id
        self._consumers.invoke(account, request.invocation, mailbox)
        output = Collected()
        try:
            while (item := await mailbox.take()).HasField("event"):
                output.add(item.event)
                self._consumers.consumed(account, id, item.ByteSize())
        except BaseException:
            self._consumers.unsubscribe(account, id, mailbox)
            raise
        if item.HasField("refused"):
            raise from_problem(item.refused)
        return wrap(output.within(item.outcome).SerializeToString())

    @guarded
    async def Invoke(self, request: iv.InvokeRequest, context: Any, account: str) -> AsyncIterator[iv.InvokeResponse]:
        """Start, and send the events."""
        mailbox = Mailbox()
        self._consumers.invoke(account, request.invocation, mailbox)
        async for item in self._items(account, request.invocation.id, mailbox):
            yield iv.InvokeResponse(event=item)

    @guarded
    async def Subscribe(
        self, request: iv.SubscribeRequest, context: Any, account: str
    ) -> AsyncIterator[iv.SubscribeResponse]:
        """Send events after a number."""
        mailbox = Mailbox()
        self._consumers.subscribe(account, request.id, request.after_seq, mailbox)
        async for item in self._items(account, request.id, mailbox):
            yield iv.SubscribeResponse(event=item)

    async def _items(self, account: str, invocation: str, mailbox: Mailbox) -> AsyncIterator[iv.InvocationEvent]:
        """Items up to the outcome; each one taken gives byte credit. Raises what refused the invocation."""
        item = iv.InvocationEvent()
        try:
            while not item.HasField("outcome"):
                item = await mailbox.take()
                if item.HasField("refused"):
                    raise from_problem(item.refused)
                yield item
                if item.HasField("event"):
                    self._consumers.consumed(account, invocation, item.ByteSize())
        finally:
            if item.HasField("event"):
                self._consumers.unsubscribe(account, invocation, mailbox)

    @guarded
    async def Stream(self, request_iterator: Any, context: Any, account: str) -> None:
        """Frames both ways; those written are serialized already."""
        desk = StreamDesk(self._consumers, account, context)
        await desk.run()

    @guarded
    async def SendInput(self, request: iv.SendInputRequest, context: Any, account: str) -> iv.SendInputResponse:
        """Answer an input request."""
        await self._consumers.send_input(account, request)
        return iv.SendInputResponse()

    @guarded
    async def Cancel(self, request: iv.CancelRequest, context: Any, account: str) -> iv.CancelResponse:
        """Ask to stop."""
        return iv.CancelResponse(status=await self._consumers.cancel(account, request))

    @guarded
    async def Get(
        self, request: iv.InvocationServiceGetRequest, context: Any, account: str
    ) -> iv.InvocationServiceGetResponse:
        """One invocation."""
        return iv.InvocationServiceGetResponse(status=await self._consumers.get(account, request.id))

    @guarded
    async def List(self, request: iv.ListRequest, context: Any, account: str) -> iv.ListResponse:
        """A page of invocations."""
        return await self._consumers.list(account, request)


class Collected:
    """Streamed pieces of an output, for a caller that takes it whole."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._media_type = ""

    def add(self, event: Event) -> None:
        """Keep the piece that an event carries. Raises: IntertieError PAYLOAD_TOO_LARGE."""
        if not event.HasField("chunk"):
            return
        piece = event.chunk.payload
        self._pieces.append(piece.data)
        self._media_type = piece.media_type
        self._size += len(piece.data)
        if self._size > MAX_COLLECTED_BYTES:
            raise IntertieError("PAYLOAD_TOO_LARGE", "The streamed output is above 1 MiB: use Invoke or Stream.")

    def within(self, outcome: iv.Outcome) -> iv.Outcome:
        """The outcome, with the pieces before its own output."""
        if not self._pieces:
            return outcome
        whole = iv.Outcome()
        whole.CopyFrom(outcome)
        data = b"".join([*self._pieces, outcome.output.data])
        whole.output.CopyFrom(Payload(media_type=outcome.output.media_type or self._media_type, data=data))
        return whole


class CatalogFace(Face, catalog_pb2_grpc.CatalogServiceServicer):
    """CatalogService."""

    @guarded
    async def Search(self, request: ct.SearchRequest, context: Any, account: str) -> ct.SearchResponse:
        """A page of offers."""
        return self._consumers.search(request)

    @guarded
    async def Get(
        self, request: ct.CatalogServiceGetRequest, context: Any, account: str
    ) -> ct.CatalogServiceGetResponse:
        """One offer."""
        return ct.CatalogServiceGetResponse(offer=self._consumers.offer(request.ref))

    @guarded
    async def Watch(self, request: ct.WatchRequest, context: Any, account: str) -> AsyncIterator[ct.WatchResponse]:
        """The whole catalog, then every change."""
        known: dict[str, bytes] = {}
        version = -1
        while True:
            if version != self._consumers.catalog_version():
                first, version = version < 0, self._consumers.catalog_version()
                for change in self._changes(known):
                    yield change
                if first:
                    yield ct.WatchResponse(synced=True)
            await asyncio.sleep(WATCH_INTERVAL_S)

    def _changes(self, known: dict[str, bytes]) -> list[ct.WatchResponse]:
        changes, now = [], {}
        token = ""
        while True:
            page = self._consumers.search(ct.SearchRequest(page_size=100, page_token=token))
            now.update({offer.ref: offer for offer in page.offers})
            token = page.next_page_token
            if not token:
                break
        changes += [ct.WatchResponse(upsert=o) for ref, o in now.items() if known.get(ref) != o.SerializeToString()]
        changes += [ct.WatchResponse(removed=ref) for ref in known if ref not in now]
        known.clear()
        known.update({ref: offer.SerializeToString() for ref, offer in now.items()})
        return changes


class AccountFace(Face, account_pb2_grpc.AccountServiceServicer):
    """AccountService."""

    @guarded
    async def GetAccount(self, request: ac.GetAccountRequest, context: Any, account: str) -> ac.GetAccountResponse:
        """Budget and spending."""
        return self._consumers.status(account)

    @guarded
    async def ListCharges(self, request: ac.ListChargesRequest, context: Any, account: str) -> ac.ListChargesResponse:
        """A page of charges."""
        return await self._consumers.charges(account, request)


def add_consumer_face(server: grpc.aio.Server, consumers: Consumers, calls: OpenCalls) -> None:
    """Serve the three services of the consumer face."""
    face = InvocationFace(consumers, calls)
    invocation_pb2_grpc.add_InvocationServiceServicer_to_server(face, server)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogFace(consumers, calls), server)
    account_pb2_grpc.add_AccountServiceServicer_to_server(AccountFace(consumers, calls), server)
    server.add_registered_method_handlers(
        SERVICE,
        {
            "Call": grpc.unary_unary_rpc_method_handler(face.Call, iv.CallRequest.FromString),
            "Stream": grpc.stream_stream_rpc_method_handler(face.Stream, iv.StreamRequest.FromString),
        },
    )
