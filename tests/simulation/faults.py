"""What goes wrong, one method for each kind of fault (see `plan.FAULTS`): each is applied when its time comes.

All of them end at the latest when the plan does (`Simulation._heal`).
"""

from __future__ import annotations

from typing import Any

from tests.simulation.node import Node, Trap, change
from tests.simulation.plan import FAULTS, Item
from tests.simulation.wire import Breaking, Repeater, Stream

from intertie_node.core.peering import PeeringAct
from intertie_node.services.describing import stating_time


class Faults:
    """The faults of a plan."""

    def __init__(self, sim: Any) -> None:
        self._sim = sim

    def schedule(self) -> None:
        """Have every fault of the plan happen at its time."""
        for item in self._sim.plan.faults:
            assert item.kind in FAULTS
            self._sim.at(item.at, lambda item=item: self._strike(item))
            if item.kind == "restore":
                self._sim.at(max(0, item.at - item.args["age"]), lambda item=item: self._copy(item))

    def _strike(self, item: Item) -> None:
        self._sim.coverage.struck(self._sim.now, item, self._sim.plan.peerings)
        getattr(self, "_" + item.kind)(**item.args)

    def _node(self, grid: int) -> Node:
        node = self._sim.grids[grid]
        assert isinstance(node, Node)
        return node

    def _streams(self, link: int) -> list[Stream]:
        found = self._sim.streams_of(link)
        assert all(isinstance(stream, Stream) for stream in found)
        return list(found)

    # -- links ------------------------------------------------------------------------------------

    def _cut(self, link: int, kind: int, amid: bool, noticed: int) -> None:
        for stream in self._streams(link):
            stream.break_at(Breaking("cut", kind, amid, noticed))

    def _half_open(self, link: int, side: int, kind: int, amid: bool) -> None:
        for stream in self._streams(link):
            stream.break_at(Breaking("half_open", kind, amid, 0, side))

    def _delay(self, link: int, ms: int, lasting: int) -> None:
        for stream in self._streams(link):
            stream.extra = ms
            self._sim.after(lasting, lambda stream=stream: setattr(stream, "extra", 0))

    def _partition(self, grids: list[int], lasting: int) -> None:
        part = frozenset(grids)
        self._sim.partitions.append(part)

        def heal() -> None:
            if part in self._sim.partitions:
                self._sim.partitions.remove(part)
            for stream in list(self._sim.streams):
                for end in stream.ends:
                    end.deliver()

        self._sim.after(lasting, heal)

    def _second_stream(self, link: int, side: int) -> None:
        peering = self._sim.plan.peerings[link]
        node = self._sim.grids[(peering.a, peering.b)[side]]
        if isinstance(node, Node) and node.alive:
            self._sim.dial(node, node.world.links[self._sim.genesis[link].hex()], second=True)

    def _repeat(self, link: int, side: int) -> None:
        """All that a grid has said on a stream is said again on another one, by a proxy that has gone mad.

        A restored grid is spared: what it has lost it learns from its peer's Open, which the transport proves fresh.
        """
        for stream in self._streams(link):
            said, hearer = stream.ends[side], stream.ends[1 - side].owner
            if isinstance(said.owner, Node) and isinstance(hearer, Node) and hearer.alive and not hearer.restored:
                again = self._sim.connect_grids(link, Repeater(said.owner), hearer)
                for number, frame in enumerate(said.said):
                    self._sim.after(3 * number, lambda again=again, frame=frame: again.send(frame))

    # -- processes --------------------------------------------------------------------------------

    def _crash(self, grid: int, down: int) -> None:
        self._node(grid).crash(down, silently=down % 3 == 2)

    def _crash_at(self, grid: int, point: str, kind: int, count: int, down: int) -> None:
        self._node(grid).trap = Trap(point, kind, count, down)

    def _copy(self, item: Item) -> None:
        node = self._node(item.args["grid"])
        node.copies[item.at] = self._sim.now, node.disk.copy()

    def _restore(self, grid: int, age: int, down: int) -> None:
        node = self._node(grid)
        node.crash(down)
        node.restore(int(self._sim.now))

    def _drain(self, grid: int, down: int) -> None:
        node = self._node(grid)
        if node.alive:
            node.world.draining = True
            node.after(500, lambda: node.crash(down))

    def _rotate(self, grid: int, what: str, keep: bool, down: int) -> None:
        """The node stops and comes back with a new signing key, and perhaps root, or with a new version alone."""
        node = self._node(grid)
        node.crash(down)
        if not node.alive:
            renewed = {"root": what == "root", "key": what != "certificate", "keep": keep}
            node.identity.rotate(stating_time(node.store, node.clock()), **renewed)

    def _freeze(self, grid: int, lasting: int) -> None:
        node = self._node(grid)
        node.frozen = True
        self._sim.after(lasting, node.thaw)

    def _slow_reader(self, grid: int, ms: int, lasting: int) -> None:
        node = self._node(grid)
        node.reading_ms = ms
        self._sim.after(lasting, lambda: setattr(node, "reading_ms", 0))

    # -- disks and clocks -------------------------------------------------------------------------

    def _slow_disk(self, grid: int, factor: int, lasting: int) -> None:
        node = self._node(grid)
        node.disk.factor = factor
        self._sim.after(lasting, lambda: setattr(node.disk, "factor", 1))

    def _full_disk(self, grid: int, down: int) -> None:
        node = self._node(grid)
        node.disk.full = True
        self._sim.after(down, lambda: setattr(node.disk, "full", False))

    def _jump(self, grid: int, ms: int, lasting: int, reboot: bool) -> None:
        node = self._node(grid)
        node.skew += ms

        def right() -> None:
            node.skew = node.plan.skew
            if reboot:
                node.crash(200)

        self._sim.after(lasting, right)

    # -- operators --------------------------------------------------------------------------------

    def _suspend(self, grid: int, link: int, lasting: int) -> None:
        node = self._node(grid)
        if link in node.peerings():
            name = self._sim.genesis[link].hex()
            change(node, name, PeeringAct.SUSPEND)
            self._sim.after(lasting, lambda: change(node, name, PeeringAct.RESUME))

    def _terminate(self, grid: int, link: int, acts: list[str], suspended: bool) -> None:
        """An operator does what may be refused, perhaps while the peering is suspended."""
        node = self._node(grid)
        if link in node.peerings():
            name = self._sim.genesis[link].hex()
            if suspended:
                change(node, name, PeeringAct.SUSPEND)
            for number, act in enumerate(acts, 1):
                self._sim.after(50 * number, lambda act=act: change(node, name, PeeringAct(act)))
