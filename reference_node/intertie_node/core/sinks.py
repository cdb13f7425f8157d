"""Who works: this grid's own backends, or the provider of an order placed downstream (design §9)."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct

from intertie.amounts import convert_limit
from intertie.digests import salted
from intertie.v1 import entry_pb2 as pb
from intertie.v1.envelope_pb2 import Payload
from intertie.v1.event_pb2 import ByteCredit, Chunk, Event, Gap, InputReply, Resume
from intertie_node.core.effects import Effects
from intertie_node.core.frames import INLINE_BYTES
from intertie_node.core.holds import OPEN, Hold
from intertie_node.core.invocations import Invocation, OrderKey
from intertie_node.core.ledger import ME
from intertie_node.core.link import Link
from intertie_node.core.sharing import note, room
from intertie_node.core.tasks import TaskSignal
from intertie_node.core.work import GiveInput, ReadEvents, StopWork
from intertie_node.core.world import World, problem

MULTIHASH_SHA256 = b"\x12\x20"


class Rate(Struct, frozen=True, array_like=True, gc=False):
    """How a relay converts upstream limits into downstream ones (design §9); 0, 0, 1, 1 changes nothing."""

    fee: int = 0
    lines: int = 0
    num: int = 1
    den: int = 1

    def down(self, amount: int) -> int:
        """The downstream limit for `amount` upstream, minor units."""
        return convert_limit(amount, self.fee, self.lines, self.num, self.den)

    def up(self, amount: int) -> int:
        """An upstream amount that covers `amount` downstream, minor units."""
        return -(-amount * self.num // self.den) + self.fee + self.lines


class LocalSink:
    """Work of this grid's own backends: usage, durable events, and the window in which they are sent."""

    order = None

    def __init__(self, nonce: bytes, event_credit: int) -> None:
        self.usage: dict[str, int] = {}
        self.running = False
        self.started_at = 0
        self.stopping = ""
        self.held: list[tuple[int, Callable[[Effects], None]]] = []
        """Steps of the run that wait until this much is granted."""
        self.output = sha256(nonce)
        """Salted digest of the output so far."""
        self.has_output = False
        self.next = 1
        """Number of the next durable event to be sent."""
        self.window = event_credit
        """Bytes of events that may still be sent."""
        self.reading = False

    def row(self) -> tuple[Any, ...]:
        """What restores this sink."""
        return ("local", self.started_at, dict(self.usage))

    def cancel(self, world: World, inv: Invocation, comment: str, fx: Effects) -> None:
        """Stop the run; if none was started, the source is told that no work was done."""
        if inv.ended:
            return
        if not self.started_at:
            inv.source.reject(world, inv, problem("CANCELED", "Cancelled before work started."), fx)
        elif not self.stopping:
            # What ran before a restart is ended by `executing.recover`.
            self.stopping = "CANCELED"
            if self.running:
                fx.work.append(StopWork(inv.key, "CANCELED"))

    def answer(self, world: World, inv: Invocation, event: Event, fx: Effects) -> None:
        """Give an input reply to the run, once."""
        reply = event.input_reply
        if reply.request != inv.asked or not inv.signal(TaskSignal.ANSWERED, fx.now):
            return
        world.touch(inv)
        fx.work.append(GiveInput(inv.key, reply.request, reply.payload.media_type, reply.payload.data))

    def granted(self, world: World, inv: Invocation, fx: Effects) -> None:
        """Try the held steps again; once one of them has ended the work, the others are void."""
        held, self.held = self.held, []
        for _, step in held:
            if not inv.ended:
                step(fx)

    def retry(self, world: World, inv: Invocation, fx: Effects) -> None:
        """Try the held steps again if one of them fits what is granted by now."""
        granted = inv.source.granted(world, inv) if self.held else 0
        if any(amount <= granted for amount, _ in self.held):
            self.granted(world, inv, fx)
        elif self.held:
            world.paused.add(inv.key)

    def reopened(self, world: World, inv: Invocation, fx: Effects) -> None:
        """The payer's link is open again: a held step asks again for the grant that it needs."""
        self.granted(world, inv, fx)

    def resume(self, world: World, inv: Invocation, after: int, credit: int, fx: Effects) -> None:
        """Start sending again after a number."""
        self.next, self.window, self.reading = after + 1, credit, False
        self._read(inv, fx)

    def credit(self, world: World, inv: Invocation, size: int, fx: Effects) -> None:
        """Widen the window."""
        self.window += size
        self._read(inv, fx)

    def _read(self, inv: Invocation, fx: Effects) -> None:
        if self.next <= inv.last_event and self.window > 0 and not self.reading:
            self.reading = True
            fx.work.append(ReadEvents(inv.key, self.next - 1, self.window))

    def events_read(
        self, world: World, inv: Invocation, after: int, rows: list[tuple[int, bytes]], fx: Effects
    ) -> None:
        """Durable events were read from the store for sending."""
        if not self.reading or after != self.next - 1:
            return
        self.reading = False
        if not rows or rows[0][0] != self.next:
            self._say_gone(world, inv, rows[0][0] - 1 if rows else inv.last_event, fx)
            return
        for number, data in rows:
            if number != self.next or self.window <= 0:
                break
            self._send(world, inv, number, Event.FromString(data), len(data), fx)
        if rows:
            self._read(inv, fx)

    def _say_gone(self, world: World, inv: Invocation, last: int, fx: Effects) -> None:
        """Events are past their retention: an explicit gap, never silence (design §5 rule 7)."""
        gone = problem("EVENTS_GONE", "These events were kept for the declared retention and are gone.")
        inv.source.deliver(world, inv, Event(gap=Gap(first=self.next, last=last, problem=gone)), fx)
        self.next = last + 1
        self._read(inv, fx)

    def emit(self, world: World, inv: Invocation, event: Event, fx: Effects) -> None:
        """Write a durable event and send it if everything before it has been sent."""
        inv.last_event += 1
        event.number, event.at = inv.last_event, fx.now
        data = event.SerializeToString()
        fx.changes.append("events", (inv.key, event.number, data))
        if self.next == event.number and self.window > 0 and not self.reading:
            self._send(world, inv, event.number, event, len(data), fx)

    def _send(self, world: World, inv: Invocation, number: int, event: Event, size: int, fx: Effects) -> None:
        self.next = number + 1
        self.window -= size
        inv.source.deliver(world, inv, event, fx)

    def chunk(self, world: World, inv: Invocation, payload: Payload, fx: Effects) -> None:
        """Send a durable piece of output, in as many events as it needs."""
        data = payload.data
        self.hash(data)
        for start in range(0, max(1, len(data)), INLINE_BYTES):
            piece = Payload(media_type=payload.media_type, data=data[start : start + INLINE_BYTES])
            self.emit(world, inv, Event(chunk=Chunk(payload=piece)), fx)

    def hash(self, data: bytes) -> None:
        """Count `data` into the output's digest."""
        if data:
            self.has_output = True
            self.output.update(data)

    @property
    def output_digest(self) -> bytes:
        """Salted multihash of all output; empty if there was none."""
        return MULTIHASH_SHA256 + self.output.digest() if self.has_output else b""


