"""The two ports of the suite's own grid: peers by mutual TLS, strangers and consumers by server TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, cast

import grpc

from intertie.v1 import directory_pb2 as dr
from intertie.v1 import directory_pb2_grpc
from intertie.v1 import link_pb2 as lk
from intertie_conformance.grid.identity import Identity
from intertie_conformance.grid.streams import OPTIONS, GrpcStream, unwrap, wrap
from intertie_conformance.wire.certificates import to_der, to_pem
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import abort


class PeerSide(Protocol):
    """What the peer port needs of a grid."""

    def admitted(self) -> list[bytes]:
        """Certificates (DER) of all peers."""
        ...

    def open_within_s(self) -> float:
        """Seconds that an accepted stream may stay silent."""
        ...

    def who(self, certificate: bytes) -> bytes:
        """Fingerprint of the peer with this certificate. Raises: Refusal UNKNOWN_PEER."""
        ...

    def accepted(self, fingerprint: bytes, stream: GrpcStream, data: bytes) -> None:
        """A frame on a stream that a peer has dialled."""
        ...

    def ended(self, stream: GrpcStream) -> None:
        """A stream has ended."""
        ...

    def refuses_transfer(self) -> Refusal:
        """What Transfer is answered."""
        ...

    def offers_for(self, fingerprint: bytes, request: lk.SyncCatalogRequest) -> Sequence[lk.SyncCatalogResponse]:
        """What a peer is answered. Raises: Refusal."""
        ...


class PublicSide(Protocol):
    """What the directory needs of a grid."""

    def descriptors(self, after_version: int) -> Sequence[bytes]:
        """The descriptor chain above a version."""
        ...

    def proposed(self, request: dr.ProposeRequest) -> dr.ProposeResponse:
        """A stranger proposes. Raises: Refusal."""
        ...


class Credentials:
    """Mutual TLS that admits new peers without a restart."""

    def __init__(self, me: Identity, admitted: Callable[[], list[bytes]], *, asks: bool = True) -> None:
        self._asks = asks
        self._me = me
        self._admitted = admitted
        self._served: list[bytes] = []

    def server(self) -> grpc.ServerCredentials:
        """For the peer port."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            cast(Any, self._changed),
            require_client_authentication=self._asks,
        )

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        self._served = self._admitted()
        roots = to_pem(self._served or [self._me.certificate])
        pair = (self._me.tls_key, to_pem([self._me.certificate]))
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        return self._configuration() if self._admitted() != self._served else None


def public_credentials(me: Identity) -> grpc.ServerCredentials:
    """Server TLS for the public port."""
    return grpc.ssl_server_credentials([(me.tls_key, to_pem([me.certificate]))])


class PeerFace:
    """LinkService."""

    def __init__(self, side: PeerSide) -> None:
        self._side = side

    def handler(self) -> grpc.GenericRpcHandler:
        """For a gRPC server."""
        return grpc.method_handlers_generic_handler(
            "intertie.v1.LinkService",
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
        try:
            return self._side.who(to_der(pem) if pem else b"")
        except Refusal as refusal:
            await abort(context, refusal)
            raise

    async def _link(self, _: Any, context: Any) -> None:
        fingerprint = await self._caller(context)
        stream = GrpcStream(context, lambda which, data: self._side.accepted(fingerprint, which, data))
        stream.start()
        asyncio.get_running_loop().call_later(self._side.open_within_s(), self._expect, stream)
        try:
            await stream.finished()
        finally:
            self._side.ended(stream)

    @staticmethod
    def _expect(stream: GrpcStream) -> None:
        """Close a stream on which nothing was said in time."""
        if not stream.spoken and not stream.done.is_set():
            silent = Refusal("SILENT_PEER", "No Open came.")
            stream.send(lk.Frame(close=silent.problem()).SerializeToString())
            stream.close()

    async def _sync(self, request: lk.SyncCatalogRequest, context: Any) -> AsyncIterator[lk.SyncCatalogResponse]:
        fingerprint = await self._caller(context)
        try:
            items = self._side.offers_for(fingerprint, request)
        except Refusal as refusal:
            await abort(context, refusal)
            return
        for item in items:
            yield item

    async def _transfer(self, _: Any, context: Any) -> None:
        await self._caller(context)
        await abort(context, self._side.refuses_transfer())


class Directory(directory_pb2_grpc.DirectoryServiceServicer):
    """DirectoryService."""

    def __init__(self, side: PublicSide) -> None:
        self._side = side

    async def GetDescriptor(self, request: dr.GetDescriptorRequest, context: Any) -> dr.GetDescriptorResponse:
        """The descriptor chain."""
        return dr.GetDescriptorResponse(descriptors=self._side.descriptors(request.after_version))

    async def Propose(self, request: dr.ProposeRequest, context: Any) -> dr.ProposeResponse:
        """Takes a proposal, or says how it stands."""
        try:
            return self._side.proposed(request)
        except Refusal as refusal:
            await abort(context, refusal)
            raise


async def serve(
    address: str, credentials: grpc.ServerCredentials, add: Callable[[grpc.aio.Server], None]
) -> tuple[grpc.aio.Server, int]:
    """Start a server; returns it with its port."""
    server = grpc.aio.server(options=OPTIONS)
    add(server)
    port = server.add_secure_port(address, credentials)
    await server.start()
    return server, port


def peer_channel(address: str, me: Identity, grid: str, certificates: Sequence[bytes]) -> grpc.aio.Channel:
    """A channel to a peer port, with the own certificate."""
    credentials = grpc.ssl_channel_credentials(to_pem(certificates), me.tls_key, to_pem([me.certificate]))
    return grpc.aio.secure_channel(address, credentials, options=(*OPTIONS, ("grpc.ssl_target_name_override", grid)))


async def close_server(server: grpc.aio.Server) -> None:
    """Stop a server at once."""
    await asyncio.wait_for(server.stop(0), 5.0)
