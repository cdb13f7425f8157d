"""The load, in a process of its own: keeps so many calls in flight, checks every outcome, says how long they took.

It speaks through the generated stubs, so that it measures the node rather than a client. On standard output it
says `{"ready": true}` after the warm-up, starts to measure when a line comes on standard input, and ends with one
line of figures (`Figures`). Anything but the expected outcome ends it with status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec
import uvloop

from intertie.ids import make_uuid7
from intertie.v1 import invocation_pb2 as iv
from intertie.v1.invocation_pb2_grpc import InvocationServiceStub
from intertie.v1.task_pb2 import HoldState, TaskState

PATIENCE_S: Final = 30.0
"""Longest that a measurement may last beyond its seconds."""
CALL_TIMEOUT_S: Final = 30.0
INPUT: Final = b'{"text":"' + b"x" * 89 + b'"}'
"""100 bytes."""
MAX_CHARGE: Final = 1_000
HOLDS: Final = (HoldState.HOLD_STATE_CHARGED, HoldState.HOLD_STATE_UNSPECIFIED)
"""Over a link, and where no link holds anything: the consumer's own grid did the work."""
FRAME: Final = 32
"""Most calls begun by one frame of a stream."""
RAW_METHOD: Final = "/bench.Echo/Echo"
OPTIONS: Final = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
)


class WrongOutcomeError(Exception):
    """A call has ended otherwise than every call of this load must end."""


class Plan(msgspec.Struct, frozen=True):
    """What to do; times in seconds."""

    mode: str
    """stream, call, or raw (the baseline)."""
    target: str
    in_flight: int
    seconds: float
    warm_up: float
    calls: int = 10_000_000
    """Most calls."""
    token: str = ""
    offer: str = ""
    executor: str = ""
    """Name of the grid that must have done the work."""
    certificate: str = ""
    """File of the server's certificate in PEM."""
    name: str = ""
    """Name of the grid on that certificate."""


class Figures(msgspec.Struct):
    """What was measured."""

    calls: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_s: float
    """Processor time of this process."""
    charged: int
    """Sum of all receipts in minor units, those of the warm-up included."""


class Meter:
    """Says whether another call may begin, and notes how those that ended went."""

    def __init__(self, seconds: float, calls: int) -> None:
        self._until = time.perf_counter() + seconds
        self._left = calls
        self.latencies: list[float] = []
        self.charged = 0

    def begin(self) -> bool:
        """Whether one more call may begin; counts it."""
        if self._left <= 0 or time.perf_counter() >= self._until:
            return False
        self._left -= 1
        return True

    def end(self, began: float, charge: int) -> None:
        """A call that began at a time of `perf_counter` has ended."""
        self.latencies.append(time.perf_counter() - began)
        self.charged += charge


