"""What a thread writes reaches an asynchronous reader, whole, slowly, or not to the end."""

from __future__ import annotations

import asyncio
import threading
from typing import BinaryIO

import pytest

from intertie_node.services.piping import PIECE_BYTES, pieces


async def test_everything_arrives_in_order() -> None:
    data = bytes(range(256)) * 8192

    def write(out: BinaryIO) -> None:
        for start in range(0, len(data), 1000):
            out.write(data[start : start + 1000])

    found = [piece async for piece in pieces(write)]
    assert b"".join(found) == data
    assert max(map(len, found)) <= 2 * PIECE_BYTES


async def test_nothing_written_is_nothing_read() -> None:
    assert [piece async for piece in pieces(lambda out: None)] == []


async def test_a_failure_follows_what_was_written() -> None:
    def write(out: BinaryIO) -> None:
        out.write(b"x" * PIECE_BYTES * 3)
        raise ValueError("no more")

    read = 0
    with pytest.raises(ValueError, match="no more"):
        async for piece in pieces(write):
            read += len(piece)
    assert read == PIECE_BYTES * 3


async def test_a_reader_that_leaves_ends_the_writer() -> None:
    ended = threading.Event()

    def write(out: BinaryIO) -> None:
        try:
            while True:
                out.write(b"x" * PIECE_BYTES)
        finally:
            ended.set()

    reading = pieces(write)
    await anext(reading)
    await asyncio.wait_for(reading.aclose(), 10)  # type: ignore[attr-defined]
    assert ended.is_set()
