"""RFC 0012: how reasons travel, and what is made of those that nobody knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from intertie.v1 import catalog_pb2 as ct
from intertie.v1 import entry_pb2 as pb
from intertie.v1 import link_pb2 as lk
from intertie.v1.envelope_pb2 import Problem
from intertie.v1.task_pb2 import TASK_STATE_FAILED
from intertie_conformance.checks import check
from intertie_conformance.checks.events import quiet, results
from intertie_conformance.grid.account import THEM
from intertie_conformance.registry import ERRORS
from intertie_conformance.roles import ordering
from intertie_conformance.roles.client import Client, Refused, client
from intertie_conformance.roles.sale import sell, sold, sold_alone
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import fail
from intertie_conformance.wire.status import DOMAIN, KEY

K = pb.EntryKind
LONG = "x" * 3_000
NEW = "REASON_OF_A_LATER_VERSION"


async def refusals(stage: Stage) -> list[tuple[str, grpc.aio.AioRpcError]]:
    """Refused calls of many kinds, each with the reason that the RFC names."""
    me = client(stage)
    stranger = Client(stage, "no-token")
    known = me.wants("echo", {"x": 1})
    await me.done(known)
    size = 10**6
    cases: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
        ("UNAUTHENTICATED", lambda: stranger.account()),
        ("ID_INVALID", lambda: me.call(me.wants("echo", id=LONG))),
        ("ID_CONFLICT", lambda: me.call(me.wants("fail", id=known.id))),
        ("OFFER_UNKNOWN", lambda: me.call(me.wants(f"x.example/{LONG}"))),
        ("OFFER_UNKNOWN", lambda: me.ask(me.catalog.Get, ct.CatalogServiceGetRequest(ref=LONG))),
        ("INPUT_INVALID", lambda: me.call(me.wants("delay", {LONG: LONG}))),
        ("AMOUNT_INVALID", lambda: me.call(me.wants("echo", max_charge=-(2**63)))),
        ("DEADLINE_TOO_LONG", lambda: me.call(me.wants("echo", timeout_ms=-(2**63)))),
        ("BUDGET_EXCEEDED", lambda: me.call(me.wants("echo", max_charge=2**62))),
        ("POLICY_VIOLATION", lambda: me.call(me.wants("echo", policy={"places": ["QZ" * 900]}))),
        ("NOT_FOUND", lambda: me.get(LONG)),
        ("NOT_FOUND", lambda: me.cancel(LONG)),
        ("NOT_FOUND", lambda: me.subscribe(LONG).finish()),
        ("INVALID_ARGUMENT", lambda: me.listed(page_size=size)),
    ]
    return [(reason, await _error(me, reason, act())) for reason, act in cases]


async def _error(me: Client, reason: str, asked: Awaitable[Any]) -> grpc.aio.AioRpcError:
    try:
        answer = await asked
    except Refused as refused:
        return refused.error
    fail(f"a refusal with {reason}", f"an answer: {type(answer).__name__}")


def status_of(error: grpc.aio.AioRpcError) -> Status:
    """The status in the trailers. Raises: Failed if there is none."""
    for key, value in error.trailing_metadata() or ():
        if key == KEY and isinstance(value, bytes):
            return Status.FromString(value)
    fail(f"{KEY} in the trailers of {error.code().name}", "none")


def infos(status: Status) -> list[ErrorInfo]:
    """Its details of the kind ErrorInfo and our domain."""
    found = []
    for detail in status.details:
        info = ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            found.append(info)
    return found


@check("IT-ERR-002", role="consumer", refusal=True, consumer=True)
async def right_reasons(stage: Stage) -> None:
    """Each refusal has the reason that the RFC of the broken rule names."""
    for reason, error in await refusals(stage):
        got = [info.reason for info in infos(status_of(error))]
        if got[:1] != [reason]:
            fail(f"a refusal with {reason}", got or error.code().name)
        stage.saw(f"refused with {reason}")
    await client(stage).works()


@check("IT-ERR-010", role="consumer", refusal=True, consumer=True)
async def one_error_info(stage: Stage) -> None:
    """Each refused call ends with one ErrorInfo of the domain intertie."""
    for reason, error in await refusals(stage):
        found = infos(status_of(error))
        if len(found) != 1 or not found[0].reason:
            fail(f"one ErrorInfo for {reason}", found)
        stage.saw(f"one ErrorInfo: {found[0].reason}")
    await client(stage).works()


@check("IT-ERR-011", role="consumer", refusal=True, consumer=True)
async def right_codes(stage: Stage) -> None:
    """The gRPC code is that of the reason's row, the same in Status.code."""
    for _, error in await refusals(stage):
        status = status_of(error)
        reason = (infos(status) or [ErrorInfo()])[0].reason
        row = ERRORS.get(reason)
        if row is None or (error.code().name, status.code) != (row.grpc_code, Code.Value(row.grpc_code)):
            wanted = row.grpc_code if row is not None else "a reason of the registry"
            fail(f"{wanted} for {reason}", f"{error.code().name}, Status.code {status.code}")
        stage.saw(f"{reason}: {error.code().name}")
    await client(stage).works()


