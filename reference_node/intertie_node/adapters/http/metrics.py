"""Metrics in Prometheus' text format, and health, over HTTP."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from intertie.errors import IntertieError
from intertie_node.adapters.http.operators import Operators
from intertie_node.operator_api import Measures, PeeringView

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LANE_AMOUNTS: Final = ("posted", "pending", "agreed", "unagreed")


class NodeCollector(Collector):
    """The node's own metrics, read at each scrape."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators

    def collect(self) -> Iterable[Metric]:
        """All metrics of the node."""
        measures = self._operators.measures()
        yield from _counters(measures)
        yield GaugeMetricFamily("intertie_running", "Backends at work", measures.running)
        yield GaugeMetricFamily("intertie_offers", "Offers in the catalog", measures.offers)
        states = GaugeMetricFamily("intertie_invocations", "Invocations in memory by state", labels=["state"])
        for state, count in sorted(measures.invocations.items()):
            states.add_metric([state], count)
        yield states
        yield from _links(measures.links)


def _counters(measures: Measures) -> Iterator[Metric]:
    for name, help_text in (
        ("commits", "Durable transactions"),
        ("steps", "Steps of the engine"),
        ("frames_in", "Frames received from peers"),
        ("frames_out", "Frames sent to peers"),
    ):
        yield CounterMetricFamily(f"intertie_{name}", help_text, getattr(measures, name))


def _links(links: Iterable[PeeringView]) -> Iterator[Metric]:
    up = GaugeMetricFamily("intertie_link_up", "1 while the link is open", labels=["peer", "asset", "genesis"])
    entries = CounterMetricFamily("intertie_log_entries", "Entries of a log", labels=["peer", "genesis", "writer"])
    holds = GaugeMetricFamily("intertie_open_holds", "Open holds of a lane", labels=["peer", "genesis", "debtor"])
    labels = ["peer", "asset", "genesis", "debtor"]
    lanes = {
        name: GaugeMetricFamily(f"intertie_lane_{name}", f"What is {name} in a lane, minor units", labels=labels)
        for name in _LANE_AMOUNTS
    }
    for link in links:
        genesis = link.genesis[:12]
        up.add_metric([link.grid, link.asset, genesis], float(link.link == "open"))
        entries.add_metric([link.grid, genesis, "us"], link.own_entries)
        entries.add_metric([link.grid, genesis, "them"], link.their_entries)
        for debtor, lane in (("us", link.we_owe), ("them", link.they_owe)):
            holds.add_metric([link.grid, genesis, debtor], lane.open_holds)
            for name, family in lanes.items():
                family.add_metric([link.grid, link.asset, genesis, debtor], getattr(lane, name))
    yield from (up, entries, holds, *lanes.values())


class MetricsServer:
    """Serves `/metrics` and `/healthz`."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators
        self._registry = CollectorRegistry()
        collectors: tuple[Any, ...] = (ProcessCollector, PlatformCollector, GCCollector)
        for kind in collectors:
            kind(registry=self._registry)
        self._registry.register(NodeCollector(operators))
        app = web.Application()
        app.add_routes([web.get("/metrics", self._metrics), web.get("/healthz", self._health)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises: IntertieError INVALID_ARGUMENT if the address cannot be bound."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            message = f"{host}:{port} cannot be bound ({error.strerror}): change [listen] http, or end what uses it."
            raise IntertieError("INVALID_ARGUMENT", message) from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening; idempotent."""
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE})

    async def _health(self, request: web.Request) -> web.Response:
        """200 while calls are taken, 503 while the node drains."""
        state = self._operators.status().state
        return web.Response(text=f"{state}\n", status=200 if state == "serving" else 503)
