"""Selling to a consumer of the target: an order that it has placed in a shop, and what its consumer hears.

sale = await sold(stage, "ask")            # the target's consumer invokes, the order is here
sale.chunk(1, b"abc"); sale.finish(b"abc", 2)
await sale.ends("COMPLETED")
"""

from __future__ import annotations

from typing import Any

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.event_pb2 import Event
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.rules.proving import END_UNITS
from intertie_conformance.roles.client import Client, Items, client
from intertie_conformance.roles.shop import Shop
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.build import entry, event
from intertie_conformance.wire.digests import salted

K = pb.EntryKind


class Sale:
    """An order that the target has placed in a shop of the suite, and what its consumer hears of it."""

    def __init__(self, shop: Shop, me: Client, wanted: iv.Invocation, heard: Items, seq: int) -> None:
        self.shop = shop
        self.me = me
        self.wanted = wanted
        self.heard = heard
        self.seq = seq
        """Of the order, in the target's log."""

    @property
    def order(self) -> pb.Order:
        """The order."""
        return self.shop.hold(self.seq).order

    def orders_since(self) -> list[int]:
        """Seqs of orders that the target has placed in this shop, from this one on."""
        facts = self.shop.facts
        return [f.seq for f in facts if f.entry.kind == K.ENTRY_KIND_ORDER and f.seq >= self.seq]

    def said(self, kind: str) -> list[Event]:
        """What the target has said of the order: events of a kind."""
        return [e for e in self.shop.events if e.order_seq == self.seq and e.WhichOneof("body") == kind]

    # -- saying -----------------------------------------------------------------------------------

    def says(self, **body: Any) -> None:
        """Send an event of the order."""
        self.shop.say(event(**{"order_seq": self.seq, "at": now_ms(), **body}))
        self.shop.flush()

    def chunk(self, number: int, data: bytes = b"x") -> None:
        """Send a piece of output."""
        self.says(number=number, chunk={"payload": {"media_type": "text/plain", "data": data}})

    async def asks(self, number: int) -> None:
        """Ask for input, by a request and in an event of this number; returns once the consumer knows."""
        self.says(number=number, input_request={"request": number, "prompt": "?", "schema": b"{}"})
        await self.hears(number)

    def charge(self, output: bytes, **changes: Any) -> None:
        """Charge finally for how the order ended (IT-MTR-004), with a record of this output."""
        digest = salted(self.order.nonce, output) if output else b""
        state = changes.get("state", TASK_STATE_COMPLETED)
        usage = {END_UNITS[state]: 1}
        proof = self.shop.proof(self.seq, usage, output_digest=digest, state=state)
        self.shop.charge(self.shop.claim(self.seq, usage, proof=proof, **changes), result=False)

    def result(self, number: int) -> None:
        """Send a result without output."""
        self.says(number=number, result={"state": TASK_STATE_COMPLETED})

    def finish(self, output: bytes, number: int) -> None:
        """End COMPLETED: a final charge, and a result of this number behind the output that was streamed."""
        self.charge(output)
        self.result(number)

    def reject(self, reason: str, message: str = "no", **metadata: str) -> None:
        """Reject the order."""
        problem = {"reason": reason, "message": message, "metadata": metadata}
        self.shop.write(entry(K.ENTRY_KIND_REJECT, reject={"order_seq": self.seq, "problem": problem}))
        self.shop.flush()

    # -- what comes of it -------------------------------------------------------------------------

    async def hears(self, number: int) -> None:
        """Wait until the consumer has heard a durable event."""
        await self.heard.wait(lambda: any(e.number == number for e in self.heard.events()), f"event {number}")

    async def heard_by_target(self, kind: str, count: int = 1) -> list[Event]:
        """Wait for so many events of a kind from the target."""
        await self.shop.wait(lambda: len(self.said(kind)) >= count, f"{kind} from the target, {count} times")
        return self.said(kind)

    async def granted(self, amount: int) -> int:
        """Wait for a grant of this much or more; returns it."""
        await self.shop.wait(lambda: self.shop.hold(self.seq).granted >= amount, f"a grant of {amount} or more")
        return self.shop.hold(self.seq).granted

    async def ends(self, state: str, reason: str = "", seconds: float | None = None) -> iv.Outcome:
        """Expect this end."""
        return self.me.is_(await self.heard.outcome(seconds=seconds), state, reason)


async def sell(shop: Shop, name: str = "ask", value: object = None, **changes: Any) -> Sale:
    """Have a consumer of the target invoke an offer of a shop."""
    me, before = client(shop.stage), {fact.seq for fact in shop.facts}
    wanted = me.wants(shop.ref(name), value, **changes)
    heard = me.invoke(wanted)

    def orders() -> list[int]:
        return [f.seq for f in shop.facts if f.entry.kind == K.ENTRY_KIND_ORDER and f.seq not in before]

    await shop.wait(lambda: orders() or heard.over, "an order of the target")
    if not orders():
        await heard.finish()
        fail("an order of the target", heard.items)
    return Sale(shop, me, wanted, heard, orders()[0])


async def sold(stage: Stage, name: str = "ask", value: object = None, **changes: Any) -> Sale:
    """The same in a shop that other checks may use too: its link stays up."""
    return await sell(await stage.seller(), name, value, **changes)


async def sold_alone(stage: Stage, name: str = "ask", value: object = None, **changes: Any) -> Sale:
    """The same in a new shop, which may hang up."""
    return await sell(await (await stage.shop()).up(), name, value, **changes)
