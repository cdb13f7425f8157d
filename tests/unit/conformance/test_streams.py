"""What the other side has said last is heard, whatever the suite was writing when the call ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from intertie_conformance.grid.streams import LINK, GrpcStream, open_stream, say, unwrap, wrap

LAST = b"\x08\x01"
ROUNDS = 100


async def _close(_: Any, context: Any) -> None:
    await context.write(LAST)
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "as the other side has said")


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server that says one frame on each Link and ends it with a status, without reading."""
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(_close, request_deserializer=unwrap, response_serializer=wrap)
    service, _, method = LINK[1:].partition("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as made:
        yield made
    await server.stop(0)


@pytest.mark.parametrize("pause_s", [0.0, 0.001])
async def test_last_frame_and_status_outlive_failed_writes(channel: grpc.aio.Channel, pause_s: float) -> None:
    for _ in range(ROUNDS):
        heard: list[bytes] = []
        stream = open_stream(channel, lambda _, data, heard=heard: heard.append(data))  # type: ignore[misc]
        for _ in range(50):
            stream.send(b"\x10" + b"\x01" * 200)
        await asyncio.sleep(pause_s)
        await asyncio.wait_for(stream.done.wait(), 5.0)
        assert heard == [LAST]
        assert stream.error is not None
        assert stream.error.code() is grpc.StatusCode.UNIMPLEMENTED
        await stream.stop()


async def test_nothing_is_said_after_the_end(channel: grpc.aio.Channel) -> None:
    call: Any = channel.stream_stream(LINK)()
    await asyncio.wait_for(call.read(), 5.0)
    assert await asyncio.wait_for(call.code(), 5.0) is grpc.StatusCode.UNIMPLEMENTED
    assert not await say(call, b"")
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_closed_stream_ends(channel: grpc.aio.Channel) -> None:
    call: Any = channel.stream_stream(LINK, request_serializer=wrap, response_deserializer=unwrap)()
    stream = GrpcStream(call, lambda *_: None)
    stream.start()
    stream.close()
    await asyncio.wait_for(stream.finished(), 5.0)
