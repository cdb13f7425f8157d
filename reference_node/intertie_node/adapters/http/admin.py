"""The operator API: HTTP and JSON on a unix socket that only the node's user may open (design §3)."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from intertie.errors import IntertieError
from intertie_node.adapters.http.operators import Operators
from intertie_node.adapters.http.socket import bind_private
from intertie_node.operator_api import (
    DEFAULT_PAGE,
    MAX_PAGE,
    CreditRequest,
    LookRequest,
    Page,
    Problem,
    ProposeRequest,
    TokenRequest,
    WithdrawRequest,
    decode,
    encode,
)

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminServer:
    """Serves the operator API at `path` from `start` to `stop`."""

    def __init__(self, operators: Operators, path: Path) -> None:
        self._path = path
        app = web.Application(middlewares=[named_errors], client_max_size=1 << 20)
        app.add_routes(AdminFace(operators).routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self._started = False

    async def start(self) -> None:
        """Listen; the data directory's lock must be held. Raises: OSError."""
        await self._runner.setup()
        await web.SockSite(self._runner, bind_private(self._path)).start()
        self._started = True

    async def stop(self) -> None:
        """Stop listening and remove the socket; idempotent."""
        await self._runner.cleanup()
        if self._started:
            self._started = False
            self._path.unlink(missing_ok=True)


class AdminFace:
    """One method a route."""

    def __init__(self, operators: Operators) -> None:
        self._node = operators

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/status", self._status),
            web.get("/v1/descriptor", self._descriptor),
            web.get("/v1/peerings", self._peerings),
            web.post("/v1/peerings/{name}/{act:suspend|resume|terminate}", self._change),
            web.get("/v1/peerings/{name}/log", self._log),
            web.get("/v1/peerings/{name}/export", self._export),
            web.get("/v1/proposals", self._proposals),
            web.post("/v1/proposals", self._propose),
            web.post("/v1/proposals/{name}/{act:accept|refuse|withdraw}", self._decide),
            web.post("/v1/look", self._look),
            web.get("/v1/accounts", self._accounts),
            web.post("/v1/accounts", self._create_token),
            web.post("/v1/accounts/{name}/revoke", self._revoke_token),
            web.get("/v1/invocations", self._invocations),
            web.get("/v1/invocations/{id}", self._invocation),
            web.post("/v1/invocations/{id}/cancel", self._cancel),
            web.get("/v1/balances", self._balances),
            web.post("/v1/credits", self._credit),
            web.post("/v1/withdrawals", self._withdraw),
            web.get("/v1/offers", self._offers),
        ]

    async def _status(self, request: web.Request) -> web.Response:
        return answer(self._node.status())

    async def _descriptor(self, request: web.Request) -> web.Response:
        return answer(self._node.descriptor())

    async def _peerings(self, request: web.Request) -> web.Response:
        return answer(self._node.peerings(*paging(request)))

    async def _change(self, request: web.Request) -> web.Response:
        return answer(await self._node.change(request.match_info["name"], request.match_info["act"]))

    async def _log(self, request: web.Request) -> web.Response:
        last = request.query.get("last", "") == "1"
        return answer(self._node.entries(request.match_info["name"], *paging(request), last))

    async def _export(self, request: web.Request) -> web.StreamResponse:
        pieces = self._node.export(request.match_info["name"])
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        try:
            async for piece in pieces:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(piece)
            await response.write_eof()
        except Exception:
            if not response.prepared or request.transport is None:
                raise
            log.exception("export of %s ended early", request.match_info["name"])
            request.transport.abort()
        return response

    async def _proposals(self, request: web.Request) -> web.Response:
        return answer(self._node.proposals(*paging(request)))

    async def _propose(self, request: web.Request) -> web.Response:
        return answer(await self._node.propose(decode(await request.read(), ProposeRequest)))

    async def _decide(self, request: web.Request) -> web.Response:
        return answer(await self._node.decide(request.match_info["name"], request.match_info["act"]))

    async def _look(self, request: web.Request) -> web.Response:
        return answer(await self._node.look(decode(await request.read(), LookRequest).address))

    async def _accounts(self, request: web.Request) -> web.Response:
        return answer(self._node.accounts(*paging(request)))

    async def _create_token(self, request: web.Request) -> web.Response:
        return answer(await self._node.create_token(decode(await request.read(), TokenRequest)))

    async def _revoke_token(self, request: web.Request) -> web.Response:
        return answer(await self._node.revoke_token(request.match_info["name"]))

    async def _invocations(self, request: web.Request) -> web.Response:
        states = [state for state in request.query.get("states", "").split(",") if state]
        return answer(self._node.invocations(request.query.get("account", ""), states, *paging(request)))

    async def _invocation(self, request: web.Request) -> web.Response:
        return answer(Page(self._node.invocation(request.match_info["id"])))

    async def _cancel(self, request: web.Request) -> web.Response:
        return answer(Page(await self._node.cancel(request.match_info["id"])))

    async def _balances(self, request: web.Request) -> web.Response:
        return answer(Page(self._node.balances()))

    async def _credit(self, request: web.Request) -> web.Response:
        return answer(await self._node.credit(decode(await request.read(), CreditRequest)))

    async def _withdraw(self, request: web.Request) -> web.Response:
        return answer(await self._node.withdraw(decode(await request.read(), WithdrawRequest)))

    async def _offers(self, request: web.Request) -> web.Response:
        return answer(self._node.offers(request.query.get("text", ""), *paging(request)))


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON response."""
    return web.Response(body=encode(value), status=status, content_type="application/json")


def paging(request: web.Request) -> tuple[str, int]:
    """(after, limit) of a request. Raises: IntertieError INVALID_ARGUMENT."""
    text = request.query.get("limit", str(DEFAULT_PAGE))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PAGE):
        raise IntertieError("INVALID_ARGUMENT", f"limit must lie between 1 and {MAX_PAGE}.", field="limit")
    return request.query.get("after", ""), int(text)


@web.middleware
async def named_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as {reason, message, metadata} with the registry's status."""
    try:
        return await handler(request)
    except IntertieError as error:
        return _problem(error)
    except web.HTTPException as error:
        reason = "NOT_FOUND" if error.status in (404, 405) else "INVALID_ARGUMENT"
        return _problem(IntertieError(reason, f"{request.method} {request.path}: {error.reason}."))
    except Exception:
        log.exception("operator request %s %s failed", request.method, request.path)
        return _problem(IntertieError("INTERNAL", "The node failed to answer; its log says how."))


def _problem(error: IntertieError) -> web.Response:
    return answer(Problem(error.reason, error.message, error.metadata), error.row.http_status)
