"""What a backend says, parsed where it enters the node: the core sees nothing else of it (RFC 0010).

Backends are code that the node's operator has installed and this project has not written. What they get wrong fails
their invocation, by name; it stops neither the node nor a link. All errors are EXECUTION_FAILED, the provider's fault.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from operator import index
from typing import Final, SupportsIndex

from msgspec import Struct

from intertie.amounts import INT64_MAX
from intertie.errors import IntertieError, to_problem
from intertie.names import is_unit
from intertie.registry import ERRORS
from intertie.v1.envelope_pb2 import Payload, Problem
from intertie.v1.event_pb2 import Progress
from intertie.v1.metering_pb2 import ENERGY_METHOD_UNKNOWN, ENERGY_METHOD_UNSPECIFIED, Energy, EnergyMethod
from intertie_node.core.energy import MAX_BOUNDARY
from intertie_node.core.frames import INLINE_BYTES, MAX_EVENT_BYTES, OVERHEAD
from intertie_node.core.proofs import ONCE
from intertie_node.core.world import problem
from intertie_node.ports import WorkResult

MAX_MEDIA_TYPE_BYTES: Final = MAX_EVENT_BYTES - INLINE_BYTES - OVERHEAD
"""So that an event with a whole payload of that type fits every link."""
MAX_COMMENT_CHARACTERS: Final = 1024
_NOT_KNOWN: Final = frozenset({ENERGY_METHOD_UNSPECIFIED, ENERGY_METHOD_UNKNOWN})


class Finished(Struct, frozen=True):
    """A `ports.WorkResult` whose parts are what they are said to be."""

    output: Payload
    is_error: bool
    energy: Energy | None
    """None: not known."""


def finished_of(result: object) -> Finished:
    """How a run ended. Raises: IntertieError EXECUTION_FAILED."""
    if not isinstance(result, WorkResult):
        raise _wrong("returned", "no WorkResult", result)
    if not isinstance(result.is_error, bool):
        raise _wrong("returned", "an is_error that is neither True nor False", result.is_error)
    output = payload_of(result.output, result.media_type)
    return Finished(output, result.is_error, None if result.energy is None else _energy_of(result.energy))


def usage_of(usage: Mapping[str, SupportsIndex]) -> dict[str, int]:
    """Atoms by unit: units of the registry or private ones, quantities of 0 to 2^63-1.

    Units that count how an order ended are the node's to count (IT-MTR-004 to 006). Raises: IntertieError
    EXECUTION_FAILED.
    """
    return {_unit_of(unit): _quantity_of(quantity) for unit, quantity in usage.items()}


def _unit_of(unit: object) -> str:
    if not isinstance(unit, str) or not is_unit(unit):
        raise _wrong("metered", "what is no unit", unit)
    if unit in ONCE:
        raise IntertieError("EXECUTION_FAILED", f"The backend metered {unit}, which the node counts itself.")
    return unit


def _quantity_of(quantity: object) -> int:
    number = _integer_of(quantity, "metered")
    if not 0 <= number <= INT64_MAX:
        raise IntertieError("EXECUTION_FAILED", "The backend metered a quantity that is not 0 to 2^63-1.")
    return number


def _integer_of(value: object, did: str) -> int:
    if not isinstance(value, SupportsIndex):
        raise _wrong(did, "a number that is not whole", value)
    return int(index(value))


def payload_of(data: object, media_type: object) -> Payload:
    """A piece of output, of any size. Raises: IntertieError EXECUTION_FAILED."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise _wrong("sent", "an output that is not bytes", data)
    text = _text_of(media_type, "a media type")
    if len(text.encode()) > MAX_MEDIA_TYPE_BYTES:
        raise IntertieError("EXECUTION_FAILED", f"A media type may have {MAX_MEDIA_TYPE_BYTES} bytes.")
    return Payload(media_type=text, data=bytes(data))


def progress_of(done: object, total: object, comment: object) -> Progress:
    """How far the work is; a comment is cut. Raises: IntertieError EXECUTION_FAILED."""
    numbers = [_integer_of(number, "reported") for number in (done, total)]
    if not all(-INT64_MAX <= number <= INT64_MAX for number in numbers):
        raise IntertieError("EXECUTION_FAILED", "The backend reported progress beyond 2^63-1.")
    return Progress(done=numbers[0], total=numbers[1], comment=_text_of(comment, "a comment")[:MAX_COMMENT_CHARACTERS])


def question_of(prompt: object, schema: object) -> tuple[str, bytes]:
    """Prompt and JSON Schema of a question. Raises: IntertieError EXECUTION_FAILED, PAYLOAD_TOO_LARGE."""
    text = _text_of(prompt, "a prompt")
    if not isinstance(schema, bytes | bytearray):
        raise _wrong("asked", "with a schema that is not bytes", schema)
    if len(text.encode()) + len(schema) > INLINE_BYTES:
        raise IntertieError("PAYLOAD_TOO_LARGE", f"Prompt and schema may have {INLINE_BYTES} bytes together.")
    return text, bytes(schema)


def _text_of(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise _wrong("sent", f"{what} that is no text", text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise IntertieError("EXECUTION_FAILED", f"The backend sent {what} that is not Unicode.") from error
    return text


def _energy_of(energy: object) -> Energy:
    """The five fields and nothing that hides beside them (IT-MTR-030, IT-MTR-033)."""
    if not isinstance(energy, Energy):
        raise _wrong("stated", "an energy that is no Energy", energy)
    method, ordered = energy.method, 0 <= energy.lower <= energy.millijoules <= energy.upper
    if method not in EnergyMethod.values() or not (ordered or method in _NOT_KNOWN):
        raise IntertieError("EXECUTION_FAILED", "An energy needs a method and 0 ≤ lower ≤ millijoules ≤ upper.")
    if len(energy.boundary) > MAX_BOUNDARY:
        raise IntertieError("EXECUTION_FAILED", f"The boundary of an energy may have {MAX_BOUNDARY} characters.")
    return Energy(
        method=method,
        millijoules=energy.millijoules,
        lower=energy.lower,
        upper=energy.upper,
        boundary=energy.boundary,
    )


def problem_of(error: object) -> Problem:
    """Why a run failed, in the backend's words where they can be told, cut to what a problem may hold."""
    if isinstance(error, IntertieError):
        with suppress(TypeError, ValueError, AttributeError):
            return to_problem(error)
    return problem("EXECUTION_FAILED", "The backend failed and did not say how in words that can be told.")


def stopped_by(error: asyncio.CancelledError) -> str:
    """The reason with which a run was cancelled, a registered one; CANCELED where its backend ended it by itself."""
    reason = error.args[0] if error.args else ""
    return reason if isinstance(reason, str) and reason in ERRORS else "CANCELED"


def _wrong(did: str, what: str, found: object) -> IntertieError:
    return IntertieError("EXECUTION_FAILED", f"The backend {did} {what}: found type {type(found).__name__[:64]}.")
