"""The baseline: a plaintext unary echo server of grpc.aio under uvloop, in a process of its own.

Its client is the mode "raw" of `load.py`, so that both sides of every ratio are driven by the same loop. Says its port
on standard output; ends when its standard input is closed.
"""

import asyncio
import json
import sys
from typing import Any

import grpc
import uvloop


async def echo(request: bytes, context: Any) -> bytes:
    """The bytes that came."""
    return request


async def serve() -> None:
    """Serve until standard input is closed."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    methods: Any = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"ready": True, "port": port}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve())
