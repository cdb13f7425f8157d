"""RFC 0005, sections 3.1 to 3.3: dialling, the Open, and how it is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Envelope, Problem
from intertie_conformance.checks import check
from intertie_conformance.grid.account import ME, THEM
from intertie_conformance.grid.identity import now_ms
from intertie_conformance.grid.ports import peer_channel
from intertie_conformance.registry import LIMITS
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import envelope
from intertie_conformance.wire.digests import multihash
from intertie_conformance.wire.keys import Key
from intertie_conformance.wire.status import said


def open_payload(peer: Peer, **changes: Any) -> bytes:
    """The payload of an honest Open, but for the changes."""
    logs = peer.logs
    fields: dict[str, Any] = {
        "genesis": peer.genesis,
        "nonce": peer.stage.random.randbytes(16),
        "descriptor_version": len(peer.me.chain),
        "agreement_version": 1,
        "limits": peer.script.own_limits(),
        "clock": now_ms(),
        "own": lk.Cursor(seq=logs.seq(ME), head=logs.heads[ME][-1]),
        "other": lk.Cursor(seq=logs.seq(THEM), head=logs.heads[THEM][-1]),
        "descriptors": peer.me.chain,
    }
    return lk.Open(**{**fields, **changes}).SerializeToString()


async def first(peer: Peer, data: bytes, *reasons: str) -> None:
    """Say `data` first on a new stream and expect it to be refused."""
    await peer.hang_up()
    peer.judges = False
    await peer.connect()
    peer.raw(data)
    await peer.expect_close(*reasons)
    peer.judges = True


async def bad_open(stage: Stage, peer: Peer, reason: str, **changes: Any) -> None:
    """An Open with these changes is refused by name."""
    await first(peer, sealed_frame(peer, open_payload(peer, **changes)), reason)
    stage.trace.note("suite", f"refused as expected: {', '.join(changes)}")


def sealed_frame(peer: Peer, payload: bytes, *keys: Key, kind: str = envelope.OPEN) -> bytes:
    """A frame with an Open of this payload."""
    sealed = envelope.seal(kind, payload, keys or (peer.me.key,))
    return lk.Frame(open=sealed).SerializeToString()


async def controlled(stage: Stage, act: Callable[[Peer], Any]) -> Peer:
    """Open honestly, act, and open honestly again: what is refused leaves no trace."""
    peer = await stage.peer()
    await peer.up()
    before = (peer.logs.seq(ME), peer.logs.heads[ME][-1])
    await act(peer)
    await peer.up()
    if (peer.logs.seq(ME), peer.logs.heads[ME][-1]) != before:
        fail("the logs stand where they stood", "another cursor")
    return peer


@check("IT-LNK-001", role="stranger")
async def unknown_certificate(stage: Stage) -> None:
    """A certificate of no peer ends the call with UNKNOWN_PEER, or the handshake fails; a peer's does not."""
    peer = await stage.peer()
    await peer.up()
    stranger = stage.peerings.identity()
    target = stage.target
    channel = peer_channel(target.peer_address, stranger, target.grid, list(target.described.message.certificates))
    try:
        call: Any = channel.stream_stream("/intertie.v1.LinkService/Link")()
        await asyncio.wait_for(call.read(), stage.patience)
        fail("an end of the call with UNKNOWN_PEER", "a message")
    except TimeoutError:
        fail("an end of the call with UNKNOWN_PEER", f"nothing of the kind within {stage.patience:g} s")
    except grpc.aio.AioRpcError as error:
        status = said(error)
        if status.reason != "UNKNOWN_PEER" and status.code != "UNAVAILABLE":
            fail("an end of the call with UNKNOWN_PEER, or a failed handshake", status)
        stage.saw(f"the stranger's call ended: {status.reason or 'the handshake failed'}")
    finally:
        await channel.close()


@check("IT-LNK-020", role="hostile peer", refusal=True)
async def first_steps(stage: Stage) -> None:
    """Of two faults in a first frame the one of the earlier step names the reason."""

    async def act(peer: Peer) -> None:
        too_large = lk.Frame(ping=7, close=Problem(message="x" * (LIMITS["frame_bytes"].maximum + 1)))
        await first(peer, too_large.SerializeToString(), "FRAME_TOO_LARGE")
        unsigned = Envelope(payload_type=envelope.OPEN, payload=b"\xff" * 40).SerializeToString()
        await first(peer, lk.Frame(open=unsigned).SerializeToString(), "INVALID_ARGUMENT")
        await first(peer, lk.Frame(open=b"\xff" * 40).SerializeToString(), "INVALID_ARGUMENT")
        await first(peer, sealed_frame(peer, b"\xff" * 40), "FRAME_MALFORMED")
        await first(peer, sealed_frame(peer, open_payload(peer, genesis=bytes(32), nonce=b"")), "UNKNOWN_GENESIS")

    await controlled(stage, act)


