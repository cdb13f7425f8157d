"""RFC 0002, section 3.2, and RFC 0015, section 3.8: ports, keys, TLS, and addresses in texts."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from typing import Any

import grpc

from intertie.v1 import descriptor_pb2 as ds
from intertie.v1 import directory_pb2 as dr
from intertie_conformance.checks import check
from intertie_conformance.checks.relaying import same
from intertie_conformance.grid.streams import LINK, OPTIONS, unwrap, wrap
from intertie_conformance.grid.terms import terms
from intertie_conformance.roles import ordering
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire import agreements
from intertie_conformance.wire.certificates import key_of, to_pem


async def ended(stage: Stage, channel: grpc.aio.Channel) -> grpc.StatusCode:
    """The status with which the target ends a Link call on a channel. Raises: Failed if it goes on or answers."""
    call: Any = channel.stream_stream(LINK, request_serializer=wrap, response_deserializer=unwrap)()
    try:
        answer = await asyncio.wait_for(call.read(), stage.patience)
        if answer is not grpc.aio.EOF:
            fail("no frame for whoever has shown no certificate", f"{len(answer)} bytes")
        code: grpc.StatusCode = await asyncio.wait_for(call.code(), stage.patience)
        return code
    except grpc.aio.AioRpcError as error:
        return error.code()
    except TimeoutError:
        fail("an end of a Link call without a certificate", f"nothing of the kind within {stage.patience:g} s")
    finally:
        call.cancel()


@check("IT-ARC-001", role="stranger")
async def links_by_mutual_tls(stage: Stage) -> None:
    """Link without a certificate ends in the handshake on the peer port, and is no method of the public port."""
    peer = await stage.peer()
    await peer.up()
    code = await ended(stage, stage.target.public())
    if code not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED):
        fail("UNIMPLEMENTED for Link on the public port", code.name)
    credentials = grpc.ssl_channel_credentials(to_pem(list(stage.target.described.message.certificates)))
    options = (*OPTIONS, ("grpc.ssl_target_name_override", stage.target.grid))
    async with grpc.aio.secure_channel(stage.target.peer_address, credentials, options=options) as channel:
        code = await ended(stage, channel)
    if code is grpc.StatusCode.OK:
        fail("a refusal of a Link call without a certificate", code.name)
    stage.saw(f"without a certificate a Link call ended with {code.name}")
    await peer.expect_alive()


@check("IT-ARC-002", role="stranger")
async def directory_on_public(stage: Stage) -> None:
    """GetDescriptor and Propose are answered on the public port."""
    served = await stage.target.directory().GetDescriptor(dr.GetDescriptorRequest(), timeout=stage.patience)
    same(stage, "the descriptor chain", stage.target.chain, list(served.descriptors))
    peer = await stage.peer()
    await peer.up()
    stage.saw("a proposal was taken")


@check("IT-ARC-004", role="stranger")
async def both_endpoints(stage: Stage) -> None:
    """The descriptor names a PUBLIC and a PEER endpoint, and the latter takes links."""
    for kind in (ds.ENDPOINT_KIND_PUBLIC, ds.ENDPOINT_KIND_PEER):
        named = stage.target.described.addresses(kind)
        if not named or not all(named):
            fail(f"an endpoint of kind {ds.EndpointKind.Name(kind)}", named)
        stage.saw(f"{ds.EndpointKind.Name(kind)} is {named[0]}")
    peer = await stage.peer()
    await peer.up()


@check("IT-SEC-003", role="stranger")
async def different_keys(stage: Stage) -> None:
    """Root, signing and TLS keys of the descriptor are different keys."""
    message = stage.target.described.message
    used = [message.root_key, *(key.public_key for key in message.signing_keys)]
    used += [key_of(der) for der in message.certificates]
    if len(set(used)) != len(used):
        fail("different keys for root, signing and TLS", "one key for two uses")
    stage.saw(f"{len(used)} keys are different")
    peer = await stage.peer()
    await peer.up()


def context(newest: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that speaks TLS up to a version."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made.minimum_version, made.maximum_version = ssl.TLSVersion.TLSv1, newest
    made.set_alpn_protocols(["h2"])
    return made


async def spoken(stage: Stage, address: str, newest: ssl.TLSVersion) -> str:
    """The version that a port agrees to, "" if it refuses."""
    host, _, port = address.rpartition(":")
    connecting = asyncio.open_connection(host, int(port), ssl=context(newest))
    try:
        _, writer = await asyncio.wait_for(connecting, stage.patience)
    except (ssl.SSLError, ConnectionError, TimeoutError):
        return ""
    version: str = writer.get_extra_info("ssl_object").version()
    writer.close()
    return version


@check("IT-SEC-005", role="stranger")
async def old_tls(stage: Stage) -> None:
    """TLS 1.1 is refused on both ports; TLS 1.2 is spoken on the public one."""
    for address in (stage.target.table.public, stage.target.peer_address):
        version = await spoken(stage, address, ssl.TLSVersion.TLSv1_1)
        if version:
            fail(f"no TLS below 1.2 at {address}", version)
    stage.saw("TLS 1.1 was refused on both ports")
    newer = await spoken(stage, stage.target.table.public, ssl.TLSVersion.TLSv1_3)
    if newer not in ("TLSv1.2", "TLSv1.3"):
        fail("TLS 1.2 or 1.3 on the public port", newer or "no connection")
    peer = await stage.peer()
    await peer.up()


class Trap:
    """A port to which nobody should connect."""

    def __init__(self) -> None:
        self.caught = 0
        self.address = ""
        self._server: asyncio.Server

    async def set(self, host: str) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._caught, host, 0)
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    def _caught(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.caught += 1
        writer.close()

    async def close(self) -> None:
        """Listen no more."""
        self._server.close()


@check("IT-SEC-008", role="hostile peer", refusal=True, waits_s=1)
async def dials_no_text(stage: Stage) -> None:
    """No address is called that stands in an order, an input, or a descriptor that does not verify."""
    trap = Trap()
    await trap.set(stage.target.suite.host)
    stage.ends.append(trap.close)
    peer = await stage.peer()
    await peer.up()
    url = f"https://{trap.address}/"
    texts: dict[str, Any] = {"session": url, "group": url, "actors": [url], "account": url}
    await ordering.expect_charged(peer, await ordering.order(peer, "echo", {"$ref": url, "url": url}, **texts))
    forger = stage.peerings.identity()
    forger.describe(trap.address, trap.address)
    chain = [forger.chain[0][:-8] + bytes(8)]
    sealed = agreements.propose(terms(forger, stage.target.described), forger.key)
    try:
        request = dr.ProposeRequest(descriptors=chain, agreement=sealed)
        await stage.target.directory().Propose(request, timeout=stage.patience)
    except grpc.aio.AioRpcError as error:
        stage.saw(f"a forged descriptor was refused: {error.code().name}")
    else:
        fail("a refusal of a forged descriptor", "an answer")
    await asyncio.sleep(0.5)
    if trap.caught:
        fail("no connection to an address in a text", f"{trap.caught} connections")
    await ordering.still_sells(peer)
