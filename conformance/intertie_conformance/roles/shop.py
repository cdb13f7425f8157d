"""A scripted provider of the target: it listens, is dialled, advertises the conformance offers and is ordered from.

shop = await stage.shop()
bought = await shop.ordered("echo", {"x": 1})               # the target's consumer has called; the order is here
seq = shop.charge(shop.claim(bought.seq, {"order": 1}))     # a sound final charge, but for the changes
outcome = await bought.outcome()
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import invocation_pb2 as iv
from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.record_pb2 import RecordProof
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_conformance.grid import catalog
from intertie_conformance.grid.account import ME, THEM, Hold
from intertie_conformance.grid.identity import Identity, now_ms
from intertie_conformance.grid.link import Phase
from intertie_conformance.grid.ports import PeerFace, close_server
from intertie_conformance.grid.streams import GrpcStream
from intertie_conformance.roles.customer import invocation
from intertie_conformance.roles.goods import listen, prove, record
from intertie_conformance.roles.peer import Peer
from intertie_conformance.roles.target import Target
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import amounts
from intertie_conformance.wire.build import entry, event
from intertie_conformance.wire.digests import salted
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import Said

if TYPE_CHECKING:
    from intertie_conformance.stage import Stage

K = pb.EntryKind
LIST_S = 10.0
"""How long a target may take until it lists what was advertised over a new link."""
DIAL_S = 12.0
"""How long a target may take until it dials again."""


class Door:
    """The peer port of one shop (`ports.PeerSide`)."""

    def __init__(self, me: Identity, target: Target) -> None:
        self.me = me
        self.shop: Shop | None = None
        self._target = target
        self._early: list[tuple[GrpcStream, bytes]] = []
        self._server: grpc.aio.Server | None = None

    async def open(self, host: str) -> None:
        """Listen, and put the address into the own descriptor."""
        self._server = await listen(self.me, self, PeerFace(self), host)

    async def close(self) -> None:
        """Stop listening; idempotent."""
        server, self._server = self._server, None
        if server is not None:
            await close_server(server)

    def admitted(self) -> list[bytes]:
        """The target alone."""
        return list(self._target.described.message.certificates)

    def open_within_s(self) -> float:
        """A scripted provider waits for the target."""
        return 600.0

    def who(self, certificate: bytes) -> bytes:
        """The target. Raises: Refusal UNKNOWN_PEER."""
        if certificate not in self.admitted():
            raise Refusal("UNKNOWN_PEER", "This certificate is not the target's.")
        return self._target.described.fingerprint

    def accepted(self, fingerprint: bytes, stream: GrpcStream, data: bytes) -> None:
        """A frame of the target."""
        if self.shop is not None:
            self.shop.arrived(stream, data)
        else:
            self._early.append((stream, data))

    def enter(self, shop: Shop) -> None:
        """From now on frames go to the shop, those that came early first."""
        self.shop = shop
        for stream, data in self._early:
            if not stream.done.is_set():
                shop.arrived(stream, data)

    def ended(self, stream: GrpcStream) -> None:
        """A stream of the target has ended."""
        if self.shop is not None:
            self.shop.ended(stream)

    def refuses_transfer(self) -> Refusal:
        """Transfer is not built."""
        return Refusal("UNSUPPORTED_FEATURE", "Transfer is not built.", feature="transfer")

    def offers_for(self, fingerprint: bytes, request: lk.SyncCatalogRequest) -> Sequence[lk.SyncCatalogResponse]:
        """The conformance offers."""
        found = self.shop.offered.values() if self.shop is not None else ()
        wanted = [offer.data for offer in found if offer.digest not in request.have]
        return [*(lk.SyncCatalogResponse(offer=data) for data in wanted), lk.SyncCatalogResponse(end=len(wanted))]


class Bought:
    """An order that the target has placed for the suite's consumer."""

    def __init__(self, shop: Shop, wanted: iv.Invocation, call: asyncio.Task[iv.Outcome | Said], seq: int) -> None:
        self.shop = shop
        self.wanted = wanted
        self.call = call
        self.seq = seq
        """Seq of the order in the target's log."""

    @property
    def order(self) -> pb.Order:
        """The order."""
        return self.shop.logs.entry(THEM, self.seq).order

    async def outcome(self) -> iv.Outcome:
        """Wait for what the consumer is told. Raises: Failed if the call is refused or does not end."""
        try:
            said = await asyncio.wait_for(asyncio.shield(self.call), 20.0)
        except TimeoutError:
            fail("an outcome for the consumer", "nothing of the kind within 20 s")
        if isinstance(said, Said):
            fail("an outcome for the consumer", said)
        return said


