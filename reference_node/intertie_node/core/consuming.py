"""The consumer's side: invoking, watching, answering and stopping (design §9, consumer methods)."""

from hashlib import sha256

from intertie.digests import multihash, salted
from intertie.errors import IntertieError, to_problem
from intertie.ids import parse_uuid7
from intertie.v1.event_pb2 import Event, InputReply
from intertie.v1.invocation_pb2 import Invocation as Request
from intertie.v1.invocation_pb2 import InvocationEvent
from intertie_node.core.catalog import KnownOffer
from intertie_node.core.effects import Effects
from intertie_node.core.executing import start
from intertie_node.core.frames import INLINE_BYTES, MAX_EVENT_BYTES, event_size
from intertie_node.core.holds import Prices, lines_of
from intertie_node.core.invocations import Invocation, Spec
from intertie_node.core.placing import best_way, check_place, check_room, check_texts, draft, first_grant, place
from intertie_node.core.sinks import OrderSink, Rate
from intertie_node.core.sources import ConsumerSource, Subscriber
from intertie_node.core.tasks import TaskSignal
from intertie_node.core.world import World, problem

DEFAULT_TIMEOUT_MS = 60_000
MAX_ID_LEAD_MS = 300_000
KEEP_ENDED_MS = 60_000


def request_digest(request: Request) -> bytes:
    """Digest over the semantic fields: everything but the trace context (design §5 rule 4)."""
    if request.traceparent:
        plain = Request()
        plain.CopyFrom(request)
        plain.traceparent = ""
        request = plain
    return sha256(request.SerializeToString()).digest()


def invoke(world: World, account: str, request: Request, subscriber: Subscriber, fx: Effects) -> None:
    """Start an invocation, or join the one that has this id.

    Refusals reach the subscriber as `refused`; nothing is kept of them.
    """
    try:
        digest = request_digest(request)
        known = world.invocations.get(f"{request.id}@{account}")
        if known is not None:
            _join(world, known, digest, subscriber, fx)
            return
        inv = _start(world, account, request, digest, fx)
    except IntertieError as error:
        fx.reply(subscriber.push, InvocationEvent(id=request.id, refused=to_problem(error)))
        return
    source = inv.source
    assert isinstance(source, ConsumerSource)
    subscriber.next = 1
    source.subscribers.append(subscriber)


def _join(world: World, inv: Invocation, digest: bytes, subscriber: Subscriber, fx: Effects) -> None:
    if inv.spec.digest and inv.spec.digest != digest:
        raise IntertieError("ID_CONFLICT", "This id was used for another request.", id=inv.spec.id)
    subscribe(world, inv, subscriber, subscriber.next - 1, fx)


def _start(world: World, account: str, request: Request, digest: bytes, fx: Effects) -> Invocation:
    if world.draining:
        raise IntertieError("NODE_DRAINING", "This node is shutting down; try again later.")
    if len(world.invocations) >= world.settings.max_invocations:
        raise IntertieError("NODE_BUSY", "Too many invocations are under way here; try again later.")
    _check_account(world, account)
    made_at = parse_uuid7(request.id)
    if made_at > fx.now + MAX_ID_LEAD_MS:
        raise IntertieError("ID_INVALID", "The id's time lies in the future.", id=request.id)
    offer = world.catalog.find(request.offer)
    spec = _spec(world, account, request, offer, digest, fx.now)
    source = ConsumerSource(account, offer.prices, spec.grant, spec.max_charge)
    inv = Invocation(spec, source)
    if offer.origin == world.fingerprint:  # another origin checks for itself: a stranger's schema is not run here
        world.check_input(offer.offer.input_schema, spec.input)
        check_place(spec.places, offer.offer.place or world.settings.place)
        _check_price(offer.prices, spec.max_charge)
        check_texts(spec)
        world.books.reserve(account, spec.max_charge)
        world.add(inv)
        start(world, inv, fx)
    else:
        _order(world, inv, offer, source, made_at, fx)
    return inv


def _check_account(world: World, account: str) -> None:
    """Check that an account may still invoke: a stream outlives the token that it was opened with.

    Raises: IntertieError UNAUTHENTICATED, NODE_BUSY.
    """
    known, most = world.books.accounts.get(account), world.settings.account_invocations
    if known is None or known.revoked:
        raise IntertieError("UNAUTHENTICATED", "The token is revoked: intertie token create makes one.")
    if world.places[account] >= most:
        message = f"{most} invocations of account {account} are under way, as many as it may have; try again later."
        raise IntertieError("NODE_BUSY", message, limit=str(most))


def _order(world: World, inv: Invocation, offer: KnownOffer, source: ConsumerSource, made_at: int, fx: Effects) -> None:
    spec = inv.spec
    check_place(spec.places, offer.offer.place)
    if made_at <= world.started_at:
        _check_unplaced(world)
    way = best_way(world, offer, fx.now)
    _check_price(way.prices, spec.max_charge)
    grant = source.grant = first_grant(offer, spec.max_charge, spec.grant)
    check_texts(spec)
    check_room(world, way.link, spec.max_charge, grant)
    order = draft(world, inv, way, spec.id, spec.max_charge, grant, spec.deadline, fx.now)
    world.books.reserve(spec.caller, spec.max_charge)
    source.prices = way.prices
    world.add(inv)
    place(world, inv, way, order, Rate(), fx)
    inv.signal(TaskSignal.STARTED, fx.now)
    world.at(spec.deadline + world.settings.grace_ms, "unknown", inv.key)


