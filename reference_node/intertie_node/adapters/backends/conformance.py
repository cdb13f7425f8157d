"""Backend "conformance": the offers by which the conformance suite exercises a node (design §12).

Inputs and outputs are JSON in UTF-8 except those of echo. Wrong inputs are refused INPUT_INVALID. Without a
word on usage an offer meters nothing itself; "order" units are counted by the node. Default prices stand in
`config.backends.CONFORMANCE_PRICES`.

conformance/echo     any input. Output: the input's bytes and media type. Idempotent.
conformance/delay    {"ms": 0…600000}. Waits that long; stops at once when canceled. Output {"ms": n}.
                     Idempotent, cancelable.
conformance/meter    {"usage": {unit: 0…2^63-1}, "steps": 1…1000 (default 1)}. Meters in `steps` steps: after
                     step i of k the sum of a unit of quantity n is floor(n × i / k); a step without an
                     increase of a unit does not meter it. Units are metered in order of name. Units:
                     llm.output.token, mcp.call, rag.query, sim.step. Output {"usage": {unit: n}}, as in the
                     input. Idempotent.
conformance/stream   {"chunks": 0…10000, "bytes": 1…16384, "delay_ms": 0…10000 (default 0)}. Sends `chunks`
                     chunks of text/plain with `bytes` bytes each; byte j of the whole, counted from 0, is
                     letter j mod 26 of a…z. Each chunk meters text.output.byte by its bytes. Waits `delay_ms`
                     before each chunk but the first. No output of its own. Streaming, idempotent, cancelable.
conformance/ask      {"prompt": "…" (default "input, please")}. Asks once with that prompt and the schema
                     {"type": "object"}. Output: the bytes of the reply, application/json; a reply that is no
                     JSON object fails with INPUT_INVALID. Input-required.
conformance/fail     {"message": "…" (default "failed as asked"), "steps": 0…1000 (default 0), "as": "failure"
                     (default) or "tool-error"}. Meters sim.step `steps` (0: not at all), then ends FAILED
                     with EXECUTION_FAILED and the message, or COMPLETED with is_error and output
                     {"message": "…"}. Idempotent.
conformance/refuse   {} or {"message": "…" (default "refused as asked")}. Never does any work: REJECTED with
                     PERMISSION_DENIED and the message. Idempotent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from intertie.errors import IntertieError
from intertie_node.adapters.backends.output import CHUNK_BYTES, JSON, input_invalid, read_input
from intertie_node.config import ConformanceTable
from intertie_node.ports import OfferSpec, RefuseWork, Run, WorkResult

Message = Annotated[str, Meta(max_length=256)]
Quantity = Annotated[int, Meta(ge=0, le=2**63 - 1)]

LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"
UNITS: Final = ("llm.output.token", "mcp.call", "rag.query", "sim.step")


class Usage(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What meter can meter."""

    llm_output_token: Quantity | None = msgspec.field(default=None, name="llm.output.token")
    mcp_call: Quantity | None = msgspec.field(default=None, name="mcp.call")
    rag_query: Quantity | None = msgspec.field(default=None, name="rag.query")
    sim_step: Quantity | None = msgspec.field(default=None, name="sim.step")


class Delay(Struct, frozen=True, forbid_unknown_fields=True):
    """Input of delay."""

    ms: Annotated[int, Meta(ge=0, le=600_000)]


class Meter(Struct, frozen=True, forbid_unknown_fields=True):
    """Input of meter."""

    usage: Usage
    steps: Annotated[int, Meta(ge=1, le=1_000)] = 1


class Stream(Struct, frozen=True, forbid_unknown_fields=True):
    """Input of stream."""

    chunks: Annotated[int, Meta(ge=0, le=10_000)]
    bytes: Annotated[int, Meta(ge=1, le=CHUNK_BYTES)]
    delay_ms: Annotated[int, Meta(ge=0, le=10_000)] = 0


class Ask(Struct, frozen=True, forbid_unknown_fields=True):
    """Input of ask."""

    prompt: Message = "input, please"


class Fail(Struct, frozen=True, forbid_unknown_fields=True):
    """Input of fail."""

    message: Message = "failed as asked"
    steps: Annotated[int, Meta(ge=0, le=1_000)] = 0
    as_: Literal["failure", "tool-error"] = msgspec.field(default="failure", name="as")


class Refuse(Struct, frozen=True, forbid_unknown_fields=True):
    """Input of refuse."""

    message: Message = "refused as asked"


async def echo(run: Run) -> WorkResult:
    """conformance/echo"""
    return WorkResult(media_type=run.media_type, output=run.input)


async def delay(run: Run) -> WorkResult:
    """conformance/delay"""
    wanted = read_input(run.input, Delay)
    await asyncio.sleep(wanted.ms / 1_000)
    return _json({"ms": wanted.ms})


