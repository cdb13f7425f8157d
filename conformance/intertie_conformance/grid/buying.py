"""The payer of the suite's own grid: orders for its consumers at a peer, checks claims, keeps outcomes (RFC 0009)."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from intertie.v1 import entry_pb2 as pb
from intertie.v1.envelope_pb2 import PayloadDescriptor, Problem
from intertie.v1.event_pb2 import Event, InputReply
from intertie.v1.metering_pb2 import PriceLine
from intertie.v1.task_pb2 import (
    HOLD_STATE_CHARGED,
    HOLD_STATE_EXPIRED,
    HOLD_STATE_OPEN,
    HOLD_STATE_REJECTED,
    TASK_STATE_FAILED,
    TASK_STATE_REJECTED,
)
from intertie_conformance.grid.account import ME, THEM, Hold
from intertie_conformance.grid.catalog import Offered
from intertie_conformance.wire.build import entry, event, size_of
from intertie_conformance.wire.digests import salted
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.invocations import Run
    from intertie_conformance.grid.link import Link
    from intertie_conformance.grid.routes import Route, Routes
    from intertie_conformance.wire.amounts import Price
    from intertie_conformance.wire.descriptors import Described

K = pb.EntryKind
DOUBT_S: Final = 2.0
ASK_AGAIN_S: Final = 3.0
CREDIT: Final = 1 << 18


class Purchase:
    """One invocation of a consumer that was ordered at a peer: its sink."""

    def __init__(self, run: Run, link: Link, seq: int, prices: list[Price], path: list[str]) -> None:
        self.run = run
        self.link = link
        self.seq = seq
        self.prices = prices
        self.path = path
        self.result: Event | None = None
        """The result, or a gap in its place."""
        self.charge: pb.Charge | None = None
        self.hold: int = HOLD_STATE_OPEN
        self.problem = ""
        """Reason of the reject, "" if there was none."""
        self.replied: InputReply | None = None
        """What was replied to the latest request."""

    @property
    def ended(self) -> bool:
        """Whether the hold has ended."""
        return self.hold != HOLD_STATE_OPEN

    # -- invocations.Sink -------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ask the provider to stop."""
        if not self.ended:
            self.link.write(entry(K.ENTRY_KIND_CANCEL, cancel={"order_seq": self.seq}))
            self.link.flush()

    def reply(self, reply: InputReply) -> None:
        """Pass a reply on, and keep the first one to the latest request."""
        if self.replied is None or self.replied.request != reply.request:
            self.replied = reply
        self.say(input_reply=reply)

    def say(self, **body: object) -> None:
        """Say something about the order."""
        self.link.say(event(order_seq=self.seq, at=self.link.now(), **body))
        self.link.flush()

    def resume(self) -> None:
        """Ask for the durable events behind the last one."""
        self.say(resume={"after_seq": self.run.last, "credit": CREDIT})