class OrderSink:
    """Work bought from the next grid: an own order on a link."""

    def __init__(self, link: Link, seq: int, rate: Rate) -> None:
        self.link = link
        self.seq = seq
        self.order: OrderKey = (link.name, ME, seq)
        self.rate = rate
        self.after = 0
        """Highest durable event that has passed; where a resume starts."""
        self.asked_after = -1
        """Where the last resume began that was asked for because events were missing."""
        self.needed = 0
        """Grant that the provider has asked for, as an upstream amount; asked for again when a link is back."""
        self.delivered: bytes | None = None
        """Salted digest of the output, once all events up to the result have passed; empty for none."""
        self.streamed = 0
        """Bytes of the pieces of output that have passed."""
        self._counted = 0
        self._output: Any = None
        self.canceling: str | None = None
        """Comment of a wish to stop that could not be written yet."""

    def row(self) -> tuple[Any, ...]:
        """What restores this sink."""
        return ("order_sink", self.link.name, self.seq, self.rate)

    @property
    def hold(self) -> Hold | None:
        """The order's hold, None once it is settled and forgotten."""
        return self.link.ledger.holds.get((ME, self.seq))

    def count(self, nonce: bytes, event: Event) -> None:
        """Count the output that an event of the provider carries, in the order of numbers, once."""
        if event.number != self._counted + 1:
            return
        self._counted = event.number
        if event.HasField("chunk") and (piece := event.chunk.payload.data):
            self._output = self._output or sha256(nonce)
            self._output.update(piece)
            self.streamed += len(piece)
        elif event.HasField("result"):
            data = event.result.output.data
            if self._output is None:
                self.delivered = salted(nonce, data) if data else b""
            else:
                self._output.update(data)
                self.delivered = MULTIHASH_SHA256 + self._output.digest()

    def _open(self) -> Hold | None:
        hold = self.hold
        return hold if hold is not None and hold.state is OPEN and self.link.can_append else None

    def cancel(self, world: World, inv: Invocation, comment: str, fx: Effects) -> None:
        """Ask the provider to stop, once; later if the link is down."""
        hold = self._open()
        self.canceling = comment if hold is None else None
        if hold is not None and not hold.canceled:
            body = pb.Cancel(order_seq=self.seq, comment=comment[:256])
            self.link.append(pb.Entry(kind=pb.ENTRY_KIND_CANCEL, cancel=body), fx)

    def answer(self, world: World, inv: Invocation, event: Event, fx: Effects) -> None:
        """Keep an input reply and pass it on, again if it is repeated; the origin counts the first."""
        if inv.asked and event.input_reply.request != inv.asked:
            return
        reply = InputReply()
        reply.CopyFrom(event.input_reply)
        if inv.reply is None or inv.reply.request != reply.request:
            inv.reply = reply
            world.touch(inv)
        if inv.signal(TaskSignal.ANSWERED, fx.now):
            world.touch(inv)
        self._reply(reply)

    def asked(self, world: World, inv: Invocation, request: int, fx: Effects) -> None:
        """The provider asks for input: what was replied to it already is said again, else the invocation waits."""
        inv.asked = max(inv.asked, request)
        if inv.reply is not None and inv.reply.request == inv.asked:
            self._reply(inv.reply)
        elif inv.signal(TaskSignal.ASKED, fx.now):
            world.touch(inv)

    def _reply(self, reply: InputReply) -> None:
        self.link.say(Event(order_seq=self.seq, input_reply=reply))

    def granted(self, world: World, inv: Invocation, fx: Effects) -> None:
        """Raise the downstream grant to what the source has granted, converted; later where `max_unagreed` forbids."""
        hold = self._open()
        if hold is None:
            return
        wanted = min(self.rate.down(inv.source.granted(world, inv)), hold.terms.max_charge)
        amount = hold.granted + room(world, self.link, inv, wanted - hold.granted)
        if amount < wanted:
            world.paused.add(inv.key)
        if amount > hold.granted and amount >= min(wanted, self.rate.down(self.needed) or wanted):
            note(world, self.link, inv, 0, 0, amount - hold.granted)
            body = pb.Grant(order_seq=self.seq, amount=amount)
            self.link.append(pb.Entry(kind=pb.ENTRY_KIND_GRANT, grant=body), fx)

    def retry(self, world: World, inv: Invocation, fx: Effects) -> None:
        """Raise the grant if there is room by now."""
        self.granted(world, inv, fx)

    def reopened(self, world: World, inv: Invocation, fx: Effects) -> None:
        """A link of this order is open again: say now what could not be said meanwhile."""
        upstream = getattr(inv.source, "hold", None)
        if self.canceling is not None or (upstream is not None and upstream.canceled):
            self.cancel(world, inv, self.canceling or "", fx)
        if inv.reply is not None:
            self._reply(inv.reply)
        if self.needed > inv.source.granted(world, inv):
            inv.source.grant_needed(world, inv, self.needed, fx)
        self.granted(world, inv, fx)

    def resume(self, world: World, inv: Invocation, after: int, credit: int, fx: Effects) -> None:
        """Pass the cursor on; relays keep cursors, not copies."""
        self.after = after
        self.link.say(Event(order_seq=self.seq, resume=Resume(after_seq=after, credit=credit)))

    def missed(self, world: World, inv: Invocation, fx: Effects) -> None:
        """Events before the one that came were lost with a stream: ask once for all that follow the last."""
        if self.asked_after != self.after:
            self.asked_after = self.after
            self.resume(world, inv, self.after, world.settings.event_credit, fx)

    def credit(self, world: World, inv: Invocation, size: int, fx: Effects) -> None:
        """Pass byte credit on."""
        self.link.say(Event(order_seq=self.seq, byte_credit=ByteCredit(bytes=size)))


def is_last(inv: Invocation, event: Event) -> bool:
    """Whether nothing follows an event: it is the result, or a gap that stands in its place."""
    if not event.HasField("gap"):
        return event.HasField("result")
    last = event.gap.last
    return last == 0 or (inv.ended and 0 < inv.last_event <= last)


def events_gone(order_seq: int, after: int) -> Event:
    """What is said to a resume of an order that nothing is known of (IT-INV-075)."""
    gone = problem("EVENTS_GONE", "Nothing is known of this order.")
    return Event(order_seq=order_seq, gap=Gap(first=after + 1, problem=gone))


def quantities(units: tuple[str, ...], usage: Mapping[str, int]) -> list[int]:
    """Usage in the order of an order's price lines (atoms)."""
    return [usage.get(unit, 0) for unit in units]
