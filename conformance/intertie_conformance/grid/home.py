"""Own work for own consumers: the seller's jobs over a link of the grid to itself, which holds no money."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from intertie.v1 import entry_pb2 as pb
from intertie.v1.event_pb2 import Event, InputReply
from intertie.v1.task_pb2 import TASK_STATE_REJECTED
from intertie_conformance.grid.account import Hold, State
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.wire.digests import salted

if TYPE_CHECKING:
    from intertie_conformance.grid.catalog import Offered
    from intertie_conformance.grid.invocations import Run
    from intertie_conformance.grid.node import Grid

UNBOUNDED = 1 << 40


class Home:
    """What a job has instead of a link; sink of the invocation."""

    def __init__(self, grid: Grid, run: Run, offer: Offered) -> None:
        self.me = grid.me
        self.rules = grid.rules
        self.genesis = b"home" + run.account.name.encode() + run.request.id.encode()
        self.run = run
        self._grid = grid
        self._result: Event | None = None
        wanted, nonce = run.request, os.urandom(16)
        media_type = wanted.input.media_type or "application/json"
        order = pb.Order(id=wanted.id, offer_digest=offer.digest, nonce=nonce, max_charge=wanted.max_charge)
        order.deadline, order.grant = run.deadline, wanted.max_charge
        order.input.media_type, order.input.digest = media_type, salted(nonce, wanted.input.data)
        order.prices.extend(offer.message.prices)
        self.hold = Hold(0, 1, run.created_at, order, run.deadline, [(1, wanted.max_charge)])
        self._job = grid.seller.start(self, self.hold, offer, wanted.input.data)
        self._job.credit = UNBOUNDED

    def now(self) -> int:
        """The clock."""
        return now_ms()

    def has_room(self, hold: Hold) -> bool:
        """Nothing is at stake at home."""
        return True

    def say(self, *events: Event) -> None:
        """Events of the job."""
        for event in events:
            if event.HasField("result"):
                self._result = event
            self.run.event(event)

    def write(self, entry: pb.Entry, data: bytes = b"") -> int:
        """What would be an entry: a claim or a reject."""
        asyncio.get_running_loop().call_soon(self._take, entry)
        if entry.kind == pb.ENTRY_KIND_REJECT:
            self.hold.state = State.REJECTED
        elif entry.charge.final:
            self.hold.state = State.CHARGED
        return 2

    def _take(self, entry: pb.Entry) -> None:
        run, charge = self.run, entry.charge
        amount = charge.amount if entry.kind == pb.ENTRY_KIND_CHARGE else 0
        if entry.kind == pb.ENTRY_KIND_CHARGE and not charge.final:
            return
        self.rules.settles(run.account, run, amount)
        if entry.kind == pb.ENTRY_KIND_REJECT:
            run.end(TASK_STATE_REJECTED, entry.reject.problem)
            return
        usage = self.rules.receipt_usage(self.hold.prices, charge.quantities)
        run.end(charge.state, charge.problem, self._result, amount, usage, charge.proof)

    def flush(self) -> None:
        """Nothing is gathered."""

    # -- invocations.Sink -------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ask to stop."""
        self._grid.seller.cancel(self, 1)

    def reply(self, reply: InputReply) -> None:
        """Answer an input request."""
        self._job.heard(Event(input_reply=reply))