class Buyer:
    """Purchases of all consumers."""

    def __init__(self, routes: Routes) -> None:
        self.routes = routes
        self.purchases: dict[tuple[bytes, int], Purchase] = {}

    def place(self, run: Run, route: Route, offer: Offered) -> Purchase:
        """Order."""
        link, request, data = route.link, run.request, run.request.input.data
        nonce = link.rules.order_nonce_of(run, os.urandom(16))
        fields: dict[str, object] = {
            "id": request.id,
            "offer_digest": offer.digest,
            "tariff_seq": route.stated.tariff_seq,
            "max_charge": request.max_charge,
            "grant": link.rules.first_grant(offer, request.max_charge, request.first_grant or request.max_charge),
            "deadline": run.deadline,
            "hop_limit": 8,
            "path": [link.me.grid],
            "policy": request.policy,
            "session": request.session,
            "group": request.group,
            "account": salted(b"accounts", run.account.name.encode())[2:18].hex(),
            "nonce": nonce,
            "input": PayloadDescriptor(
                media_type=request.input.media_type or "application/json", digest=salted(nonce, data), size=len(data)
            ),
            "prices": [
                PriceLine(unit=unit, num=num, den=den) for unit, num, den in link.rules.order_prices_of(offer, route)
            ],
        }
        order = pb.Order(**link.rules.order_fields(run, fields))  # type: ignore[arg-type]
        seq = link.write(entry(K.ENTRY_KIND_ORDER, order=order), data)
        path = [link.me.grid, *route.stated.path_names]
        made = self.purchases[link.genesis, seq] = Purchase(run, link, seq, route.priced(offer), path)
        link.flush()
        loop, left = asyncio.get_running_loop(), (run.deadline - link.now()) / 1_000
        loop.call_later(left + DOUBT_S, self._doubt, made)
        loop.call_later(left + link.terms.claim_window_ms / 1_000 + 0.01, self._expire, made)
        loop.call_later(ASK_AGAIN_S, self._ask_again, made)
        return made

    def resume(self, link: Link) -> None:
        """The link is open: ask for the events of every open order."""
        for made in self.purchases.values():
            if made.link is link and made.run.outcome is None and link.rules.resumes(made):
                made.resume()

    def reopened(self, link: Link) -> None:
        """The link is open: say again what was replied."""
        for made in self.purchases.values():
            if made.link is link and made.run.outcome is None and made.replied is not None:
                link.rules.replies_again(made, made.replied)

    # -- time -------------------------------------------------------------------------------------

    def _doubt(self, made: Purchase) -> None:
        """The deadline has passed for some time: say what is known."""
        run = made.run
        if run.outcome is not None:
            return
        if made.charge is not None:
            state, gone = made.link.rules.without_result(made.charge)
            self._finish(made, state, gone, None)
        elif not made.ended:
            problem = Refusal("OUTCOME_UNKNOWN", "The deadline passed and nothing is known of the end.")
            made.link.rules.doubts(run, made, problem.problem())

    def _ask_again(self, made: Purchase) -> None:
        """The result is missing."""
        if made.run.outcome is not None or (made.ended and made.charge is None):
            return
        if made.charge is not None:
            made.link.rules.asks_again(made)
        asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._ask_again, made)

    def _expire(self, made: Purchase) -> None:
        """claim_until has passed: end the hold, unless something has."""
        link = made.link
        claim_until = link.logs.account.holds[ME, made.seq].claim_until
        if made.ended or not link.was_open or not link.rules.expires_own(link.now(), claim_until):
            return
        link.write(entry(K.ENTRY_KIND_EXPIRE, expire={"order_seq": made.seq}))
        link.flush()
        made.hold = HOLD_STATE_EXPIRED
        problem = Refusal("OUTCOME_UNKNOWN", "The provider said nothing until its claim window had passed.")
        self._finish(made, TASK_STATE_FAILED, problem.problem(), None)

    # -- what the provider says -------------------------------------------------------------------

    def charged(self, link: Link, seq: int, charge: pb.Charge) -> None:
        """A valid charge: refuse it if its proof does not hold."""
        hold = link.logs.account.holds[ME, charge.order_seq]
        made = self.purchases.get((link.genesis, charge.order_seq))
        if not charge.final:
            return
        before = max((c.amount for c in hold.claims if c.seq < seq), default=0)
        try:
            link.rules.check_claim(hold, charge, before, self._executor(hold, link))
        except Refusal as refusal:
            rule = link.rules.refuses_claim(refusal)
            if rule is not None:
                body = {"entry_seq": seq, "rule": rule, "comment": refusal.message[:256]}
                link.write(entry(K.ENTRY_KIND_REFUSE, refuse=body))
            if made is not None:
                made.hold = HOLD_STATE_CHARGED
                self._finish(made, TASK_STATE_FAILED, refusal.problem(), None)
            return
        if made is not None:
            made.charge, made.hold = charge, HOLD_STATE_CHARGED
            self._settle(made)

    def _executor(self, hold: Hold, link: Link) -> Described:
        offer = self.routes.offers.get(hold.order.offer_digest)
        known = self.routes.origins
        return known.get(offer.message.origin if offer else link.peer.fingerprint, link.peer)

    def rejected(self, link: Link, reject: pb.Reject) -> None:
        """No work was done."""
        made = self.purchases.get((link.genesis, reject.order_seq))
        if made is not None:
            made.hold, made.problem = HOLD_STATE_REJECTED, reject.problem.reason
            link.rules.after_reject(self, made)
            self._finish(made, TASK_STATE_REJECTED, link.rules.passed_problem(reject.problem), None)

    def event(self, link: Link, event: Event) -> None:
        """An event of the provider."""
        made = self.purchases.get((link.genesis, event.order_seq))
        if made is None:
            link.rules.stray_event(link, event)
            return
        if event.WhichOneof("body") is None:
            link.rules.unknown_event(made, event)
            return
        if event.HasField("grant_needed"):
            self._raise(link, made, event.grant_needed.amount)
        elif event.HasField("gap"):
            self._gap(made, event)
        elif event.number in (0, made.run.last + 1):
            self._next(made, event)

    def _raise(self, link: Link, made: Purchase, needed: int) -> None:
        """The provider waits for a higher grant."""
        hold = link.logs.account.holds[ME, made.seq]
        amount = link.rules.raised_grant(hold.granted, needed, hold.order.max_charge)
        at_stake = link.logs.account.unagreed(ME) + amount - hold.granted
        if not link.rules.raises_grant(at_stake, link.terms.max_unagreed[ME]):
            return
        if not made.ended and amount > hold.granted:
            link.write(entry(K.ENTRY_KIND_GRANT, grant={"order_seq": hold.seq, "amount": amount}))

    def _gap(self, made: Purchase, event: Event) -> None:
        """Events are gone for good."""
        if event.gap.last == 0:
            made.result = event
            self._settle(made)
        elif event.gap.last > made.run.last:
            made.run.last = event.gap.last
            made.link.rules.gap(made.run, event)

    def _next(self, made: Purchase, event: Event) -> None:
        made.run.event(event)
        if event.number:
            made.link.rules.returns_credit(made, size_of(event))
        if event.HasField("result") and event.result.state != TASK_STATE_REJECTED:
            made.result = event
            self._settle(made)

    def _settle(self, made: Purchase) -> None:
        """The outcome stands once the final charge is agreed and the result, or a gap in its place, is known."""
        charge, result = made.charge, made.result
        told = made.run.outcome is not None
        if charge is None or not (told or made.link.rules.complete(charge, result)):
            return
        problem, shown = charge.problem, result
        if result is not None and result.HasField("gap"):
            problem, shown = result.gap.problem, None
        self._finish(made, charge.state, problem, shown)

    @staticmethod
    def _finish(made: Purchase, state: int, problem: Problem, result: Event | None) -> None:
        """Everything is known of the end."""
        link, run = made.link, made.run
        hold, charge = link.logs.account.holds[ME, made.seq], made.charge
        amount = link.rules.agreed(hold, link.logs.seq(THEM))
        usage = link.rules.receipt_usage(made.prices, charge.quantities if charge is not None else [])
        proof = charge.proof if charge is not None else None
        link.rules.settles(run.account, run, amount)
        run.end(state, problem, result, amount, usage, proof, made.hold, made.path)
