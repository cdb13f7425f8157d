"""How entries of each kind come about between the three grids, at each of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from tests.federation.judge import entries, read
from tests.federation.kit import NodeProcess, Trio, until
from tests.federation.traffic import Caller, Made, call, work

from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1.task_pb2 import TaskState
from intertie_node.ports import ME

SOUTH, HUB = "south.example", "hub.example"
CALLS: Final = (
    *(f"{SOUTH}/once",) * 4,
    *(f"{HUB}/once",) * 3,
    *(f"{SOUTH}/metered",) * 2,
    *(f"{SOUTH}/conformance/echo",) * 2,
    f"{SOUTH}/plain",
)
"""Of these, only the last is lost for certain if the node that works on it crashes."""
Provoke = Callable[["Scene"], Awaitable[None]]


class Scene:
    """A trio with a consumer, and the node that is to crash."""

    def __init__(self, trio: Trio, target: NodeProcess, client: Caller, made: Made) -> None:
        self.trio = trio
        self.target = target
        self.client = client
        self.made = made

    @property
    def payer(self) -> tuple[NodeProcess, NodeProcess]:
        """(payer, provider) of a link that the target is on."""
        trio = self.trio
        return (trio.north, trio.hub) if self.target is trio.north else (trio.hub, trio.south)

    @property
    def spoilt(self) -> str:
        """The offer whose work is claimed dishonestly on that link."""
        return f"{SOUTH}/spoilt-by-{self.payer[1].name}"

    async def finally_run(self) -> None:
        """The target has ended at its crash point: start it again."""
        await self.target.crashed()
        self.target.start()
        await self.trio.connected()


async def calls(scene: Scene) -> None:
    """Calls through the relay and over one link."""
    await asyncio.gather(*(work(scene.client, scene.made, ref) for ref in CALLS))


async def streams(scene: Scene) -> None:
    """Streams priced by the byte, of which little is granted at first."""
    await asyncio.gather(
        call(scene.client, scene.made, f"{SOUTH}/stream", {"chunks": 8}, first_grant=60),
        call(scene.client, scene.made, f"{SOUTH}/metered", {"steps": 8}, first_grant=60),
        calls(scene),
    )


async def cancels(scene: Scene) -> None:
    """Work that is stopped on the way."""
    delay = f"{SOUTH}/conformance/delay"

    async def stop() -> bool:
        ids = [id for id, ref in scene.made.refs.items() if ref == delay]
        status = await scene.client.cancel(ids[-1])
        return status.state in (TaskState.TASK_STATE_CANCELED, TaskState.TASK_STATE_COMPLETED)

    async def stopping() -> None:
        await asyncio.sleep(0.3)
        with contextlib.suppress(IntertieError):
            await until("the work is stopped", lambda: _patient(stop), 30)

    await asyncio.gather(call(scene.client, scene.made, delay, {"ms": 6_000}), stopping(), calls(scene))


async def _patient(act: Callable[[], Awaitable[bool]]) -> bool:
    try:
        done = await act()
    except IntertieError:
        done = False
    if not done:
        await asyncio.sleep(0.1)
    return done


async def rejects(scene: Scene) -> None:
    """Work that is refused before it begins."""
    await asyncio.gather(call(scene.client, scene.made, f"{SOUTH}/conformance/refuse"), calls(scene))


async def credits_(scene: Scene) -> None:
    """The provider takes back part of a charge."""
    payer, provider = scene.payer
    await calls(scene)

    async def charged() -> tuple[str, int] | None:
        books = read(provider)
        link = next(link for link, name in books.peerings.items() if name == payer.name)
        orders = [
            entry.charge.order_seq
            for entry in (pb.Entry.FromString(data) for _, data, _ in books.logs.get((link, ME), []))
            if entry.kind == pb.ENTRY_KIND_CHARGE and entry.charge.amount > 0
        ]
        return (link, orders[-1]) if orders else None

    link, order = await until("there is a charge", charged)
    with contextlib.suppress(OSError, ValueError):  # it may end before it answers
        await provider.ask("credit", link=link, order=order, amount=1)


async def refuses(scene: Scene) -> None:
    """A claim whose proof does not hold."""
    await asyncio.gather(call(scene.client, scene.made, scene.spoilt), calls(scene))


async def withdraws(scene: Scene) -> None:
    """The payer takes such a refusal back."""
    payer, provider = scene.payer
    await call(scene.client, scene.made, scene.spoilt)

    async def refused() -> tuple[str, int] | None:
        books = read(payer)
        link = next(link for link, name in books.peerings.items() if name == provider.name)
        log = [pb.Entry.FromString(data) for _, data, _ in books.logs.get((link, ME), [])]
        seqs = {e.refuse.entry_seq for e in log if e.kind == pb.ENTRY_KIND_REFUSE and e.refuse.rule != "CHARGE_EXPIRED"}
        seqs -= {e.withdraw.entry_seq for e in log if e.kind == pb.ENTRY_KIND_WITHDRAW}
        return (link, max(seqs)) if seqs else None

    link, entry = await until("there is a refusal", refused)
    with contextlib.suppress(OSError, ValueError):
        await payer.ask("withdraw", link=link, entry=entry)


async def expires(scene: Scene) -> None:
    """A provider that is gone until the payer's claim window has passed."""
    payer, provider = scene.payer
    absent = provider
    made, client = scene.made, scene.client
    doomed = asyncio.create_task(call(client, made, f"{SOUTH}/once", {"ms": 400}, seconds=1.2))
    await until("the order has arrived", lambda: _ordered(provider))
    absent.kill()

    async def expired() -> bool:
        books = read(payer)
        log = [pb.Entry.FromString(data) for _, data, _ in entries(books, provider.name, ME)]
        orders = {seq for seq, e in enumerate(log, 1) if e.kind == pb.ENTRY_KIND_ORDER}
        ended = {e.expire.order_seq for e in log if e.kind == pb.ENTRY_KIND_EXPIRE}
        return payer.code is not None or max(orders) in ended

    await until("the payer expires the order", expired)
    absent.start(absent.crash)
    await doomed


async def _ordered(provider: NodeProcess) -> bool:
    rows = read(provider).invocations
    return any(row[3] and row[2] == TaskState.TASK_STATE_WORKING for row in rows)


async def tariffs(scene: Scene) -> None:
    """The relay changes its price: it writes tariffs for both of its peers."""
    hub = scene.trio.hub
    hub.markup += 1
    hub.configure()
    hub.kill()
    hub.start(hub.crash)
    await calls(scene)


PROVOKE: Final[dict[str, Provoke]] = {
    "tariff": tariffs,
    "order": calls,
    "grant": streams,
    "cancel": cancels,
    "reject": rejects,
    "charge": calls,
    "credit": credits_,
    "refuse": refuses,
    "withdraw": withdraws,
    "expire": expires,
}
"""Kind of entry → what brings it about; `agreement` comes with the first opening alone."""