class Shop(Peer):
    """One peering in which the target buys."""

    door: Door

    def setup(self, door: Door) -> None:
        """Furnish the shop."""
        self.door = door
        self.offered = {o.message.name: o for o in catalog.conformance_offers(self.me.fingerprint)}
        self._epoch = 0

    # -- streams ----------------------------------------------------------------------------------

    def arrived(self, stream: GrpcStream, data: bytes) -> None:
        """A frame of the target on a stream that it has dialled."""
        if stream is not self._now and not self.knows(stream):
            self.begin_on(stream)
        self._frame(stream, data)

    def ended(self, stream: GrpcStream) -> None:
        """A stream of the target has ended."""
        if stream is self._now and self.stream is not None:
            self.lost(self.stream)

    async def up(self) -> Shop:
        """Wait until the target has dialled and the link is open; then advertise, until it lists the offers."""
        await self.wait_dialled()
        await self.wait(lambda: self.phase is Phase.OPEN, "an open link that the target has dialled")
        self.sell()
        await self.stage.customer.expect_listed(self.ref("echo"), seconds=LIST_S)
        self.stage.saw("the target dialled, opened, and lists the suite's offers")
        return self

    async def serve(self, stage: Stage) -> None:
        """Serve a check, the first or a later one."""
        self.stage, self.spoiled, self.answers, self.judges = stage, False, True, True
        if self.door.shop is None:
            self.door.enter(self)
        if self.phase is not Phase.OPEN or not self._epoch:
            await self.up()

    def serves(self, stream: GrpcStream) -> bool:
        """Whether a stream is the present one."""
        return stream is self._now

    async def wait_dialled(self, seconds: float = DIAL_S) -> None:
        """Wait until the target has dialled."""
        from intertie_conformance.roles.waiting import until

        bound = self.stage.within(seconds)
        await until(lambda: self._now is not None and self.frames, "the target dials its peer", bound)

    async def leave(self) -> None:
        """End everything: the door is shut."""
        self.door.shop = None
        await super().leave()
        await self.door.close()

    def sell(self, **changes: Any) -> None:
        """Write a tariff and advertise the offers; `changes` replace fields of the tariff."""
        fields: dict[str, Any] = {
            "origin": self.me.fingerprint,
            "markup_num": 1,
            "markup_den": 1,
            "expires_at": now_ms() + catalog.HOUR_MS,
        }
        seq = self.write(entry(K.ENTRY_KIND_TARIFF, tariff={**fields, **changes}))
        self._epoch += 1
        root = catalog.seal_root(self.me, now_ms(), [offer.digest for offer in self.offered.values()])
        self.advertise(*catalog.advertisements(self.me, root, seq, self._epoch))
        self.flush()

    def ref(self, name: str) -> str:
        """The reference of a conformance offer."""
        return f"{self.me.grid}/conformance/{name}"

    # -- selling ----------------------------------------------------------------------------------

    async def ordered(self, name: str, value: object, **changes: Any) -> Bought:
        """Have the suite's consumer call an offer of this shop; returns once the order is here."""
        before = {fact.seq for fact in self.facts}
        wanted = invocation(self.ref(name), value, **changes)
        call = asyncio.create_task(self.stage.customer.run(wanted))

        def found() -> int:
            orders = (f.seq for f in self.facts if f.entry.kind == K.ENTRY_KIND_ORDER and f.seq not in before)
            return next(orders, 0)

        def refused() -> Said | None:
            done = call.result() if call.done() else None
            return done if isinstance(done, Said) else None

        await self.wait(lambda: found() or refused(), f"an order of the target for {self.ref(name)}")
        if not found():
            fail(f"an order of the target for {self.ref(name)}", refused())
        return Bought(self, wanted, call, found())

    def hold(self, seq: int) -> Hold:
        """The hold of an order of the target."""
        return self.logs.account.holds[THEM, seq]

    def claim(self, seq: int, usage: Mapping[str, int], final: bool = True, **changes: Any) -> pb.Charge:
        """A sound charge for an order, with a record that proves it, but for the changes."""
        prices = self.hold(seq).prices
        quantities = [usage.get(unit, 0) for unit, _, _ in prices]
        fields: dict[str, Any] = {
            "order_seq": seq,
            "quantities": quantities,
            "amount": amounts.charge(prices, quantities),
            "final": final,
        }
        if final:
            fields |= {"state": TASK_STATE_COMPLETED, "proof": self.proof(seq, usage)}
        return pb.Charge(**{**fields, **changes})

    def proof(self, seq: int, usage: Mapping[str, int], *, key: Key | None = None, **changes: Any) -> RecordProof:
        """The own signed record of an order, but for the changes."""
        order = self.hold(seq).order
        digest = salted(order.nonce, self.output(seq))
        made = record(self.me, order, usage, **{"output_digest": digest, **changes})
        return prove(made, self.me, key, made.executor)

    def output(self, seq: int) -> bytes:
        """What the shop answers to an order: its input."""
        return self.inputs.get(seq, b"")

    def charge(self, body: pb.Charge, *, result: bool = True) -> int:
        """Send a charge, a final one with the result; returns its seq."""
        if body.final and result:
            output = Payload(media_type="application/json", data=self.output(body.order_seq))
            said = {"state": body.state, "output": output}
            self.say(event(order_seq=body.order_seq, number=1, at=now_ms(), result=said))
        seq = self.write(entry(K.ENTRY_KIND_CHARGE, charge=body))
        self.flush()
        return seq

    async def expect_agreed(self, total: int, seconds: float | None = None) -> None:
        """Wait until the target has signed that it owes `total` in all and has acknowledged everything."""

        def signed() -> list[int]:
            said = [g.signature for g in self.logs.groups[THEM] if g.signature.acked >= self.logs.seq(ME)]
            return [int.from_bytes(s.agreed_total, "big", signed=True) for s in said]

        found = await self.wait(signed, "a signature that acknowledges all", seconds)
        if found[-1] != total:
            fail(f"a signed total of {total}", found[-1])
        self.stage.saw(f"the target signed a total of {total}")

    async def still_buys(self) -> None:
        """The positive control: an echo is ordered, charged, agreed and answered."""
        before = self.logs.account.agreed(THEM, self.logs.seq(ME))
        bought = await self.ordered("echo", {"control": 1})
        self.charge(self.claim(bought.seq, {"order": 1}))
        outcome = await bought.outcome()
        if outcome.state != TASK_STATE_COMPLETED:
            fail("COMPLETED for the consumer of a sound charge", f"{outcome.state} {outcome.problem.reason}")
        await self.expect_agreed(before + 10)
