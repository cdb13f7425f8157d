"""Nodes in this process on loopback sockets, and a consumer who says exactly what a test wants."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from intertie.errors import IntertieError
from intertie.grpc_status import from_rpc_error
from intertie.ids import make_uuid7
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.account_pb2_grpc import AccountServiceStub
from intertie.v1.catalog_pb2_grpc import CatalogServiceStub
from intertie.v1.invocation_pb2_grpc import InvocationServiceStub
from intertie_node import config
from intertie_node.adapters.grpc.tls import make_certificate, to_pem
from intertie_node.app import Node
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.core.opening import Phase
from intertie_node.core.peering import PeeringAct
from intertie_node.services import identity
from intertie_node.services.peerings import Offered

PATIENCE_S = 10.0
BUDGET = 10**9
TERMS: dict[str, Any] = {
    "asset": "XTS",
    "scale": 6,
    "our_credit_limit": 10**9,
    "their_credit_limit": 10**9,
    "our_max_unagreed": 10**9,
    "their_max_unagreed": 10**9,
    "claim_window_ms": 60_000,
    "max_skew_ms": 1_000,
    "max_open_holds": 4_096,
    "max_hold_ms": 86_400_000,
}
_CONFIG = """\
[grid]
name = "{name}"

[listen]
public = "127.0.0.1:{ports[0]}"
peer = "127.0.0.1:{ports[1]}"
loopback = "127.0.0.1:{ports[2]}"

[relay]
allow = {relay}
tolerated_outage_ms = 500

[peering]
max_skew_ms = 1000

[[backend]]
type = "conformance"
"""
_PYTHON = """
[[backend]]
type = "python"
offer = "{offer}"
target = "{file}:{offer}"
prices = {{ order = 10, "order.failed" = 2, "order.canceled" = 5, "sim.step" = 1 }}
"""


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return int(time.time() * 1000)


def new_id(at: int | None = None) -> str:
    """A UUIDv7 of now, or of a time."""
    return make_uuid7(now_ms() if at is None else at, os.urandom(10))


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing uses."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def until(what: str, test: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    """Return the first true value of `test`. Raises: TimeoutError naming `what`."""
    end = time.monotonic() + seconds
    while not (value := test()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.01)
    return value


class LiveNode:
    """A node and what a test asks of it."""

    def __init__(self, name: str, folder: Path, *, relay: bool = False, offers: tuple[str, ...] = (), extra: str = ""):
        self.name = name
        self.ports = free_ports(3)
        identity.create(folder / "keys", name, make_certificate)
        text = _CONFIG.format(name=name, ports=self.ports, relay=str(relay).lower())
        file = Path(__file__).with_name("bad_backends.py")
        text += "".join(_PYTHON.format(offer=offer, file=file) for offer in offers)
        self._make = lambda: Node(config.decode(text + extra, folder), folder)
        self.node = self._make()
        self.token = ""

    @property
    def public(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def peer_port(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    @property
    def loopback(self) -> str:
        return f"127.0.0.1:{self.ports[2]}"

    @property
    def certificate(self) -> bytes:
        return self.node.identity.certificate

    async def start(self) -> None:
        await self.node.start()
        self.token = await self.node.create_token("alice", BUDGET)

    async def stop(self, drain_s: float = 10) -> None:
        await asyncio.wait_for(self.node.stop(drain_s), 20)

    async def start_again(self) -> None:
        """Start the same grid once more, after `stop`."""
        self.node = self._make()
        await self.node.start()

    def check(self) -> None:
        """Raises: what stopped the engine, if anything has."""
        for task in self.node._tasks:
            if task.done():
                task.result()
                raise AssertionError(f"{task.get_name()} has ended")

    def link(self, fingerprint: bytes) -> Link:
        return next(x for x in self.node.world.links.values() if x.peer.fingerprint == fingerprint)

    def is_open(self, fingerprint: bytes) -> bool:
        return self.link(fingerprint).phase is Phase.OPEN

    async def knows(self, ref: str) -> None:
        """Wait until an offer can be ordered."""
        await until(f"{self.name} knows {ref}", lambda: ref in self.node.world.catalog._by_ref)

    def check_books(self) -> None:
        """What the books say of each link is what its ledger says."""
        balances = self.node.world.books.balances
        for name, link in self.node.world.links.items():
            debits, credits_ = balances.get((f"receivable/{name}", "XTS"), (0, 0))
            assert debits - credits_ == link.ledger.lanes[THEM].posted
            debits, credits_ = balances.get((f"payable/{name}", "XTS"), (0, 0))
            assert credits_ - debits == link.ledger.lanes[ME].posted

    def consumer(self, token: str | None = None) -> Consumer:
        """A consumer on the loopback port."""
        return Consumer(grpc.aio.insecure_channel(self.loopback), self.token if token is None else token)

    def secure_consumer(self) -> Consumer:
        """A consumer on the public port, by TLS."""
        credentials = grpc.ssl_channel_credentials(to_pem([self.certificate]))
        options = (("grpc.ssl_target_name_override", self.name),)
        return Consumer(grpc.aio.secure_channel(self.public, credentials, options=options), self.token)


async def peer(one: LiveNode, other: LiveNode, **terms: Any) -> None:
    """Peer two nodes and wait for their link."""
    proposal = await one.node.peerings.offer_peering(other.public, None, Offered(**{**TERMS, **terms}))
    await until("the proposal arrives", lambda: proposal.digest in other.node.peerings.proposals)
    await other.node.peerings.decide(proposal.digest, PeeringAct.ACCEPT)
    await until("the peering stands", lambda: other.node.world.fingerprint in one.node.world.executors)
    await until("the link opens", lambda: one.is_open(other.node.world.fingerprint))


async def refused(work: Awaitable[Any]) -> IntertieError:
    """The named error by which a call is refused."""
    try:
        answer = await asyncio.wait_for(work, PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    except IntertieError as error:
        return error
    raise AssertionError(f"not refused: {answer}")


class Consumer:
    """Says what it is told over a channel."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.channel = channel
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.invocations: Any = InvocationServiceStub(channel)
        self.catalog: Any = CatalogServiceStub(channel)
        self.accounts: Any = AccountServiceStub(channel)

    async def __aenter__(self) -> Consumer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    @staticmethod
    def request(offer: str, data: bytes = b"{}", **fields: Any) -> iv.Invocation:
        """An invocation, sound but for what is said."""
        made = iv.Invocation(**{"id": new_id(), "offer": offer, "max_charge": 1_000, **fields})
        made.input.media_type, made.input.data = "application/json", data
        return made

    async def call(self, request: iv.Invocation, seconds: float = PATIENCE_S) -> iv.Outcome:
        """Call and wait for the outcome."""
        answer = await self.invocations.Call(
            iv.CallRequest(invocation=request), metadata=self.metadata, timeout=seconds
        )
        outcome: iv.Outcome = answer.outcome
        return outcome

    async def get(self, invocation: str) -> iv.InvocationStatus:
        """One invocation as it stands."""
        request = iv.InvocationServiceGetRequest(id=invocation)
        status: iv.InvocationStatus = (await self.invocations.Get(request, metadata=self.metadata)).status
        return status

    def stream(self) -> Stream:
        """A new Stream."""
        return Stream(self.invocations.Stream(metadata=self.metadata))


