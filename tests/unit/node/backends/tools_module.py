"""Functions for the tests of the Python backend."""

import asyncio
import threading
import time

from intertie.errors import IntertieError

started = threading.Event()
outcomes: list[str] = []


def count(value, run):
    """Counts words."""
    run.meter("sim.step", 2)
    run.progress(1, 2, "half")
    run.chunk(b"piece", usage={"text.output.byte": 5})
    words = len(value["text"].split())
    return {"words": words, "reply": run.ask("ok?").decode(), "thread": threading.current_thread().name}


count.input_schema = {"type": "object", "required": ["text"]}
count.features = ("idempotent",)


async def shout(value):
    await asyncio.sleep(0)
    return value["text"].upper()


def raw(value, run):
    return b"\x00\x01"


def broken(value):
    raise LookupError("lost")


def named(value):
    raise IntertieError("PERMISSION_DENIED", "not you")


def stops(value):
    raise SystemExit(3)


def unjson(value):
    return object()


def big(value):
    return "x" * value["size"]


def endless(value, run):
    started.set()
    while True:
        time.sleep(0.01)
        try:
            run.progress(1)
        except IntertieError as error:
            outcomes.append(error.reason)
            raise


class Callable:
    async def __call__(self, value, run):
        await run.meter("sim.step", 1)
        return ["called"]


instance = Callable()
not_callable = 3
