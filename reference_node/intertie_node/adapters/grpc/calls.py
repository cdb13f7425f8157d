"""What every consumer method does first and last: who calls, and how errors leave."""

import functools
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from intertie.errors import IntertieError
from intertie_node.adapters.grpc.status import abort


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
                account = self._consumers.account(bearer(context))
                async for item in method(self, request, context, account):
                    yield item
            except IntertieError as error:
                await abort(context, error)

        return generator

    @functools.wraps(method)
    async def call(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context, self._consumers.account(bearer(context)))
        except IntertieError as error:
            await abort(context, error)

    return call
