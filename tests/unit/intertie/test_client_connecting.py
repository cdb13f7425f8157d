"""Client: where a token may go, and over what (real sockets)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.unit.intertie.scripted_node import (
    TOKEN,
    Node,
    serving,
    start,
)

from intertie.client import (
    Client,
)
from intertie.errors import IntertieError
from intertie.v1 import account_pb2 as account_pb


@pytest.mark.parametrize(
    "target",
    [
        "north.example:7400",
        "10.0.0.1:7400",
        "0.0.0.0:7400",
        "[::]:7400",
        "[2001:db8::1]:7400",
        "127.0.0.1.example:7400",
        "localhost.example:7400",
    ],
)
def test_a_token_is_never_sent_in_plaintext_to_another_machine(target: str) -> None:
    with pytest.raises(IntertieError, match="PERMISSION_DENIED"):
        Client(target, TOKEN, insecure=True)
    Client(target, TOKEN)


@pytest.mark.parametrize("target", ["127.0.0.1:1", "127.8.9.10:1", "localhost:1", "[::1]:1", "unix:/run/node.sock"])
def test_loopback_may_be_plaintext(target: str) -> None:
    assert TOKEN not in repr(Client(target, TOKEN, insecure=True))
    with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
        Client(target, TOKEN, insecure=True, tls_root=b"")


@pytest.mark.parametrize(
    "target", ["", "north.example", "dns://8.8.8.8/localhost:1", "ipv4:10.0.0.1:1", "dns:///localhost:1", "xds:///x"]
)
def test_other_name_schemes_are_refused(target: str) -> None:
    for insecure in (True, False):
        with pytest.raises(IntertieError, match="INVALID_ARGUMENT"):
            Client(target, TOKEN, insecure=insecure)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nx: y", "ä", "x" * 5000])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(IntertieError, match="UNAUTHENTICATED"):
        Client("127.0.0.1:1", token, insecure=True)


async def test_a_proxy_of_the_environment_never_sees_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))
        writer.close()

    listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = listener.sockets[0].getsockname()[1]
    for name in ("http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{address}")
    monkeypatch.delenv("no_proxy", raising=False)

    async def account(request: Any, context: Any) -> Any:
        return account_pb.GetAccountResponse(account="a")

    async with serving(Node(GetAccount=account)) as client:
        assert (await client.account()).account == "a"
    listener.close()
    assert seen == []


def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for 127.0.0.1 and its key, PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return signed.public_bytes(Encoding.PEM), private


async def test_tls_needs_the_right_root(monkeypatch: pytest.MonkeyPatch) -> None:
    async def account(request: Any, context: Any) -> Any:
        return account_pb.GetAccountResponse(account="a")

    monkeypatch.setattr("intertie.client.client.ASK_TIMEOUT_S", 0.3)
    root, key = certificate()
    node = Node(GetAccount=account)
    server, port = await start(node, credentials=grpc.ssl_server_credentials([(key, root)]))
    async with Client(f"127.0.0.1:{port}", TOKEN, tls_root=root) as client:
        assert (await client.account()).account == "a"
    async with Client(f"127.0.0.1:{port}", TOKEN, tls_root=certificate()[0]) as client:
        with pytest.raises(IntertieError, match="NODE_UNAVAILABLE"):
            await client.account()
    assert len(node.requests) == 1
    await server.stop(0)
