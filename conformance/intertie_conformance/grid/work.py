"""What the conformance offers do (RFC 0014)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from intertie.v1.envelope_pb2 import Payload
from intertie_conformance.grid.catalog import METERED
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.selling import Job

LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"
JSON: Final = "application/json"


class Unwilling(Refusal):
    """Refused before any work: the order is rejected, not failed."""


class ToolError(Exception):
    """Done, but the tool itself reports an error."""

    def __init__(self, output: Payload) -> None:
        super().__init__("tool error")
        self.output = output


def _json(value: object) -> Payload:
    return Payload(media_type=JSON, data=json.dumps(value, separators=(",", ":")).encode())


def _read(data: bytes, required: Mapping[str, type], optional: Mapping[str, type]) -> dict[str, Any]:
    """The input as an object with these members. Raises: Unwilling INPUT_INVALID."""
    try:
        value = json.loads(data)
    except ValueError:
        raise Unwilling("INPUT_INVALID", "The input is no JSON.") from None
    kinds: dict[str, type] = {**required, **optional}
    if not isinstance(value, dict) or not set(required) <= set(value) <= set(kinds):
        raise Unwilling("INPUT_INVALID", "The input has not the members that the schema asks for.")
    for name, item in value.items():
        if not isinstance(item, kinds[name]) or isinstance(item, bool) or (isinstance(item, int) and item < 0):
            raise Unwilling("INPUT_INVALID", f"The member {name} does not fit the schema.")
    return value


async def echo(job: Job) -> Payload:
    """Returns its input."""
    return Payload(media_type=job.hold.order.input.media_type, data=job.input)


async def delay(job: Job) -> Payload:
    """Waits."""
    ms = _read(job.input, {"ms": int}, {})["ms"]
    job.begin()
    await asyncio.sleep(ms / 1_000)
    return _json({"ms": ms})


async def meter(job: Job) -> Payload:
    """Meters what it is told to, in steps."""
    wanted = _read(job.input, {"usage": dict}, {"steps": int})
    usage, steps = wanted["usage"], wanted.get("steps", 1)
    if not set(usage) <= set(METERED) or not all(isinstance(n, int) and n >= 0 for n in usage.values()) or not steps:
        raise Unwilling("INPUT_INVALID", "The usage does not fit the schema.")
    job.begin()
    for step in range(1, steps + 1):
        for unit in sorted(usage):
            increase = usage[unit] * step // steps - usage[unit] * (step - 1) // steps
            if increase:
                await job.meter({unit: increase})
    return _json({"usage": usage})


async def stream(job: Job) -> Payload:
    """Streams the alphabet."""
    wanted = _read(job.input, {"chunks": int, "bytes": int}, {"delay_ms": int})
    size = wanted["bytes"]
    letters = LETTERS * (size // len(LETTERS) + 2)
    job.begin()
    for number in range(wanted["chunks"]):
        if number and wanted.get("delay_ms"):
            await asyncio.sleep(wanted["delay_ms"] / 1_000)
        first = number * size % len(LETTERS)
        await job.chunk(letters[first : first + size])
    return Payload()


async def ask(job: Job) -> Payload:
    """Asks once, returns the reply."""
    prompt = _read(job.input, {}, {"prompt": str}).get("prompt", "input, please")
    job.begin()
    reply = await job.ask(prompt, b'{"type":"object"}')
    try:
        good = isinstance(json.loads(reply), dict)
    except ValueError:
        good = False
    if not good:
        raise Refusal("INPUT_INVALID", "The reply is no JSON object.")
    return Payload(media_type=JSON, data=reply)


async def fail(job: Job) -> Payload:
    """Fails as asked."""
    wanted = _read(job.input, {}, {"message": str, "steps": int, "as": str})
    message = wanted.get("message", "failed as asked")
    job.begin()
    if wanted.get("steps"):
        await job.meter({"sim.step": wanted["steps"]})
    if wanted.get("as") == "tool-error":
        raise ToolError(_json({"message": message}))
    raise Refusal("EXECUTION_FAILED", message)


async def refuse(job: Job) -> Payload:
    """Refuses."""
    wanted = _read(job.input, {}, {"message": str})
    raise Unwilling("PERMISSION_DENIED", wanted.get("message", "refused as asked"))


WORK: Final[Mapping[str, Callable[[Job], Awaitable[Payload]]]] = {
    "conformance/echo": echo,
    "conformance/delay": delay,
    "conformance/meter": meter,
    "conformance/stream": stream,
    "conformance/ask": ask,
    "conformance/fail": fail,
    "conformance/refuse": refuse,
}


_INPUTS: Final[Mapping[str, tuple[dict[str, type], dict[str, type]]]] = {
    "conformance/delay": ({"ms": int}, {}),
    "conformance/meter": ({"usage": dict}, {"steps": int}),
    "conformance/stream": ({"chunks": int, "bytes": int}, {"delay_ms": int}),
    "conformance/ask": ({}, {"prompt": str}),
    "conformance/fail": ({}, {"message": str, "steps": int, "as": str}),
    "conformance/refuse": ({}, {"message": str}),
}


def check(name: str, data: bytes) -> None:
    """Whether an input fits an offer's schema. Raises: Unwilling INPUT_INVALID."""
    if name in _INPUTS:
        _read(data, *_INPUTS[name])


def is_allowed(place: str, codes: Sequence[str]) -> bool:
    """Whether a list of ISO 3166 codes, empty for any, allows a place (RFC 0009, section 3.4)."""
    return not codes or any(place == code or place.startswith(f"{code}-") for code in codes)
