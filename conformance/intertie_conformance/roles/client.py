"""A consumer of the target: calls its consumer face with a token, and judges what comes.

me = client(stage)                                  # the first account; `await other(stage)`: the second
outcome = await me.call(me.wants("echo", {"x": 1}))   # one call to its end
await me.refused(me.call(wanted), "ID_CONFLICT")      # … or a refusal, by name
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import grpc

from intertie.v1 import account_pb2 as ac
from intertie.v1 import account_pb2_grpc, catalog_pb2_grpc, invocation_pb2_grpc
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.event_pb2 import Event
from intertie.v1.task_pb2 import TaskState
from intertie_conformance.grid.streams import say
from intertie_conformance.roles.customer import invocation
from intertie_conformance.roles.waiting import until
from intertie_conformance.stage import Stage
from intertie_conformance.verdicts import Bound, Failed, fail
from intertie_conformance.wire.status import Said, said

T = TypeVar("T")
TIMEOUT_MS: Final = 20_000


class Refused(Failed):
    """A call that the target has refused."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.error = error
        self.said: Said = said(error)
        super().__init__("the call is taken", str(self.said))


class Client:
    """One consumer."""

    def __init__(self, stage: Stage, token: str) -> None:
        self.stage = stage
        self.metadata: list[tuple[str, str]] = [("authorization", f"Bearer {token}")] if token else []
        self.invocations: Any
        self.accounts: Any
        self.catalog: Any
        self.over(stage.target.consumer())

    def over(self, channel: grpc.aio.Channel) -> Client:
        """Call over another channel."""
        self.invocations = invocation_pb2_grpc.InvocationServiceStub(channel)
        self.accounts = account_pb2_grpc.AccountServiceStub(channel)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
        return self

    # -- asking -----------------------------------------------------------------------------------

    def ref(self, name: str) -> str:
        """The reference of a conformance offer of the target."""
        return f"{self.stage.target.grid}/conformance/{name}"

    def wants(self, name: str, value: object = None, **changes: Any) -> iv.Invocation:
        """A sound request, but for the changes."""
        ref = name if "/" in name else self.ref(name)
        return invocation(ref, value, **{"timeout_ms": TIMEOUT_MS, **changes})

    async def ask(self, method: Any, request: Any, seconds: float | None = None) -> Any:
        """One unary call. Raises: Refused, Bound."""
        bound = self.stage.patience if seconds is None else seconds
        self.stage.trace.note("consumer", f"→ {type(request).__name__}")
        try:
            answer = await asyncio.wait_for(method(request, metadata=self.metadata), bound)
        except grpc.aio.AioRpcError as error:
            self.stage.trace.note("consumer", f"← {said(error)}")
            raise Refused(error) from None
        except TimeoutError:
            raise Bound(f"an answer to {type(request).__name__}", f"nothing within {bound:g} s") from None
        self.stage.trace.note("consumer", f"← {type(answer).__name__}")
        return answer

    async def call(self, wanted: iv.Invocation, seconds: float | None = None) -> iv.Outcome:
        """Run to the end."""
        answer = await self.ask(self.invocations.Call, iv.CallRequest(invocation=wanted), seconds)
        outcome: iv.Outcome = answer.outcome
        return outcome

    def calling(self, wanted: iv.Invocation) -> asyncio.Task[iv.Outcome]:
        """The same in the background; it ends with the check."""
        call = asyncio.create_task(self.call(wanted))

        async def gone() -> None:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

        self.stage.ends.append(gone)
        return call

    async def get(self, id: str) -> iv.InvocationStatus:
        """One invocation as it stands."""
        answer = await self.ask(self.invocations.Get, iv.InvocationServiceGetRequest(id=id))
        status: iv.InvocationStatus = answer.status
        return status

    async def cancel(self, id: str) -> iv.InvocationStatus:
        """Ask to stop."""
        answer = await self.ask(self.invocations.Cancel, iv.CancelRequest(id=id))
        status: iv.InvocationStatus = answer.status
        return status

    async def reply(self, run: str, value: object, request: int = 1, **changes: Any) -> None:
        """Answer an input request."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        reply = {"request": request, "payload": {"media_type": "application/json", "data": data}, **changes}
        await self.ask(self.invocations.SendInput, iv.SendInputRequest(id=run, reply=reply))  # type: ignore[arg-type]

    async def listed(self, **fields: Any) -> iv.ListResponse:
        """A page of invocations."""
        answer: iv.ListResponse = await self.ask(self.invocations.List, iv.ListRequest(**fields))
        return answer

    async def account(self) -> ac.GetAccountResponse:
        """The account as it stands."""
        answer: ac.GetAccountResponse = await self.ask(self.accounts.GetAccount, ac.GetAccountRequest())
        return answer

    def invoke(self, wanted: iv.Invocation) -> Items:
        """Start an invocation and hear its items."""
        call = self.invocations.Invoke(iv.InvokeRequest(invocation=wanted), metadata=self.metadata)
        return Items(self.stage, call)

    def subscribe(self, id: str, after_seq: int = 0) -> Items:
        """Hear an invocation's items."""
        call = self.invocations.Subscribe(iv.SubscribeRequest(id=id, after_seq=after_seq), metadata=self.metadata)
        return Items(self.stage, call)

    def stream(self) -> Frames:
        """Many invocations in frames."""
        return Frames(self.stage, self.invocations.Stream(metadata=self.metadata))

    # -- judging ----------------------------------------------------------------------------------

    async def refused(self, asked: Awaitable[object], *reasons: str) -> Refused:
        """Wait for a refusal with one of these reasons."""
        wanted = " or ".join(reasons)
        try:
            answer = await asked
        except Refused as refused:
            if refused.said.reason not in reasons:
                fail(f"a refusal with {wanted}", refused.said)
            self.stage.saw(f"refused with {refused.said.reason}")
            return refused
        fail(f"a refusal with {wanted}", f"an answer: {type(answer).__name__}")

    async def done(self, wanted: iv.Invocation, state: str = "COMPLETED") -> iv.Outcome:
        """Call, and expect this end."""
        return self.is_(await self.call(wanted), state)

    def is_(self, outcome: iv.Outcome, state: str, reason: str = "") -> iv.Outcome:
        """Expect this end of an outcome."""
        got = TaskState.Name(outcome.state).removeprefix("TASK_STATE_")
        if got != state or (reason and outcome.problem.reason != reason):
            fail(f"an outcome {state} {reason}".rstrip(), f"{got} {outcome.problem.reason}: {outcome.problem.message}")
        self.stage.saw(f"an outcome {got} {outcome.problem.reason}".rstrip())
        return outcome

    async def works(self) -> iv.Outcome:
        """The positive control of refusals: an echo is done."""
        return await self.done(self.wants("echo", {"control": 1}))

    async def until_state(self, id: str, state: str, seconds: float | None = None) -> iv.InvocationStatus:
        """Wait until an invocation, which may not be known yet, is in a state."""
        loop = asyncio.get_running_loop()
        end, got = loop.time() + (self.stage.patience if seconds is None else seconds), "not known"
        while loop.time() < end:
            with contextlib.suppress(Refused):
                status = await self.get(id)
                got = TaskState.Name(status.state).removeprefix("TASK_STATE_")
                if got == state:
                    return status
            await asyncio.sleep(0.02)
        raise Bound(f"the invocation is {state}", f"{got} within the bound")