@check("IT-ERR-012", role="consumer", refusal=True, consumer=True)
async def short_messages(stage: Stage) -> None:
    """Message and metadata stay short, however long what is wrong is."""
    for reason, error in await refusals(stage):
        status = status_of(error)
        longest = max([len(v) for info in infos(status) for v in info.metadata.values()], default=0)
        if len(status.message.encode()) > 1_024 or longest > 256 or status.ByteSize() > 8_192:
            fail(f"{reason} in 1,024 bytes, metadata in 256", f"{len(status.message.encode())} bytes, {longest}")
    stage.saw("short messages")
    await client(stage).works()


@check("IT-ERR-013", role="consumer", refusal=True, consumer=True)
async def no_retry_info(stage: Stage) -> None:
    """No refusal holds a RetryInfo."""
    for reason, error in await refusals(stage):
        if any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status_of(error).details):
            fail(f"{reason} without RetryInfo", "one with it")
    stage.saw("no RetryInfo")
    await client(stage).works()


@check("IT-ERR-003", role="consumer", refusal=True, consumer=True)
async def known_metadata(stage: Stage) -> None:
    """Metadata has only keys that the row names."""
    for reason, error in await refusals(stage):
        for info in infos(status_of(error)):
            strange = set(info.metadata) - set(ERRORS[reason].metadata)
            if strange:
                fail(f"keys of {reason}: {ERRORS[reason].metadata}", sorted(strange))
    stage.saw("known keys alone")


async def problems(stage: Stage) -> dict[str, Problem]:
    """A problem from each place in which the target states one."""
    me = client(stage)
    secret = f"secret-{stage.random.randrange(10**9)}"
    failing = {"message": (secret + LONG)[:256]}
    heard, bad = me.stream(), me.wants("nothing")
    await heard.say(invocations=[bad])
    await heard.wait(lambda: heard.refusals(bad.id), "a refused item")
    peer = await (await stage.peer()).up()
    rejected, failed = await ordering.order(peer, "refuse", {}), await ordering.order(peer, "fail", failing)
    reject, charge = await ordering.end_of(peer, rejected), await ordering.expect_charged(peer, failed)
    await peer.wait(lambda: results(peer, failed), "a result")
    found = {
        "InvocationEvent.refused": heard.of(bad.id)[0].refused,
        "Outcome.problem": (await me.call(me.wants("fail", failing))).problem,
        "Reject.problem": reject.entry.reject.problem,
        "Charge.problem": charge.problem,
        "Result.problem": results(peer, failed)[0].result.problem,
    }
    peer.lie(lk.Frame(signature=lk.HeadSignature(seq=10**9)))
    peer.judges = False
    await peer.expect_close("SIGNATURE_INVALID", "LOG_GAP", "LOG_FORK", "FRAME_MALFORMED", "TOTAL_MISMATCH")
    peer.spoiled = True
    found["Frame.close"] = next(frame.close for frame in peer.frames if frame.HasField("close"))
    return found


@check("IT-ERR-001", role="honest peer", refusal=True, consumer=True)
async def registered(stage: Stage) -> None:
    """Every place in which something is refused names a row of the registry."""
    for place, problem in (await problems(stage)).items():
        if problem.reason not in ERRORS:
            fail(f"a reason of the registry in {place}", problem.reason)
        stage.saw(f"{place}: {problem.reason}")
    await client(stage).works()


@check("IT-ERR-004", role="honest peer", refusal=True, consumer=True)
async def message_length(stage: Stage) -> None:
    """No message of a problem is longer than 1,024 characters, whatever a provider has said."""
    for place, problem in (await problems(stage)).items():
        if len(problem.message) > 1_024:
            fail(f"at most 1,024 characters in {place}", len(problem.message))
    sale = await sold(stage)
    sale.reject("EXECUTION_FAILED", "m" * 1_024)
    await sale.ends("REJECTED", "EXECUTION_FAILED")
    await client(stage).works()


