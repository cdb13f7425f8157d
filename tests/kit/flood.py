"""A consumer that says far more than it may, as fast as it can, and reads nothing.

python flood.py ADDRESS TOKEN FRAMES      frames of 2,000 invocations each, then waits to be ended
"""

from __future__ import annotations

import asyncio
import sys

import grpc
from tests.kit.live import Consumer

COMMANDS = 2_000


async def flood(address: str, token: str, frames: int) -> None:
    """Say so many frames; each command is refused, since nothing may be charged."""
    async with Consumer(grpc.aio.insecure_channel(address), token) as consumer:
        stream = consumer.stream()
        for _ in range(frames):
            await stream.say(invocations=[Consumer.request("conformance/echo", max_charge=0) for _ in range(COMMANDS)])
        await asyncio.sleep(3_600)


if __name__ == "__main__":
    asyncio.run(flood(sys.argv[1], sys.argv[2], int(sys.argv[3])))
