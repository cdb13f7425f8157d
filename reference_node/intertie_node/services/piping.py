"""What a thread writes, as an asynchronous iterator of pieces that waits for its reader."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO, Final

PIECE_BYTES: Final = 256 * 1024
QUEUED_PIECES: Final = 4


class _Sink(io.RawIOBase):
    """Where the thread writes; refuses once nobody reads any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[bytes]) -> None:
        self._loop = loop
        self._queue = queue
        self.abandoned = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.abandoned:
            raise BrokenPipeError("nobody reads any more")
        piece = bytes(data)
        asyncio.run_coroutine_threadsafe(self._queue.put(piece), self._loop).result()
        return len(piece)


async def pieces(produce: Callable[[BinaryIO], Any]) -> AsyncIterator[bytes]:
    """Run `produce` in a thread with a file to write to; yield what it writes.

    Raises: what `produce` raises, after what it wrote. Closing the iterator makes its next write fail.
    """
    queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUED_PIECES)
    sink = _Sink(asyncio.get_running_loop(), queue)

    def run() -> None:
        with io.BufferedWriter(sink, PIECE_BYTES) as file:
            produce(file)

    task = asyncio.create_task(asyncio.to_thread(run))
    task.add_done_callback(lambda _: asyncio.ensure_future(queue.put(b"")))
    try:
        while piece := await queue.get():
            yield piece
        await task
    finally:
        sink.abandoned = True
        while not task.done():
            while not queue.empty():
                queue.get_nowait()
            await asyncio.wait([task], timeout=0.05)
