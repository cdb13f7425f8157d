"""Whether what was delivered is what the executor's record proves, and what is charged (design §9, records)."""

from collections.abc import Mapping
from typing import Final

from intertie.errors import IntertieError
from intertie.v1.record_pb2 import ExecutionRecord
from intertie.v1.task_pb2 import TASK_STATE_CANCELED, TASK_STATE_COMPLETED, TASK_STATE_FAILED
from intertie_node.core.invocations import End, Invocation
from intertie_node.core.sinks import OrderSink

_BY_END: Final = (
    ("order", TASK_STATE_COMPLETED),
    ("order.failed", TASK_STATE_FAILED),
    ("order.canceled", TASK_STATE_CANCELED),
)
"""Units that count 1 where an order ended so, else 0."""
_STREAMED: Final = "text.output.byte"


def check_counted(inv: Invocation | None, usage: Mapping[str, int], state: int) -> None:
    """Compare what is finally charged, atoms by unit, with what the payer counts itself (RFC 0010, IT-MTR-007).

    Streamed bytes are known once all events have passed; less than what was counted may be charged.
    Raises: IntertieError RECORD_MISMATCH.
    """
    for unit, end in _BY_END:
        if usage.get(unit, 0) > (state == end):
            raise _miscounted(unit, int(state == end), usage[unit])
    sink = inv.sink if inv is not None else None
    if isinstance(sink, OrderSink) and sink.delivered is not None and usage.get(_STREAMED, 0) > sink.streamed:
        raise _miscounted(_STREAMED, sink.streamed, usage[_STREAMED])


def _miscounted(unit: str, counted: int, charged: int) -> IntertieError:
    message = f"{charged} atoms of {unit} are charged; {counted} were counted here."
    return IntertieError("RECORD_MISMATCH", message, field="quantities")


def check_output(inv: Invocation | None, record: ExecutionRecord | None) -> None:
    """Compare what was delivered with what is proven. Raises: IntertieError OUTPUT_MISMATCH.

    Nothing can be said while events are missing: a charge must be agreed to or refused before they need come.
    """
    sink = inv.sink if inv is not None else None
    if record is None or not isinstance(sink, OrderSink) or sink.delivered in (None, record.output_digest):
        return
    raise IntertieError("OUTPUT_MISMATCH", "The output that was delivered is not the one that the record proves.")


def contradicts(inv: Invocation, end: End) -> bool:
    """Whether what was delivered after its charge had been agreed to is not what the executor's record proves."""
    delivered = inv.sink.delivered if isinstance(inv.sink, OrderSink) else None
    if delivered is None or end.proof is None:
        return False
    record = end.record or ExecutionRecord.FromString(end.proof.record)
    return record.output_digest != delivered
