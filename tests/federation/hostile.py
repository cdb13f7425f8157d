"""A hostile grid on loopback: its own keys, certificate and descriptor, peered as any other, then lawless.

The transport is the node's own (mutual TLS, gRPC); what goes over it is a `Rogue`'s. A hostile grid dials, or
listens and is dialled by the node, which is then also able to fetch its offers.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence
from typing import Any

import grpc
from tests.kit.identities import limits
from tests.kit.live import TERMS, LiveNode, free_ports, now_ms, until
from tests.kit.rogue import Rogue

from intertie import agreements, descriptors
from intertie.digests import multihash
from intertie.keys import PrivateKey
from intertie.v1 import directory_pb2 as dr
from intertie.v1 import link_pb2 as lk
from intertie_node.adapters.grpc.frames import LINK_METHOD, unwrap, wrap
from intertie_node.adapters.grpc.peer import PeerFace
from intertie_node.adapters.grpc.strangers import DirectoryCalls
from intertie_node.adapters.grpc.streams import StreamConnection
from intertie_node.adapters.grpc.tls import PeerCredentials, make_certificate
from intertie_node.core.catalog import KnownOffer, known_offer
from intertie_node.core.peering import PeeringAct
from intertie_node.ports import Connection, Reach

DAY_MS = 86_400_000


class Hostile:
    """A grid with an identity of its own (`rogue.Party`)."""

    def __init__(self, grid: str, *, certificates: Sequence[bytes] | None = None) -> None:
        self.grid = grid
        self.root, self.key = PrivateKey.generate(), PrivateKey.generate()
        self.tls_key, self.certificate = make_certificate(grid, datetime.datetime.now(datetime.UTC))
        self.port = free_ports(1)[0]
        self.listens = False
        self.described = [self.certificate] if certificates is None else list(certificates)
        self.chain = [self._describe()]
        self.fingerprint = descriptors.verify_chain(self.chain).fingerprint
        self.rogue: Rogue
        self.catalog: list[bytes] = []
        self.connection: Connection | None = None
        self.reads = True
        """False: what the node says is left in the stream."""
        self._server: grpc.aio.Server | None = None
        self._channels: list[grpc.aio.Channel] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._node: LiveNode

    def _describe(self) -> bytes:
        now = now_ms()
        statement = descriptors.Statement(
            grid=self.grid,
            issued_at=now,
            signing_keys=(descriptors.SigningKey(self.key.public, now - DAY_MS, now + DAY_MS),),
            certificates=tuple(self.described),
            peer_endpoints=(f"127.0.0.1:{self.port}",),
        )
        return descriptors.issue([], statement, self.root)

    # -- peering ----------------------------------------------------------------------------------

    def proposal(self, node: LiveNode, **terms: Any) -> bytes:
        """A signed proposal to a node."""
        return self.proposal_to(node.node.world.descriptor, **terms)

    def proposal_to(self, grid: descriptors.VerifiedDescriptor, **terms: Any) -> bytes:
        """A signed proposal to whatever grid has this descriptor."""
        wanted = {**TERMS, **terms}
        own, other = (
            agreements.Party(fingerprint, name, PrivateKey.generate().public.key_id[2:18], limit, unagreed)
            for fingerprint, name, limit, unagreed in (
                (self.fingerprint, self.grid, wanted["our_credit_limit"], wanted["our_max_unagreed"]),
                (grid.fingerprint, grid.grid, wanted["their_credit_limit"], wanted["their_max_unagreed"]),
            )
        )
        names = ("asset", "scale", "claim_window_ms", "max_skew_ms", "max_open_holds", "max_hold_ms")
        fields = {name: wanted[name] for name in names}
        return agreements.propose(
            agreements.Terms(proposer=own, acceptor=other, proposed_at=now_ms(), **fields), self.key
        )

    async def propose(self, node: LiveNode, sealed: bytes) -> dr.ProposeResponse:
        """Send a proposal, or ask how it stands."""
        reach = Reach(node.name, (node.public,), (node.certificate,))
        request = dr.ProposeRequest(descriptors=self.chain, agreement=sealed)
        return await DirectoryCalls().propose(reach, request)

    async def join(self, node: LiveNode, *, listen: bool = False, **terms: Any) -> Rogue:
        """Become a peer of a node; the operator there accepts."""
        self._node = node
        sealed = self.proposal(node, **terms)
        await self.propose(node, sealed)
        if listen:
            await self.listen()
        digest = agreements.verify(sealed, descriptors.verify_chain(self.chain)).digest
        await node.node.peerings.decide(digest, PeeringAct.ACCEPT)
        answer = await self.propose(node, sealed)
        self._agreement = answer.agreement
        return self.forget()

    def forget(self) -> Rogue:
        """Begin again without a memory of the link."""
        own, other = descriptors.verify_chain(self.chain), self._node.node.world.descriptor
        agreement = agreements.verify(self._agreement, own, other)
        keys = {signing.key.key_id: signing.key for signing in other.signing_keys}
        self.rogue = Rogue(self, keys, agreement, now_ms, limits())
        return self.rogue

    # -- streams ----------------------------------------------------------------------------------

    def channel(self, *, key: bytes | None = None, certificate: bytes | None = None) -> grpc.aio.Channel:
        """A channel to the node's peer port, with the own certificate or another."""
        node = self._node
        credentials = PeerCredentials((key or self.tls_key, certificate or self.certificate), list)
        options = (
            ("grpc.ssl_target_name_override", node.name),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", 4 << 20),
            ("grpc.max_send_message_length", 16 << 20),
        )
        made = grpc.aio.secure_channel(node.peer_port, credentials.client([node.certificate]), options=options)
        self._channels.append(made)
        return made

    def call(self, channel: grpc.aio.Channel) -> Any:
        """A Link stream over a channel."""
        return channel.stream_stream(LINK_METHOD, request_serializer=wrap, response_deserializer=unwrap)()

    async def dial(self) -> Rogue:
        """A new stream to the node; nothing is said yet."""
        connection = StreamConnection(self.call(self.channel()), self._node.node.world.fingerprint, self)
        self.connection = connection
        self.rogue.connected(connection.send)
        connection.start()
        return self.rogue

    async def dial_lazily(self) -> Rogue:
        """A new stream whose reading can be stopped: with `reads` False, what the node says stays in the stream."""
        call = self.call(self.channel())
        await call.wait_for_connection()
        said: asyncio.Queue[bytes] = asyncio.Queue()
        self.rogue.connected(said.put_nowait)
        self._tasks = [asyncio.create_task(self._write(call, said)), asyncio.create_task(self._read(call))]
        return self.rogue

    async def _read(self, call: Any) -> None:
        while self.reads:
            data = await call.read()
            if data is grpc.aio.EOF:
                return
            self.rogue.hear(data)

    @staticmethod
    async def _write(call: Any, said: asyncio.Queue[bytes]) -> None:
        while True:
            await call.write(await said.get())

    async def open(self) -> Rogue:
        """A link that is open at the node."""
        await self.dial()
        self.rogue.open()
        await until("the hostile link opens", lambda: self._node.is_open(self.fingerprint))
        await until("the node advertises", lambda: self._node.node.world.fingerprint in self.rogue.routes)
        return self.rogue

    async def listen(self) -> None:
        """Serve the peer port: the node dials it, and fetches offers."""
        node = self._node
        credentials = PeerCredentials((self.tls_key, self.certificate), lambda: [node.certificate])
        face = PeerFace(self, lambda _: node.node.world.fingerprint, lambda *_: self._offers())
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((face.handler(),))
        server.add_secure_port(f"127.0.0.1:{self.port}", credentials.server())
        await server.start()
        self._server = server

    def _offers(self) -> list[tuple[bytes, bytes]]:
        return [(multihash(data), data) for data in self.catalog]

    def frame(self, connection: Connection, data: bytes) -> None:
        """A frame of the node (`ports.Receiver`)."""
        if connection is not self.connection:
            self.connection = connection
            self.rogue.connected(connection.send, dialled=False)
        connection.taken()
        self.rogue.hear(data)

    def lost(self, connection: Connection) -> None:
        """A stream has ended (`ports.Receiver`)."""
        if connection is self.connection:
            self.connection = None

    async def closed(self) -> str:
        """Wait until the node closes the stream; the reason that it gives."""
        reason: str = await until("the node closes the stream", lambda: self.rogue.closed)
        return reason

    async def offer(self, name: str) -> KnownOffer:
        """One of the node's offers, as fetched from it."""
        return self._node.node.world.catalog.own[name]

    async def fetch(self, **changes: Any) -> list[KnownOffer]:
        """The node's catalog by SyncCatalog."""
        world = self._node.node.world
        request = lk.SyncCatalogRequest(**{"genesis": self.rogue.genesis, "root": b"", **changes})
        sync = self.channel().unary_stream(
            "/intertie.v1.LinkService/SyncCatalog",
            request_serializer=lk.SyncCatalogRequest.SerializeToString,
            response_deserializer=lk.SyncCatalogResponse.FromString,
        )
        found = [item.offer async for item in sync(request) if item.WhichOneof("item") == "offer"]
        return [known_offer(world.fingerprint, self._node.name, data) for data in found]

    async def sell(self, data: bytes, ref: str) -> None:
        """Have an offer in the node's catalog."""
        self.catalog = [data]
        self.rogue.say(advertisements=self.rogue.advertise([data]))
        await self._node.knows(ref)

    async def stop(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        if self.connection is not None:
            self.connection.close("NODE_DRAINING")
        await asyncio.gather(*(channel.close() for channel in self._channels))
        if self._server is not None:
            await self._server.stop(0.1)
