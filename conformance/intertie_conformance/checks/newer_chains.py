"""RFC 0005, section 3.3: descriptor chains in Opens, and keys that rotate."""

from __future__ import annotations

from intertie_conformance.checks import check
from intertie_conformance.checks.frames import tariff
from intertie_conformance.checks.opening import first, open_payload, sealed_frame
from intertie_conformance.roles import ordering
from intertie_conformance.roles.peer import Peer
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import descriptors
from intertie_conformance.wire.certificates import make_certificate


async def own(stage: Stage) -> Peer:
    """A peer that is up and not used again: its descriptor will change."""
    peer = await stage.peer(max_open_holds=63)
    await peer.up()
    return peer


@check("IT-LNK-033", role="honest peer")
async def takes_up_newer(stage: Stage) -> None:
    """An Open with a newer chain, signed by its new key, opens; and the new key signs from then on."""
    peer = await own(stage)
    for keeps in (True, False):
        peer.me.rotate(keeps=keeps)
        await peer.up()
        await ordering.still_sells(peer)
    stage.saw("two newer chains were taken up")


@check("IT-LNK-034", role="hostile peer", refusal=True)
async def version_is_stated(stage: Stage) -> None:
    """An Open whose descriptor_version is not that of its chain is refused with DESCRIPTOR_INVALID."""
    peer = await own(stage)
    for version in (0, 2, 99):
        payload = open_payload(peer, descriptor_version=version)
        await first(peer, sealed_frame(peer, payload), "DESCRIPTOR_INVALID")
    await peer.up()


@check("IT-LNK-035", role="hostile peer", refusal=True)
async def older_or_other_chain(stage: Stage) -> None:
    """A shorter chain than the held one is DESCRIPTOR_ROLLBACK, another statement at a held version EQUIVOCATION."""
    peer = await own(stage)
    me = peer.me
    old_chain, old_key = list(me.chain), me.key
    me.rotate(keeps=True)
    await peer.up()
    payload = open_payload(peer, descriptors=old_chain, descriptor_version=1)
    await first(peer, sealed_frame(peer, payload, old_key), "DESCRIPTOR_ROLLBACK")
    statement = me.statement()
    statement.place = "AQ"
    other = [old_chain[0], descriptors.issue(old_chain, statement, me.root)]
    await first(peer, sealed_frame(peer, open_payload(peer, descriptors=other)), "DESCRIPTOR_EQUIVOCATION")
    await peer.up()
    if len(me.chain) != 2:
        fail("two versions", len(me.chain))


@check("IT-LNK-036", role="hostile peer", refusal=True)
async def newer_certificates(stage: Stage) -> None:
    """A newer descriptor with a certificate that breaks the profile is refused with CERTIFICATE_MISMATCH."""
    peer = await own(stage)
    me = peer.me
    good = list(me.chain)
    _, bad = make_certificate(me.grid, ca=True)
    statement = me.statement()
    statement.certificates.append(bad)
    worse = [*good, descriptors.issue(good, statement, me.root)]
    payload = open_payload(peer, descriptors=worse, descriptor_version=2)
    await first(peer, sealed_frame(peer, payload), "CERTIFICATE_MISMATCH")
    await peer.up()


@check("IT-LNK-057", role="hostile peer", refusal=True)
async def retired_key(stage: Stage) -> None:
    """After a rotation a signature of the session by the retired key is refused with SIGNATURE_INVALID."""
    peer = await own(stage)
    old = peer.me.key
    peer.me.rotate()
    await peer.up()
    tariff(peer)
    await peer.expect_no_trace(peer.frame(key=old), "SIGNATURE_INVALID")
