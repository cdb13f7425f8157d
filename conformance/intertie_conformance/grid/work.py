"""What the conformance offers do (RFC 0014)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from intertie.v1.envelope_pb2 import Payload
from intertie_conformance.wire.refusal import Refusal

if TYPE_CHECKING:
    from intertie_conformance.grid.selling import Job


class Unwilling(Refusal):
    """Refused before any work: the order is rejected, not failed."""

    @classmethod
    def of(cls, refusal: Refusal) -> Unwilling:
        """A refusal before any work."""
        return cls(refusal.reason, refusal.message, **refusal.metadata)


class ToolError(Exception):
    """Done, but the tool itself reports an error."""

    def __init__(self, output: Payload) -> None:
        super().__init__("tool error")
        self.output = output


def _read(job: Job) -> dict[str, Any]:
    """The input as an object with these members. Raises: Unwilling INPUT_INVALID."""
    try:
        value = job.link.rules.check_input(job.offer.message.input_schema, job.input)
    except Refusal as refusal:
        raise Unwilling.of(refusal) from None
    return value if isinstance(value, dict) else {}


async def echo(job: Job) -> Payload:
    """Returns its input."""
    _read(job)
    return job.link.rules.echoes(job.hold.order.input.media_type, job.input)


async def delay(job: Job) -> Payload:
    """Waits."""
    rules, ms = job.link.rules, _read(job).get("ms", 0)
    job.begin()
    await asyncio.sleep(rules.delays(int(ms)))
    return rules.delayed(ms)


async def meter(job: Job) -> Payload:
    """Meters what it is told to, in steps."""
    rules, wanted = job.link.rules, _read(job)
    usage = {unit: int(quantity) for unit, quantity in wanted.get("usage", {}).items()}
    job.begin()
    for unit, increase in rules.meters(usage, int(wanted.get("steps", 1))):
        await job.meter({unit: increase})
    return rules.metered(usage)


async def stream(job: Job) -> Payload:
    """Streams the alphabet."""
    rules, wanted = job.link.rules, _read(job)
    job.begin()
    for number in range(int(wanted.get("chunks", 0))):
        await asyncio.sleep(rules.stream_pause(number, int(wanted.get("delay_ms", 0))))
        await job.chunk(rules.streams(number, int(wanted["bytes"])))
    return rules.streamed()


async def ask(job: Job) -> Payload:
    """Asks once, returns the reply."""
    rules, prompt = job.link.rules, _read(job).get("prompt", "input, please")
    job.begin()
    return rules.answered_ask(await job.ask(*rules.asks(prompt)))


async def fail(job: Job) -> Payload:
    """Fails as asked."""
    rules, wanted = job.link.rules, _read(job)
    message = wanted.get("message", "failed as asked")
    job.begin()
    steps = rules.failing_steps(int(wanted.get("steps", 0)))
    if steps:
        await job.meter({"sim.step": steps})
    if wanted.get("as") == "tool-error":
        raise ToolError(rules.tool_error(message))
    raise rules.failure(message)


async def refuse(job: Job) -> Payload:
    """Refuses."""
    raise Unwilling.of(job.link.rules.refusal(_read(job).get("message", "refused as asked")))


WORK: Final[Mapping[str, Callable[[Job], Awaitable[Payload]]]] = {
    "conformance/echo": echo,
    "conformance/delay": delay,
    "conformance/meter": meter,
    "conformance/stream": stream,
    "conformance/ask": ask,
    "conformance/fail": fail,
    "conformance/refuse": refuse,
}


def is_allowed(place: str, codes: Sequence[str]) -> bool:
    """Whether a list of ISO 3166 codes, empty for any, allows a place (RFC 0009, section 3.4)."""
    return not codes or any(place == code or place.startswith(f"{code}-") for code in codes)
