"""A small node on a real socket whose answers are written by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from intertie.client import Client
from intertie.errors import IntertieError
from intertie.grpc_status import to_grpc
from intertie.v1 import account_pb2_grpc, catalog_pb2_grpc, invocation_pb2_grpc
from intertie.v1.envelope_pb2 import Payload, Problem
from intertie.v1.event_pb2 import Chunk, Event, Progress, StateChange
from intertie.v1.invocation_pb2 import Invocation, InvocationEvent, Outcome, StreamRequest, StreamResponse
from intertie.v1.task_pb2 import TaskState

TOKEN = "secret-token"


def outcome(id: str, data: bytes = b"{}", state: int = TaskState.TASK_STATE_COMPLETED) -> Outcome:
    done = Outcome(id=id, state=state)
    if data:
        done.output.CopyFrom(Payload(media_type="application/json", data=data))
    done.receipt.charge, done.receipt.asset, done.receipt.scale = 125, "EUR", 4
    return done


def ended(id: str, data: bytes = b"{}", state: int = TaskState.TASK_STATE_COMPLETED) -> InvocationEvent:
    return InvocationEvent(id=id, outcome=outcome(id, data, state))


def chunk(id: str, number: int, data: bytes) -> InvocationEvent:
    return InvocationEvent(id=id, event=Event(number=number, chunk=Chunk(payload=Payload(data=data))))


def progress(id: str, done: int) -> InvocationEvent:
    return InvocationEvent(id=id, event=Event(progress=Progress(done=done, total=10)))


def working(id: str, number: int) -> InvocationEvent:
    state = StateChange(state=TaskState.TASK_STATE_WORKING)
    return InvocationEvent(id=id, event=Event(number=number, state_change=state))


class Link:
    """The node's end of one `Stream`."""

    def __init__(self, requests: AsyncIterator[StreamRequest], context: Any) -> None:
        self._requests = requests
        self._context = context
        self.frames: list[StreamRequest] = []

    async def read(self) -> StreamRequest:
        frame = await anext(self._requests)
        self.frames.append(frame)
        return frame

    async def invocation(self) -> Invocation:
        """The only invocation of the next frame."""
        (invocation,) = (await self.read()).invocations
        return invocation

    async def send(self, *events: InvocationEvent) -> None:
        await self._context.write(StreamResponse(events=events))

    async def send_bytes(self, data: bytes) -> None:
        await self._context.write(data)

    async def abort(self, error: IntertieError) -> None:
        await self._context.abort_with_status(to_grpc(error))

    async def break_off(self) -> None:
        await self._context.abort(grpc.StatusCode.UNAVAILABLE, "broken by the script")

    async def credit(self, id: str) -> int:
        """Bytes returned for `id` in all frames up to the next one that returns some."""
        while True:
            for credit in (await self.read()).credits:
                if credit.id == id:
                    return int(credit.bytes)


Script = Callable[[Link], Awaitable[None]]


class Node(
    invocation_pb2_grpc.InvocationServiceServicer,
    catalog_pb2_grpc.CatalogServiceServicer,
    account_pb2_grpc.AccountServiceServicer,
):
    """Answers every method by the handler of its name; each `Stream` runs the next script."""

    def __init__(self, *scripts: Script, **handlers: Callable[..., Any]) -> None:
        self.scripts = list(scripts)
        self.handlers = handlers
        self.links: list[Link] = []
        self.requests: list[Any] = []
        self.metadata: dict[str, str] = {}
        self.failures: list[BaseException] = []

    async def unary(self, method: str, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.metadata = {key: str(value) for key, value in context.invocation_metadata()}
        try:
            return await self.handlers[method](request, context)
        except IntertieError as error:
            await context.abort_with_status(to_grpc(error))

    async def server_stream(self, method: str, request: Any, context: Any) -> AsyncIterator[Any]:
        self.requests.append(request)
        try:
            async for response in self.handlers[method](request, context):
                yield response
        except IntertieError as error:
            await context.abort_with_status(to_grpc(error))

    async def stream(self, requests: AsyncIterator[StreamRequest], context: Any) -> None:
        link = Link(requests, context)
        self.links.append(link)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            await script(link)
        except StopAsyncIteration:
            pass  # the client has closed its side
        except (AssertionError, ValueError) as failure:
            self.failures.append(failure)
            raise


def _handlers(node: Node) -> Iterable[tuple[str, dict[str, grpc.RpcMethodHandler]]]:
    modules = (invocation_pb2_grpc, catalog_pb2_grpc, account_pb2_grpc)
    names = ("InvocationService", "CatalogService", "AccountService")
    for module, name in zip(modules, names, strict=True):
        found: dict[str, grpc.RpcMethodHandler] = {}

        class Registrar:
            def add_generic_rpc_handlers(self, handlers: Any) -> None: ...

            def add_registered_method_handlers(self, service: str, methods: Any, found: Any = found) -> None:
                found.update(methods)

        getattr(module, f"add_{name}Servicer_to_server")(node, Registrar())
        yield f"intertie.v1.{name}", {method: _route(node, method, handler) for method, handler in found.items()}


def _route(node: Node, method: str, handler: Any) -> grpc.RpcMethodHandler:
    parse, write = handler.request_deserializer, lambda m: m if isinstance(m, bytes) else m.SerializeToString()
    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(node.stream, parse, write)
    if handler.response_streaming:

        async def stream(request: Any, context: Any) -> Any:
            async for response in node.server_stream(method, request, context):
                yield response

        return grpc.unary_stream_rpc_method_handler(stream, parse, write)

    async def unary(request: Any, context: Any) -> Any:
        return await node.unary(method, request, context)

    return grpc.unary_unary_rpc_method_handler(unary, parse, write)


async def start(
    node: Node, port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for service, methods in _handlers(node):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    address = f"127.0.0.1:{port}"
    bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    return server, bound


@asynccontextmanager
async def serving(node: Node) -> AsyncIterator[Client]:
    """Serve `node` and connect a client to it; a script's failed assertion fails the test."""
    server, port = await start(node)
    try:
        async with Client(f"127.0.0.1:{port}", TOKEN, insecure=True) as client:
            yield client
    finally:
        await server.stop(0)
    if node.failures:
        raise node.failures[0]


async def forever() -> None:
    await asyncio.Event().wait()


def refused(reason: str, **metadata: str) -> Problem:
    return Problem(reason=reason, message="No.", metadata=metadata)


async def echo(link: Link) -> None:
    """Answer every invocation with its own input."""
    while True:
        frame = await link.read()
        await link.send(*(ended(each.id, each.input.data) for each in frame.invocations))


def sent(node: Node, index: int) -> list[str]:
    return [each.id for frame in node.links[index].frames for each in frame.invocations]
