"""What every consumer method does first and last: who calls, and how errors leave (RFC 0009, section 3.1; RFC 0012)."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from intertie.errors import IntertieError
from intertie_node.adapters.grpc.status import abort
from intertie_node.ports import Consumers


class OpenCalls:
    """Consumers' calls that are being served, so that a node that shuts down can tell them why it ends them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending = False

    def end(self) -> None:
        """End them all with NODE_DRAINING; what was invoked goes on, and is found again under its id."""
        self._ending = True
        for task in self._tasks:
            task.cancel()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Within it the running task serves a call. Raises: IntertieError NODE_DRAINING where `end` has ended it."""
        task = asyncio.current_task()
        assert task is not None, "calls are served by tasks"
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._ending:
                raise
            task.uncancel()
            raise IntertieError("NODE_DRAINING", "This node is shutting down; ask again under the same id.") from None
        finally:
            self._tasks.discard(task)


class Face:
    """A service of the consumer face."""

    def __init__(self, consumers: Consumers, calls: OpenCalls) -> None:
        self._consumers = consumers
        self._calls = calls


def bearer(context: Any) -> str:
    """The bearer token of a call. Raises: IntertieError UNAUTHENTICATED."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.startswith("Bearer "):
            return value[7:]
    raise IntertieError("UNAUTHENTICATED", "Send a token: metadata 'authorization: Bearer …' (intertie token create).")


def guarded(method: Callable[..., Any]) -> Any:
    """Authenticate a servicer's method, pass it the account, and turn IntertieError into a gRPC status."""
    if inspect.isasyncgenfunction(method):

        @functools.wraps(method)
        async def generator(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                with self._calls.serving():
                    async for item in method(self, request, context, self._consumers.account(bearer(context))):
                        yield item
            except IntertieError as error:
                await abort(context, error)

        return generator

    @functools.wraps(method)
    async def call(self: Any, request: Any, context: Any) -> Any:
        try:
            with self._calls.serving():
                return await method(self, request, context, self._consumers.account(bearer(context)))
        except IntertieError as error:
            await abort(context, error)

    return call
