"""Both ends of a target that relays: a scripted payer on one link, a scripted executor on another.

chain = await relayed.chain(stage)
passed = await chain.order("echo", {"x": 1})              # ordered upstream; the downstream order is here
chain.shop.charge(chain.shop.claim(passed.seq, {"order": 1}))
charge = await ordering.expect_charged(chain.payer, passed.above)
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION, Offer
from intertie.v1.metering_pb2 import PriceLine
from intertie.v1.task_pb2 import TASK_STATE_REJECTED
from intertie_conformance.grid.account import ME, THEM, Hold, State
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.link import Phase
from intertie_conformance.grid.streams import GrpcStream
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.roles.shop import DIAL_S, Door, Shop
from intertie_conformance.verdicts import Absent, Failed, fail
from intertie_conformance.wire import amounts, ids
from intertie_conformance.wire.build import entry, event
from intertie_conformance.wire.digests import salted
from intertie_conformance.wire.relays import Rate, rate

if TYPE_CHECKING:
    from intertie_conformance.roles.peerings import Peerings
    from intertie_conformance.stage import Stage

K = pb.EntryKind
AT_ONCE: Final = 4
"""Executors whose peerings are accepted together."""
DEADLINE_MS: Final = 20_000
ALONE: Final = "the target advertises no origin but itself and takes no order for another: it does not relay"


_DEAF: WeakSet[Peerings] = WeakSet()
"""Where the target has not dialled a peer that waited for it."""
_ALONE: WeakSet[Peerings] = WeakSet()
"""Where the target has been seen not to relay."""


class Executor(Shop):
    """A provider behind the target; its link stays up from check to check."""

    def setup(self, door: Door) -> None:
        """Furnish it: the conformance offers, one that is charged on completion, one without a price an order."""
        super().setup(door)
        whole = Offer.FromString(self.offered["conformance/echo"].data)
        whole.name, whole.charge_on = "suite/whole", CHARGE_ON_COMPLETION
        self.offered[whole.name] = Offered.of(whole.SerializeToString())
        plain = Offer.FromString(self.offered["conformance/meter"].data)
        plain.name = "suite/plain"
        del plain.prices[:]
        plain.prices.add(unit="llm.output.token", num=1, den=10)
        self.offered[plain.name] = Offered.of(plain.SerializeToString())

    def begin_on(self, stream: GrpcStream) -> None:
        """The target has dialled; the stream outlives the check."""
        super().begin_on(stream)
        self.stage.forgo(stream)

    async def declare(self, **limits: int) -> None:
        """Declare other limits in the next Open, and have the target dial again."""
        declared = self.rules.own_limits()
        for name, value in limits.items():
            setattr(declared, name, value)
        self.script.changes = {"limits": declared}
        if self._now is not None:
            await self.hang_up()
            self.frames.clear()

    async def ready(self) -> None:
        """Wait until the target has dialled, and sell; one that has not dialled before is waited for less."""
        peerings = self.stage.peerings
        try:
            await self.wait_dialled(self.stage.patience if peerings in _DEAF else DIAL_S)
        except Failed:
            _DEAF.add(peerings)
            raise
        await self.wait(lambda: self.phase is Phase.OPEN, "an open link that the target has dialled")
        self.sell()

    async def go_down(self) -> None:
        """End the link; returns once the target has noticed, which it shows by dialling again."""
        self.judges = False
        await self.hang_up()
        self.frames.clear()
        await self.wait_dialled()
        self.stage.saw("the target dialled again")

    async def come_back(self) -> None:
        """Let the link open again, with what the target wants to say."""
        await self.hang_up()
        self.judges = True
        self.frames.clear()
        await self.wait_dialled()
        await self.wait(lambda: self.phase is Phase.OPEN, "an open link that the target has dialled again")
        self.sell()

    @property
    def in_order(self) -> bool:
        """Whether the next check may go on with it."""
        settled = not self.logs.account.open(THEM) and self.logs.account.acked[THEM] == self.logs.seq(ME)
        return settled and not self.spoiled and not self.fault and self.phase is Phase.OPEN


_IDLE: WeakKeyDictionary[Peerings, list[Executor]] = WeakKeyDictionary()
_TURNS: WeakKeyDictionary[Peerings, asyncio.Lock] = WeakKeyDictionary()


async def executors(stage: Stage, count: int, **terms: Any) -> list[Executor]:
    """New executors; their links are not up yet."""
    peerings = stage.peerings
    doors = [Door(peerings.identity(), stage.target) for _ in range(count)]
    for door in doors:
        await door.open(stage.target.suite.host)
        stage.target.ends.append(door.close)
    made: list[Executor] = []
    for shop in await peerings.make([door.me for door in doors], Executor, **terms):
        assert isinstance(shop, Executor)
        shop.setup(doors[len(made)])
        shop.stage = stage
        shop.door.enter(shop)
        made.append(shop)
    return made


async def executor(stage: Stage, *, limits: Mapping[str, int] | None = None, **terms: Any) -> Executor:
    """An executor whose link is up and that sells; with changed terms or limits always a new one."""
    if terms or limits:
        (shop,) = await executors(stage, 1, **terms)
        shop.spoiled = True
        if limits:
            await shop.declare(**limits)
    else:
        idle = _IDLE.setdefault(stage.peerings, [])
        async with _TURNS.setdefault(stage.peerings, asyncio.Lock()):
            if not idle:
                idle.extend(await executors(stage, min(AT_ONCE, stage.target.suite.peers)))
            shop = idle.pop()
    shop.stage = stage
    stage.at_end(lambda passed: _leave(stage.peerings, shop, passed))
    if not shop.logs.of_kind(ME, K.ENTRY_KIND_TARIFF):
        await shop.ready()
    return shop


async def _leave(peerings: Peerings, shop: Executor, passed: bool) -> None:
    shop.answers = shop.judges = True
    if passed and shop.in_order:
        _IDLE[peerings].append(shop)
    else:
        await shop.leave()


class Passed:
    """One order upstream, and the one that the target has placed for it."""

    def __init__(self, chain: Chain, above: int, seq: int) -> None:
        self.chain = chain
        self.above = above
        """Seq of the order in the payer's log."""
        self.seq = seq
        """Seq of the order in the target's log with the executor."""

    @property
    def upstream(self) -> pb.Order:
        """What the payer has ordered."""
        return self.chain.payer.logs.entry(ME, self.above).order

    @property
    def order(self) -> pb.Order:
        """What the target has ordered."""
        return self.chain.shop.logs.entry(THEM, self.seq).order

    @property
    def rate(self) -> Rate:
        """How amounts convert between both, by the tariffs that they name."""
        upstream = self.chain.payer.logs.account.tariffs[THEM][self.upstream.tariff_seq]
        downstream = self.chain.shop.logs.account.tariffs[ME][self.order.tariff_seq]
        return rate(upstream, downstream, len(self.upstream.prices))

    @property
    def hold(self) -> Hold:
        """The downstream hold."""
        return self.chain.shop.hold(self.seq)

    @property
    def hold_above(self) -> Hold:
        """The upstream hold."""
        return self.chain.payer.logs.account.holds[ME, self.above]

    @property
    def is_open(self) -> bool:
        """Whether the upstream order still runs."""
        return self.hold_above.state is State.OPEN