class Stream:
    """A consumer's Stream: frames out, items in."""

    def __init__(self, call: Any) -> None:
        self.raw = call
        self.items: list[iv.InvocationEvent] = []

    async def say(self, **fields: Any) -> None:
        """Send a frame."""
        await self.raw.write(iv.StreamRequest(**fields))

    async def read(self) -> list[iv.InvocationEvent]:
        """The next frame's items. Raises: IntertieError when the stream has ended."""
        frame = await asyncio.wait_for(self.raw.read(), PATIENCE_S)
        if frame is grpc.aio.EOF:
            raise AssertionError(f"the stream has ended: {await self.raw.code()}")
        assert frame.ByteSize() <= 256 * 1024
        self.items.extend(frame.events)
        return list(frame.events)

    async def outcome(self, invocation: str) -> iv.Outcome:
        """Read until the outcome of an invocation."""
        while True:
            for item in self.items:
                if item.id == invocation and item.HasField("outcome"):
                    return item.outcome
                assert item.id != invocation or not item.HasField("refused"), item.refused
            await self.read()

    def chunks(self, invocation: str) -> list[tuple[int, bytes]]:
        """(number, bytes) of the pieces of output that were read."""
        events = [item.event for item in self.items if item.id == invocation and item.HasField("event")]
        return [(event.number, event.chunk.payload.data) for event in events if event.HasField("chunk")]

    async def error(self) -> IntertieError:
        """How the stream ended."""
        while True:
            try:
                frame = await asyncio.wait_for(self.raw.read(), PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error)
            assert frame is not grpc.aio.EOF, "the stream ended well"
