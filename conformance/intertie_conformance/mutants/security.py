"""Grids that are careless with keys, ports, TLS and addresses."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import warnings
from collections.abc import Sequence
from typing import Final

from intertie.v1 import descriptor_pb2 as ds
from intertie_conformance.grid.fetching import fetch_url
from intertie_conformance.grid.identity import Identity
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire import envelope
from intertie_conformance.wire.agreements import Agreed
from intertie_conformance.wire.certificates import to_pem
from intertie_conformance.wire.descriptors import Described
from intertie_conformance.wire.keys import public
from intertie_conformance.wire.refusal import Refusal

_TLS_1_1: Final = b"\x03\x02"
_AT: Final = slice(9, 11)
"""Where a ClientHello in its first record states the version that it wants at most."""
_kept: list[object] = []
"""Servers and tasks of mutants."""


@mutant("IT-ARC-001")
class LinksInPublic(Rules):
    """Serves links on the public port too."""

    def links_in_public(self) -> bool:
        return True


@mutant("IT-ARC-002", also=("IT-ARC-001", "IT-ARC-004", "IT-ARC-012", "IT-ARC-013"))
class NoProposals(Rules):
    """Takes no proposals on the public port."""

    def proposal_mine(self, agreed: Agreed, me: Identity) -> None:
        raise Refusal("UNSUPPORTED_FEATURE", "Write to the operator.", feature="propose")


@mutant("IT-ARC-004")
class NoPublicEndpoint(Rules):
    """Does not say where strangers are served."""

    def own_endpoints(self, public: str, peer: str) -> tuple[str, str]:
        return "", peer


@mutant("IT-SEC-003")
class OneKey(Rules):
    """Signs everything with its root key."""

    def own_keys(self, me: Identity) -> None:
        me.key, me.keys = me.root, public(me.root.spki)


@mutant("IT-SEC-005")
class OldTls(Rules):
    """Speaks TLS 1.1 with whoever asks for it."""

    async def front(self, me: Identity, public: str) -> str:
        host, _, port = public.rpartition(":")

        async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                hello = await asyncio.wait_for(reader.read(4_096), 5.0)
                if hello[_AT] == _TLS_1_1:
                    await _shake(me, hello, reader, writer)
                else:
                    await _forward(host, int(port), hello, reader, writer)
            writer.close()

        server = await asyncio.start_server(enter, host, 0)
        _kept.append(server)
        return f"{host}:{server.sockets[0].getsockname()[1]}"


async def _shake(me: Identity, hello: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A handshake of TLS 1.1, and nothing after it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    with tempfile.NamedTemporaryFile() as file:
        file.write(me.tls_key + to_pem([me.certificate]))
        file.flush()
        context.load_cert_chain(file.name)
    given, made = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(given, made, server_side=True)
    given.write(hello)
    while True:
        try:
            tls.do_handshake()
            writer.write(made.read())
            return
        except ssl.SSLWantReadError:
            writer.write(made.read())
            given.write(await asyncio.wait_for(reader.read(4_096), 5.0))


async def _forward(
    host: str, port: int, hello: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Let the real port answer."""
    behind_reader, behind = await asyncio.open_connection(host, port)
    behind.write(hello)

    async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                to.write(data)
                await to.drain()
        to.close()

    await asyncio.gather(pump(reader, behind), pump(behind_reader, writer))


@mutant("IT-SEC-008")
class CallsFirst(Rules):
    """Calls the endpoints of a descriptor before it has verified it."""

    def read_chain(self, chain: Sequence[bytes]) -> Described:
        for sealed in chain:
            stated = ds.Descriptor.FromString(envelope.peek(sealed).payload)
            for endpoint in stated.endpoints:
                _kept.append(asyncio.get_running_loop().create_task(fetch_url(f"https://{endpoint.address}/")))
        return super().read_chain(chain)
