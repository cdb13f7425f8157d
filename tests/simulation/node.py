"""An honest grid of a simulated world: the shipped core, desks and order of commit and speak over a simulated disk.

What the asyncio shell does, this does with events of the virtual clock: wake up when there is something to do,
compute, launch, have the rows written, land. A crash ends a life: nothing of it but the disk is met again.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from tests.kit.identities import limits
from tests.kit.sim_node import SimNode
from tests.simulation.disk import Disk
from tests.simulation.plan import GridPlan
from tests.simulation.runs import PRICES, Run
from tests.simulation.wire import End

from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import CHARGE_ON_COMPLETION, CHARGE_ON_USAGE, OFFER_KIND_TOOL, Offer
from intertie_node.core.books import Account
from intertie_node.core.catalog import KnownOffer, known_offer
from intertie_node.core.effects import Changes, Effects
from intertie_node.core.opening import Phase
from intertie_node.core.peering import PeeringAct, PeeringState, after
from intertie_node.core.work import FetchOffers, GiveInput, StartWork, StopWork
from intertie_node.core.world import Settings
from intertie_node.ports import StoreFailure
from intertie_node.services.consumers import ConsumerDesk
from intertie_node.services.turns import Step, Turns

RETENTION_MS = 7 * 24 * 3_600_000
LONG_TARIFF_MS = 3_600_000
TICK_MS, DRAIN_TICK_MS, RARE_TICK_MS = 100, 400, 7_000
FIRST_RETRY_MS, LAST_RETRY_MS = 100, 5_000
PROBE = "probe"
"""An account with a budget for everything."""


class Crash(Exception):  # noqa: N818 - it is what is meant to happen
    """The process ends here, as a fault says."""


class Trap:
    """A crash that waits for a point of the order, and for an entry of some kind (0: any batch)."""

    def __init__(self, point: str, kind: int, count: int, down: int) -> None:
        self.point, self.kind, self.count, self.down = point, kind, count, down

    def springs(self, point: str, kinds: set[int]) -> bool:
        """Whether the process ends at this point of a batch with entries of these kinds."""
        if point != self.point or (self.kind and self.kind not in kinds):
            return False
        self.count -= 1
        return self.count <= 0


class Node(SimNode):
    """One honest grid."""

    def __init__(self, sim: Any, index: int, plan: GridPlan) -> None:
        settings = Settings(
            relay=True,
            fee=plan.fee,
            markup_num=plan.markup[0],
            markup_den=plan.markup[1],
            tariff_lifetime_ms=plan.tariff_ms,
            event_credit=plan.event_credit,
        )
        super().__init__(sim, f"g{index:02}.example", settings, limits())
        self.sim = sim
        self.index = index
        self.plan = plan
        self.disk = self.store = Disk()
        self.backends = dict.fromkeys(PRICES, Run)  # type: ignore[assignment]
        self.skew = plan.skew
        self.alive = False
        self.frozen = False
        self.life = 0
        self.restored = False
        self.copies: dict[int, tuple[float, Disk]] = {}
        """By the time of the fault that puts it back: (when it was made, copy)."""
        self.trap: Trap | None = None
        self.reading_ms = 0
        self.runs: dict[str, Run] = {}
        self._rng = Random(f"node {sim.plan.seed} {index}")
        self._woken = False
        self._dial_at: dict[str, float] = {}
        self._dial_delay: dict[str, int] = {}

    # -- life -------------------------------------------------------------------------------------

    def clock(self) -> int:
        """This node's time, right or wrong."""
        return int(self.sim.start + self.sim.now) + self.skew

    def after(self, ms: float, act: Callable[[], None]) -> None:
        """Have `act` happen later, if this life still lasts."""
        life = self.life

        def later() -> None:
            if self.life == life and self.alive:
                act()

        self.sim.after(ms, later)

    def boot(self) -> None:
        """Start, or start again from the disk."""
        if self.alive:
            return
        self.life += 1
        self.alive, self.frozen, self._woken = True, False, False
        self.runs = {}
        self._dial_at, self._dial_delay = {}, {}
        first = not self.store.tables["accounts"]
        try:
            super().boot()
            self.consumers = ConsumerDesk(self.grid, self.store, self.submit, RETENTION_MS, self.clock)
        except Exception as error:
            self.sim.judge.stopped(self, error)
            raise
        if first:
            budgets = {f"a{n}": budget for n, budget in enumerate(self.plan.budgets)} | {PROBE: 10**12}
            for name, budget in budgets.items():
                account = Account(name, f"{self.index} {name}".encode(), budget)
                self.submit(lambda fx, account=account: self.world.books.put_account(account))  # type: ignore[misc]
        self.sim.booted(self)
        self.after(self._rng.random() * TICK_MS, self._tick)

    def make_turns(self) -> Turns:
        """The shipped order, with the points at which a fault may end the process."""
        return Turns(self.grid, self.clock, self._perform, lambda: 0.0, self._reach)

    def submit(self, step: Step) -> None:
        """Have a step run in the next batch."""
        self.turns.inbox.append(step)
        self._wake()

    def own_offer(self, name: str) -> KnownOffer:
        """One of the offers that every honest grid has."""
        offer = Offer(kind=OFFER_KIND_TOOL, name=name, asset="XTS", scale=6, origin=self.fingerprint)
        offer.charge_on = CHARGE_ON_COMPLETION if name == "whole" else CHARGE_ON_USAGE
        offer.features.extend(["idempotent"] if name == "echo" else [])
        for unit in sorted(PRICES[name]):
            offer.prices.add(unit=unit, num=PRICES[name][unit][0], den=PRICES[name][unit][1])
        return known_offer(self.fingerprint, self.identity.grid, offer.SerializeToString(deterministic=True))

    def digests(self) -> list[bytes]:
        """Digests of this grid's offers."""
        return [self.own_offer(name).digest for name in PRICES]

    def crash(self, down: float, silently: bool = False) -> None:
        """The process ends; it comes back after `down` milliseconds."""
        if not self.alive:
            return
        self.sim.note(self, "crash")
        self.alive, self.trap = False, None
        self.life += 1
        self.sim.died(self, silently)
        self.sim.after(down, self._revive)

    def _revive(self) -> None:
        if not self.alive and not self.disk.full:
            self.boot()
        elif self.disk.full:
            self.sim.after(500, self._revive)

    def restore(self, at: int) -> None:
        """The disk becomes what was copied for a fault at that time; the process must be down.

        Later copies are of a past that is given up now: they are no older copies of this disk.
        """
        made, copy = self.copies.pop(at, (0.0, None))
        if copy is None or self.alive:
            return
        self.copies = {fault: kept for fault, kept in self.copies.items() if kept[0] <= made}
        self.sim.judge.restored(self, copy)
        copy.factor = self.disk.factor
        self.disk = self.store = copy
        self.restored = True

    def heal(self) -> None:
        """Faults are over, tariffs that expire soon among them."""
        self.skew, self.reading_ms, self.trap = self.plan.skew, 0, None
        self.settings = msgspec.structs.replace(self.settings, tariff_lifetime_ms=LONG_TARIFF_MS)
        self.world.settings = self.settings
        self.disk.full, self.disk.factor = False, 1
        self.thaw()
        self._revive()
        for late in (0, 3_000):  # what was decided before may become durable only now
            self.sim.after(late, self._resume)

    def _resume(self) -> None:
        for name in list(self.desk.states) if self.alive else ():
            change(self, name, PeeringAct.RESUME)

    def thaw(self) -> None:
        """The process goes on after a pause."""
        if self.frozen:
            self.frozen = False
            for stream in list(self.sim.streams):
                for end in stream.ends:
                    end.deliver()

    def peerings(self) -> list[int]:
        """Indices of this grid's peerings."""
        return [n for n, p in enumerate(self.sim.plan.peerings) if self.index in (p.a, p.b)]

    # -- the order of commit and speak ------------------------------------------------------------

    def _wake(self) -> None:
        if not self._woken and self.alive:
            self._woken = True
            self.after(self._rng.random(), self._turn)

    def _guarded(self, act: Callable[[], None]) -> None:
        if self.frozen:
            self.after(50, lambda: self._guarded(act))
            return
        try:
            act()
        except (Crash, StoreFailure):
            self.crash(self.trap.down if self.trap else 1_000)
        except Exception as error:
            self.sim.judge.stopped(self, error)
            raise

    def _turn(self) -> None:
        self._guarded(self._take_turn)

    def _take_turn(self) -> None:
        self._woken = False
        if self.turns.ready:
            self.sim.steps += len(self.turns.inbox)
            self.turns.compute()
        if self.turns.open is not None and self.turns.flying is None:
            self._launch()

    def _launch(self) -> None:
        changes = self.turns.launch()
        if changes is not None:
            self.sim.judge.computed(self, [name for (name,) in changes.puts.get("links", ())])
            takes = (0.4 + self._rng.random() * 2) * self.disk.factor
            self.after(takes, lambda: self._guarded(lambda: self._write(changes)))
        elif self.turns.inbox:
            self._wake()

    def _write(self, changes: Changes) -> None:
        self.disk.commit(changes)
        for row in changes.appends.get("entries", ()):
            kind = pb.Entry.FromString(row[3]).kind
            self.sim.coverage.written(self.sim.now, self.index, self.sim.peering_of(row[0]), kind)
        self.sim.judge.committed(self, changes)
        self.after(self._rng.random() * 0.3 * self.disk.factor, lambda: self._guarded(self._land))

    def _land(self) -> None:
        self.turns.landed()
        if self.turns.open is not None:
            self._launch()
        if self.turns.inbox:
            self._wake()

    def _reach(self, point: str, effects: Effects) -> None:
        trap = self.trap
        if trap is not None:
            kinds = kinds_of(effects.changes)
            if trap.springs(point, kinds):
                self.sim.coverage.hit(f"crash {point}", kinds)
                raise Crash

    def sending(self, kinds: tuple[int, ...]) -> None:
        """A frame is about to be said. Raises: Crash after an earlier one, if a fault says so."""
        if self.trap is not None and self.trap.springs("amid_sends", set(kinds)):
            self.sim.coverage.hit("crash amid_sends", kinds)
            raise Crash

    # -- time -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if not self.frozen:
            self.submit(self.grid.tick)
            self._dial_what_is_down()
        self.after(RARE_TICK_MS if self.sim.lull else DRAIN_TICK_MS if self.sim.over else TICK_MS, self._tick)

    def _dial_what_is_down(self) -> None:
        """What `LinkService` does with a task a link: dial, and wait longer each time."""
        now = self.sim.now
        for link in self.world.links.values():
            name = link.name
            if link.phase is Phase.OPEN:
                self._dial_delay[name] = FIRST_RETRY_MS
            elif link.phase is Phase.DOWN and self.links.wanted(link) and now >= self._dial_at.get(name, 0):
                delay = self._dial_delay.get(name, FIRST_RETRY_MS)
                self._dial_at[name] = now + delay * (0.7 + 0.6 * self._rng.random())
                self._dial_delay[name] = min(LAST_RETRY_MS, delay * 2)
                self.sim.dial(self, link)

    # -- streams ----------------------------------------------------------------------------------

    def hear(self, end: End, frame: bytes) -> None:
        """A frame has arrived."""
        if self.alive and end.life == self.life:
            self.links.frame(end, frame)  # type: ignore[arg-type]

    def stream_lost(self, end: End) -> None:
        """A stream has gone."""
        self.links.lost(end)  # type: ignore[arg-type]

    # -- work of the core -------------------------------------------------------------------------

    def _start(self, work: StartWork) -> None:
        self.sim.judge.started(self, work)
        run = self.runs[work.invocation] = Run(self, work, lambda key: self.runs.pop(key, None) and None)
        self.after(0, run.advance)

    def _stop(self, work: StopWork) -> None:
        run = self.runs.get(work.invocation)
        if run is not None:
            run.stop(work)

    def _give(self, work: GiveInput) -> None:
        """An input reply for a run."""
        run = self.runs.get(work.invocation)
        if run is not None:
            run.give(work)

    def _fetch(self, work: FetchOffers) -> None:
        link = self.world.links[work.link]
        peer = self.sim.grid_of(link.peer.fingerprint)

        def answer() -> None:
            try:
                received = self.sim.offers_of(self, peer, work)
                offers = self.links._checked(work, received)
            except IntertieError:
                self.after(1_000, answer)
                return
            self.submit(lambda fx: self.grid.offers_fetched(offers, fx))

        self.after(5 + self._rng.random() * 20, answer)


def kinds_of(changes: Changes) -> set[int]:
    """Kinds of the entries that a batch writes, own and received."""
    return {pb.Entry.FromString(row[3]).kind for row in changes.appends.get("entries", ())}


def change(node: Node, link: str, act: PeeringAct) -> None:
    """What an operator's `PeeringDesk.change` does: the row first, the state once it is durable."""
    if not node.alive:
        return
    try:
        state = after(node.desk.states[link], act)
    except IntertieError:
        return

    def step(fx: Effects) -> None:
        node.desk.pins.put(link, fx, state=state)
        fx.reply(lambda value: node.desk._set_state(link, value), PeeringState(state))

    node.submit(step)
