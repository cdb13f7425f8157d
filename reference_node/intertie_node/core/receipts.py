"""What a consumer is told at the end: the outcome and its receipt (design §9; RFC 0009, section 3.13)."""

from intertie.v1.invocation_pb2 import InvocationEvent, Receipt
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import HOLD_STATE_CHARGED
from intertie_node.core.invocations import End, Invocation
from intertie_node.core.sinks import OrderSink
from intertie_node.core.world import World


def last_item(inv: Invocation) -> InvocationEvent:
    """The last item of an invocation, its outcome to be filled in place."""
    last = InvocationEvent(id=inv.spec.id)
    last.outcome.id, last.outcome.state = inv.spec.id, inv.state  # type: ignore[assignment]
    return last


def fill_receipt(receipt: Receipt, world: World, inv: Invocation, end: End, amount: int) -> None:
    """Write an empty receipt, in place: it carries the proof, which is large.

    `amount` is the cumulative charge under the consumer's prices, minor units (RFC 0009, section 3.13).
    """
    receipt.charge, receipt.asset, receipt.scale = amount, world.settings.asset, world.settings.scale
    path: tuple[str, ...] = (world.own.grid,)
    for unit, quantity in sorted(end.usage.items()):
        if quantity:
            receipt.usage.add(unit=unit, quantity=quantity)
    if end.proof is not None:
        receipt.proof.CopyFrom(end.proof)
        record = end.record or ExecutionRecord.FromString(end.proof.record)
        receipt.energy.CopyFrom(record.energy)
        receipt.place = record.place
        executor = world.executors.get(record.executor)
        receipt.executed_by = executor.grid if executor else record.executor.hex()
    sink = inv.sink
    if isinstance(sink, OrderSink):
        path += _path_beyond(world, inv, sink)
        hold = sink.hold
        receipt.hold = int(hold.state) if hold else HOLD_STATE_CHARGED  # type: ignore[assignment]
    receipt.path.extend(path)


def _path_beyond(world: World, inv: Invocation, sink: OrderSink) -> tuple[str, ...]:
    """Grid names from the next hop to the executor, as advertised; the next hop alone if unknown."""
    offer = world.catalog.offers.get(inv.spec.offer_digest)
    route = world.catalog.routes.get((sink.link.name, offer.origin)) if offer else None
    return route.path_names if route else (sink.link.peer.grid,)
