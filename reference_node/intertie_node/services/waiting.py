"""Waiting, outside the engine, for what a step has done to be durable."""

import asyncio
from collections.abc import Callable
from typing import Any

from intertie_node.core.effects import Effects


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