@check("IT-LNK-021", role="hostile peer", refusal=True)
async def first_frame_is_open(stage: Stage) -> None:
    """A stream that begins with another frame is closed with UNEXPECTED_FRAME."""

    async def act(peer: Peer) -> None:
        await first(peer, lk.Frame(ping=1).SerializeToString(), "UNEXPECTED_FRAME")
        await first(peer, b"", "UNEXPECTED_FRAME")

    await controlled(stage, act)


@check("IT-LNK-022", role="hostile peer", refusal=True)
async def unknown_genesis(stage: Stage) -> None:
    """An Open for no peering, or for that of another grid, is closed with UNKNOWN_GENESIS."""
    other = await stage.peer()

    async def act(peer: Peer) -> None:
        await bad_open(stage, peer, "UNKNOWN_GENESIS", genesis=stage.random.randbytes(32))
        await bad_open(stage, peer, "UNKNOWN_GENESIS", genesis=other.genesis)

    await controlled(stage, act)


@check("IT-LNK-023", role="hostile peer", refusal=True)
async def steps_in_order(stage: Stage) -> None:
    """Of two faults in an Open the one of the earlier step names the reason."""

    async def act(peer: Peer) -> None:
        late = now_ms() + 60_000
        small = lk.Limits(frame_bytes=1, inline_bytes=1)
        bad = lk.Cursor(seq=peer.logs.seq(ME), head=stage.random.randbytes(32))
        await bad_open(stage, peer, "FRAME_MALFORMED", nonce=b"", required_features=["teleport"])
        await bad_open(stage, peer, "UNSUPPORTED_FEATURE", required_features=["teleport"], clock=late)
        await bad_open(stage, peer, "CLOCK", clock=late, limits=small)
        await bad_open(stage, peer, "FRAME_MALFORMED", limits=small, own=bad)

    await controlled(stage, act)


@check("IT-LNK-024", role="hostile peer", refusal=True)
async def second_open(stage: Stage) -> None:
    """A second Open on one stream closes it with UNEXPECTED_FRAME."""
    peer = await stage.peer()
    await peer.up()
    peer.raw(sealed_frame(peer, open_payload(peer)))
    await peer.expect_close("UNEXPECTED_FRAME")
    await peer.up()


@check("IT-LNK-025", role="hostile peer", refusal=True)
async def open_alone(stage: Stage) -> None:
    """An Open that shares its frame is closed with FRAME_MALFORMED."""

    async def act(peer: Peer) -> None:
        for extra in ({"ping": 7}, {"first_seq": 1}, {"events": [{"number": 1}]}):
            frame = lk.Frame.FromString(sealed_frame(peer, open_payload(peer)))
            frame.MergeFrom(lk.Frame(**extra))
            await first(peer, frame.SerializeToString(), "FRAME_MALFORMED")

    await controlled(stage, act)


@check("IT-LNK-026", role="hostile peer", refusal=True)
async def open_signed(stage: Stage) -> None:
    """An Open signed by a stranger, by the root key, or wrongly, is closed with SIGNATURE_INVALID."""

    async def act(peer: Peer) -> None:
        payload = open_payload(peer)
        await first(peer, sealed_frame(peer, payload, Key()), "SIGNATURE_INVALID")
        await first(peer, sealed_frame(peer, payload, peer.me.root), "SIGNATURE_INVALID")
        bent = envelope.peek(envelope.seal(envelope.OPEN, payload, [peer.me.key]))
        value = bytearray(bent.signatures[0].value)
        value[stage.random.randrange(64)] ^= 1 << stage.random.randrange(7)
        bent.signatures[0].value = bytes(value)
        await first(peer, lk.Frame(open=bent.SerializeToString()).SerializeToString(), "SIGNATURE_INVALID")

    await controlled(stage, act)


@check("IT-LNK-027", role="hostile peer", refusal=True)
async def nonce_and_heads(stage: Stage) -> None:
    """Nonces of 15 and 33 bytes and heads of 31 and 33 are refused; nonces of 16 and 32 open."""
    peer = await stage.peer()
    for size in (0, 15, 33):
        await bad_open(stage, peer, "FRAME_MALFORMED", nonce=stage.random.randbytes(size))
    for which in ("own", "other"):
        for size in (0, 31, 33):
            await bad_open(stage, peer, "FRAME_MALFORMED", **{which: lk.Cursor(head=bytes(size))})
    for size in (16, 32):
        await peer.begin(nonce=stage.random.randbytes(size))
        await peer.wait(lambda: peer.confirmed, f"a nonce of {size} bytes opens")
        stage.saw(f"a nonce of {size} bytes opens")