def make_invocation(offer: str) -> iv.Invocation:
    """A call of echo under a new id."""
    invocation = iv.Invocation(
        id=make_uuid7(time.time_ns() // 1_000_000, os.urandom(10)), offer=offer, max_charge=MAX_CHARGE
    )
    invocation.input.media_type = "application/json"
    invocation.input.data = INPUT
    return invocation


def checked_charge(outcome: iv.Outcome, executor: str) -> int:
    """What a call has cost. Raises: WrongOutcomeError unless it was done by `executor`, right, and paid for."""
    receipt = outcome.receipt
    right = (
        outcome.state == TaskState.TASK_STATE_COMPLETED
        and not outcome.is_error
        and outcome.output.data == INPUT
        and receipt.executed_by == executor
        and receipt.charge > 0
        and receipt.hold in HOLDS
    )
    if not right:
        raise WrongOutcomeError(f"not the outcome of a paid echo by {executor}: {str(outcome)[:600]}")
    return receipt.charge


Run = Callable[[Meter], Awaitable[None]]


def streaming(plan: Plan, stub: Any, metadata: tuple[tuple[str, str], ...]) -> Run:
    """Calls in frames of one `Stream`: whatever room there is, is filled at once."""

    async def run(meter: Meter) -> None:
        began: dict[str, float] = {}
        stream = stub.Stream(metadata=metadata)
        while True:
            while (frame := next_frame(plan, meter, began)).invocations:
                await stream.write(frame)
            if not began:
                break
            response = await stream.read()
            if response is grpc.aio.EOF:
                raise WrongOutcomeError(f"the stream ended with {len(began)} calls in flight")
            take(response, plan, meter, began)
        await stream.done_writing()

    return run


def next_frame(plan: Plan, meter: Meter, began: dict[str, float]) -> iv.StreamRequest:
    """As many new calls as there is room for in flight and in a frame; `began`: id → time of each call in flight."""
    frame = iv.StreamRequest()
    while len(frame.invocations) < FRAME and len(began) < plan.in_flight and meter.begin():
        invocation = make_invocation(plan.offer)
        frame.invocations.append(invocation)
        began[invocation.id] = time.perf_counter()
    return frame


def take(response: iv.StreamResponse, plan: Plan, meter: Meter, began: dict[str, float]) -> None:
    """Count what has ended. Raises: WrongOutcomeError."""
    for item in response.events:
        if item.HasField("event"):
            continue
        if not item.HasField("outcome"):
            raise WrongOutcomeError(f"refused: {item.refused}")
        if item.id not in began:
            raise WrongOutcomeError(f"an outcome of {item.id}, which is not in flight")
        meter.end(began.pop(item.id), checked_charge(item.outcome, plan.executor))


def unary(in_flight: int, call: Callable[[], Awaitable[int]]) -> Run:
    """So many workers, each with one call after the other; `call` returns the charge."""

    async def run(meter: Meter) -> None:
        async def work() -> None:
            while meter.begin():
                began = time.perf_counter()
                meter.end(began, await call())

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(work())

    return run


def calling(plan: Plan, stub: Any, metadata: tuple[tuple[str, str], ...]) -> Run:
    """Calls by the unary `Call`."""

    async def call() -> int:
        request = iv.CallRequest(invocation=make_invocation(plan.offer))
        response = await stub.Call(request, metadata=metadata, timeout=CALL_TIMEOUT_S)
        return checked_charge(response.outcome, plan.executor)

    return unary(plan.in_flight, call)


def echoing(plan: Plan, channel: grpc.aio.Channel) -> Run:
    """The baseline: bytes there and back, nothing around them."""
    method: Any = channel.unary_unary(RAW_METHOD)

    async def call() -> int:
        if await method(INPUT, timeout=CALL_TIMEOUT_S) != INPUT:
            raise WrongOutcomeError("the echo server did not return what was sent")
        return 0

    return unary(plan.in_flight, call)


def open_channel(plan: Plan) -> grpc.aio.Channel:
    """TLS, trusting the node's certificate alone; plaintext for the baseline."""
    if not plan.certificate:
        return grpc.aio.insecure_channel(plan.target, options=OPTIONS)
    credentials = grpc.ssl_channel_credentials(Path(plan.certificate).read_bytes())
    options = (*OPTIONS, ("grpc.ssl_target_name_override", plan.name))
    return grpc.aio.secure_channel(plan.target, credentials, options=options)


async def drive(plan: Plan, go: Callable[[], Awaitable[object]]) -> Figures:
    """Warm up, wait for `go`, measure. Raises: WrongOutcomeError, grpc.RpcError, TimeoutError."""
    async with open_channel(plan) as channel:
        stub, metadata = InvocationServiceStub(channel), (("authorization", f"Bearer {plan.token}"),)
        if plan.mode == "raw":
            run = echoing(plan, channel)
        else:
            run = {"stream": streaming, "call": calling}[plan.mode](plan, stub, metadata)
        warm = Meter(plan.warm_up, plan.calls)
        async with asyncio.timeout(plan.warm_up + PATIENCE_S):
            await run(warm)
        await go()
        meter, cpu, start = Meter(plan.seconds, plan.calls), time.process_time(), time.perf_counter()
        async with asyncio.timeout(plan.seconds + PATIENCE_S):
            await run(meter)
        elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    ordered = sorted(meter.latencies)
    if not ordered:
        raise WrongOutcomeError("no call was made: allow more time")
    return Figures(
        calls=len(ordered),
        seconds=elapsed,
        p50_ms=ordered[len(ordered) // 2] * 1e3,
        p99_ms=ordered[len(ordered) * 99 // 100] * 1e3,
        cpu_s=cpu,
        charged=meter.charged + warm.charged,
    )


async def _told_to_go() -> None:
    print('{"ready": true}', flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def main() -> int:
    """Do what the plan on the command line says (JSON of `Plan`)."""
    parser = argparse.ArgumentParser(description="Load on a node; started by run.py.")
    parser.add_argument("plan", help="JSON")
    plan = msgspec.json.decode(parser.parse_args().plan, type=Plan)
    try:
        figures = uvloop.run(drive(plan, _told_to_go))
    except (WrongOutcomeError, grpc.RpcError, TimeoutError, ExceptionGroup) as error:
        first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        print(f"load {plan.mode} on {plan.offer or 'the echo server'}: {first!r}", file=sys.stderr)
        return 1
    print(msgspec.json.encode(figures).decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
