"""Any bytes on a link: never a fault of the node, never a trace of what was refused, never long."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.kit.identities import Identity, make_offer
from tests.kit.misdeeds import FRAMES, OPENS
from tests.kit.network import Network
from tests.kit.rogue import K, Rogue
from tests.kit.sim_node import SimNode, is_open, snapshot

from intertie.registry import ERRORS, LIMITS
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.event_pb2 import Event
from intertie_node.adapters.grpc.frames import unwrap, wrap
from intertie_node.core.ledger import ME, THEM
from intertie_node.core.opening import Phase

MAL = Identity("mal.example")
FUZZ = settings(max_examples=150, suppress_health_check=list(HealthCheck), print_blob=True)
PATIENCE_S = 2.0

OPS = ("flip", "set", "cut", "insert", "repeat", "drop", "swap")
Mutation = tuple[str, float, bytes]
mutations = st.lists(
    st.tuples(st.sampled_from(OPS), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=12)),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, changes: list[Mutation]) -> bytes:
    """The bytes after some small accidents."""
    for name, place, value in changes:
        at, size = int(place * len(data)), len(value)
        before, here, after = data[:at], data[at : at + size], data[at + size :]
        data = {
            "flip": before + bytes(a ^ b for a, b in zip(here, value, strict=False)) + after,
            "set": before + value + after,
            "cut": before,
            "insert": before + value + here + after,
            "repeat": before + here * 3 + after,
            "drop": before + after,
            "swap": here + before + after,
        }[name]
    return data


def scene() -> tuple[Network, SimNode, Rogue]:
    """A node with a peer that has an open link, an order at it and an offer in its catalog."""
    net = Network()
    node = net.add("north.example")
    node.backends["wait"] = lambda node, work: None
    net.peer(MAL, node)
    net.start()
    node.open_account("alice", 10**6)
    rogue = net.rogue(node, MAL)
    net.dial(rogue, node)
    rogue.open()
    net.run()
    offers = [make_offer(MAL.fingerprint, "tool")]
    net.catalogs[MAL.fingerprint] = offers
    rogue.say(advertisements=rogue.advertise(offers))
    rogue.buy(node.own_offer("wait"))
    net.run()
    node.invoke("mal.example/tool")
    net.run()
    assert is_open(node, MAL)
    return net, node, rogue


def rich_frame(rogue: Rogue, node: SimNode) -> bytes:
    """A good frame with something of everything."""
    order = rogue.write(K.ENTRY_KIND_ORDER, order=rogue.order(node.own_offer("wait")))
    bought = rogue.entries(K.ENTRY_KIND_ORDER)[0].seq
    rogue.write(K.ENTRY_KIND_CHARGE, charge=rogue.claim(bought, {"order": 1}))
    rogue.write(200)
    events = [rogue.result(bought), Event(order_seq=order, byte_credit={"bytes": 5})]
    advertisements = rogue.advertise([make_offer(MAL.fingerprint, "tool")], rogue.routes and 1, epoch=2)
    inputs = [lk.OrderInput(order_seq=order, data=b"{}")]
    return rogue.frame(events=events, inputs=inputs, advertisements=advertisements, ping=3).SerializeToString()


def deliver(net: Network, node: SimNode, rogue: Rogue, data: bytes) -> None:
    """Send bytes, and check what must always hold afterwards."""
    before = snapshot(node)
    rogue.relax = True
    started = time.monotonic()
    rogue.send(data)
    net.run()
    assert time.monotonic() - started < PATIENCE_S
    if rogue.closed:
        assert rogue.closed in ERRORS
        assert not is_open(node, MAL)
        assert snapshot(node) == before
    check_sound(node)
    reopen(net, node)


def hang_up(net: Network) -> None:
    """Every stream breaks."""
    for wire in list(net.wires):
        net.cut(wire)
    net.run()


def check_sound(node: SimNode) -> None:
    """What the stored row says is what memory says; lanes are the sums of their holds."""
    link = node.link(MAL)
    for side in (ME, THEM):
        holds = [hold for (payer, _), hold in link.ledger.holds.items() if payer == side]
        lane = link.ledger.lanes[side]
        assert lane.pending == sum(hold.pending for hold in holds)
        assert lane.granted == sum(hold.granted for hold in holds)
        assert lane.open == len([hold for hold in holds if hold.state == 1])
    for account in node.world.books.accounts.values():
        assert account.reserved >= 0
        assert account.reserved + account.spent <= account.budget


def reopen(net: Network, node: SimNode) -> None:
    """The peer can open its link again as one that has lost its memory, or goes on with the stream it has."""
    link = node.link(MAL)
    fresh = net.rogue(node, MAL)
    fresh.relax, fresh.answers = True, False
    net.dial(fresh, node)
    logs = link.pair.logs
    fresh.open(
        own=lk.Cursor(seq=logs[THEM].seq, head=logs[THEM].head), other=lk.Cursor(seq=logs[ME].seq, head=logs[ME].head)
    )
    net.run()
    assert link.phase is Phase.OPEN


@FUZZ
@given(mutations)
def test_mutated_frames(changes: list[Mutation]) -> None:
    net, node, rogue = scene()
    deliver(net, node, rogue, mutate(rich_frame(rogue, node), changes))


@FUZZ
@given(mutations, st.sampled_from(["entry", "signature", "event", "advertisement"]))
def test_mutated_parts_under_a_good_signature(changes: list[Mutation], part: str) -> None:
    """A peer signs whatever it likes: the bytes are wrong, the signature is right."""
    net, node, rogue = scene()
    rogue.relax = True
    if part == "entry":
        order = pb.Entry(kind=K.ENTRY_KIND_ORDER, order=rogue.order(node.own_offer("wait")), at=net.now)
        order.seen = rogue.pair.logs[THEM].seq
        data = mutate(order.SerializeToString(), changes)
        log = rogue.pair.logs[ME]
        rogue.append(data)
        frame = rogue.frame(rogue.signature(seq=log.seq, head=log.head), inputs=[lk.OrderInput(order_seq=log.seq)])
        deliver(net, node, rogue, frame.SerializeToString())
        return
    frame = lk.Frame.FromString(rich_frame(rogue, node))
    target: Any = {"signature": frame.signature, "event": frame.events[0], "advertisement": frame.advertisements[0]}[
        part
    ]
    data = mutate(target.SerializeToString(), changes)
    try:
        target.ParseFromString(data)
    except Exception:
        return
    deliver(net, node, rogue, frame.SerializeToString())


@FUZZ
@given(mutations)
def test_mutated_claims(changes: list[Mutation]) -> None:
    net, node, rogue = scene()
    rogue.relax = True
    bought = rogue.entries(K.ENTRY_KIND_ORDER)[0].seq
    body = rogue.claim(bought, {"order": 1})
    try:
        body.proof.ParseFromString(mutate(body.proof.SerializeToString(), changes))
    except Exception:
        body.proof.record = mutate(body.proof.record, changes)
    rogue.write(K.ENTRY_KIND_CHARGE, charge=body)
    deliver(net, node, rogue, rogue.frame().SerializeToString())
    lane = node.link(MAL).ledger.lanes[ME]
    assert lane.agreed in (0, 10)
    assert node.world.books.accounts["alice"].spent == lane.agreed


@FUZZ
@given(st.binary(max_size=400), st.sampled_from(["first", "after a bad open", "open"]))
@example(b"", "first")
@example(b"\x0a\x00", "first")
@example(b"\x6a\x00", "open")
def test_arbitrary_bytes(data: bytes, when: str) -> None:
    net, node, rogue = scene()
    if when != "open":
        hang_up(net)
        net.dial(rogue, node)
    if when == "after a bad open":
        rogue.open(genesis=bytes(32))
    deliver(net, node, rogue, data)


@FUZZ
@given(mutations)
def test_mutated_opens(changes: list[Mutation]) -> None:
    """Also with a good signature over the mutated payload."""
    net, node, rogue = scene()
    for sealed in (False, True):
        hang_up(net)
        net.dial(rogue, node)
        payload = rogue.make_open()
        data = rogue.seal(mutate(payload, changes)) if sealed else mutate(rogue.seal(payload), changes)
        deliver(net, node, rogue, data)


def _void_frame(rogue: Rogue, count: int) -> bytes:
    """A frame of so many entries, all of them void."""
    void = pb.Entry(kind=99, seen=rogue.pair.logs[THEM].seq, at=rogue.now()).SerializeToString()
    log = rogue.pair.logs[ME]
    for _ in range(count):
        rogue.append(void)
    return rogue.frame(rogue.signature(seq=log.seq, head=log.head)).SerializeToString()


def test_as_many_void_entries_as_a_frame_may_hold() -> None:
    net, node, rogue = scene()
    rogue.answers = False
    most = LIMITS["frame_entries"].maximum
    deliver(net, node, rogue, _void_frame(rogue, most))
    assert len([frame for frame in rogue.heard if frame.entries]) > 1
    assert len(rogue.refused()) == most


def test_more_entries_than_a_frame_may_hold() -> None:
    net, node, rogue = scene()
    deliver(net, node, rogue, _void_frame(rogue, LIMITS["frame_entries"].maximum + 1))
    assert rogue.closed == "FRAME_TOO_LARGE"


def test_a_frame_full_of_events() -> None:
    net, node, rogue = scene()
    deliver(net, node, rogue, lk.Frame(events=[Event(order_seq=1, number=2**60)] * 15_000).SerializeToString())
    assert rogue.closed in ("", "SUPERSEDED")


@given(st.binary(max_size=100_000))
def test_wrapping_is_protobuf(data: bytes) -> None:
    """The fast path writes and reads what protobuf would."""
    assert unwrap(wrap(data)) == data
    if len(data) < 5_000:
        try:
            frame = lk.Frame.FromString(data)
        except Exception:
            return
        assert lk.LinkRequest.FromString(wrap(data)).frame == frame


@given(st.binary(max_size=200))
def test_unwrapping_takes_anything(data: bytes) -> None:
    """What is no LinkRequest yields bytes that are no frame."""
    taken = unwrap(data)
    assert isinstance(taken, bytes)


@given(st.sampled_from(sorted(OPENS)), st.sampled_from(sorted(FRAMES)))
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_misdeeds_in_a_row(opening: str, frame: str) -> None:
    """One bad stream after another from the same peer; the next good one is served."""
    net, node, _ = scene()
    attempt = net.rogue(node, MAL)
    attempt.relax, attempt.answers = True, False
    net.dial(attempt, node)
    OPENS[opening].act(attempt)
    net.run()
    net.dial(attempt, node)
    attempt.open()
    net.run()
    FRAMES[frame].act(attempt, node.own_offer("wait"))
    net.run()
    check_sound(node)
    reopen(net, node)
