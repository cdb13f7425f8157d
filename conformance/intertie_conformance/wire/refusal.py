"""The one exception of the suite's own grids: a named refusal, with its wire forms."""

from __future__ import annotations

from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from intertie.v1.envelope_pb2 import Problem

M = TypeVar("M", bound=Message)
MAX_MESSAGE: Final = 1024


class Refusal(Exception):
    """Something is refused: `reason` is a row of registry/errors.toml, `message` one sentence for people."""

    def __init__(self, reason: str, message: str, /, **metadata: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.metadata = metadata

    def problem(self) -> Problem:
        """The message `Problem` that says so."""
        return Problem(reason=self.reason, message=self.message[:MAX_MESSAGE], metadata=self.metadata)


def decode(kind: type[M], data: bytes, reason: str) -> M:
    """Return the message in `data`. Raises: Refusal with `reason` if it does not decode."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise Refusal(reason, f"These bytes are no {kind.DESCRIPTOR.name}.") from None