async def meter(run: Run) -> WorkResult:
    """conformance/meter"""
    wanted = read_input(run.input, Meter)
    usage: dict[str, int] = msgspec.to_builtins(wanted.usage)
    for step in range(1, wanted.steps + 1):
        for unit in sorted(usage):
            quantity = usage[unit]
            increase = quantity * step // wanted.steps - quantity * (step - 1) // wanted.steps
            if increase:
                await run.meter(unit, increase)
    return _json({"usage": usage})


async def stream(run: Run) -> WorkResult:
    """conformance/stream"""
    wanted = read_input(run.input, Stream)
    letters = LETTERS * (wanted.bytes // len(LETTERS) + 2)
    for number in range(wanted.chunks):
        if number and wanted.delay_ms:
            await asyncio.sleep(wanted.delay_ms / 1_000)
        first = number * wanted.bytes % len(LETTERS)
        data = letters[first : first + wanted.bytes]
        await run.chunk(data, "text/plain", {"text.output.byte": len(data)})
    return WorkResult()


async def ask(run: Run) -> WorkResult:
    """conformance/ask"""
    reply = await run.ask(read_input(run.input, Ask).prompt, b'{"type":"object"}')
    try:
        msgspec.json.decode(reply, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise input_invalid("the reply is no JSON object") from None
    return WorkResult(media_type=JSON, output=reply)


async def fail(run: Run) -> WorkResult:
    """conformance/fail. Raises: IntertieError EXECUTION_FAILED, as it is asked to."""
    wanted = read_input(run.input, Fail)
    if wanted.steps:
        await run.meter("sim.step", wanted.steps)
    if wanted.as_ == "failure":
        raise IntertieError("EXECUTION_FAILED", wanted.message)
    return WorkResult(media_type=JSON, output=msgspec.json.encode({"message": wanted.message}), is_error=True)


async def refuse(run: Run) -> WorkResult:
    """conformance/refuse"""
    raise RefuseWork(IntertieError("PERMISSION_DENIED", read_input(run.input, Refuse).message))


def _json(value: object) -> WorkResult:
    return WorkResult(media_type=JSON, output=msgspec.json.encode(value))


class Offer(Struct, frozen=True):
    """One offer: what does the work, what it takes, what it promises."""

    work: Callable[[Run], Awaitable[WorkResult]]
    input: Mapping[str, object] | None
    features: tuple[str, ...]
    description: str


def _object(properties: Mapping[str, object], required: Sequence[str] = ()) -> dict[str, object]:
    schema: dict[str, object] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def _integer(low: int, high: int) -> dict[str, object]:
    return {"type": "integer", "minimum": low, "maximum": high}


MESSAGE: Final = {"type": "string", "maxLength": 256}

OFFERS: Final[Mapping[str, Offer]] = {
    "conformance/echo": Offer(echo, None, ("idempotent",), "Returns its input."),
    "conformance/delay": Offer(
        delay, _object({"ms": _integer(0, 600_000)}, ["ms"]), ("idempotent", "cancelable"), "Waits."
    ),
    "conformance/meter": Offer(
        meter,
        _object(
            {
                "usage": _object({unit: _integer(0, 2**63 - 1) for unit in UNITS}),
                "steps": _integer(1, 1_000),
            },
            ["usage"],
        ),
        ("idempotent",),
        "Meters what it is told to.",
    ),
    "conformance/stream": Offer(
        stream,
        _object(
            {
                "chunks": _integer(0, 10_000),
                "bytes": _integer(1, CHUNK_BYTES),
                "delay_ms": _integer(0, 10_000),
            },
            ["chunks", "bytes"],
        ),
        ("streaming", "idempotent", "cancelable"),
        "Streams the alphabet.",
    ),
    "conformance/ask": Offer(ask, _object({"prompt": MESSAGE}), ("input-required",), "Asks once, returns the reply."),
    "conformance/fail": Offer(
        fail,
        _object({"message": MESSAGE, "steps": _integer(0, 1_000), "as": {"enum": ["failure", "tool-error"]}}),
        ("idempotent",),
        "Fails.",
    ),
    "conformance/refuse": Offer(refuse, _object({"message": MESSAGE}), ("idempotent",), "Refuses."),
}


class ConformanceBackend:
    """All conformance offers; a backend as in `ports.Backend`."""

    def __init__(self, table: ConformanceTable) -> None:
        self._table = table

    async def start(self) -> Sequence[OfferSpec]:
        """Nothing to start."""
        return [
            OfferSpec(
                name=name,
                description=offer.description,
                tags=("conformance",),
                input_schema=b"{}" if offer.input is None else msgspec.json.encode(offer.input),
                features=offer.features,
            )
            for name, offer in OFFERS.items()
        ]

    async def run(self, offer: str, run: Run) -> WorkResult:
        """Do what the module says. Raises: RefuseWork, IntertieError."""
        return await OFFERS[offer].work(run)

    async def stop(self) -> None:
        """Nothing is held."""
