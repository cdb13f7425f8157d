"""The channel to a node: where a token may be sent, and how the connection is kept (design §3, consumer face)."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import grpc

from intertie.errors import IntertieError
from intertie.names import is_address

MESSAGE_BYTES: Final = 4 * 1024 * 1024
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")
_UNIX: Final = re.compile(r"unix:(?://)?/[^\0]+")
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Retrying is the client's matter, since it knows the ids; nor may a resolver's TXT record change that.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
)
# An HTTP proxy taken from the environment would see a plaintext token on its way to "loopback".
_PLAINTEXT_OPTIONS: Final = (*_OPTIONS, ("grpc.enable_http_proxy", 0))


def check_target(target: str) -> str:
    """Return `target` if it is "host:port" or "unix:/path".

    Other gRPC name schemes are not taken: what they resolve to cannot be told from the text. Raises
    INVALID_ARGUMENT.
    """
    if is_address(target) or _UNIX.fullmatch(target):
        return target
    raise IntertieError(
        "INVALID_ARGUMENT",
        f'A node\'s address must be "host:port" or "unix:/path", not {target[:80]!r}.',
        field="target",
    )


def is_loopback(target: str) -> bool:
    """Return whether what is sent to a checked `target` stays on this machine."""
    if target.startswith("unix:"):
        return True
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the call metadata that presents `token`; raises UNAUTHENTICATED if it cannot be a token."""
    if not _TOKEN.fullmatch(token):
        raise IntertieError("UNAUTHENTICATED", "A token must be 1 to 4,096 printable ASCII characters without spaces.")
    return (("authorization", f"Bearer {token}"),)


def check_security(target: str, *, tls_root: bytes | None, insecure: bool) -> None:
    """Raise PERMISSION_DENIED for plaintext to another machine, INVALID_ARGUMENT for plaintext with a TLS root."""
    if insecure and tls_root is not None:
        raise IntertieError("INVALID_ARGUMENT", "Plaintext has no use for a TLS root: give one or the other.")
    if insecure and not is_loopback(target):
        raise IntertieError(
            "PERMISSION_DENIED", f"A token is sent in plaintext on loopback only, not to {target[:80]!r}: use TLS."
        )


def open_channel(target: str, *, tls_root: bytes | None = None, insecure: bool = False) -> grpc.aio.Channel:
    """Open a channel to a node; needs a running event loop. Nothing is sent before the first call.

    `tls_root` are PEM certificates to trust instead of the system's. `insecure` means plaintext. Raises as
    `check_target` and `check_security`.
    """
    check_security(check_target(target), tls_root=tls_root, insecure=insecure)
    if insecure:
        return grpc.aio.insecure_channel(target, options=_PLAINTEXT_OPTIONS)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(tls_root), options=_OPTIONS)
