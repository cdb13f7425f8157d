"""The gRPC servers of a node (RFC 0002, section 3.2): peer port, public port, and plaintext on loopback."""

import ipaddress
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from intertie.errors import IntertieError
from intertie.v1 import directory_pb2 as dr
from intertie.v1 import directory_pb2_grpc
from intertie_node.adapters.grpc.calls import OpenCalls
from intertie_node.adapters.grpc.consumer import add_consumer_face
from intertie_node.adapters.grpc.peer import PeerFace
from intertie_node.adapters.grpc.status import abort
from intertie_node.adapters.grpc.tls import PeerCredentials
from intertie_node.ports import Consumers, Strangers

OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


PEER_STREAMS = 64
"""Most calls of one connection of a peer at a time; a link is one."""


class DirectoryFace(directory_pb2_grpc.DirectoryServiceServicer):
    """DirectoryService: what strangers may ask."""

    def __init__(self, strangers: Strangers) -> None:
        self._strangers = strangers

    async def GetDescriptor(self, request: dr.GetDescriptorRequest, context: Any) -> dr.GetDescriptorResponse:
        """The descriptor chain."""
        return dr.GetDescriptorResponse(descriptors=self._strangers.descriptors(request.after_version))

    async def Propose(self, request: dr.ProposeRequest, context: Any) -> dr.ProposeResponse:
        """Take a proposal, or say how it stands."""
        try:
            return await self._strangers.propose(request)
        except IntertieError as error:
            await abort(context, error)
            raise AssertionError("abort raises") from error


class Servers:
    """Starts and stops the node's gRPC servers; ports are known after `start`."""

    def __init__(
        self, credentials: PeerCredentials, peer: PeerFace, consumers: Consumers, strangers: Strangers
    ) -> None:
        self._credentials = credentials
        self._peer = peer
        self._consumers = consumers
        self._strangers = strangers
        self._calls = OpenCalls()
        self._servers: list[grpc.aio.Server] = []
        self._health = health.aio.HealthServicer()

    async def start_peer(self, address: str) -> int:
        """Serve the peer port. Raises: IntertieError INVALID_ARGUMENT if the address cannot be bound."""
        server = grpc.aio.server(options=(*OPTIONS, ("grpc.max_concurrent_streams", PEER_STREAMS)))
        server.add_generic_rpc_handlers((self._peer.handler(),))
        return await self._start(server, address, self._credentials.server())

    async def start_public(self, address: str) -> int:
        """Serve directory and consumers with server TLS."""
        server = grpc.aio.server(options=OPTIONS)
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(DirectoryFace(self._strangers), server)
        add_consumer_face(server, self._consumers, self._calls)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return await self._start(server, address, self._credentials.public())

    async def start_loopback(self, address: str) -> int:
        """Serve consumers in plaintext. Raises: IntertieError INVALID_ARGUMENT off loopback."""
        host = address.rpartition(":")[0].strip("[]")
        if not (host == "localhost" or ipaddress.ip_address(host).is_loopback):
            raise IntertieError("INVALID_ARGUMENT", f"{address} is not a loopback address: plaintext is refused there.")
        server = grpc.aio.server(options=OPTIONS)
        add_consumer_face(server, self._consumers, self._calls)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return await self._start(server, address, None)

    async def _start(self, server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise IntertieError("INVALID_ARGUMENT", f"{address} cannot be bound: is another node running?") from error
        await server.start()
        self._servers.append(server)
        return port

    async def serving(self, yes: bool) -> None:
        """Say in the health service whether calls are taken."""
        status = health_pb2.HealthCheckResponse.SERVING if yes else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set("", status)

    async def stop(self, grace_s: float) -> None:
        """Stop all servers: consumers' calls end with NODE_DRAINING, every other one may take `grace_s` seconds."""
        self._calls.end()
        for server in self._servers:
            await server.stop(grace_s)
