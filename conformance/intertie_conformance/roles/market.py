"""A scripted peer that sells: it advertises origins, serves their offers, works on orders as a check tells it.

market = await stage.market(); await market.up()
offer = market.offer("beads", prices=[("order", 10, 1)])
await market.open_market(offer)                # tariff and advertisements; the target lists the offer
fact = await market.expect_order()             # what the target orders for a consumer
market.deliver(fact)                           # a result and a proven final charge, honest but for the changes
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import grpc

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement, Offer, OriginRoute
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.record_pb2 import ExecutionRecord, RecordProof
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_conformance.grid.catalog import ASSET, HOUR_MS, Offered, seal_root
from intertie_conformance.grid.identity import Identity, now_ms
from intertie_conformance.grid.logs import Fact
from intertie_conformance.grid.ports import PeerFace, close_server
from intertie_conformance.grid.streams import GrpcStream
from intertie_conformance.roles.goods import listen, prove, record
from intertie_conformance.roles.peer import Peer
from intertie_conformance.roles.peerings import Peerings
from intertie_conformance.wire import envelope
from intertie_conformance.wire.amounts import Price
from intertie_conformance.wire.build import entry, event
from intertie_conformance.wire.digests import multihash, salted
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import abort

K = pb.EntryKind
Sync = Callable[[lk.SyncCatalogRequest], AsyncIterator[lk.SyncCatalogResponse]]
PRICES: Final[list[Price]] = [("order", 10, 1), ("order.failed", 2, 1), ("order.canceled", 5, 1)]
PATIENCE_S: Final = 10.0
SOON_MS: Final = 500
CONTENDED: Final = 5
"""How often a stream that the target has closed for one of its own is dialled again."""


class Door(PeerFace):
    """The peer port of a market: serves offers; takes no Link stream, the market dials itself."""

    def __init__(self, me: Identity) -> None:
        super().__init__(self)
        self.me = me
        self.market: Market
        self.asked: list[lk.SyncCatalogRequest] = []
        """Requests for offers."""

    def open_within_s(self) -> float:
        """Nobody opens a link here."""
        return PATIENCE_S

    def admitted(self) -> list[bytes]:
        """Certificates of the target."""
        return list(self.market.peer.message.certificates) if hasattr(self, "market") else []

    def who(self, certificate: bytes) -> bytes:
        """Whoever has passed TLS."""
        return b""

    def accepted(self, fingerprint: bytes, stream: GrpcStream, data: bytes) -> None:
        """Not reached."""

    def ended(self, stream: GrpcStream) -> None:
        """Not reached."""

    def refuses_transfer(self) -> Refusal:
        """Transfer is not built."""
        return Refusal("UNSUPPORTED_FEATURE", "Transfer is not built.", feature="transfer")

    def offers_for(self, fingerprint: bytes, request: lk.SyncCatalogRequest) -> Sequence[lk.SyncCatalogResponse]:
        """Not reached."""
        return ()

    async def _link(self, _: Any, context: Any) -> None:
        await abort(context, Refusal("PEER_UNAVAILABLE", "This grid dials by itself.", grid=self.me.grid))

    async def _sync(self, request: lk.SyncCatalogRequest, context: Any) -> AsyncIterator[lk.SyncCatalogResponse]:
        self.asked.append(request)
        async for item in self.market.sync(request):
            yield item


class Market(Peer):
    """A scripted peer with a peer port and offers."""

    door: Door
    server: grpc.aio.Server

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.roots: dict[bytes, tuple[Offered, ...]] = {}
        """Offers that are served, by the digest of their root."""
        self.sync: Sync = self.serve_offers
        """How SyncCatalog is answered."""
        self.epoch = 0
        self._version = 0
        self._taken: set[int] = set()

    async def up(self) -> Market:
        """As of every peer; a stream that gave way to one of the target's is dialled again."""
        self._taken, self.epoch, self.sync = set(), 0, self.serve_offers
        for _ in range(CONTENDED):
            try:
                await super().up()
                return self
            except Exception:
                if self.closed != "SUPERSEDED":
                    raise
                await asyncio.sleep(0.05)
        await super().up()
        return self

    # -- offers -----------------------------------------------------------------------------------

    def offer(self, name: str = "", origin: Identity | None = None, **changes: Any) -> Offered:
        """A sound offer, but for the changes; `prices` are (unit, num, den)."""
        prices: Sequence[Price] = changes.pop("prices", PRICES)
        fields: dict[str, Any] = {
            "kind": ct.OFFER_KIND_TOOL,
            "name": name or f"market/{self.stage.random.randrange(10**12)}",
            "description": "Sold by the suite.",
            "tags": ["suite"],
            "input_schema": b"{}",
            "asset": ASSET[0],
            "scale": ASSET[1],
            "charge_on": ct.CHARGE_ON_USAGE,
            "input_bytes": 16_384,
            "max_duration_ms": 600_000,
            "origin": (origin or self.me).fingerprint,
        }
        made = Offer(**{**fields, **changes})
        for unit, num, den in prices:
            made.prices.add(unit=unit, num=num, den=den)
        return Offered.of(made.SerializeToString())

    def root(self, *offers: Offered, origin: Identity | None = None, **changes: Any) -> bytes:
        """A signed root of offers, its version two above the one before; from now on they are served."""
        now = now_ms()
        self._version = max(self._version + 2, now)
        digests = {offer.digest for offer in offers}
        sealed = seal_root(origin or self.me, now, digests, **{"version": self._version, **changes})
        self.serve(sealed, *offers)
        return sealed

    def serve(self, sealed: bytes, *offers: Offered) -> None:
        """From now on these offers are served for a root."""
        self.roots[multihash(envelope.peek(sealed).payload)] = offers

    async def serve_offers(self, request: lk.SyncCatalogRequest) -> AsyncIterator[lk.SyncCatalogResponse]:
        """Every offer of the root that is not held, and the end."""
        wanted = [offer for offer in self.roots.get(request.root, ()) if offer.digest not in request.have]
        for offer in wanted:
            yield lk.SyncCatalogResponse(offer=offer.data)
        yield lk.SyncCatalogResponse(end=len(wanted))

    # -- advertising ------------------------------------------------------------------------------

    def tariff(self, origin: Identity | None = None, **changes: Any) -> int:
        """Write a tariff; returns its seq. `life_ms` is how long it stands."""
        expires = now_ms() + changes.pop("life_ms", HOUR_MS)
        fields = {"markup_num": 1, "markup_den": 1, "fee": 0, "expires_at": expires}
        body = pb.Tariff(origin=(origin or self.me).fingerprint, **{**fields, **changes})
        return self.write(entry(K.ENTRY_KIND_TARIFF, tariff=body))

    def route(self, root: bytes, tariff_seq: int, origin: Identity | None = None, **changes: Any) -> OriginRoute:
        """An honest route to an origin, but for the changes."""
        behind = [] if origin is None or origin is self.me else [origin]
        fields: dict[str, Any] = {
            "descriptors": (origin or self.me).chain,
            "root": root,
            "path": [self.me.fingerprint, *(grid.fingerprint for grid in behind)],
            "path_names": [self.me.grid, *(grid.grid for grid in behind)],
            "tariff_seq": tariff_seq,
        }
        return OriginRoute(**{**fields, **changes})

    def announce(self, *routes: OriginRoute, end: bool = True) -> None:
        """Send one round of advertisements."""
        self.epoch += 1
        self.advertise(*(Advertisement(epoch=self.epoch, route=route) for route in routes))
        if end:
            self.advertise(Advertisement(epoch=self.epoch, end=True))
        self.flush()

    async def open_market(self, *offers: Offered, origin: Identity | None = None, **tariff: Any) -> int:
        """Advertise offers of one origin under a tariff of their own; returns its seq once all are listed."""
        seq = self.tariff(origin, **tariff)
        self.announce(self.route(self.root(*offers, origin=origin), seq, origin))
        for offer in offers:
            await self.stage.customer.expect_listed(f"{(origin or self.me).grid}/{offer.message.name}", offer.digest)
        return seq

    async def expire(self, offer: Offered) -> None:
        """Advertise an offer under a tariff that ends soon; returns once it has ended."""
        self.announce(self.route(self.root(offer), self.tariff(life_ms=SOON_MS)))
        await self.expect_signed()
        await self.expect_alive()
        await asyncio.sleep(SOON_MS / 1_000 + 0.2)

    # -- working ----------------------------------------------------------------------------------

    def orders(self) -> list[Fact]:
        """Orders of the target that came on this stream."""
        return [fact for fact in self.facts if fact.entry.kind == K.ENTRY_KIND_ORDER]

    async def expect_order(self, seconds: float | None = None) -> Fact:
        """The next order of the target."""

        def found() -> Fact | None:
            return next((fact for fact in self.orders() if fact.seq not in self._taken), None)

        fact = await self.wait(found, "an order of the target for its consumer", seconds)
        assert fact is not None
        self._taken.add(fact.seq)
        self.stage.saw(f"the target ordered at entry {fact.seq}")
        return fact

    def record(self, order: pb.Order, used: Mapping[str, int], **changes: Any) -> ExecutionRecord:
        """An honest record of an order, but for the changes."""
        return record(self.me, order, used, **changes)

    def prove(self, made: bytes | ExecutionRecord, origin: Identity | None = None) -> RecordProof:
        """The proof of one record under a root of its own."""
        return prove(made, origin or self.me)

    def deliver(self, fact: Fact, output: bytes = b"{}", usage: Mapping[str, int] | None = None, **changes: Any) -> int:
        """Say a result and claim finally; returns the seq of the charge.

        `usage` defaults to one order. `changes` replace fields of the charge; `proof` None leaves it out.
        """
        order, used = fact.entry.order, {"order": 1} if usage is None else dict(usage)
        state = changes.get("state", TASK_STATE_COMPLETED)
        digest = salted(order.nonce, output) if output else b""
        result = {"state": state, "output": Payload(media_type="application/json", data=output)}
        self.say(event(order_seq=fact.seq, number=1, at=now_ms(), result=result))
        quantities = [used.get(line.unit, 0) for line in order.prices]
        amount = sum(-(-q * line.num // line.den) for q, line in zip(quantities, order.prices, strict=True))
        fields: dict[str, Any] = {
            "order_seq": fact.seq,
            "quantities": quantities,
            "amount": amount,
            "final": True,
            "state": state,
        }
        if "proof" not in changes:
            fields["proof"] = self.prove(self.record(order, used, state=state, output_digest=digest))
        body = pb.Charge(**{key: value for key, value in {**fields, **changes}.items() if value is not None})
        seq = self.write(entry(K.ENTRY_KIND_CHARGE, charge=body))
        self.flush()
        return seq


async def take_market(peerings: Peerings, **changes: Any) -> Market:
    """A market in good order; with changed terms always a new one. Raises: Failed, Unreachable."""
    if changes:
        return (await _make(peerings, 1, **changes))[0]
    async with peerings.filling:
        if not peerings.markets:
            peerings.markets.extend(await _make(peerings, peerings.batch))
        market: Market = peerings.markets.pop()
        return market


async def _make(peerings: Peerings, count: int, **changes: Any) -> list[Market]:
    doors = [await _door(peerings.identity(), peerings.host) for _ in range(count)]
    for _, server in doors:
        peerings.at_end(partial(close_server, server))
    made = await peerings.make([door.me for door, _ in doors], Market, **changes)
    markets = [peer for peer in made if isinstance(peer, Market)]
    for market, (door, server) in zip(markets, doors, strict=True):
        market.door, market.server, door.market = door, server, market
        market.home = peerings.markets
    return markets


async def _door(me: Identity, host: str) -> tuple[Door, grpc.aio.Server]:
    door = Door(me)
    return door, await listen(me, door, door, host)