@check("IT-LNK-028", role="hostile peer", refusal=True)
async def required_feature(stage: Stage) -> None:
    """A required feature that nobody knows is refused by name; none required opens."""

    async def act(peer: Peer) -> None:
        name = f"x-unknown-{stage.random.randrange(10**6)}"
        await bad_open(stage, peer, "UNSUPPORTED_FEATURE", required_features=[name])
        if peer.metadata.get("feature") != name:
            fail(f"metadata feature={name}", peer.metadata)

    await controlled(stage, act)


@check("IT-LNK-029", role="hostile peer", refusal=True)
async def open_clock(stage: Stage) -> None:
    """A clock that leads by more than max_skew is refused; one that lags opens."""

    async def act(peer: Peer) -> None:
        lead = peer.terms.max_skew_ms + stage.random.randrange(2_000, 60_000)
        await bad_open(stage, peer, "CLOCK", clock=now_ms() + lead)
        await bad_open(stage, peer, "CLOCK", clock=2**63 - 1)
        await peer.begin(clock=now_ms() - 3_600_000)
        await peer.wait(lambda: peer.confirmed, "a clock that lags opens")

    await controlled(stage, act)


@check("IT-LNK-030", role="hostile peer", refusal=True)
async def least_limits(stage: Stage) -> None:
    """frame_bytes or inline_bytes below their minimum are refused; the minimum itself opens."""
    peer = await stage.peer()
    for name in ("frame_bytes", "inline_bytes"):
        for value in (0, LIMITS[name].minimum - 1):
            limits = peer.script.own_limits()
            setattr(limits, name, value)
            await bad_open(stage, peer, "FRAME_MALFORMED", limits=limits)
    least = {field.name: LIMITS[field.name].minimum for field in lk.Limits.DESCRIPTOR.fields}
    await peer.begin(limits=lk.Limits(**least))
    await peer.wait(lambda: peer.confirmed, "the least limits open")
    stage.saw("the least limits open")


@check("IT-LNK-031", role="hostile peer", refusal=True)
async def forked_cursors(stage: Stage) -> None:
    """Another head at the last seq of either log is refused with LOG_FORK."""

    async def act(peer: Peer) -> None:
        for which, side in (("own", ME), ("other", THEM)):
            head = bytearray(peer.logs.heads[side][-1])
            head[stage.random.randrange(32)] ^= 0x10
            cursor = lk.Cursor(seq=peer.logs.seq(side), head=bytes(head))
            await bad_open(stage, peer, "LOG_FORK", **{which: cursor})

    await controlled(stage, act)


@check("IT-LNK-032", role="honest peer")
async def unknown_features(stage: Stage) -> None:
    """Features that nobody knows, offered but not required, do not matter."""
    peer = await stage.peer()
    await peer.begin(features=[f"x-nobody-knows-{stage.random.randrange(10**6)}", "record-batches"])
    await peer.wait(lambda: peer.confirmed, "an Open with unknown features is answered and signed")
    stage.saw("the link opened")


@check("IT-LNK-040", role="honest peer")
async def answers_open(stage: Stage) -> None:
    """The first frame of the acceptor is its Open, signed by a key of its descriptor, for this peering."""
    peer = await stage.peer()
    await peer.begin()
    await peer.wait(lambda: peer.frames, "a frame of the target")
    frame = peer.frames[0]
    if not frame.open:
        fail("an Open as first frame", [field.name for field, _ in frame.ListFields()])
    opened = lk.Open.FromString(envelope.unseal(frame.open, envelope.OPEN, peer.peer_keys))
    if opened.genesis != peer.genesis or not opened.descriptors:
        fail("an Open for this peering with descriptors", f"genesis {opened.genesis.hex()}")
    if multihash(envelope.peek(opened.descriptors[0]).payload) != stage.target.described.history[0]:
        fail("the target's own descriptor chain in its Open", "another one")
    stage.saw("the first frame is a signed Open of this peering")


@check("IT-LNK-041", role="honest peer")
async def session(stage: Stage) -> None:
    """The target's signatures name the session over both Opens, the dialler's first, and another one each time."""
    peer = await stage.peer()
    sessions = set()
    for _ in range(2):
        await peer.up()
        await peer.wait(lambda: peer.confirmed, f"a signature in session {peer.session.hex()}")
        sessions.add(peer.session)
    if len(sessions) != 2:
        fail("a new session with each opening", "the same one twice")
    stage.saw("both openings were signed in their own session")
