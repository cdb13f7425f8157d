"""How a named error leaves over gRPC: google.rpc.Status with ErrorInfo (design §5 rule 5)."""

from typing import Any

from grpc_status import rpc_status

from intertie.errors import IntertieError
from intertie.grpc_status import to_status


async def abort(context: Any, error: IntertieError) -> None:
    """End the call with the error. Raises: grpc.aio.AbortError, always."""
    await context.abort_with_status(rpc_status.to_status(to_status(error)))
