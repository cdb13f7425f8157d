"""Waiting, outside the engine: for what a step has done to be durable, for tasks to end."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from intertie_node.core.effects import Effects

CANCEL_AGAIN_S = 0.5
"""How long a cancelled task may take to end before it is told again."""


async def durable(submit: Callable[[Callable[[Effects], None]], None], act: Callable[[Effects], Any]) -> Any:
    """Run `act` as a step; return what it returned once its batch is durable. Raises: what `act` raises."""
    waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def step(fx: Effects) -> None:
        try:
            value, error = act(fx), None
        except Exception as fault:
            value, error = None, fault
        fx.reply(answer, (value, error))

    def answer(result: tuple[Any, Exception | None]) -> None:
        value, error = result
        if waiter.done():
            return
        if error is not None:
            waiter.set_exception(error)
        else:
            waiter.set_result(value)

    submit(step)
    return await waiter


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until all have ended.

    They are told again, since `asyncio.wait_for` of Python 3.11 loses a cancellation that meets its result.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
