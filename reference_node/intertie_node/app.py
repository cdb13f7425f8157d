"""The composition of a node: the only place that knows core, services and adapters together (design §4)."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from intertie.descriptors import verify_chain, verify_history
from intertie.ids import make_uuid7
from intertie.registry import LIMITS, LINK_FEATURES
from intertie.v1 import link_pb2 as lk
from intertie_node.adapters import backends
from intertie_node.adapters.backends.schema import check_input
from intertie_node.adapters.grpc.peer import PeerDialler, PeerFace
from intertie_node.adapters.grpc.servers import Servers
from intertie_node.adapters.grpc.strangers import DirectoryCalls
from intertie_node.adapters.grpc.tls import PeerCredentials
from intertie_node.adapters.http.admin import AdminServer
from intertie_node.adapters.http.metrics import MetricsServer
from intertie_node.adapters.storage import DirectoryLock, SqliteStore
from intertie_node.config import Config, Terms
from intertie_node.core.books import Account
from intertie_node.core.catalog import KnownOffer, known_offer
from intertie_node.core.grid import Grid
from intertie_node.core.link import OwnSide
from intertie_node.core.recovery import load_invocations
from intertie_node.core.work import (
    CloseLink,
    FetchOffers,
    GiveInput,
    ReadEntries,
    ReadEvents,
    RecallOrder,
    StartWork,
    StopWork,
)
from intertie_node.core.world import Settings, World
from intertie_node.operator_api import SOCKET_NAME, Amount, TokenRequest
from intertie_node.ports import Backend, OfferSpec
from intertie_node.services import describing, identity, rotation
from intertie_node.services.clock import wall_clock
from intertie_node.services.consumers import ConsumerDesk
from intertie_node.services.engine import Engine
from intertie_node.services.links import LinkService
from intertie_node.services.offering import build_offer
from intertie_node.services.operators import OperatorDesk, Parts
from intertie_node.services.peerings import Offered, PeeringDesk
from intertie_node.services.runner import Runner
from intertie_node.services.waiting import durable

log = logging.getLogger(__name__)
DATABASE = "node.sqlite3"
TICK_S = 0.1
RETIRE_S = 3_600.0
DRAIN_S = 10.0


class Node:
    """One node: made from a configuration and a data directory, started, stopped."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self._lock = DirectoryLock(folder)
        self._lock.acquire()
        try:
            self._build()
        except BaseException:
            self._lock.release()
            raise

    def _build(self) -> None:
        config = self.config
        self.store = SqliteStore(self.folder / DATABASE)
        chain = self._describe()
        descriptor = verify_chain(chain)
        keys = {k.key.key_id: k.key for k in verify_history(chain).signing_keys}
        limits = lk.Limits(
            frame_bytes=LIMITS["frame_bytes"].default,
            inline_bytes=LIMITS["inline_bytes"].default,
            input_bytes=config.limits.input_bytes,
            orders=config.limits.orders,
            hops=config.limits.hops,
        )
        own = OwnSide(
            fingerprint=descriptor.fingerprint,
            grid=config.grid.name,
            key=self.identity.signing,
            keys=keys,
            descriptors=chain,
            limits=limits,
            features=LINK_FEATURES,
        )
        self.world = World(own, descriptor, _settings(config), self.identity.secret, check_input)
        self.grid = Grid(self.world, lambda: secrets.token_bytes(16))
        self.engine = Engine(self.grid, self.store, wall_clock, self._perform)
        submit = self.engine.submit
        self.runner = Runner(self.grid, submit)
        self.credentials = PeerCredentials(
            (self.identity.tls_key, self.identity.certificate), lambda: self.peerings.pins.admitted(), self._overlap
        )
        self.links = LinkService(self.grid, self.store, PeerDialler(self.credentials), submit)
        self.peerings = PeeringDesk(self.grid, self.store, self.links, DirectoryCalls(), submit)
        self.consumers = ConsumerDesk(self.grid, self.store, submit, config.limits.retention_ms)
        face = PeerFace(self.links, self.peerings.pins.who, self.peerings.offers)
        self.servers = Servers(self.credentials, face, self.consumers, self.peerings)
        self._backends: list[Backend] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.ports: dict[str, int] = {}
        self.operators = self._operator_desk()
        self.admin = AdminServer(self.operators, self.folder / SOCKET_NAME)
        self.metrics = MetricsServer(self.operators)
        self.started_at = wall_clock()
        self._work: dict[Any, Callable[[Any], None]] = {
            StartWork: self.runner.start,
            StopWork: self.runner.stop,
            GiveInput: self.runner.give,
            ReadEvents: self.links.read_events,
            ReadEntries: self.links.read_entries,
            RecallOrder: self.links.recall,
            FetchOffers: self.links.fetch_offers,
            CloseLink: self.links.close,
        }

    def _operator_desk(self) -> OperatorDesk:
        path = self.folder / DATABASE
        parts = Parts(
            world=self.world,
            store=self.store,
            read_apart=lambda: closing(SqliteStore(path)),
            engine=self.engine,
            runner=self.runner,
            links=self.links,
            peerings=self.peerings,
            consumers=self.consumers,
            calls=DirectoryCalls(),
            defaults=_defaults(self.config),
            ports=self.ports,
        )
        return OperatorDesk(parts)

    def _perform(self, work: Any) -> None:
        self._work[type(work)](work)

    def _describe(self) -> list[bytes]:
        """Load the keys; returns the descriptor chain, grown by a version if the configuration says something new."""
        chain, now = describing.stored_chain(self.store), describing.stating_time(self.store, wall_clock())
        rotation.settle(self.folder / "keys", chain)
        self.identity = identity.load(self.folder / "keys")
        grown = describing.describe(self.identity, describing.facts(self.config), chain, now)
        if grown != chain:
            describing.keep_chain(self.store, grown, now)
        return grown

    def _overlap(self) -> identity.KeyPair | None:
        """The certificate before the last rotation, presented until every peer knows the new one, or it expires."""
        previous = self.identity.previous
        if previous is None or self.peerings.pins.all_met() or not describing.lasts(previous[1], wall_clock()):
            return None
        return previous

    # -- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring state back, start backends, then listen and dial."""
        self._load_books()
        self.peerings.load()
        offers = await self._start_backends()
        self.engine.submit(lambda fx: self.grid.set_offers(offers, fx))
        rows = self.store.active_invocations()
        self.engine.submit(lambda fx: load_invocations(self.world, rows, fx))
        self._tasks.append(asyncio.create_task(self.engine.run(), name="engine"))
        self._tasks.append(asyncio.create_task(self._tick(), name="tick"))
        self._tasks.append(asyncio.create_task(self._retire(), name="retire"))
        await self.admin.start()
        listen = self.config.listen
        self.ports["peer"] = await self.servers.start_peer(str(listen.peer))
        self.ports["public"] = await self.servers.start_public(str(listen.public))
        if listen.loopback is not None:
            self.ports["loopback"] = await self.servers.start_loopback(str(listen.loopback))
        if listen.http is not None:
            self.ports["http"] = await self.metrics.start(listen.http.host, listen.http.port)
        self.peerings.start()
        await self.servers.serving(True)

    def _load_books(self) -> None:
        books = self.world.books
        for row in self.store.all_rows("accounts"):
            books.accounts[row[0]] = account = Account(*row)
            books.by_token[account.token_hash] = account.name
        for name, asset, debits, credits_ in self.store.all_rows("balances"):
            books.balances[name, asset] = [debits, credits_]

    async def _start_backends(self) -> list[KnownOffer]:
        offers = []
        terms = self.config.offers()
        for table in self.config.backend:
            backend = backends.create(table)
            self._backends.append(backend)
            for spec in await backend.start():
                offers.append(self._offer(spec, terms[spec.name]))
                self.runner.serve(spec.name, backend)
        return offers

    def _offer(self, spec: OfferSpec, terms: Terms) -> KnownOffer:
        data = build_offer(spec, terms, self.config, self.world.fingerprint)
        return known_offer(self.world.fingerprint, self.config.grid.name, data)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.engine.submit(self.grid.tick)

    async def _retire(self) -> None:
        """Drop durable events that have passed their retention (design §9)."""
        while True:
            before = make_uuid7(wall_clock() - self.config.limits.retention_ms, bytes(10))[:13]
            await asyncio.to_thread(self.store.prune_events, before)
            await asyncio.sleep(RETIRE_S)

    async def wait(self) -> None:
        """Wait until something has failed. Raises: what stopped the engine."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Take no more work, finish or hand back what runs, make everything durable, close.

        Also after a failure, and after a start that failed half-way. `drain_s` is how long running work may
        take to end; what has not ended by then is taken up again, or ended, by the next start.
        """
        self.world.draining = True
        await self.servers.serving(False)
        await asyncio.gather(self.runner.drain(drain_s), self.consumers.drain(drain_s))
        if self._tasks and not self._tasks[0].done():
            await durable(self.engine.submit, lambda fx: None)
        await self.admin.stop()
        await self.peerings.stop()
        await self.servers.stop(1.0)
        await self.links.stop()
        await self.metrics.stop()
        self.engine.stop()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for backend in self._backends:
            await backend.stop()
        self.store.close()
        self._lock.release()

    async def create_token(self, account: str, budget: int) -> str:
        """A new bearer token for an account with a budget in minor units; shown once, stored as a hash."""
        return (await self.operators.create_token(TokenRequest(account, Amount(budget)))).token


def _settings(config: Config) -> Settings:
    relay = config.relay
    return Settings(
        asset=config.asset.name,
        scale=config.asset.scale,
        place=config.grid.place,
        relay=relay.allow,
        markup_num=relay.markup.numerator,
        markup_den=relay.markup.denominator,
        fee=relay.fee,
        share=(relay.share.numerator, relay.share.denominator),
        tolerated_outage_ms=relay.tolerated_outage_ms,
        hop_limit=config.limits.hops,
        max_input_bytes=config.limits.input_bytes,
    )


def _defaults(config: Config) -> Offered:
    terms = config.peering
    return Offered(
        asset=config.asset.name,
        scale=config.asset.scale,
        our_credit_limit=terms.credit_limit,
        their_credit_limit=terms.credit_limit,
        our_max_unagreed=terms.max_unagreed,
        their_max_unagreed=terms.max_unagreed,
        claim_window_ms=terms.claim_window_ms,
        max_skew_ms=terms.max_skew_ms,
        max_open_holds=terms.max_open_holds,
        max_hold_ms=terms.max_hold_ms,
    )
