"""Traffic for the passive rules: what every run says to the target before its checks."""

from __future__ import annotations

from intertie_conformance.roles import ordering
from intertie_conformance.stage import Stage


async def exercise(stage: Stage) -> None:
    """Open, buy, stream, be refused, and open again."""
    peer = await stage.peer()
    await peer.up()
    await ordering.expect_charged(peer, await ordering.order(peer, "echo", {"x": 1}))
    await ordering.expect_charged(peer, await ordering.order(peer, "meter", {"usage": {"mcp.call": 5}, "steps": 5}))
    await ordering.expect_charged(peer, await ordering.order(peer, "stream", {"chunks": 4, "bytes": 64}))
    longest = b'"' + b"x" * (min(peer.target_open().limits.inline_bytes, 1 << 16) - 2) + b'"'
    await ordering.expect_charged(peer, await ordering.order(peer, "echo", longest))
    await ordering.expect_charged(peer, await ordering.order(peer, "fail", {}))
    await ordering.end_of(peer, await ordering.order(peer, "refuse", {}))
    await peer.expect_alive()
    await peer.up()
    await ordering.expect_charged(peer, await ordering.order(peer, "echo", {"x": 2}))
