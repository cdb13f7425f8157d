"""Asks a node that runs on this machine, over its admin socket."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from intertie.errors import IntertieError, from_problem
from intertie.v1.envelope_pb2 import Problem as ProblemMessage
from intertie_node.adapters.http.socket import short_path
from intertie_node.cli.failing import usage
from intertie_node.operator_api import SOCKET_NAME, Problem, decode, encode

T = TypeVar("T")
TIMEOUT_S = 60.0
PIECE_BYTES = 1 << 16


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("node", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        with short_path(self._path) as name:
            self.sock.connect(name)


class NodeClient:
    """The operator API of the node whose data are in `folder`. Raises: what the node refuses, NODE_UNAVAILABLE."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, path: str, kind: type[T], **query: Any) -> T:
        """Read."""
        named = urlencode({key: value for key, value in query.items() if value != ""})
        return decode(self._ask("GET", f"{path}?{named}" if named else path, b""), kind)

    def post(self, path: str, kind: type[T], body: Any = None) -> T:
        """Have something done."""
        return decode(self._ask("POST", path, encode(body) if body is not None else b""), kind)

    def pieces(self, path: str) -> Iterator[bytes]:
        """Read a long answer piece by piece."""
        connection, response = self._open("GET", path, b"")
        try:
            while piece := response.read(PIECE_BYTES):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise IntertieError("NODE_UNAVAILABLE", f"The node ended its answer early: {error}.") from None
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: bytes) -> bytes:
        connection, response = self._open(method, path, body)
        try:
            return response.read()
        finally:
            connection.close()

    def _open(self, method: str, path: str, body: bytes) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        if not self._folder.is_dir():
            raise IntertieError("NOT_FOUND", f"There is no directory {self._folder}: intertie init makes one.")
        connection = _Connection(self._folder / SOCKET_NAME)
        try:
            connection.request(method, path, body or None, {"Content-Type": "application/json"})
            response = connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            raise not_served(self._folder) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise IntertieError("NODE_UNAVAILABLE", f"{self._folder / SOCKET_NAME}: {error}.") from None
        if response.status >= 400:
            data = response.read()
            connection.close()
            raise _refusal(data)
        return connection, response


def not_served(folder: Path) -> IntertieError:
    """The error of a node that does not run."""
    return IntertieError("NODE_UNAVAILABLE", f"No node serves {folder}: intertie serve {folder} starts it.")


def _refusal(data: bytes) -> IntertieError:
    try:
        said = msgspec.json.decode(data, type=Problem)
    except msgspec.MsgspecError:
        return IntertieError("INTERNAL", f"The node answered {data[:200]!r}.")
    return from_problem(ProblemMessage(reason=said.reason, message=said.message, metadata=said.metadata))


def part(text: str) -> str:
    """Text as one part of a path. Raises: the usage error of text that no name or id is."""
    if text in ("", ".", ".."):
        raise usage(f"{text!r} is no name and no id")
    return quote(text, safe="")
