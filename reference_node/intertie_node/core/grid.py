"""The brain of a node: every step that the engine may run, and the end of a batch (design §11).

Steps are plain calls with an `Effects`. They change memory, and say what must become durable, what is then
said and what is then started. `flush` ends a batch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from intertie.amounts import INT64_MAX
from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event
from intertie_node.core import buying, executing, routing, selling
from intertie_node.core.catalog import KnownOffer
from intertie_node.core.effects import Effects
from intertie_node.core.frames import MAX_EVENT_BYTES, event_size
from intertie_node.core.invocations import Invocation
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.link import Link
from intertie_node.core.opening import Phase, stays
from intertie_node.core.pair import Fact
from intertie_node.core.recovery import adopt, recover_link
from intertie_node.core.sinks import LocalSink, OrderSink, events_gone
from intertie_node.core.timers import DUE
from intertie_node.core.work import CloseLink, ReadEntries, RecallOrder
from intertie_node.core.world import World

Handler = Callable[[World, Link, Fact, bytes, Effects], None]
K = pb.EntryKind
HANDLERS: Mapping[int, Handler] = {
    K.ENTRY_KIND_TARIFF: buying.on_tariff,
    K.ENTRY_KIND_ORDER: selling.on_order,
    K.ENTRY_KIND_GRANT: selling.on_grant,
    K.ENTRY_KIND_CANCEL: selling.on_cancel,
    K.ENTRY_KIND_REJECT: buying.on_reject,
    K.ENTRY_KIND_CHARGE: buying.on_charge,
    K.ENTRY_KIND_CREDIT: buying.on_credit,
    K.ENTRY_KIND_REFUSE: selling.on_refuse,
    K.ENTRY_KIND_WITHDRAW: selling.on_refuse,
    K.ENTRY_KIND_EXPIRE: selling.on_expire,
}
"""What is done about a valid entry of the other side, by kind."""
SWEEP_MS = 1_000


class Grid:
    """One grid's core."""

    def __init__(self, world: World, nonces: Callable[[], bytes]) -> None:
        self.world = world
        self._nonce = nonces
        """Makes the fresh nonce of each Open."""
        self._told = routing.Advertised()
        self._swept = 0
        self._epochs: dict[str, int] = {}
        self._backlog: dict[str, list[tuple[Fact, bytes]]] = {}
        """Facts met before the link may be written to: handled when it opens."""

    # -- links ------------------------------------------------------------------------------------

    def dialled(self, link: Link, connection: Any, fx: Effects) -> None:
        """A connection that this node dialled stands."""
        link.dialled(connection, self._nonce(), fx)

    def lost(self, link: Link, connection: Any, fx: Effects) -> None:
        """A connection has gone."""
        if link.lost(connection):
            self._link_down(link)

    def _link_down(self, link: Link) -> None:
        self.world.catalog.fade_routes(link.name)

    def frame(self, link: Link, connection: Any, data: bytes, fx: Effects) -> None:
        """A frame arrived on a connection of this link's peer. A bad one closes that connection by name."""
        if connection in link.left:
            return
        try:
            self._frame(link, connection, data, fx)
        except IntertieError as error:
            was_current = connection is link.connection
            link.fail(connection, error, fx)
            if was_current:
                self._link_down(link)

    def _frame(self, link: Link, connection: Any, data: bytes, fx: Effects) -> None:
        if len(data) > self.world.own.limits.frame_bytes:
            raise IntertieError("FRAME_TOO_LARGE", f"A frame has {len(data)} bytes.")
        try:
            frame = lk.Frame.FromString(data)
        except Exception as error:
            raise IntertieError("FRAME_MALFORMED", "A frame does not decode.") from error
        if frame.HasField("close"):
            fx.work.append(CloseLink(connection, frame.close.reason, frame.close.message))
            self.lost(link, connection, fx)
        elif frame.open:
            self._open(link, connection, frame, fx)
        elif connection is not link.connection or link.phase in (Phase.DOWN, Phase.OPENING):
            raise IntertieError("UNEXPECTED_FRAME", "Frames other than Open come only after both Opens.")
        else:
            if len(data) > MAX_EVENT_BYTES:
                self._check_events(frame)
            self._heard(link, frame, fx)

    def _check_events(self, frame: lk.Frame) -> None:
        """No event is larger than every link takes: relays pass it on whole. Raises: PAYLOAD_TOO_LARGE."""
        size = max(map(event_size, frame.events), default=0)
        if size > MAX_EVENT_BYTES:
            raise IntertieError("PAYLOAD_TOO_LARGE", f"An event has {size} bytes; {MAX_EVENT_BYTES} are allowed.")

    def _open(self, link: Link, connection: Any, frame: lk.Frame, fx: Effects) -> None:
        answers_mine = connection is link.connection and link.phase is Phase.OPENING
        if connection is link.connection and not answers_mine:
            raise IntertieError("UNEXPECTED_FRAME", "A second Open on one stream.")
        payload, theirs, newer = link.check_open(frame, fx.now)
        contends = not answers_mine and link.connection is not None
        if contends:
            self._contend(link)
        if newer is not None:
            self.world.take_descriptor(newer, fx)
        if contends:
            self._supersede(link, fx)
        link.opened(connection, payload, theirs, self._nonce(), fx)
        self._maybe_open(link, fx)

    def _contend(self, link: Link) -> None:
        """Which of two streams stays. Raises: IntertieError SUPERSEDED if it is the one that stands."""
        smaller = self.world.fingerprint < link.peer.fingerprint
        if stays(link.dialled_by_me, smaller, link.phase is Phase.OPEN):
            raise IntertieError("SUPERSEDED", "Another stream of this link is being opened.")

    def _supersede(self, link: Link, fx: Effects) -> None:
        link.fail(link.connection, IntertieError("SUPERSEDED", "A newer stream of this link has taken over."), fx)
        self._link_down(link)

    def _heard(self, link: Link, frame: lk.Frame, fx: Effects) -> None:
        self._due(fx)
        facts = link.receive(frame, fx)
        inputs = {item.order_seq: item.data for item in frame.inputs}
        link.pair.unhandled += sum(fact.author == THEM for fact in facts)
        if frame.events:
            self._count_outputs(link, frame.events)
        for fact in facts:
            self._fact(link, fact, inputs.get(fact.seq, b""), fx)
        self._maybe_open(link, fx)
        for event in frame.events:
            self._event(link, event, fx)
        for item in frame.advertisements:
            routing.learn(self.world, link, item, fx)

    def _count_outputs(self, link: Link, events: Iterable[Event]) -> None:
        """What a frame delivers is known before the claims that it carries are judged."""
        orders = self.world.orders
        for event in events:
            inv = orders.get((link.name, ME, event.order_seq))
            if inv is not None and isinstance(inv.sink, OrderSink):
                inv.sink.count(inv.spec.nonce, event)

    def _fact(self, link: Link, fact: Fact, data: bytes, fx: Effects) -> None:
        if not link.can_append:
            self._backlog.setdefault(link.name, []).append((fact, data))
            return
        if fact.author == THEM:
            link.pair.unhandled -= 1
        if fact.author == ME:
            adopt(self.world, link, fact, fx)
        elif fact.void is not None:
            if fact.seq > link.ledger.acked[ME]:
                buying.refuse(link, fact.seq, fact.void, "", fx)
        else:
            handler = HANDLERS.get(fact.entry.kind)
            if handler is not None:
                handler(self.world, link, fact, data, fx)

    def _retire(self, link: Link, fx: Effects) -> None:
        if not link.can_append:
            return
        ledger = link.ledger
        if ledger.retirable:
            retirable, ledger.retirable = ledger.retirable, []
            fx.reply(ledger.forget_all, retirable)

    def _maybe_open(self, link: Link, fx: Effects) -> None:
        fresh = not link.can_append
        if not link.caught_up():
            return
        own = link.pair.logs[ME]
        if own.seq == 0 and link.agreement:
            body = pb.AgreementEntry(agreement=link.agreement)
            link.append(pb.Entry(kind=pb.ENTRY_KIND_AGREEMENT, agreement=body), fx)
        for fact, data in self._backlog.pop(link.name, ()):
            link.outbox.sign = True
            self._fact(link, fact, data, fx)
        self.world.catalog.expect_routes(link.name)
        if fresh:
            recover_link(self.world, link, fx)
        credit = self.world.settings.event_credit
        for (name, payer, _), inv in list(self.world.orders.items()):
            sink = inv.sink
            if name != link.name or sink is None:
                continue
            if payer == ME and inv.wants_events and isinstance(sink, OrderSink):
                sink.resume(self.world, inv, sink.after, credit, fx)
            if not inv.ended:
                sink.reopened(self.world, inv, fx)
        self._advertise(link, fx)

    def _event(self, link: Link, event: Event, fx: Effects) -> None:
        kind = event.WhichOneof("body")
        if kind in ("input_reply", "resume", "byte_credit"):
            self._from_payer(link, event, kind, fx)
            return
        inv = self.world.orders.get((link.name, ME, event.order_seq))
        if inv is None or kind is None or not isinstance(inv.sink, OrderSink):
            return
        if kind == "grant_needed":
            amount = inv.sink.needed = min(inv.sink.rate.up(max(0, event.grant_needed.amount)), inv.spec.max_charge)
            inv.source.grant_needed(self.world, inv, amount, fx)
            return
        if event.number > inv.sink.after + 1:
            inv.sink.missed(self.world, inv, fx)
            return
        if kind == "input_request":
            inv.sink.asked(self.world, inv, event.input_request.request, fx)
        inv.sink.after = max(inv.sink.after, event.number, event.gap.last if kind == "gap" else 0)
        event.order_seq = 0
        inv.source.deliver(self.world, inv, event, fx)
        if kind == "result" and inv.finished and inv.outcome is None:
            fx.reply(self.world.forget, inv)

    def _from_payer(self, link: Link, event: Event, kind: str, fx: Effects) -> None:
        inv = self.world.orders.get((link.name, THEM, event.order_seq))
        if inv is None:
            if kind == "resume":
                self._recall(link, event, fx)
            return
        if inv.sink is None:
            return  # it waits for room: its events go out from the first one on
        if kind == "resume":
            inv.sink.resume(self.world, inv, event.resume.after_seq, event.resume.credit, fx)
        elif kind == "byte_credit":
            inv.sink.credit(self.world, inv, max(0, event.byte_credit.bytes), fx)
        else:
            inv.sink.answer(self.world, inv, event, fx)

    def _recall(self, link: Link, event: Event, fx: Effects) -> None:
        """Events of an order that is not in memory: an ended one may be in the store."""
        after = min(event.resume.after_seq, INT64_MAX)
        if event.order_seq <= link.pair.logs[THEM].seq:
            fx.work.append(RecallOrder(link.name, event.order_seq, after, event.resume.credit))
        else:
            link.outbox.events.append(events_gone(event.order_seq, after))

    def entries_read(
        self, link: Link, work: ReadEntries, frames: Sequence[bytes], rest: ReadEntries | None, fx: Effects
    ) -> None:
        """What the other side lacks has been read from the store."""
        link.resend(work, frames, rest, fx)

    # -- catalog ----------------------------------------------------------------------------------

    def set_offers(self, offers: Sequence[KnownOffer], fx: Effects) -> None:
        """Replace this grid's own offers."""
        self.world.catalog.set_own(offers)
        self._told.renew(self.world, fx)

    def offers_fetched(self, offers: Sequence[KnownOffer], fx: Effects) -> None:
        """Offers of other origins have been fetched and checked against their digests."""
        self.world.catalog.learn(offers)

    def _advertise(self, link: Link, fx: Effects) -> None:
        if self._told.is_due(self.world, fx.now):
            self._told.renew(self.world, fx)
        epoch = self._epochs[link.name] = self._epochs.get(link.name, 0) + 1
        routing.advertise(self.world, link, self._told, epoch, fx)

    # -- invocations ------------------------------------------------------------------------------

    def by_key(self, key: str) -> Invocation | None:
        """The invocation in memory with this key."""
        return self.world.invocations.get(key)

    def events_read(self, key: str, after: int, rows: list[tuple[int, bytes]], fx: Effects) -> None:
        """Durable events of own work were read for sending."""
        inv = self.world.invocations.get(key)
        if inv is not None and isinstance(inv.sink, LocalSink):
            inv.sink.events_read(self.world, inv, after, rows, fx)

    # -- time and batches -------------------------------------------------------------------------

    def tick(self, fx: Effects) -> None:
        """Deadlines, expiries, pings, tariffs; called about every 100 ms."""
        self._due(fx)
        world = self.world
        paused, world.paused = world.paused, set()
        for inv in filter(None, map(world.invocations.get, paused)):
            if inv.sink is not None:
                inv.sink.retry(world, inv, fx)
        if fx.now - self._swept >= SWEEP_MS:
            self._swept = fx.now
            routing.sweep(world, fx.now)
        changed = self._told.version != world.catalog.version and fx.now - self._told.at >= 200
        changed = changed or self._told.is_due(world, fx.now)
        if changed:
            self._told.version, self._told.at = world.catalog.version, fx.now
        for link in world.links.values():
            was_up = link.connection is not None
            link.tick(fx)
            if was_up and link.connection is None:
                self._link_down(link)
            if link.phase is Phase.OPEN and (changed or routing.tariffs_age(world, link, fx.now)):
                self._advertise(link, fx)

    def _due(self, fx: Effects) -> None:
        for what, key in self.world.schedule.due(fx.now):
            DUE[what](self.world, key, fx)

    def flush(self, fx: Effects) -> None:
        """End a batch: prove and claim finished work, admit what has room, sign each link once, gather the rows."""
        executing.prove_finished(self.world, fx)
        links = self.world.links.values()
        for link in links:
            if link.phase is Phase.OPEN:
                selling.admit_waiting(self.world, link, fx)
        for link in links:
            link.flush(fx)
            self._retire(link, fx)
        self.world.flush_rows(fx)
