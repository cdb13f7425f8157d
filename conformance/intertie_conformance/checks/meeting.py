"""RFC 0004, sections 3.5 to 3.8: certificates on the wire, newer chains, and names that were only heard of."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc

from intertie.v1 import entry_pb2 as pb
from intertie_conformance.checks import check
from intertie_conformance.checks.identity import taken
from intertie_conformance.grid import catalog
from intertie_conformance.grid.identity import Identity, now_ms
from intertie_conformance.grid.streams import OPTIONS
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.roles.shop import Door, Shop
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import descriptors
from intertie_conformance.wire.build import entry
from intertie_conformance.wire.certificates import make_certificate, to_pem
from intertie_conformance.wire.refusal import Refusal
from intertie_conformance.wire.status import said

K = pb.EntryKind
QUIET_S: Final = 1.5
"""How long a stranger's port is listened at: a target dials again at least once in that time."""


async def expect_shut_out(stage: Stage, channel: grpc.aio.Channel, who: str) -> None:
    """A channel on which the peer port answers nothing but UNKNOWN_PEER, or which TLS ends."""
    try:
        call: Any = channel.stream_stream("/intertie.v1.LinkService/Link")()
        await asyncio.wait_for(call.read(), stage.patience)
        fail(f"{who} is shut out", "a message")
    except TimeoutError:
        fail(f"{who} is shut out", f"nothing of the kind within {stage.patience:g} s")
    except grpc.aio.AioRpcError as error:
        status = said(error)
        if status.reason != "UNKNOWN_PEER" and status.code != "UNAVAILABLE":
            fail(f"{who} is shut out with UNKNOWN_PEER, or by TLS", status)
        stage.saw(f"{who}: {status.reason or 'the handshake failed'}")
    finally:
        await channel.close()


@check("IT-IDN-053", role="stranger")
async def exact_certificate(stage: Stage) -> None:
    """A caller without certificate, or with another one of a peer's own key and name, is shut out; the peer is not."""
    peer = await (await stage.peer()).up()
    target, me = stage.target, peer.me
    twin = Identity(me.grid)
    twin.tls_key, twin.certificate = make_certificate(me.grid, key=me.tls_key)
    await expect_shut_out(stage, target.channel(twin), "another certificate of a peer's key")
    credentials = grpc.ssl_channel_credentials(to_pem(target.described.message.certificates))
    options = (*OPTIONS, ("grpc.ssl_target_name_override", target.grid))
    bare = grpc.aio.secure_channel(target.peer_address, credentials, options=options)
    await expect_shut_out(stage, bare, "a caller without certificate")
    await peer.expect_alive()


@check("IT-IDN-054", role="hostile peer", refusal=True, waits_s=2)
async def unlisted_server(stage: Stage) -> None:
    """The target says nothing to a peer address whose certificate is not listed, while it dials a sound one."""
    me = stage.peerings.identity()
    _, other = make_certificate(me.grid)
    me.certificates = [other]
    door = Door(me, stage.target)
    await door.open(stage.peerings.host)
    stage.ends.append(door.close)
    (shop,) = await stage.peerings.make([me], Shop)
    assert isinstance(shop, Shop)
    shop.setup(door)
    shop.stage = stage
    door.enter(shop)
    honest = await stage.shop()
    await honest.wait_dialled()
    await asyncio.sleep(QUIET_S)
    if shop.frames:
        fail("no frame to a server whose certificate is not listed", f"{len(shop.frames)} frames")
    stage.saw("a sound address was dialled, the other one heard nothing")


@check("IT-IDN-050", role="honest peer", consumer=True)
async def listed_certificates(stage: Stage) -> None:
    """The peer port, and the target as client, present certificates of its descriptor."""
    await (await stage.peer()).up()
    stage.saw("a handshake that trusts the listed certificates alone")
    shop = await stage.shop()
    await shop.wait_dialled()
    stage.saw("the target's client certificate is listed")


@check("IT-IDN-033", role="honest peer")
async def newer_certificate(stage: Stage) -> None:
    """After an Open with a newer chain its new certificate opens the peer port, and its new key signs."""
    peer = await stage.peer(max_open_holds=35)
    await peer.up()
    key, certificate = make_certificate(peer.me.grid)
    peer.me.rotate(keeps=True, certificates=[certificate])
    await peer.up()
    await peer.hang_up()
    peer.me.tls_key, peer.me.certificate = key, certificate
    peer.channel = stage.target.channel(peer.me)
    await peer.up()
    await ordering.still_sells(peer)


@check("IT-IDN-011", role="honest peer")
async def roots_sign(stage: Stage) -> None:
    """Every version in the chain of an Open is signed by its own root key and that of the version before."""
    peer: Peer = await stage.peer()
    await peer.begin()
    await peer.wait(lambda: peer.frames, "an Open of the target")
    try:
        read = descriptors.read_chain(list(peer.target_open().descriptors))
    except Refusal as refusal:
        fail("a chain that verifies in the target's Open", refusal)
    stage.saw(f"{read.version} versions, each signed by its roots")


@check("IT-IDN-063", role="honest peer", consumer=True)
async def heard_name(stage: Stage) -> None:
    """The name of an origin that is only known from a peer's advertisement goes to the grid that peers under it."""
    shop = await (await stage.shop()).up()
    heard = stage.peerings.identity()
    offers = catalog.conformance_offers(heard.fingerprint)
    shop.offered |= {f"{heard.grid}/{offer.message.name}": offer for offer in offers}
    root = catalog.seal_root(heard, now_ms(), [offer.digest for offer in offers])
    expires = now_ms() + catalog.HOUR_MS
    body = {"origin": heard.fingerprint, "markup_num": 1, "markup_den": 1, "expires_at": expires}
    seq = shop.write(entry(K.ENTRY_KIND_TARIFF, tariff=body))
    path = {"path": [shop.me.fingerprint, heard.fingerprint], "path_names": [shop.me.grid, heard.grid]}
    shop.advertise(*catalog.advertisements(heard, root, seq, 9, **path))
    shop.flush()
    await stage.customer.expect_listed(f"{heard.grid}/conformance/echo", seconds=10.0)
    stage.saw("the origin is known by its name")
    namesake = Identity(heard.grid)
    namesake.describe()
    await taken(stage, namesake, "a grid of a name that was only heard of")