class Chain:
    """A payer and an executor with the target between them."""

    def __init__(self, stage: Stage, payer: Peer, shop: Executor) -> None:
        self.stage = stage
        self.payer = payer
        self.shop = shop

    async def known(self) -> None:
        """Wait until the target advertises the executor's origin to the payer under the newest tariff."""
        origin = self.shop.me.fingerprint
        await self.payer.wait(lambda: origin in self.payer.routes, "the executor's origin advertised to the payer", 10)

    @property
    def tariff(self) -> tuple[int, pb.Tariff]:
        """(seq, tariff) that the target advertises to the payer for the executor's origin."""
        seq = self.payer.routes[self.shop.me.fingerprint].tariff_seq
        return seq, self.payer.logs.account.tariffs[THEM][seq]

    async def reprice(self, **changes: Any) -> None:
        """Sell under another tariff; wait until the target's own has followed."""
        before, _ = self.tariff
        self.shop.spoiled = True
        self.shop.sell(**changes)
        await self.payer.wait(lambda: self.tariff[0] != before, "a tariff that follows the executor's", 10)

    async def sell_again(self) -> None:
        """Sell as at first, after a tariff without a markup; wait until the target's own has followed."""
        self.shop.sell()
        await self.payer.wait(lambda: self.tariff[1].markup_num > 0, "a tariff that follows the executor's", 10)

    def make(self, name: str, value: object, **changes: Any) -> tuple[pb.Order, bytes]:
        """A sound upstream order of an offer of the executor, but for the changes, and its input."""
        wanted = self.shop.offered[name if "/" in name else f"conformance/{name}"]
        data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        seq, _ = self.tariff
        nonce = os.urandom(16)
        fields: dict[str, Any] = {
            "id": ids.make_id(now_ms()),
            "offer_digest": wanted.digest,
            "tariff_seq": seq,
            "max_charge": 1_000,
            "grant": 1_000,
            "deadline": now_ms() + DEADLINE_MS,
            "hop_limit": 4,
            "path": [self.payer.me.grid],
            "nonce": nonce,
            "input": {"media_type": "application/json", "digest": salted(nonce, data), "size": len(data)},
        }
        priced_by = self.payer.logs.account.tariffs[THEM][changes.get("tariff_seq", seq)]
        lines = amounts.under_tariff(wanted.prices, priced_by.markup_num, priced_by.markup_den, priced_by.fee)
        fields["prices"] = [PriceLine(unit=unit, num=num, den=den) for unit, num, den in lines]
        return pb.Order(**{**fields, **changes}), data

    def send(self, name: str, value: object, **changes: Any) -> int:
        """Order upstream; returns the seq."""
        made, data = self.make(name, value, **changes)
        seq = self.payer.write(entry(K.ENTRY_KIND_ORDER, order=made), data)
        self.payer.flush()
        return seq

    async def order(self, name: str, value: object, **changes: Any) -> Passed:
        """Order upstream; returns once the downstream order is here. Raises: Failed."""
        above = self.send(name, value, **changes)
        return Passed(self, above, await self.passed_on(above))

    def below(self, above: int) -> list[int]:
        """Seqs of the downstream orders for an upstream one."""
        nonce = self.payer.logs.entry(ME, above).order.nonce
        found = self.shop.logs.of_kind(THEM, K.ENTRY_KIND_ORDER)
        return [seq for seq, said in found if said.order.nonce == nonce]

    async def passed_on(self, above: int, seconds: float | None = None) -> int:
        """Wait for the downstream order of an upstream one; returns its seq. Raises: Failed, also for a reject."""

        def rejected() -> str:
            for fact in self.payer.facts:
                if fact.entry.kind == K.ENTRY_KIND_REJECT and fact.entry.reject.order_seq == above:
                    return fact.entry.reject.problem.reason or "a reject"
            return ""

        what = f"a downstream order for order {above}"
        await self.shop.wait(lambda: self.below(above) or rejected(), what, seconds)
        if not self.below(above):
            fail(what, f"a reject: {rejected()}")
        self.stage.saw(f"the target ordered downstream what order {above} asks for")
        return self.below(above)[0]

    # -- ends -------------------------------------------------------------------------------------

    def reject(self, passed: Passed, reason: str, message: str = "", **metadata: str) -> None:
        """The executor refuses."""
        problem = {"reason": reason, "message": message, "metadata": metadata}
        result = {"state": TASK_STATE_REJECTED, "problem": problem}
        self.shop.write(entry(K.ENTRY_KIND_REJECT, reject={"order_seq": passed.seq, "problem": problem}))
        self.shop.say(event(order_seq=passed.seq, at=now_ms(), result=result))
        self.shop.flush()

    async def end(self, passed: Passed) -> pb.Charge:
        """The executor claims one order, done; returns what the payer is charged."""
        self.shop.charge(self.shop.claim(passed.seq, {"order": 1}))
        return await ordering.expect_charged(self.payer, passed.above)

    async def still_relays(self) -> None:
        """The positive control: an echo is passed on, done, charged and agreed on both links."""
        charge = await self.end(await self.order("echo", {"control": 1}))
        if charge.quantities[0] != 1:
            fail("one order charged", list(charge.quantities))
        await self.settled()

    async def settled(self) -> None:
        """Wait until the target has acknowledged everything that the executor wrote."""
        await self.shop.expect_signed()


