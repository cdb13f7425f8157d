"""What the conformance offers do with their inputs (RFC 0014, section 3.3)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from intertie.v1.envelope_pb2 import Payload
from intertie_conformance.grid import schema as schemas
from intertie_conformance.wire.refusal import Refusal

LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"
JSON: Final = "application/json"


def as_json(value: object) -> Payload:
    """A value as an output."""
    return Payload(media_type=JSON, data=json.dumps(value, separators=(",", ":")).encode())


class WorkingRules:
    """One method for each thing that an offer does."""

    def check_input(self, schema: bytes, data: bytes) -> Any:
        """The value of an input that fits. Raises: Refusal INPUT_INVALID naming path and rule."""
        value, fault = schemas.read(schema, data)
        if fault is not None:
            raise self.input_fault(fault)
        return value

    def input_fault(self, fault: schemas.Fault) -> Refusal:
        """What is said of an input that does not fit."""
        message = f"The input does not fit the schema at {fault.path}: {fault.rule}."
        return Refusal("INPUT_INVALID", message, path=fault.path[:256], rule=fault.rule)

    def echoes(self, media_type: str, data: bytes) -> Payload:
        """Returns its input."""
        return Payload(media_type=media_type, data=data)

    def delays(self, ms: int) -> float:
        """Seconds to wait."""
        return ms / 1_000

    def delayed(self, ms: int) -> Payload:
        """What is said after it."""
        return as_json({"ms": ms})

    def meters(self, usage: Mapping[str, int], steps: int) -> Iterator[tuple[str, int]]:
        """(unit, increase), step by step, in order of name."""
        for step in range(1, steps + 1):
            for unit in sorted(usage):
                increase = usage[unit] * step // steps - usage[unit] * (step - 1) // steps
                if increase:
                    yield unit, increase

    def metered(self, usage: Mapping[str, int]) -> Payload:
        """The usage of the input."""
        return as_json({"usage": usage})

    def streams(self, number: int, size: int) -> bytes:
        """Chunk `number`, from 0, of `size` bytes."""
        letters = LETTERS * (size // len(LETTERS) + 2)
        first = number * size % len(LETTERS)
        return letters[first : first + size]

    def stream_pause(self, number: int, delay_ms: int) -> float:
        """Seconds before a chunk: none before the first."""
        return delay_ms / 1_000 if number else 0.0

    def streamed(self) -> Payload:
        """No output of its own."""
        return Payload()

    def asks(self, prompt: str) -> tuple[str, bytes]:
        """Prompt and schema of the request."""
        return prompt, b'{"type":"object"}'

    def answered_ask(self, reply: bytes) -> Payload:
        """The bytes of the reply. Raises: Refusal INPUT_INVALID for what is no JSON object."""
        try:
            good = isinstance(json.loads(reply), dict)
        except (ValueError, RecursionError):
            good = False
        if not good:
            raise Refusal("INPUT_INVALID", "The reply is no JSON object.", path="$", rule="type")
        return Payload(media_type=JSON, data=reply)

    def failing_steps(self, steps: int) -> int:
        """sim.step that is metered before the failure."""
        return steps

    def failure(self, message: str) -> Refusal:
        """How it fails."""
        return Refusal("EXECUTION_FAILED", message)

    def tool_error(self, message: str) -> Payload:
        """The output of a tool that reports an error."""
        return as_json({"message": message})

    def refusal(self, message: str) -> Refusal:
        """Why it does nothing."""
        return Refusal("PERMISSION_DENIED", message)

    def stops(self, name: str, cancelable: bool) -> bool:
        """Whether work stops when it is canceled."""
        return cancelable
