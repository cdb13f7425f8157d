"""Cutting what a link has gathered into frames: nothing lost, order kept, limits kept."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.kit.identities import Identity, limits
from tests.kit.network import Network
from tests.kit.rogue import K

from intertie.registry import LIMITS
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.catalog_pb2 import Advertisement
from intertie.v1.event_pb2 import Event
from intertie_node.core.effects import Effects
from intertie_node.core.frames import Outbox
from intertie_node.core.ledger import ME

SIGNATURE = lk.HeadSignature(
    seq=2**63, head=bytes(32), acked=2**63, acked_head=bytes(32), agreed_total=bytes(16), session=bytes(32)
)
SIGNATURE.signatures.add(key_id=bytes(34), value=bytes(64))
LEAST = LIMITS["frame_bytes"].minimum
MAL = Identity("mal.example")
sizes = st.lists(st.one_of(st.integers(0, 200), st.integers(0, 20_000)), max_size=60)


@given(
    sizes, st.lists(st.integers(0, 40_000), max_size=6), st.booleans(), st.integers(0, 9), st.integers(LEAST, 262_144)
)
def test_the_rest_goes_into_as_many_frames_as_it_needs(
    events: list[int], advertisements: list[int], signed: bool, ping: int, limit: int
) -> None:
    box = Outbox()
    box.ping, box.pong = ping, ping // 2
    for number, size in enumerate(events, start=1):
        box.events.append(Event(number=number, chunk={"payload": {"data": bytes(size)}}))
    for number, size in enumerate(advertisements, start=1):
        box.advertisements.append(Advertisement(epoch=number, route={"root": bytes(size)}))
    entries = [bytes([n]) * 50 for n in range(20)] if signed else []
    for seq, data in enumerate(entries, start=7):
        box.entry(seq, data)
    frames = box.rest(box.entry_frame(SIGNATURE) if signed else None, limit)
    assert all(len(frame.SerializeToString()) <= limit for frame in frames)
    assert all(frame.ListFields() for frame in frames)
    assert [e.number for frame in frames for e in frame.events] == list(range(1, len(events) + 1))
    assert [a.epoch for frame in frames for a in frame.advertisements] == list(range(1, len(advertisements) + 1))
    assert [data for frame in frames for data in frame.entries] == entries
    assert sum(frame.ping for frame in frames) == ping
    assert sum(frame.HasField("signature") for frame in frames) == signed
    if signed:
        assert (frames[0].first_seq, len(frames[0].entries)) == (7, 20)
    assert not (box.events or box.advertisements or box.entries or box.ping or box.pong)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 16_384)), min_size=1, max_size=60),
    st.sampled_from([LEAST, 100_000, 262_144]),
)
@example([(30_000, 2_000), (30_000, 16_384)], LEAST)
def test_a_link_cuts_its_entries_into_signed_frames(orders: list[tuple[int, int]], limit: int) -> None:
    """Whatever is appended in one batch: consecutive entries, each frame with its own signature, inputs beside."""
    net = Network()
    node = net.add("north.example")
    net.peer(MAL, node)
    net.start()
    rogue = net.rogue(node, MAL, limits(frame_bytes=limit))
    net.dial(rogue, node)
    rogue.open()
    net.run()
    rogue.heard.clear()
    link = node.link()
    first = link.pair.logs[ME].seq + 1

    def step(fx: Effects) -> None:
        for text, size in orders:
            order = pb.Order(id="x" * 36, session="s" * text, nonce=bytes(16), deadline=fx.now + 1_000)
            link.append(pb.Entry(kind=K.ENTRY_KIND_ORDER, order=order), fx, bytes(size))

    node.submit(step)
    net.run()
    frames = [frame for frame in rogue.heard if frame.entries]
    assert not rogue.closed
    assert [f.entry.order.session for f in rogue.entries(K.ENTRY_KIND_ORDER)] == ["s" * text for text, _ in orders]
    at = first
    for frame in frames:
        assert frame.first_seq == at
        at += len(frame.entries)
        assert frame.signature.seq == at - 1
        assert all(frame.first_seq <= item.order_seq < at for item in frame.inputs)
    assert {seq: len(data) for seq, data in rogue.inputs.items()} == {
        first + n: size for n, (_, size) in enumerate(orders) if size
    }


@settings(max_examples=10)
@given(st.integers(LIMITS["frame_entries"].maximum - 2, LIMITS["frame_entries"].maximum + 3))
def test_many_small_entries_are_cut_by_number(count: int) -> None:
    net = Network()
    node = net.add("north.example")
    net.peer(MAL, node)
    net.start()
    rogue = net.rogue(node, MAL)
    net.dial(rogue, node)
    rogue.open()
    net.run()
    rogue.heard.clear()

    def step(fx: Effects) -> None:
        for _ in range(count):
            node.link().append(pb.Entry(kind=200), fx)  # type: ignore[arg-type]

    node.submit(step)
    net.run()
    assert not rogue.closed
    assert sum(len(frame.entries) for frame in rogue.heard) == count
    assert max(len(frame.entries) for frame in rogue.heard) <= LIMITS["frame_entries"].maximum