async def require_relaying(payer: Peer, shop: Executor) -> None:
    """Probe a target that has not advertised what it could sell on. Raises: Absent if it honestly does not relay.

    It does not if it advertises no origin but itself, and rejects an order for what it was told of.
    """
    if set(payer.routes) != {payer.peer.fingerprint}:
        return
    foreign = shop.offered["conformance/echo"].digest
    fact = await ordering.end_of(payer, await ordering.order(payer, "echo", {}, offer_digest=foreign))
    if fact.entry.reject.problem.reason in ("OFFER_UNKNOWN", "PRICE_CHANGED"):
        _ALONE.add(payer.stage.peerings)
        raise Absent(ALONE)


async def chain(stage: Stage, *, payer: Peer | None = None, shop: Executor | None = None, **terms: Any) -> Chain:
    """A payer and an executor, both up; `terms` change the payer's peering. Raises: Failed, Absent."""
    if stage.peerings in _ALONE:
        raise Absent(ALONE)
    above = payer or await stage.peer(**terms)
    if above.phase is not Phase.OPEN:
        await above.up()
    behind = shop or await executor(stage)
    made = Chain(stage, above, behind)
    try:
        await made.known()
    except Failed:
        await require_relaying(above, behind)
        raise
    return made


def margin_ms(chain: Chain) -> int:
    """2 × the greater max skew of both links."""
    return 2 * max(chain.payer.terms.max_skew_ms, chain.shop.terms.max_skew_ms)
