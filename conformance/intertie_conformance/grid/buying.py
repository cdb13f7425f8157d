"""The payer of the suite's own grid: orders for its consumers at a peer, checks claims, keeps outcomes (RFC 0009)."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from intertie.v1 import entry_pb2 as pb
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.catalog_pb2 import OriginRoute
from intertie.v1.envelope_pb2 import PayloadDescriptor
from intertie.v1.event_pb2 import Event
from intertie.v1.task_pb2 import (
    HOLD_STATE_CHARGED,
    HOLD_STATE_EXPIRED,
    HOLD_STATE_REJECTED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_REJECTED,
)
from intertie_conformance.grid.account import ME, THEM, Hold
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.wire import amounts, envelope
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.descriptors import Described, read_chain
from intertie_conformance.wire.digests import salted
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.link import Link

K = pb.EntryKind


class Purchase:
    """One invocation of a consumer that was ordered at a peer."""

    def __init__(self, request: iv.Invocation, link: Link, seq: int) -> None:
        self.request = request
        self.link = link
        self.seq = seq
        self.events: list[Event] = []
        self.outcome: iv.Outcome | None = None
        self.changed = asyncio.Event()
        """Set and replaced with every event and at the end."""
        self.pieces = bytearray()
        self.result: Event | None = None
        self.charge: pb.Charge | None = None

    def notify(self) -> None:
        """Wake whoever waits."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def end(self, seconds: float) -> iv.Outcome:
        """Wait for the outcome. Raises: TimeoutError."""
        async with asyncio.timeout(seconds):
            while self.outcome is None:
                await self.changed.wait()
        return self.outcome


class Route:
    """An origin that a peer advertises, with its offers."""

    def __init__(self, link: Link, stated: OriginRoute, origin: Described) -> None:
        self.link = link
        self.stated = stated
        self.origin = origin
        self.offers: dict[str, Offered] = {}
        """By reference "grid/name"."""


