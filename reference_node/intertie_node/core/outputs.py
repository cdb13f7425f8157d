"""Whether what was delivered is what the executor's record proves (design §9, execution records)."""

from intertie.errors import IntertieError
from intertie.v1.record_pb2 import ExecutionRecord
from intertie_node.core.invocations import End, Invocation
from intertie_node.core.sinks import OrderSink


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
