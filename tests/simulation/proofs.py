"""Whether what an honest payer has agreed to was proven: own comparison of claims with execution records.

Only the standard's own package is used for the signature and the tree; which record belongs to which order is
decided here. A final claim that was never refused must carry a record of the offer's origin, about that very order,
with the claimed quantities; a claim for work that was not completed may go without, if it claims nothing new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.simulation.balances import LaneBook

from intertie.descriptors import VerifiedDescriptor, verify_history
from intertie.errors import IntertieError
from intertie.records import RootCache, verify_proof
from intertie.v1 import entry_pb2 as pb
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import TASK_STATE_COMPLETED

Origins = Mapping[bytes, Sequence[VerifiedDescriptor]]
"""Offer digest → descriptors of its origin by which a record may have been judged, the newest first."""


def origins(sim: Any) -> Origins:
    """The origins of every grid's offers."""
    return {digest: _histories(grid) for grid in sim.grids for digest in grid.digests()}


def _histories(grid: Any) -> list[VerifiedDescriptor]:
    """A grid's history, and where a copy was put back each shorter one too.

    Such a grid may list a replaced key only up to a time before what it has lost: who had judged that by an older
    version was right (IT-IDN-036).
    """
    chain = grid.identity.chain
    shortest = 1 if getattr(grid, "restored", False) else len(chain)
    return [verify_history(chain[:length]) for length in range(len(chain), shortest - 1, -1)]


def unproven(book: LaneBook, payer: list[bytes], provider: list[bytes], by_offer: Origins) -> list[str]:
    """What a payer has agreed to without proof, in words."""
    found, cache = [], RootCache()
    for order in book.orders.values():
        for before, claim in zip([None, *order.claims], order.claims, strict=False):
            if claim.final and not claim.marks:
                said = pb.Entry.FromString(payer[order.seq - 1]).order
                body = pb.Entry.FromString(provider[claim.seq - 1]).charge
                why = _fault(said, body, before.amount if before else 0, by_offer, cache)
                found += [f"charge {claim.seq} of order {order.seq} {why}"] if why else []
    return found


def _record(
    body: pb.Charge, executors: Sequence[VerifiedDescriptor], cache: RootCache
) -> tuple[ExecutionRecord | None, str]:
    why = ""
    for executor in executors:
        try:
            return verify_proof(body.proof, executor, cache), ""
        except IntertieError as error:
            why = why or str(error)
    return None, why


def _fault(order: pb.Order, body: pb.Charge, before: int, by_offer: Origins, cache: RootCache) -> str:
    if not body.HasField("proof"):
        free = body.amount == before and body.state != TASK_STATE_COMPLETED
        return "" if free else "carries no record"
    record, why = _record(body, by_offer[order.offer_digest], cache)
    if record is None:
        return f"has a false record: {why}"
    usage = {line.unit: line.quantity for line in record.usage}
    claimed = {line.unit: quantity for line, quantity in zip(order.prices, body.quantities, strict=True)}
    same = (record.nonce, record.offer_digest, record.input_digest, record.state) == (
        order.nonce, order.offer_digest, order.input.digest, body.state,
    )  # fmt: skip
    if not same:
        return "has the record of another order"
    if any(usage.get(unit, 0) != quantity for unit, quantity in claimed.items()):
        return "claims other quantities than its record"
    return "counts an order twice" if any(usage.get(unit, 0) > 1 for unit in usage if unit.startswith("order")) else ""
