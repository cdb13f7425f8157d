"""How consumer commands reach a node: token and target, from options, environment or the node's directory."""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import Struct

from intertie.errors import IntertieError
from intertie.paging import PAGE_SIZE, Page
from intertie_node.cli.failing import interruptible, usage

if TYPE_CHECKING:
    from intertie.client import Client

T = TypeVar("T")
HEADROOM_BYTES: Final = 64 * 1024
"""For what a message says beside the input."""
CONNECT_S: Final = 2.0
MAX_PAGES: Final = 1_000
"""Pages may be short, yet a node that sends empty ones for ever is left."""


class Reach(Struct, frozen=True):
    """What a consumer gave to reach its node."""

    folder: Path | None
    token: str | None
    target: str | None
    tls_root: Path | None

    @property
    def is_operator(self) -> bool:
        """No token, but the node's directory: its operator asks."""
        return self.token is None and self.folder is not None


def ask(reach: Reach, act: Callable[["Client"], Awaitable[T]]) -> T:
    """Run `act` with a client of the node. Raises: what the node refuses; the usage error of what is missing."""
    from intertie.client import Client

    if reach.token is None:
        raise usage("give the account's token (intertie token create makes one)", "--token or INTERTIE_TOKEN")
    token, target = reach.token, reach.target or _running(reach.folder)
    root = reach.tls_root.read_bytes() if reach.tls_root else None

    async def run() -> T:
        insecure = root is None and is_local(target)
        async with Client(target, token, tls_root=root, insecure=insecure) as client:
            return await act(client)

    try:
        with interruptible():
            return asyncio.run(run())
    except IntertieError as error:
        if error.reason == "NODE_UNAVAILABLE" and error.message.startswith("gRPC UNAVAILABLE"):
            error.message = f"No node answers at {target}: check the address, and that the node runs."
        raise


async def gathered(fetch: Callable[[str, int], Awaitable[Page[T]]], after: str, limit: int) -> Page[T]:
    """Up to `limit` items that follow `after`, of as many pages as these take; `fetch` is given token and size."""
    found: list[T] = []
    for _ in range(MAX_PAGES):
        page = await fetch(after, min(PAGE_SIZE, limit - len(found)))
        found += page.items
        after = page.next
        if not after or len(found) >= limit:
            break
    return Page(found, after)


def is_local(target: str) -> bool:
    """Whether a target is on this machine, where plaintext is allowed."""
    host = target.rpartition(":")[0].strip("[]")
    return target.startswith("unix:") or host in ("localhost", "::1") or host.startswith("127.")


def _running(folder: Path | None) -> str:
    """The loopback address of the node in `folder`. Raises: IntertieError NODE_UNAVAILABLE if nothing listens there."""
    from intertie_node.cli.node_client import not_served

    address = _loopback(folder)
    assert folder is not None
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError:
        raise not_served(folder) from None
    return address


def _loopback(folder: Path | None) -> str:
    """The loopback address of the node in `folder`."""
    from intertie_node.cli.directory import load_config

    if folder is None:
        raise usage("give host:port of the node, or --dir of one on this machine", "--target or INTERTIE_TARGET")
    address = load_config(folder).listen.loopback
    if address is None:
        raise IntertieError("INVALID_ARGUMENT", f"The node in {folder} has no [listen] loopback: give --target.")
    if address.port:
        return str(address)
    return f"{str(address).rpartition(':')[0]}:{_port(folder)}"


def _port(folder: Path) -> int:
    from intertie_node.cli.node_client import NodeClient
    from intertie_node.operator_api import Status

    return NodeClient(folder).get("/v1/status", Status).ports["loopback"]


def read_input(text: str, option: str = "--input") -> Any:
    """The JSON value of an option: JSON itself, @file or - for standard input. Raises: OSError, the usage error."""
    if text == "-":
        data = sys.stdin.buffer.read()
    elif text.startswith("@"):
        data = Path(text[1:]).read_bytes()
    else:
        data = os.fsencode(text)
    try:
        value = decoded(data)
    except ValueError as error:
        raise usage(f"not JSON: {error}", option) from None
    _check_size(value)
    return value


def _check_size(value: Any) -> None:
    """Check that a message to the node has room for a value. Raises: IntertieError INPUT_TOO_LARGE."""
    import msgspec

    from intertie.client.channel import MESSAGE_BYTES

    size, limit = len(msgspec.json.encode(value)), MESSAGE_BYTES - HEADROOM_BYTES
    if size > limit:
        message = f"The input has {size} bytes as JSON; {limit} can be sent."
        raise IntertieError("INPUT_TOO_LARGE", message, size=str(size), limit=str(limit))


def decoded(data: bytes) -> Any:
    """The value of JSON in UTF-8. Raises: ValueError that says why it is none that this program can handle."""
    import msgspec

    try:
        value = msgspec.json.decode(data)
        msgspec.json.encode(value)  # or it fails where it is sent
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value