class Heard:
    """Items that a stream of the target has brought."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.items: list[iv.InvocationEvent] = []
        self.over = False
        self.refused: Refused | None = None
        """The status by which it ended, None if that was OK or it has not ended."""
        self._task: asyncio.Task[None] | None = None

    def _start(self, call: Any, each: Callable[[Any], Sequence[iv.InvocationEvent]]) -> None:
        self._call = call
        self._task = asyncio.create_task(self._read(each))
        self.stage.ends.append(self.stop)

    async def _read(self, each: Callable[[Any], Sequence[iv.InvocationEvent]]) -> None:
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                self.items.extend(each(message))
            code = await self._call.code()
            if code is not grpc.StatusCode.OK:
                details, trailers = await self._call.details(), await self._call.trailing_metadata()
                raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=details)
        except grpc.aio.AioRpcError as error:
            self.stage.trace.note("consumer", f"← {said(error)}")
            self.refused = Refused(error)
        except asyncio.CancelledError:
            pass
        self.over = True

    async def stop(self) -> None:
        """Go away."""
        self._call.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def of(self, id: str) -> list[iv.InvocationEvent]:
        """Items of one invocation."""
        return [item for item in self.items if item.id == id]

    def events(self, id: str = "") -> list[Event]:
        """Events."""
        return [item.event for item in (self.of(id) if id else self.items) if item.HasField("event")]

    def outcomes(self, id: str = "") -> list[iv.Outcome]:
        """Outcomes."""
        return [item.outcome for item in (self.of(id) if id else self.items) if item.HasField("outcome")]

    def refusals(self, id: str) -> list[str]:
        """Reasons of refused items."""
        return [item.refused.reason for item in self.of(id) if item.HasField("refused")]

    async def wait(self, look: Callable[[], T], what: str, seconds: float | None = None) -> T:
        """Wait until `look` finds something true. Raises: Failed, also if the stream ends before."""
        bound = self.stage.patience if seconds is None else seconds
        found = await until(lambda: look() or self.over, what, bound)
        value = look()
        if not value:
            fail(what, str(self.refused.said) if self.refused is not None else "the stream ended")
        del found
        return value

    async def finish(self, seconds: float | None = None) -> None:
        """Wait for the end of the stream. Raises: Refused if that was no OK."""
        await until(lambda: self.over, "the end of the stream", self.stage.patience if seconds is None else seconds)
        if self.refused is not None:
            raise self.refused

    async def outcome(self, id: str = "", seconds: float | None = None) -> iv.Outcome:
        """Wait for the outcome."""
        return (await self.wait(lambda: self.outcomes(id), "an outcome", seconds))[0]


class Items(Heard):
    """What Invoke or Subscribe brings."""

    def __init__(self, stage: Stage, call: Any) -> None:
        super().__init__(stage)
        self._start(call, lambda message: [message.event])


class Frames(Heard):
    """A Stream."""

    def __init__(self, stage: Stage, call: Any) -> None:
        super().__init__(stage)
        self.sizes: list[int] = []
        """Bytes of the target's frames."""
        self._start(call, self._frame)

    def _frame(self, frame: iv.StreamResponse) -> Sequence[iv.InvocationEvent]:
        self.sizes.append(frame.ByteSize())
        return list(frame.events)

    async def say(self, **fields: Any) -> None:
        """Send one frame."""
        self.stage.trace.note("consumer", f"→ a frame on Stream: {', '.join(fields)}")
        if not await say(self._call, iv.StreamRequest(**fields).SerializeToString()):
            await self.finish()
            fail("the stream takes a frame", "the stream ended")

    async def done(self) -> None:
        """Nothing more will be sent."""
        await self._call.done_writing()


def client(stage: Stage) -> Client:
    """The first account."""
    return Client(stage, stage.target.table.token)


async def other(stage: Stage) -> Client:
    """The second account: this check alone uses it until it ends, so that its amounts add up."""
    lock = stage.target.second_account
    await lock.acquire()

    async def release() -> None:
        lock.release()

    stage.ends.append(release)
    return Client(stage, stage.target.table.other_token)
