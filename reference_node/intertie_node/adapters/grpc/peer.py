"""The peer port: accepting links, serving offers, and dialling other grids (design §3, §7, §8)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc

from intertie.errors import IntertieError
from intertie.v1 import link_pb2 as lk
from intertie_node.adapters.grpc.frames import LINK_METHOD, unwrap, wrap
from intertie_node.adapters.grpc.status import abort
from intertie_node.adapters.grpc.streams import StreamConnection
from intertie_node.adapters.grpc.tls import PeerCredentials, to_der
from intertie_node.ports import Connection, Reach, Receiver

DIAL_TIMEOUT_S = 5.0
OPEN_TIMEOUT_S = 10.0
"""How long an accepted stream may wait with its first frame."""
SYNC_TIMEOUT_S = 30.0
MAX_OFFERS = 4_096
MAX_CATALOG_BYTES = 64 << 20
SERVICE = "intertie.v1.LinkService"
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.use_local_subchannel_pool", 1),
)


class PeerFace:
    """Serves LinkService to grids whose certificate is known."""

    def __init__(
        self,
        receiver: Receiver,
        who: Callable[[bytes], bytes | None],
        offers: Callable[[bytes, bytes, bytes], Sequence[tuple[bytes, bytes]]],
    ) -> None:
        self._receiver = receiver
        self._who = who
        """Certificate (DER) → fingerprint of the peered grid that has it."""
        self._offers = offers
        """(fingerprint, genesis, root digest) → (digest, bytes) of its offers; raises IntertieError."""
        self._open: set[StreamConnection] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server needs to serve this face."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Link": grpc.stream_stream_rpc_method_handler(
                    self._link, request_deserializer=unwrap, response_serializer=wrap
                ),
                "SyncCatalog": grpc.unary_stream_rpc_method_handler(
                    self._sync,
                    request_deserializer=lk.SyncCatalogRequest.FromString,
                    response_serializer=lk.SyncCatalogResponse.SerializeToString,
                ),
                "Transfer": grpc.stream_stream_rpc_method_handler(
                    self._transfer,
                    request_deserializer=lk.TransferRequest.FromString,
                    response_serializer=lk.TransferResponse.SerializeToString,
                ),
            },
        )

    async def _caller(self, context: Any) -> bytes:
        pem = context.auth_context().get("x509_pem_cert", [b""])[0]
        fingerprint = self._who(to_der(pem)) if pem else None
        if fingerprint is None:
            await abort(context, IntertieError("UNKNOWN_PEER", "This certificate belongs to no peered grid."))
            raise AssertionError("abort raises")
        return fingerprint

    async def _link(self, _: Any, context: Any) -> None:
        fingerprint = await self._caller(context)
        connection = StreamConnection(context, fingerprint, self._receiver)
        self._open.add(connection)
        connection.start()
        connection.expect_open(OPEN_TIMEOUT_S)
        try:
            await connection.finished()
        finally:
            connection.end()
            self._open.discard(connection)

    async def _sync(self, request: lk.SyncCatalogRequest, context: Any) -> AsyncIterator[lk.SyncCatalogResponse]:
        fingerprint = await self._caller(context)
        try:
            offers = self._offers(fingerprint, request.genesis, request.root)
        except IntertieError as error:
            await abort(context, error)
            return
        have, sent = set(request.have[:MAX_OFFERS]), 0
        for digest, data in offers:
            if digest not in have:
                sent += 1
                yield lk.SyncCatalogResponse(offer=data)
        yield lk.SyncCatalogResponse(end=sent)

    async def _transfer(self, _: Any, context: Any) -> None:
        await self._caller(context)
        await abort(context, IntertieError("UNSUPPORTED_FEATURE", "Transfer is not built yet.", feature="transfer"))


class PeerDialler:
    """Reaches other grids' peer ports (`ports.Dialler`)."""

    def __init__(self, credentials: PeerCredentials) -> None:
        self._credentials = credentials

    def _channel(self, address: str, reach: Reach) -> grpc.aio.Channel:
        options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", reach.grid))
        return grpc.aio.secure_channel(address, self._credentials.client(reach.certificates), options=options)

    async def dial(self, reach: Reach, fingerprint: bytes, receiver: Receiver) -> Connection:
        """Open a link stream (see `ports.Dialler`)."""
        problem = "The peer's descriptor names no peer endpoint."
        for address in reach.addresses:
            channel = self._channel(address, reach)
            try:
                await asyncio.wait_for(channel.channel_ready(), DIAL_TIMEOUT_S)
            except (TimeoutError, grpc.aio.AioRpcError) as error:
                problem = f"{address} does not answer as {reach.grid}: {type(error).__name__} {error}"
                await channel.close()
                continue
            call = channel.stream_stream(LINK_METHOD, request_serializer=wrap, response_deserializer=unwrap)()
            connection = StreamConnection(call, fingerprint, receiver)
            connection.start()
            asyncio.get_running_loop().create_task(self._close_after(connection, channel))
            return connection
        raise IntertieError("PEER_UNAVAILABLE", problem)

    @staticmethod
    async def _close_after(connection: StreamConnection, channel: grpc.aio.Channel) -> None:
        await connection.finished()
        await channel.close()

    async def offers(self, reach: Reach, genesis: bytes, root: bytes, have: Sequence[bytes]) -> list[bytes]:
        """Fetch offers (see `ports.Dialler`)."""
        request = lk.SyncCatalogRequest(genesis=genesis, root=root, have=have)
        problem = "The peer's descriptor names no peer endpoint."
        for address in reach.addresses:
            channel = self._channel(address, reach)
            try:
                return await asyncio.wait_for(self._fetch(channel, request), SYNC_TIMEOUT_S)
            except (TimeoutError, grpc.aio.AioRpcError) as error:
                problem = f"{address}: {error}"
            finally:
                await channel.close()
        raise IntertieError("PEER_UNAVAILABLE", problem)

    @staticmethod
    async def _fetch(channel: grpc.aio.Channel, request: lk.SyncCatalogRequest) -> list[bytes]:
        sync = channel.unary_stream(
            f"/{SERVICE}/SyncCatalog",
            request_serializer=lk.SyncCatalogRequest.SerializeToString,
            response_deserializer=lk.SyncCatalogResponse.FromString,
        )
        offers: list[bytes] = []
        size = 0
        async for item in sync(request):
            if item.WhichOneof("item") == "end":
                return offers
            offers.append(item.offer)
            size += len(item.offer)
            if len(offers) > MAX_OFFERS or size > MAX_CATALOG_BYTES:
                raise IntertieError("PAYLOAD_TOO_LARGE", "The peer sends more offers than a catalog may have.")
        raise IntertieError("PEER_UNAVAILABLE", "The peer ended its catalog without an end marker.")