class Buyer:
    """Purchases of all consumers."""

    def __init__(self) -> None:
        self.routes: dict[bytes, Route] = {}
        """Fingerprint of the origin → route."""
        self.purchases: dict[tuple[bytes, int], Purchase] = {}

    def find(self, ref: str) -> tuple[Route, Offered]:
        """The offer of a reference. Raises: Refusal OFFER_UNKNOWN."""
        for route in self.routes.values():
            if ref in route.offers:
                return route, route.offers[ref]
        raise Refusal("OFFER_UNKNOWN", f"No offer {ref[:200]} is known here.", offer=ref[:200])

    def learn(self, link: Link, stated: OriginRoute) -> Route:
        """Take an advertised route. Raises: Refusal."""
        origin = read_chain(list(stated.descriptors))
        envelope.unseal(stated.root, envelope.CATALOG_ROOT, origin.keys())
        route = self.routes[origin.fingerprint] = Route(link, stated, origin)
        return route

    def place(self, request: iv.Invocation, now: int) -> Purchase:
        """Order. Raises: Refusal."""
        route, offer = self.find(request.offer)
        link = route.link
        tariff = link.logs.account.tariffs[THEM][route.stated.tariff_seq]
        nonce = os.urandom(16)
        data = request.input.data
        order = pb.Order(
            id=request.id,
            offer_digest=offer.digest,
            tariff_seq=route.stated.tariff_seq,
            max_charge=request.max_charge,
            grant=request.first_grant or request.max_charge,
            deadline=now + (request.timeout_ms or 60_000),
            hop_limit=4,
            path=[link.me.grid],
            nonce=nonce,
            input=PayloadDescriptor(
                media_type=request.input.media_type or "application/json", digest=salted(nonce, data), size=len(data)
            ),
        )
        prices = amounts.under_tariff(offer.prices, tariff.markup_num, tariff.markup_den, tariff.fee)
        for unit, num, den in prices:
            order.prices.add(unit=unit, num=num, den=den)
        seq = link.write(entry(K.ENTRY_KIND_ORDER, order=order), data)
        link.flush()
        made = self.purchases[link.genesis, seq] = Purchase(request, link, seq)
        until = order.deadline + link.terms.claim_window_ms - now
        asyncio.get_running_loop().call_later(until / 1_000 + 0.01, self._expire, made)
        return made

    def _expire(self, made: Purchase) -> None:
        """claim_until has passed: end the hold, unless something has."""
        link = made.link
        if made.outcome is not None or not link.was_open:
            return
        link.write(entry(K.ENTRY_KIND_EXPIRE, expire={"order_seq": made.seq}))
        link.flush()
        problem = Refusal("OUTCOME_UNKNOWN", "The provider said nothing until its claim window had passed.")
        self._finish(made, iv.Outcome(state=TASK_STATE_FAILED, problem=problem.problem()), HOLD_STATE_EXPIRED)

    # -- what the provider says -------------------------------------------------------------------

    def charged(self, link: Link, seq: int, charge: pb.Charge) -> None:
        """A valid charge: refuse it if its proof does not hold."""
        hold = link.logs.account.holds[ME, charge.order_seq]
        made = self.purchases.get((link.genesis, charge.order_seq))
        if not charge.final:
            self._raise(link, hold, made)
            return
        before = max((c.amount for c in hold.claims if c.seq < seq), default=0)
        origin = self._executor(hold, link)
        try:
            link.rules.check_claim(hold, charge, before, origin)
        except Refusal as refusal:
            link.write(
                entry(
                    K.ENTRY_KIND_REFUSE,
                    refuse={"entry_seq": seq, "rule": refusal.reason, "comment": refusal.message[:256]},
                )
            )
            if made is not None:
                failed = iv.Outcome(state=TASK_STATE_FAILED, problem=refusal.problem())
                self._finish(made, failed, HOLD_STATE_CHARGED)
            return
        if made is not None:
            made.charge = charge
            self._settle(made)

    def _executor(self, hold: Hold, link: Link) -> Described:
        for route in self.routes.values():
            if any(offer.digest == hold.order.offer_digest for offer in route.offers.values()):
                return route.origin
        return link.peer

    def _raise(self, link: Link, hold: Hold, made: Purchase | None) -> None:
        """The provider claims part of the grant: grant the rest."""
        if made is not None and hold.granted < hold.order.max_charge:
            body = {"order_seq": hold.seq, "amount": hold.order.max_charge}
            link.write(entry(K.ENTRY_KIND_GRANT, grant=body))

    def rejected(self, link: Link, reject: pb.Reject) -> None:
        """No work was done."""
        made = self.purchases.get((link.genesis, reject.order_seq))
        if made is not None:
            outcome = iv.Outcome(state=TASK_STATE_REJECTED, problem=reject.problem)
            self._finish(made, outcome, HOLD_STATE_REJECTED)

    def event(self, link: Link, event: Event) -> None:
        """An event of the provider."""
        made = self.purchases.get((link.genesis, event.order_seq))
        if made is None or (event.number and any(known.number == event.number for known in made.events)):
            return
        if event.HasField("grant_needed"):
            self._raise(link, link.logs.account.holds[ME, made.seq], made)
            return
        made.events.append(event)
        if event.HasField("chunk"):
            made.pieces += event.chunk.payload.data
        if event.HasField("result"):
            made.result = event
            self._settle(made)
        made.notify()

    def _settle(self, made: Purchase) -> None:
        """The outcome stands once the final charge is agreed and the result is known."""
        charge = made.charge
        if charge is None or (charge.state == TASK_STATE_COMPLETED and made.result is None):
            return
        outcome = iv.Outcome(state=charge.state)
        if made.result is not None:
            result = made.result.result
            outcome.output.CopyFrom(result.output)
            outcome.is_error = result.is_error
        if made.pieces:
            outcome.output.data = bytes(made.pieces) + outcome.output.data
            outcome.output.media_type = outcome.output.media_type or "text/plain"
        if charge.HasField("problem"):
            outcome.problem.CopyFrom(charge.problem)
        outcome.receipt.charge = charge.amount
        outcome.receipt.proof.CopyFrom(charge.proof)
        self._finish(made, outcome, HOLD_STATE_CHARGED)

    @staticmethod
    def _finish(made: Purchase, outcome: iv.Outcome, hold: int) -> None:
        outcome.id = made.request.id
        message = made.link.agreement.message
        outcome.receipt.asset, outcome.receipt.scale = message.asset, message.scale
        outcome.receipt.hold = hold  # type: ignore[assignment]
        made.outcome = outcome
        made.notify()
