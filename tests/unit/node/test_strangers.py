"""Whoever answers at an address without a grid's certificate is named so (RFC 0004, sections 3.7 and 3.8)."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from intertie.errors import IntertieError
from intertie_node.adapters.grpc.strangers import DirectoryCalls

Builder = x509.CertificateBuilder


def _names(*names: str) -> Callable[[Builder], Builder]:
    stated = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return lambda builder: builder.add_extension(stated, critical=False)


CERTIFICATES: dict[str, Callable[[Builder], Builder]] = {
    "no names": lambda builder: builder,
    "two names": _names("north.example", "south.example"),
    "no DNS name": lambda builder: builder.add_extension(
        x509.SubjectAlternativeName([x509.RFC822Name("a@north.example")]), critical=False
    ),
    "a name that no grid may have": _names("*.example"),
}


def _server(file: Path, change: Callable[[Builder], Builder]) -> ssl.SSLContext:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a web server")])
    builder = Builder(subject, subject, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    made = change(builder).sign(key, hashes.SHA256())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize("name", CERTIFICATES)
async def test_a_certificate_of_no_grid_is_refused_by_name(name: str, tmp_path: Path) -> None:
    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = _server(tmp_path / "server.pem", CERTIFICATES[name])
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(IntertieError) as caught:
            await DirectoryCalls().descriptors(f"127.0.0.1:{port}")
    assert caught.value.reason == "CERTIFICATE_MISMATCH"
