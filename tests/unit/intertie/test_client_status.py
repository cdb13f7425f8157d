from __future__ import annotations

import grpc
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from intertie.errors import IntertieError
from intertie.grpc_status import DETAILS_KEY, from_rpc_error, from_status, to_grpc, to_status
from intertie.registry import ERRORS


def rpc_error(code: grpc.StatusCode, details: str = "", data: bytes | None = None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*(() if data is None else ((DETAILS_KEY, data),)))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)


@pytest.mark.parametrize("reason", ERRORS)
def test_every_reason_survives_the_round_trip(reason: str) -> None:
    error = IntertieError(reason, "What was wrong – and what to do.", id="7")
    status = to_status(error)
    assert status.code == Code.Value(ERRORS[reason].grpc_code)
    back = from_status(Status.FromString(status.SerializeToString()))
    assert back is not None
    assert (back.reason, back.message, back.metadata) == (error.reason, error.message, error.metadata)
    sent = to_grpc(error)
    assert (sent.code.name, sent.details) == (ERRORS[reason].grpc_code, status.message)
    received = from_rpc_error(rpc_error(sent.code, sent.details, sent.trailing_metadata[0][1]))
    assert str(received) == str(error)


def test_a_status_has_one_detail_and_no_retry_info() -> None:
    status = to_status(IntertieError("NODE_BUSY", "Try later."))
    assert [detail.Is(ErrorInfo.DESCRIPTOR) for detail in status.details] == [True]


@given(st.text(max_size=3000), st.text(max_size=600))
def test_a_status_always_fits_the_trailers(message: str, value: str) -> None:
    status = to_status(IntertieError("INTERNAL", message, path=value))
    assert len(status.message.encode()) <= 1024
    assert message.encode("utf-8", "replace").startswith(status.message.encode())
    assert status.ByteSize() < 2600


def test_an_unknown_reason_keeps_its_text() -> None:
    status = Status(code=9, message="new")
    status.details.add().Pack(ErrorInfo(reason="FROM_THE_FUTURE", domain="intertie"))
    error = from_status(status)
    assert error is not None
    assert (error.reason, error.row.reason) == ("FROM_THE_FUTURE", "INTERNAL")


def test_details_of_others_are_passed_over() -> None:
    status = Status(code=14, message="m")
    status.details.add().Pack(RetryInfo())
    status.details.add().Pack(ErrorInfo(reason="NODE_BUSY", domain="example.com"))
    broken = status.details.add()
    broken.type_url, broken.value = "type.googleapis.com/google.rpc.ErrorInfo", b"\xff\xff"
    assert from_status(status) is None
    status.details.add().Pack(ErrorInfo(reason="NODE_DRAINING", domain="intertie"))
    error = from_status(status)
    assert error is not None and error.reason == "NODE_DRAINING"


@pytest.mark.parametrize("data", [None, b"\xff\xff\xff", Status(code=14).SerializeToString()])
def test_without_error_info_the_code_decides(data: bytes | None) -> None:
    assert from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, "gone", data)).reason == "NODE_UNAVAILABLE"
    assert from_rpc_error(rpc_error(grpc.StatusCode.UNAUTHENTICATED, "", data)).reason == "UNAUTHENTICATED"
    error = from_rpc_error(rpc_error(grpc.StatusCode.DATA_LOSS, "x" * 5000, data))
    assert error.reason == "INTERNAL" and "DATA_LOSS" in error.message and len(error.message) < 1024


def test_what_grpc_would_not_carry_is_too_large_and_the_node_not_busy() -> None:
    details = "CLIENT: Sent message larger than max (20000121 vs. 4194304)"
    assert from_rpc_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, details)).reason == "PAYLOAD_TOO_LARGE"
    assert from_rpc_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota")).reason == "NODE_BUSY"