@check("IT-ERR-006", role="consumer", refusal=True, consumer=True)
async def nothing_secret(stage: Stage) -> None:
    """No problem holds the token, the input, or the other account's name."""
    me = client(stage)
    secret = f"secret-{stage.random.randrange(10**9)}"
    stranger = Client(stage, secret)
    acts: tuple[Callable[[], Awaitable[Any]], ...] = (
        lambda: me.call(me.wants("delay", {"wrong": secret})),
        lambda: me.call(me.wants("delay", {"ms": secret})),
        lambda: me.call(me.wants("delay", secret.encode())),
        lambda: me.call(me.wants("fail", {"steps": secret})),
        lambda: stranger.account(),
    )
    for act in acts:
        status = status_of(await _error(me, "INPUT_INVALID or UNAUTHENTICATED", act()))
        if secret.encode() in status.SerializeToString():
            fail("a problem without the input or the token", status.message)
    stage.saw("refusals without what was secret")
    await me.works()


# -- reasons that nobody knows ----------------------------------------------------------------


@check("IT-ERR-030", role="executor", consumer=True)
async def unknown_is_final(stage: Stage) -> None:
    """An order that is rejected with an unknown reason is not placed again."""
    sale = await sold(stage)
    sale.reject(NEW)
    await sale.ends("REJECTED", NEW)
    await asyncio.sleep(0.3)
    await sale.shop.expect_alive()
    orders = sale.orders_since()
    if len(orders) != 1:
        fail("one order", len(orders))


@check("IT-ERR-031", role="executor", consumer=True)
async def unknown_passed_on(stage: Stage) -> None:
    """Name, message and metadata of an unknown reason reach the consumer, of a reject and of a charge."""
    sale = await sold(stage)
    sale.reject(NEW, "of a later version", when="later")
    rejected = await sale.ends("REJECTED", NEW)
    other = await sell(sale.shop)
    problem = {"reason": NEW, "message": "of a later version", "metadata": {"when": "later"}}
    other.charge(b"", state=TASK_STATE_FAILED, problem=problem)
    other.says(number=1, result={"state": TASK_STATE_FAILED, "problem": problem})
    failed = await other.ends("FAILED", NEW)
    for outcome in (rejected, failed):
        got = (outcome.problem.message, dict(outcome.problem.metadata))
        if got != ("of a later version", {"when": "later"}):
            fail("message and metadata as they came", got)


@check("IT-ERR-032", role="executor", consumer=True)
async def unknown_is_borne(stage: Stage) -> None:
    """Unknown reasons in a reject, a charge and an event close no link."""
    sale = await sold_alone(stage)
    sale.says(gap={"first": 1, "last": 0, "problem": {"reason": NEW}})
    sale.reject(NEW)
    other = await sell(sale.shop)
    other.charge(b"", state=TASK_STATE_FAILED, problem={"reason": NEW})
    other.says(number=1, result={"state": TASK_STATE_FAILED, "problem": {"reason": NEW}})
    await other.ends("FAILED", NEW)
    await quiet(sale.shop)
    await sale.shop.still_buys()


@check("IT-ERR-022", role="executor", consumer=True)
async def new_order_ids(stage: Stage) -> None:
    """Asked again after a reject, the target orders under another id."""
    sale = await sold(stage)
    sale.reject("NODE_BUSY")
    await sale.ends("REJECTED", "NODE_BUSY")
    other = await sell(sale.shop)
    other.finish(b"", 1)
    await other.ends("COMPLETED")
    written = [pb.Entry.FromString(data) for data in sale.shop.logs.entries[THEM]]
    found = [entry.order.id for entry in written if entry.kind == K.ENTRY_KIND_ORDER]
    if len(set(found)) != len(found):
        fail("each order with an id of its own", found)
    stage.saw(f"{len(found)} orders, as many ids")


@check("IT-ERR-023", role="executor", consumer=True)
async def one_order(stage: Stage) -> None:
    """A rejected or failed order is not placed again by the target itself, nor for the same request."""
    sale = await sold(stage)
    sale.reject("NODE_BUSY")
    await sale.ends("REJECTED", "NODE_BUSY")
    other = await sell(sale.shop)
    other.charge(b"", state=TASK_STATE_FAILED, problem={"reason": "BACKEND_TIMEOUT"})
    other.says(number=1, result={"state": TASK_STATE_FAILED, "problem": {"reason": "BACKEND_TIMEOUT"}})
    await other.ends("FAILED", "BACKEND_TIMEOUT")
    for again in (sale, other):
        await sale.me.call(again.wanted)
    await asyncio.sleep(0.3)
    await sale.shop.expect_alive()
    orders = sale.orders_since()
    if len(orders) != 2:
        fail("two orders for two invocations", len(orders))
    stage.saw("one order an invocation")
