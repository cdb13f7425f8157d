"""A whole grid of the suite: two ports, links, offers, work. Peer of a target, or a target itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc

from intertie.v1 import descriptor_pb2 as ds
from intertie.v1 import directory_pb2 as dr
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement
from intertie.v1.event_pb2 import Event
from intertie_conformance.grid import catalog
from intertie_conformance.grid.account import ME
from intertie_conformance.grid.buying import Buyer
from intertie_conformance.grid.fetching import fetch_url, sync_catalog
from intertie_conformance.grid.identity import Identity, now_ms
from intertie_conformance.grid.invocations import Face
from intertie_conformance.grid.link import Link, Phase
from intertie_conformance.grid.logs import Fact
from intertie_conformance.grid.ports import (
    Credentials,
    Directory,
    PeerFace,
    close_server,
    peer_channel,
    public_credentials,
    serve,
)
from intertie_conformance.grid.relaying import Relay
from intertie_conformance.grid.routes import Route, Routes
from intertie_conformance.grid.rules import Rules
from intertie_conformance.grid.selling import Seller
from intertie_conformance.grid.streams import GrpcStream, open_stream
from intertie_conformance.wire import envelope
from intertie_conformance.wire.agreements import Agreed
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.refusal import Refusal

K = pb.EntryKind


class Grid:
    """The suite's honest grid; `rules` with one override make it a mutant."""

    def __init__(self, name: str, rules: Rules | None = None) -> None:
        self.me = Identity(name)
        self.rules = rules or Rules()
        self.rules.own_keys(self.me)
        made = catalog.conformance_offers(self.me.fingerprint)
        made = [catalog.Offered.of(self.rules.own_offer(offer.message).SerializeToString()) for offer in made]
        self.offers = self.rules.own_offers(made)
        self.seller = Seller({offer.digest: offer for offer in self.offers})
        own = {f"{name}/{offer.message.name}": offer for offer in self.offers}
        self.buyer = Buyer(Routes(self.rules, self.me.fingerprint, own))
        self.face = Face(self)
        self.relay = Relay(self)
        self.peers: dict[bytes, Described] = {}
        self.links: dict[bytes, Link] = {}
        """By genesis."""
        self.public = self.peer = ""
        self._by_stream: dict[GrpcStream, Link] = {}
        self._accepted: dict[bytes, dr.ProposeResponse] = {}
        """Digest of the proposal → answer."""
        self._epochs = 0
        self._roots: set[bytes] = set()
        """Digests of own roots."""
        self._held: dict[Link, list[tuple[GrpcStream, bytes]]] = {}
        """Frames that wait until offers are fetched: of no honest grid."""
        self._servers: list[grpc.aio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- serving ----------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1") -> None:
        """Serve both ports on free addresses."""
        credentials = Credentials(self.me, self.admitted, asks=not self.rules.admits_strangers())
        peer = PeerFace(self)
        server, port = await serve(
            f"{host}:0", credentials.server(), lambda s: s.add_generic_rpc_handlers((peer.handler(),))
        )
        self.peer = f"{host}:{port}"
        self._servers.append(server)
        server, port = await serve(f"{host}:0", public_credentials(self.me), self._add_public)
        self.public = await self.rules.front(self.me, f"{host}:{port}")
        self._servers.append(server)
        self.me.describe(*self.rules.own_endpoints(self.public, self.peer))
        self.rules.describes(self.me)
        self.buyer.routes.origins[self.me.fingerprint] = self.me.described
        self.spawn(self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            for link in self.links.values():
                link.tick()

    def _add_public(self, server: grpc.aio.Server) -> None:
        from intertie.v1.directory_pb2_grpc import add_DirectoryServiceServicer_to_server
        from intertie_conformance.grid.consumers import add_consumer_face

        add_DirectoryServiceServicer_to_server(Directory(self), server)
        if self.rules.links_in_public():
            server.add_generic_rpc_handlers((PeerFace(self).handler(),))
        add_consumer_face(server, self)

    async def stop(self) -> None:
        """End everything."""
        self.seller.stop()
        for task in self._tasks:
            task.cancel()
        for stream in list(self._by_stream):
            await stream.stop()
        await asyncio.gather(*(close_server(server) for server in self._servers))

    def spawn(self, work: Any) -> None:
        """Run in the background until the end."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- strangers (ports.PublicSide) -------------------------------------------------------------

    def descriptors(self, after_version: int) -> Sequence[bytes]:
        """The descriptor chain above a version."""
        return self.rules.serves_chain(self.me.chain, after_version)

    def proposed(self, request: dr.ProposeRequest) -> dr.ProposeResponse:
        """A stranger proposes: a sound proposal is accepted at once. Raises: Refusal."""
        described = self.rules.read_chain(list(request.descriptors))
        agreed = self.rules.read_agreement(request.agreement, described)
        self.rules.proposal_mine(agreed, self.me)
        self.rules.proposal_certificates(described)
        self.rules.proposal_pinned(described, self.peers)
        others = {peer.grid for peer in self.peers.values() if not self.rules.same_grid(peer, described)}
        pinned = {self.me.fingerprint, described.fingerprint, *self.peers}
        heard = {origin.grid for key, origin in self.buyer.routes.origins.items() if key not in pinned}
        self.rules.named(described, self.me.grid, others, heard)
        if self.rules.knows_proposal(agreed, self._accepted):
            return self.rules.answers_again(self._accepted[agreed.digest])
        self.rules.accepts(agreed, described, self.peers)
        sealed = self.rules.countersigned(request.agreement, self.me.key)
        answer = self._accepted[agreed.digest] = dr.ProposeResponse(state=dr.PROPOSAL_STATE_ACCEPTED, agreement=sealed)
        joined, wait = Agreed(agreed.message, agreed.payload, sealed), self.rules.ready_after_s()
        if wait:
            asyncio.get_running_loop().call_later(wait, self.join, described, joined)
        else:
            self.join(described, joined)
        return answer

    def name_of(self, fingerprint: bytes) -> str:
        """Name of a grid, its fingerprint in hexadecimal if that is unknown."""
        known = {self.me.fingerprint: self.me.grid, **{key: peer.grid for key, peer in self.peers.items()}}
        known |= {key: origin.grid for key, origin in self.buyer.routes.origins.items()}
        return known.get(fingerprint, fingerprint.hex())

    def consumer_asks(self) -> None:
        """A call of a consumer. Raises: Refusal if none is answered."""

    def join(self, peer: Described, agreed: Agreed) -> Link:
        """A peering stands: keep its link, and dial where the peer has an address."""
        self.peers[peer.fingerprint] = peer
        self.buyer.routes.origins.setdefault(peer.fingerprint, peer)
        link = Link(self.me, peer, agreed, self.rules, now_ms, self)
        self.rules.admits(self.links.values())
        self.links[link.genesis] = link
        if self.dials(link):
            self.spawn(self._keep(link))
        return link

    def dials(self, link: Link) -> bool:
        """Whether the peer of a link is dialled: where it has an address."""
        return bool(link.peer.addresses(ds.ENDPOINT_KIND_PEER))

    async def _keep(self, link: Link) -> None:
        address = link.peer.addresses(ds.ENDPOINT_KIND_PEER)[0]
        certificates = list(link.peer.message.certificates)
        while True:
            if link.phase is Phase.DOWN:
                dialled = await self._dial(link, address, certificates)
                if dialled and not self.rules.dials_again():
                    return
            await asyncio.sleep(self.rules.redials_after_s())

    async def _dial(self, link: Link, address: str, certificates: list[bytes]) -> bool:
        try:
            shown = await asyncio.to_thread(self.rules.trusted, address, certificates)
        except OSError:
            return False
        channel = peer_channel(address, self.me, link.peer.grid, shown)
        try:
            await asyncio.wait_for(channel.channel_ready(), 2.0)
        except (TimeoutError, grpc.aio.AioRpcError):
            await channel.close()
            return False
        stream = open_stream(channel, self._heard)
        self._by_stream[stream] = link
        link.dial(stream)
        self.spawn(self._close_after(stream, channel))
        return True

    async def _close_after(self, stream: GrpcStream, channel: grpc.aio.Channel) -> None:
        await stream.finished()
        self.ended(stream)
        await channel.close()

    # -- peers (ports.PeerSide) -------------------------------------------------------------------

    def admitted(self) -> list[bytes]:
        """Certificates of all peers."""
        return [der for peer in self.peers.values() for der in peer.message.certificates]

    def open_within_s(self) -> float:
        """Seconds that an accepted stream may stay silent."""
        return self.rules.open_within_s()

    def who(self, certificate: bytes) -> bytes:
        """Fingerprint of the peer with this certificate. Raises: Refusal UNKNOWN_PEER."""
        for peer in self.peers.values():
            if certificate in peer.message.certificates:
                return peer.fingerprint
        if self.rules.admits_strangers():
            return b""
        raise Refusal("UNKNOWN_PEER", "This certificate belongs to no peered grid.")

    def accepted(self, fingerprint: bytes, stream: GrpcStream, data: bytes) -> None:
        """A frame on a stream that a peer has dialled; the first one names its link."""
        link = self._by_stream.get(stream)
        if link is not None:
            self._heard(stream, data)
            return
        stream.writes_first = not self.rules.reads_while_writing()
        try:
            link = self._by_stream[stream] = self._name(fingerprint, data)
            self._share(link)
            self._heard(stream, data)
        except Refusal as refusal:
            said = self.rules.closes(refusal)
            if said is not None:
                stream.send(said)
            stream.close()

    def _share(self, link: Link) -> None:
        same = [other for other in self.links.values() if other.peer.fingerprint == link.peer.fingerprint]
        for other in same if self.rules.one_link() else ():
            if other is not link and other.stream is not None:
                other.refuse(other.stream, Refusal("SUPERSEDED", "Another link of this grid was opened."))

    def _name(self, fingerprint: bytes, data: bytes) -> Link:
        self.rules.frame_size(data)
        frame = self.rules.frame_payload(data)
        self.rules.first_frame(frame)
        opened = self.rules.open_payload(envelope.peek(frame.open).payload)
        return self.rules.link_named(opened, fingerprint, self.links)

    def _heard(self, stream: GrpcStream, data: bytes) -> None:
        link = self._by_stream[stream]
        if link in self._held:
            self._held[link].append((stream, data))
            return
        link.hear(stream, data)
        if link.peer.version > self.peers[link.peer.fingerprint].version:
            self.peers[link.peer.fingerprint] = link.peer
        known = self.buyer.routes.origins
        known[link.peer.fingerprint] = self.rules.newest(known.get(link.peer.fingerprint), link.peer)
        if link.fault is not None and link.stream is None:
            for other in self.rules.closes_with(link, list(self.links.values())):
                if other.stream is not None:
                    other.refuse(other.stream, link.fault)
        self.seller.admit(link)
        self.relay.heard(link)

    def ended(self, stream: GrpcStream) -> None:
        """A stream has ended."""
        link = self._by_stream.pop(stream, None)
        if link is not None:
            link.lost(stream)
        self._withdraw()

    def _withdraw(self) -> None:
        """Routes of links that are not open."""
        for link in self.links.values():
            if link.phase is not Phase.OPEN:
                self.buyer.routes.down(link)

    def refuses_transfer(self) -> Refusal:
        """Transfer is not built."""
        return self.rules.transfer()

    def offers_for(self, fingerprint: bytes, request: lk.SyncCatalogRequest) -> Sequence[lk.SyncCatalogResponse]:
        """Offers for a peer. Raises: Refusal UNKNOWN_GENESIS."""
        link = self.links.get(request.genesis)
        self.rules.sync_link(request, fingerprint, link)
        return self.rules.sync_answer(self.rules.sync_offers(request, self.offers, request.root in self._roots))

    # -- links (link.Handler) ---------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Tariff and advertisements."""
        self.buyer.routes.down(link)
        self.advertise(link)
        self.seller.reopened(link)
        self.buyer.resume(link)
        self.buyer.reopened(link)
        self.relay.opened(link)

    def advertise(self, link: Link) -> None:
        """A round of advertisements: the own origin, and what is sold on."""
        now, tariffs = now_ms(), link.logs.account.tariffs[ME]
        seq = next((s for s, t in tariffs.items() if t.expires_at > now + catalog.HOUR_MS // 2), 0)
        if not seq:
            seq = link.write(entry(K.ENTRY_KIND_TARIFF, tariff=self.rules.own_tariff(self.me, now)))
        self._epochs += 1
        root = self.rules.own_root(self.me, now, [offer.digest for offer in self.offers])
        self._roots.add(multihash(envelope.peek(root).payload))
        own = list(self.rules.own_round(link, root, seq, self._epochs))
        link.advertise(*own[:1], *self.relay.advertisements(link, self._epochs), *own[1:])
        self.seller.reopened(link)
        self.buyer.resume(link)

    def fact(self, link: Link, fact: Fact, data: bytes) -> None:
        """A valid entry of a peer."""
        entry, kind = fact.entry, fact.entry.kind
        if self.relay.fact(link, fact, data):
            return
        if kind == K.ENTRY_KIND_ORDER:
            self.seller.order(link, link.logs.account.holds[1, fact.seq], data)
        elif kind == K.ENTRY_KIND_GRANT:
            self.seller.grant(link, entry.grant.order_seq)
        elif kind == K.ENTRY_KIND_CANCEL:
            self.seller.cancel(link, entry.cancel.order_seq)
        elif kind == K.ENTRY_KIND_EXPIRE:
            self.seller.expire(link, entry.expire.order_seq)
        elif kind == K.ENTRY_KIND_CHARGE:
            self.buyer.charged(link, fact.seq, entry.charge)
        elif kind == K.ENTRY_KIND_REJECT:
            self.buyer.rejected(link, entry.reject)

    def event(self, link: Link, event: Event) -> None:
        """An event of a peer, as payer or as provider."""
        if self.relay.event(link, event):
            return
        if event.WhichOneof("body") in ("input_reply", "resume", "byte_credit"):
            self.seller.event(link, event)
        else:
            self.buyer.event(link, event)

    def advertised(self, link: Link, item: Advertisement) -> None:
        """A peer advertises an origin: fetch its offers."""
        route = self.buyer.routes.take(link, item, now_ms())
        if route is not None and link.peer.addresses(ds.ENDPOINT_KIND_PEER):
            self.spawn(self._fetch(route))

    async def _fetch(self, route: Route) -> None:
        routes, peer = self.buyer.routes, route.link.peer
        missing = [digest for digest in route.root.offers if digest not in routes.offers]
        if not missing:
            self.relay.learnt(route)
            return
        address = peer.addresses(ds.ENDPOINT_KIND_PEER)[0]
        if not self.rules.reaches(address):
            return
        have = [digest for digest in route.root.offers if digest in routes.offers]
        request = lk.SyncCatalogRequest(genesis=route.link.genesis, root=route.root_digest, have=have)
        if not self.rules.fetches_beside():
            self._held[route.link] = []
        try:
            items = await sync_catalog(address, self.me, peer, request)
        except grpc.aio.AioRpcError:  # the next advertisement brings another try
            return
        finally:
            for stream, data in self._held.pop(route.link, []):
                self._heard(stream, data)
        if self.rules.fetched_whole(any(item.WhichOneof("item") == "end" for item in items)):
            routes.fetched(route, [item.offer for item in items if item.WhichOneof("item") == "offer"])
            self.relay.learnt(route)
        for offer in list(routes.offers.values()):
            for url in self.rules.refers_to(offer):
                await fetch_url(url)
