"""The faults that simulated worlds have found in the shipped modules (`FOUND.md`), as plants: each takes a fix back.

`make plant ARGS="--only found"` says how many seeds find each again.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.simulation.planting import CORE, SERVICES, Plant

REGRESSIONS = (5, 63, 64, 78, 93, 104, 210, 239, 251, 416, 844, 1784, 2529, 2724, 6362, 6847, 7163, 7424, 8423)
"""Worlds that have shown a fault of `FOUND.md`."""
WANTED = "return link.name not in self._grid.world.ended or not link.can_append or not link.settled"
FOUND: Mapping[str, Plant] = {
    "found: any stored id is the watermark": Plant(
        SERVICES + "consumers",
        'newest = max((store.newest_invocation_id(row[0]) for row in store.all_rows("accounts")), default="")',
        'newest = max((row[0] for row in store.all_rows("invocations")), default="")',
    ),
    "found: an order that is void when it is written": Plant(
        CORE + "placing",
        "fault = order_fault(order, lines, link.pair.next_at(now), terms.claim_window_ms, terms.max_hold_ms)",
        "fault = None",
    ),
    "found: a tariff that has expired when it is written": Plant(
        CORE + "routing",
        "tariffs, now = link.ledger.tariffs[ME], link.pair.next_at(fx.now)",
        "tariffs, now = link.ledger.tariffs[ME], fx.now",
    ),
    "found: a record that ends before it starts": Plant(
        CORE + "executing",
        "record.ended_at = max(now, sink.started_at)  # the clock may have been set back meanwhile",
        "record.ended_at = now",
    ),
    "found: a metering goes on after the end": Plant(CORE + "sinks", "if not inv.ended:", "if held:"),
    "found: no end to waiting for a result": Plant(
        CORE + "recovery",
        'world.at(patience + world.settings.grace_ms, "unknown", inv.key)',
        'inv.finished or world.at(patience + world.settings.grace_ms, "unknown", inv.key)',
    ),
    "found: a late reject is not told": Plant(
        CORE + "sources", "self._amend(world, inv, self.end, 0, fx)", "pass"
    ),
    "found: what was brought back stays": Plant(
        SERVICES + "consumers", 'self._world.at(fx.now + consuming.KEEP_ENDED_MS, "forget", key)', "pass"
    ),
    "found: a recalled order stays": Plant(
        SERVICES + "links", 'world.at(fx.now + 60_000, "forget", inv.key)', "pass"
    ),
    "found: frames of a closed stream are blamed": Plant(CORE + "grid", "if connection in link.left:", "if False:"),
    "found: a stream that begins with close is blamed": Plant(
        SERVICES + "links",
        'if frame.HasField("close"):  # its dialler has found meanwhile that another stream stands',
        "if False:",
    ),
    "found: a restored provider claims less than it had": Plant(
        CORE + "executing",
        "sink.usage |= {unit: max(quantity, sink.usage.get(unit, 0)) for unit, quantity in claimed.items()}",
        "pass",
    ),
    "found: a result overtakes lost events": Plant(
        CORE + "grid", "if event.number > inv.sink.after + 1:", "if False:"
    ),
    "found: a replaced key ends at the clock's time": Plant(
        SERVICES + "describing", "return max([now, *written, *agreed])", "return now"
    ),
    "found: a restart forgets the version of its root": Plant(SERVICES + "origins", "if own is not None:", "if False:"),
    "found: a restored grid keeps its first root": Plant(
        CORE + "routing",
        "lasts = min(max(FIRST_RENEWAL_MS, now - self.since), ROOT_LIFETIME_MS // 2)",
        "lasts = ROOT_LIFETIME_MS // 2",
    ),
    "found: a terminated link is never dialled": Plant(
        SERVICES + "links", WANTED, "return link.name not in self._grid.world.ended"
    ),
    "found: a settled terminated link is not dialled after a start": Plant(
        SERVICES + "links", WANTED, WANTED.replace("or not link.can_append ", "")
    ),
    "found: what the open batch has changed is forgotten": Plant(
        CORE + "world", "if inv.key in self._changed:", "if False:"
    ),
    "found: what was sent before a restart is not proven": Plant(
        CORE + "executing", "sink.hash(Event.FromString(data).chunk.payload.data)", "pass"
    ),
    "found: a refused end leaves a part unclaimed": Plant(
        CORE + "sources", "self.charge(world, inv, end.usage, fx)", "pass"
    ),
    "found: who listens while an end is being committed": Plant(
        CORE + "world",
        "if not inv.finished or (inv.source.order is None and inv.source.listening):",
        "if not inv.finished:",
    ),
    "found: what came back with its charges is worked off again": Plant(
        CORE + "executing", "if hold is None or not hold.claims:", "if True:"
    ),
    "found: a repeated id asks only known routes": Plant(
        CORE + "consuming",
        "link = next(world.unheard(), None)",
        "link = next((x for x in world.unheard() if any(x.name in key for key in world.catalog.routes)), None)",
    ),
    "found: a waiting order that is rejected keeps its room": Plant(
        CORE + "selling",
        "lane, most = link.ledger.lanes[THEM], link.terms.max_unagreed[THEM]",
        "lane, most = msgspec.structs.replace(link.ledger.lanes[THEM]), link.terms.max_unagreed[THEM]",
    ),
    "found: an order that came back is forgotten": Plant(
        SERVICES + "origins", "if name.startswith(ORPHAN):", "if False:"
    ),
}  # fmt: skip
"""Name → the mutation that takes the fix back."""
