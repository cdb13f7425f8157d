"""Errors on gRPC: `google.rpc.Status` with one ErrorInfo of the domain "intertie" (RFC 0012)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from intertie_conformance.registry import ERRORS
from intertie_conformance.wire.refusal import Refusal

DOMAIN: Final = "intertie"
KEY: Final = "grpc-status-details-bin"


class Said(NamedTuple):
    """What a failed call has said."""

    code: str
    """Name of the gRPC code."""
    reason: str
    """Reason of the ErrorInfo, "" if there was none."""
    message: str
    metadata: Mapping[str, str] = {}
    """Metadata of the ErrorInfo."""

    def __str__(self) -> str:
        return f"{self.reason or 'no reason'} ({self.code}): {self.message[:200]}"


class Answer(grpc.Status):
    """A refusal for a servicer's `abort_with_status`."""

    def __init__(self, refusal: Refusal, said: Callable[[Status], Status] = lambda status: status) -> None:
        code = ERRORS[refusal.reason].grpc_code
        status = Status(code=Code.Value(code), message=refusal.message[:1024])
        metadata = {key: value[:256] for key, value in refusal.metadata.items()}
        status.details.add().Pack(ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=metadata))
        status = said(status)
        self.code = {code.value[0]: code for code in grpc.StatusCode}[status.code]
        self.details = status.message
        self.trailing_metadata = ((KEY, status.SerializeToString()),)


async def abort(context: Any, refusal: Refusal, said: Callable[[Status], Status] = lambda status: status) -> None:
    """End a call with a refusal, its status as `said` makes it; raises what gRPC raises."""
    await context.abort_with_status(Answer(refusal, said))


def said(error: grpc.aio.AioRpcError) -> Said:
    """What a failed call means."""
    info = ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == KEY and isinstance(value, bytes):
            info = _info(value) or info
    return Said(error.code().name, info.reason, error.details() or "", dict(info.metadata))


def _info(data: bytes) -> ErrorInfo | None:
    try:
        for detail in Status.FromString(data).details:
            info = ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return info
    except DecodeError:
        pass
    return None
