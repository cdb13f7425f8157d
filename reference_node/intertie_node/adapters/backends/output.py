"""What backends share: reading a JSON input, refusing it, and handing over an output of any size."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from intertie.errors import IntertieError
from intertie.registry import LIMITS
from intertie_node.ports import RefuseWork, Run, WorkResult

T = TypeVar("T")

CHUNK_BYTES: Final = LIMITS["inline_bytes"].default
"""Largest output that travels with the result, and largest chunk."""
MAX_OUTPUT_BYTES: Final = 4 * 1024 * 1024
JSON: Final = "application/json"


def read_input(data: bytes, kind: type[T]) -> T:
    """Decode a JSON input strictly, but for 1.0, which JSON Schema takes for the integer 1.

    The node has checked it against the offer's schema; this keeps a backend safe without that.

    Raises: RefuseWork with INPUT_INVALID.
    """
    try:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.ValidationError:
            return msgspec.convert(_whole(msgspec.json.decode(data)), kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefuseWork(input_invalid(str(error) or type(error).__name__)) from None


def _whole(value: object) -> object:
    """The same value with every number that has no fraction as an integer."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {key: _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def input_invalid(message: str, path: str = "$", rule: str = "") -> IntertieError:
    """INPUT_INVALID; `path` is the JSON path of what is wrong, `rule` the rule that it breaks."""
    return IntertieError("INPUT_INVALID", f"{path}: {message}", path=path, rule=rule)


async def deliver(run: Run, media_type: str, data: bytes, is_error: bool = False) -> WorkResult:
    """Make `data` the output: in the result if it fits, else as chunks, whose bytes joined are the output.

    Raises: IntertieError EXECUTION_FAILED when it is larger than 4 MiB.
    """
    if len(data) <= CHUNK_BYTES:
        return WorkResult(media_type=media_type, output=data, is_error=is_error)
    if len(data) > MAX_OUTPUT_BYTES:
        raise IntertieError(
            "EXECUTION_FAILED", f"the output has {len(data)} bytes; at most {MAX_OUTPUT_BYTES} can be sent"
        )
    for start in range(0, len(data), CHUNK_BYTES):
        await run.chunk(data[start : start + CHUNK_BYTES], media_type)
    return WorkResult(is_error=is_error)
