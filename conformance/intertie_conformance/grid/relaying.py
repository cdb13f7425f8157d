"""The relay of the suite's own grid: sells on what peers offer, over other links (RFC 0011)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import Advertisement, OriginRoute
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.event_pb2 import Event
from intertie.v1.record_pb2 import RecordProof
from intertie.v1.task_pb2 import TASK_STATE_FAILED, TaskState
from intertie_conformance.grid.account import ME, THEM, Hold, State
from intertie_conformance.grid.catalog import HOUR_MS, Offered
from intertie_conformance.grid.link import Link, Phase
from intertie_conformance.grid.logs import Fact
from intertie_conformance.wire import amounts
from intertie_conformance.wire.build import entry, event
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.relays import Rate

if TYPE_CHECKING:
    from intertie_conformance.grid.node import Grid
    from intertie_conformance.grid.routes import Route

K = pb.EntryKind
OF_PAYER: Final = frozenset({"input_reply", "resume", "byte_credit"})
CREDIT: Final = 1 << 18


class Plan:
    """An order that is about to be passed on."""

    rate: Rate
    deadline = 0

    def __init__(self, grid: Grid, source: Link, hold: Hold, offer: Offered, data: bytes) -> None:
        self.grid = grid
        self.source = source
        self.hold = hold
        self.offer = offer
        self.data = data
        self.route: Route

    @property
    def order(self) -> pb.Order:
        """The upstream order."""
        return self.hold.order

    @property
    def link(self) -> Link:
        """The downstream link."""
        return self.route.link

    @property
    def upstream_tariff(self) -> pb.Tariff:
        """Under which it was ordered."""
        return self.source.logs.account.tariffs[ME][self.order.tariff_seq]

    @property
    def route_tariff(self) -> pb.Tariff:
        """Under which it will be ordered."""
        return self.route.tariff

    @property
    def shared(self) -> bool:
        """Whether orders may come over more than one other link."""
        return sum(link is not self.link for link in self.grid.links.values()) > 1

    @property
    def used(self) -> int:
        """What orders of this upstream have been charged downstream, and may still be."""
        below = [p.below for p in self.grid.relay.below.values() if p.link is self.link and p.source is self.source]
        open_ = sum(hold.order.max_charge - hold.charged for hold in below if hold.state is State.OPEN)
        return open_ + sum(hold.posted for hold in below)

    def find_way(self) -> None:
        """Choose the route. Raises: Refusal PEER_UNAVAILABLE, NO_ROUTE."""
        routes, source = self.grid.buyer.routes, self.source
        found = [route for route, _ in routes.ways(self.offer, source.now()) if source.rules.other_link(source, route)]
        if not found:
            known = [route for route in routes.of_offer(self.offer) if route.link is not source]
            raise source.rules.out_of_reach(known, self.offer.message.name)
        self.route = found[0]


class End(NamedTuple):
    """How an order ended."""

    state: TaskState.ValueType
    usage: Mapping[str, int]
    proof: RecordProof | None = None
    problem: Problem | None = None


class Passed:
    """An order that was passed on."""

    def __init__(self, plan: Plan, seq: int) -> None:
        self.source = plan.source
        self.hold = plan.hold
        self.link = plan.link
        self.origin = plan.route.origin
        self.rate = plan.rate
        self.seq = seq
        self.below = plan.link.logs.account.holds[ME, seq]
        self.needed = 0
        self.canceled = False
        self.last = 0
        """Number of the last durable event that has passed."""


class Relay:
    """Orders that pass."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.secret = os.urandom(32)
        self.above: dict[tuple[bytes, int], Passed] = {}
        self.below: dict[tuple[bytes, int], Passed] = {}
        """(genesis, seq of the order upstream, downstream) → order."""
        self._waiting: list[Plan] = []

    # -- selling on -------------------------------------------------------------------------------

    def learnt(self, route: Route) -> None:
        """A route is known with its offers: tell the others."""
        for link in self.grid.links.values():
            if link is not route.link and link.phase is Phase.OPEN:
                self.grid.advertise(link)
                link.flush()

    def advertisements(self, link: Link, epoch: int) -> Sequence[Advertisement]:
        """What is sold on over a link."""
        made = []
        routes = self.grid.buyer.routes
        for route in list(routes.table.values()):
            stated, held = route.stated, any(digest in routes.offers for digest in route.root.offers)
            if not held or not link.rules.tells(link, route):
                continue
            if not link.rules.still_open(link, route) or not link.rules.statable(route.tariff):
                continue
            fields = OriginRoute()
            fields.CopyFrom(stated)
            del fields.path[:], fields.path_names[:]
            fields.path.extend([self.grid.me.fingerprint, *stated.path])
            fields.path_names.extend([self.grid.me.grid, *stated.path_names])
            fields.tariff_seq = self._tariff(link, route)
            item = Advertisement(epoch=epoch, route=link.rules.passed_on(fields))
            if link.rules.fits_frame(link, item):
                made.append(item)
        return made

    def _tariff(self, link: Link, route: Route) -> int:
        """Seq of the own tariff for a route, written if it is new."""
        below = route.tariff
        num, den, fee = link.rules.resold(below)
        for seq, known in link.logs.account.tariffs[ME].items():
            terms = (known.origin, known.markup_num, known.markup_den, known.fee)
            if terms == (below.origin, num, den, fee) and known.expires_at > link.now() + HOUR_MS // 2:
                return seq
        body = pb.Tariff(origin=below.origin, markup_num=num, markup_den=den, fee=fee, expires_at=link.now() + HOUR_MS)
        return link.write(entry(K.ENTRY_KIND_TARIFF, tariff=body))

    # -- hearing ----------------------------------------------------------------------------------

    def fact(self, link: Link, fact: Fact, data: bytes) -> bool:
        """An entry of a peer; whether it was about an order that passes."""
        said, kind = fact.entry, fact.entry.kind
        if kind == K.ENTRY_KIND_ORDER:
            return self._order(link, link.logs.account.holds[THEM, fact.seq], data)
        name = said.WhichOneof("body") or ""
        order_seq = getattr(getattr(said, name, None), "order_seq", 0)
        above = self.above.get((link.genesis, order_seq))
        below = self.below.get((link.genesis, order_seq))
        if above is not None and kind in (K.ENTRY_KIND_GRANT, K.ENTRY_KIND_CANCEL, K.ENTRY_KIND_EXPIRE):
            getattr(self, f"_{name}")(above)
        elif below is not None and kind in (K.ENTRY_KIND_CHARGE, K.ENTRY_KIND_REJECT):
            getattr(self, f"_{name}")(below, fact.seq, getattr(said, name))
        else:
            return False
        return True

    def event(self, link: Link, event: Event) -> bool:
        """An event of a peer; whether it was about an order that passes."""
        upwards = event.WhichOneof("body") not in OF_PAYER
        passed = (self.below if upwards else self.above).get((link.genesis, event.order_seq))
        if passed is None or event.WhichOneof("body") is None:
            return passed is not None
        if event.HasField("grant_needed"):
            passed.needed = link.rules.asked_grant(passed, event.grant_needed.amount)
            self._ask(passed)
            return True
        to = passed.source if upwards else passed.link
        event.order_seq = passed.hold.seq if upwards else passed.seq
        passed.last = max(passed.last, event.number)
        to.say(link.rules.passed_event(event))
        to.flush()
        return True

    def heard(self, link: Link) -> None:
        """A frame was taken: what waits may fit by now."""
        for plan in [plan for plan in self._waiting if plan.source is link]:
            if link.rules.may_start(link, plan.hold):
                self._waiting.remove(plan)
                plan.hold.waits = False
                self._begin(plan)

    def opened(self, link: Link) -> None:
        """A link is open: say what could not be said."""
        for passed in list(self.above.values()):
            if link not in (passed.source, passed.link) or passed.hold.state is not State.OPEN:
                continue
            if link is passed.link:
                resume = {"after_seq": passed.last, "credit": CREDIT}
                link.say(event(order_seq=passed.seq, at=link.now(), resume=resume))
            if link.rules.lacks_grant(passed):
                self._ask(passed)

    # -- ordering ---------------------------------------------------------------------------------

    def _order(self, link: Link, hold: Hold, data: bytes) -> bool:
        digest = hold.order.offer_digest
        offer = self.grid.buyer.routes.offers.get(digest)
        if offer is None or digest in self.grid.seller.offers:
            return False
        plan = Plan(self.grid, link, hold, offer, data)
        try:
            link.rules.check_relayed(link, hold, data, offer)
        except Refusal as refusal:
            self.grid.seller.reject(link, hold, refusal)
            return True
        if link.rules.may_start(link, hold):
            self._begin(plan)
        else:
            hold.waits = True
            self._waiting.append(plan)
        return True

    def _begin(self, plan: Plan) -> None:
        rules = plan.source.rules
        try:
            for name in rules.relay_order():
                getattr(rules, name)(plan)
        except Refusal as refusal:
            self.grid.seller.reject(plan.source, plan.hold, refusal)
            plan.source.flush()
            return
        for _ in range(rules.relayed_copies()):
            self._place(plan)

    def _place(self, plan: Plan) -> None:
        rules, order, link = plan.source.rules, plan.order, plan.link
        head = plan.source.logs.heads[THEM][plan.hold.seq]
        made = pb.Order(
            **rules.relayed_fields(order),
            id=rules.relayed_id(self.secret, plan.hold.at, head),
            tariff_seq=plan.route.stated.tariff_seq,
            max_charge=rules.relayed_max(plan),
            grant=rules.relayed_grant(plan),
            deadline=plan.deadline,
            hop_limit=rules.relayed_hops(order),
            path=rules.relayed_path(order, self.grid.me.grid),
            account=rules.relayed_account(order),
            authority=rules.relayed_authority(order),
        )
        tariff = plan.route_tariff
        for unit, num, den in amounts.under_tariff(plan.offer.prices, tariff.markup_num, tariff.markup_den, tariff.fee):
            made.prices.add(unit=unit, num=num, den=den)
        seq = link.write(entry(K.ENTRY_KIND_ORDER, order=made), rules.relayed_input(plan.data))
        passed = Passed(plan, seq)
        self.above[plan.source.genesis, plan.hold.seq] = self.below[link.genesis, seq] = passed
        link.flush()
        wait = (passed.below.claim_until - link.now()) / 1_000 + 0.01
        asyncio.get_running_loop().call_later(wait, self._expire_below, passed)

    # -- from upstream ----------------------------------------------------------------------------

    def _grant(self, passed: Passed) -> None:
        hold, amount = passed.below, min(passed.link.rules.passed_grant(passed), passed.below.order.max_charge)
        if hold.state is State.OPEN and amount > hold.granted:
            passed.link.write(entry(K.ENTRY_KIND_GRANT, grant={"order_seq": hold.seq, "amount": amount}))
            passed.link.flush()

    def _cancel(self, passed: Passed) -> None:
        rules = passed.source.rules
        if rules.ends_at_cancel():
            self.grid.seller.reject(passed.source, passed.hold, Refusal("CANCELED", "The work was stopped."))
        up = passed.link.phase is Phase.OPEN or rules.keeps_cancel(passed.link)
        if passed.below.state is State.OPEN and rules.passes_cancel(passed) and up:
            passed.canceled = True
            passed.link.write(entry(K.ENTRY_KIND_CANCEL, cancel={"order_seq": passed.seq}))
            passed.link.flush()

    def _expire(self, passed: Passed) -> None:
        self._cancel(passed)

    # -- from downstream --------------------------------------------------------------------------

    def _ask(self, passed: Passed) -> None:
        link = passed.source
        needed = {"amount": passed.needed}
        link.say(event(order_seq=passed.hold.seq, at=link.now(), grant_needed=needed))
        link.flush()

    def _charge(self, passed: Passed, seq: int, body: pb.Charge) -> None:
        rules, below = passed.source.rules, passed.below
        usage = {unit: n for (unit, _, _), n in zip(below.prices, body.quantities, strict=True)}
        problem = rules.relayed_problem(body.problem) if body.HasField("problem") else None
        proof = rules.passed_proof(body.proof) if body.HasField("proof") else None
        end = End(rules.passed_state(body.state), {**rules.counted(body.proof), **usage}, proof, problem)
        if rules.refuses_lost(passed):
            passed.link.write(entry(K.ENTRY_KIND_REFUSE, refuse={"entry_seq": seq, "rule": "CHARGE_UNPROVEN"}))
        if not body.final:
            self._partial(passed, usage)
            return
        before = max((c.amount for c in below.claims if c.seq < seq), default=0)
        try:
            if rules.verifies_passed():
                rules.check_claim(below, body, before, passed.origin)
        except Refusal as refusal:
            rule = rules.refuses_passed(refusal)
            if rule is not None:
                passed.link.write(entry(K.ENTRY_KIND_REFUSE, refuse={"entry_seq": seq, "rule": rule}))
            end = End(TASK_STATE_FAILED, rules.usage_kept(passed.hold), problem=refusal.problem())
        self._end(passed, end)

    def _partial(self, passed: Passed, usage: Mapping[str, int]) -> None:
        hold, rules = passed.hold, passed.source.rules
        quantities = rules.passed_quantities(hold, usage)
        cost = amounts.charge(hold.prices, quantities)
        before = list(hold.claims[-1].quantities) if hold.claims else [0] * len(quantities)
        if hold.state is State.OPEN and quantities != before and rules.passes_partial(passed, cost):
            body = pb.Charge(order_seq=hold.seq, quantities=quantities, amount=cost)
            passed.source.write(entry(K.ENTRY_KIND_CHARGE, charge=body))
            passed.source.flush()

    def _end(self, passed: Passed, end: End) -> None:
        hold, link, rules = passed.hold, passed.source, passed.source.rules
        if hold.state is not State.OPEN or not (link.phase is Phase.OPEN or rules.keeps_end(passed)):
            return
        quantities = rules.passed_quantities(hold, end.usage)
        cost = amounts.charge(hold.prices, quantities)
        if rules.costs_too_much(passed, cost):
            last = hold.claims[-1] if hold.claims else None
            quantities = list(last.quantities) if last else [0] * len(hold.prices)
            cost = last.amount if last else 0
            gone = Refusal("GRANT_EXHAUSTED", "The work cost more than was granted.")
            end = End(TASK_STATE_FAILED, {}, None, gone.problem())
        body = pb.Charge(
            order_seq=hold.seq,
            quantities=quantities,
            amount=cost,
            final=True,
            state=end.state,
            proof=end.proof,
            problem=end.problem,
        )
        link.write(entry(K.ENTRY_KIND_CHARGE, charge=body))
        link.flush()

    def _reject(self, passed: Passed, seq: int, body: pb.Reject) -> None:
        problem = passed.source.rules.relayed_problem(body.problem)
        if passed.hold.state is State.OPEN and passed.source.rules.rejects_above(passed):
            passed.source.write(entry(K.ENTRY_KIND_REJECT, reject={"order_seq": passed.hold.seq, "problem": problem}))
            passed.source.flush()
        else:
            usage = passed.source.rules.usage_kept(passed.hold)
            self._end(passed, End(TASK_STATE_FAILED, usage, None, problem))

    def _expire_below(self, passed: Passed) -> None:
        """Nothing came until claim_until: the hold ends, and the upstream order too."""
        if passed.below.state is not State.OPEN or not passed.link.was_open:
            return
        passed.link.write(entry(K.ENTRY_KIND_EXPIRE, expire={"order_seq": passed.seq}))
        passed.link.flush()
        state, reason = passed.source.rules.lost()
        problem = Refusal(reason, "The provider said nothing until its claim window had passed.").problem()
        usage = passed.source.rules.usage_kept(passed.hold)
        self._end(passed, End(state, usage, None, problem))
