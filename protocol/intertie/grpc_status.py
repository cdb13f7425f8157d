"""Errors on gRPC: `IntertieError` as `google.rpc.Status` and back (design §5 rule 5).

The status carries one `google.rpc.ErrorInfo` with the reason, the domain "intertie" and the metadata; its code
is that of the reason's registry row. It carries no `RetryInfo`: whether to try again follows from the reason.
"""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from intertie.errors import IntertieError, from_problem
from intertie.v1.envelope_pb2 import Problem

DOMAIN: Final = "intertie"
DETAILS_KEY: Final = "grpc-status-details-bin"
MAX_MESSAGE_BYTES: Final = 1024
"""The message travels twice and percent-encoded; gRPC drops trailers above 8 KiB."""
MAX_METADATA_CHARACTERS: Final = 256
_TOO_LARGE: Final = "message larger than max"
_NUMBERS: Final[dict[str, int]] = dict(Code.items())
_REASONS: Final = {
    grpc.StatusCode.CANCELLED: "NODE_UNAVAILABLE",
    grpc.StatusCode.UNAVAILABLE: "NODE_UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_ARGUMENT",
    grpc.StatusCode.NOT_FOUND: "NOT_FOUND",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION_DENIED",
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "NODE_BUSY",
    grpc.StatusCode.UNIMPLEMENTED: "UNSUPPORTED_FEATURE",
}
"""What a status without ErrorInfo means: it comes from gRPC itself or from something in between."""


def to_status(error: IntertieError) -> Status:
    """Return the wire form of `error`: message at most 1,024 UTF-8 bytes, metadata values 256 characters."""
    info = ErrorInfo(
        reason=error.reason,
        domain=DOMAIN,
        metadata={key: value[:MAX_METADATA_CHARACTERS] for key, value in error.metadata.items()},
    )
    message = error.message.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore")
    status = Status(code=_NUMBERS[error.row.grpc_code], message=message)
    status.details.add().Pack(info)
    return status


class AbortStatus(grpc.Status):
    """A gRPC status with rich details, for a servicer's `context.abort_with_status`."""

    def __init__(self, code: grpc.StatusCode, status: Status) -> None:
        self.code = code
        self.details = status.message
        self.trailing_metadata = ((DETAILS_KEY, status.SerializeToString()),)


def to_grpc(error: IntertieError) -> AbortStatus:
    """Return `error` for a servicer's `context.abort_with_status`."""
    return AbortStatus(grpc.StatusCode[error.row.grpc_code], to_status(error))


def from_status(status: Status) -> IntertieError | None:
    """Return the error that `status` states; None if it has no ErrorInfo of the domain "intertie".

    A reason that this version does not know keeps its text and has the row of INTERNAL.
    """
    for detail in status.details:
        info = ErrorInfo()
        try:
            if not detail.Unpack(info) or info.domain != DOMAIN:
                continue
        except DecodeError:
            continue
        return from_problem(Problem(reason=info.reason, message=status.message, metadata=info.metadata))
    return None


def from_rpc_error(error: grpc.aio.AioRpcError) -> IntertieError:
    """Return what a failed call means.

    Without a readable ErrorInfo the reason follows from the gRPC code: NODE_UNAVAILABLE where the connection
    failed, PAYLOAD_TOO_LARGE where gRPC would not carry a message, INTERNAL where nothing better is known.
    """
    for key, value in error.trailing_metadata() or ():
        stated = _parse(value) if key == DETAILS_KEY and isinstance(value, bytes) else None
        if stated is not None:
            return stated
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:  # gRPC's own limit: final, not busy
        return IntertieError("PAYLOAD_TOO_LARGE", f"gRPC {code.name}: {details[:900]}")
    return IntertieError(_REASONS.get(code, "INTERNAL"), f"gRPC {code.name}: {details[:900]}")


def _parse(data: bytes) -> IntertieError | None:
    try:
        return from_status(Status.FromString(data))
    except DecodeError:
        return None