def _check_unplaced(world: World) -> None:
    """Check that an id from before the start cannot have been ordered over a link that has not been heard yet.

    A node restored from an older copy would order it a second time, perhaps over another link: its copy may know
    nothing of the one that it had taken. Raises: IntertieError PEER_UNAVAILABLE.
    """
    link = next(world.unheard(), None)
    if link is not None:
        message = f"Whether this id was ordered before the start is known once {link.peer.grid} is heard; try again."
        raise IntertieError("PEER_UNAVAILABLE", message, grid=link.peer.grid)


def _check_price(prices: Prices, max_charge: int) -> None:
    least = lines_of(prices).least
    if max_charge < least:
        raise IntertieError(
            "BUDGET_EXCEEDED", f"This costs at least {least}; max_charge is {max_charge}.", max_charge=str(max_charge)
        )


def _spec(world: World, account: str, request: Request, offer: KnownOffer, digest: bytes, now: int) -> Spec:
    settings = world.settings
    data, timeout = request.input.data, request.timeout_ms or DEFAULT_TIMEOUT_MS
    if len(data) > INLINE_BYTES:
        raise IntertieError("INPUT_TOO_LARGE", f"Inputs may have {INLINE_BYTES} bytes; this has {len(data)}.")
    if not 0 < timeout <= settings.max_timeout_ms:
        raise IntertieError("DEADLINE_TOO_LONG", f"timeout_ms must lie between 1 and {settings.max_timeout_ms}.")
    if request.max_charge < 0 or not 0 <= request.first_grant <= request.max_charge:
        raise IntertieError("AMOUNT_INVALID", "max_charge must be ≥ 0 and first_grant at most max_charge.")
    nonce = multihash(world.secret + b"nonce\0" + f"{request.id}@{account}".encode())[2:18]
    return Spec(
        id=request.id,
        caller=account,
        offer=offer.ref,
        offer_digest=offer.digest,
        nonce=nonce,
        input_digest=salted(nonce, data),
        media_type=request.input.media_type or "application/json",
        input=data,
        max_charge=request.max_charge,
        grant=request.first_grant or request.max_charge,
        deadline=now + timeout,
        created_at=now,
        hop_limit=settings.hop_limit,
        path=(),
        places=tuple(request.policy.places) if request.HasField("policy") else (),
        session=request.session,
        group=request.group,
        digest=digest,
    )


def subscribe(world: World, inv: Invocation, subscriber: Subscriber, after: int, fx: Effects) -> None:
    """Send events above `after`, then the outcome; also after the end."""
    source = inv.source
    assert isinstance(source, ConsumerSource)
    subscriber.next = after + 1
    outcome = inv.outcome
    if outcome is not None:
        world.at(fx.now + KEEP_ENDED_MS, "forget", inv.key)
        if after + 1 >= inv.last_event:
            fx.reply(subscriber.push, InvocationEvent(id=inv.spec.id, outcome=outcome))
            return
    if subscriber not in source.subscribers:
        source.subscribers.append(subscriber)
    if inv.sink is not None:
        first = min(listening.next for listening in source.subscribers)  # one cursor serves all of them
        inv.sink.resume(world, inv, first - 1, world.settings.event_credit, fx)


def unsubscribe(inv: Invocation, subscriber: Subscriber) -> None:
    """The consumer has gone; the invocation goes on."""
    source = inv.source
    if isinstance(source, ConsumerSource) and subscriber in source.subscribers:
        source.subscribers.remove(subscriber)


def send_input(world: World, inv: Invocation, reply: InputReply, fx: Effects) -> None:
    """Pass a reply on; one that comes again or late has no effect.

    Raises: IntertieError INVALID_ARGUMENT if nothing is asked, INPUT_TOO_LARGE.
    """
    size, event = len(reply.payload.data), Event(input_reply=reply)
    if size > INLINE_BYTES or event_size(event) > MAX_EVENT_BYTES:
        message = f"A reply may have {INLINE_BYTES} bytes, its event {MAX_EVENT_BYTES}; this reply has {size}."
        raise IntertieError("INPUT_TOO_LARGE", message, size=str(size), limit=str(INLINE_BYTES))
    if inv.ended or inv.sink is None or not reply.request or (inv.asked and reply.request > inv.asked):
        raise IntertieError("INVALID_ARGUMENT", "The invocation has ended or has not asked for this input.")
    inv.sink.answer(world, inv, event, fx)


def cancel(world: World, inv: Invocation, comment: str, fx: Effects) -> None:
    """Ask to stop."""
    if not inv.ended and inv.sink is not None:
        inv.sink.cancel(world, inv, comment, fx)


def unknown(world: World, inv: Invocation, fx: Effects) -> None:
    """The deadline and its grace have passed without an outcome."""
    source = inv.source
    if isinstance(source, ConsumerSource) and isinstance(inv.sink, OrderSink):
        message = "The deadline passed and the provider has said nothing; the hold waits for its end."
        source.unknown(world, inv, problem("OUTCOME_UNKNOWN", message), fx)
