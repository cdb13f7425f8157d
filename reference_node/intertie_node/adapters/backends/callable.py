"""Backend "python": a Python function does the work.

    def count(input: dict, run: Run) -> dict | str | bytes: ...
    async def count(input: dict, run: Run) -> dict | str | bytes: ...

`input` is the decoded JSON object; `run` may be left out. A dict or list becomes application/json, a str
text/plain, bytes application/octet-stream; a WorkResult passes as it is. Streaming goes through `run.chunk`.

A function that is not async runs in a thread of its own. Its `run` has the same methods, blocking ones. A
thread cannot be stopped: when the invocation is canceled the node goes on at once, the function's next use
of `run` raises CANCELED, and its place among `threads` is free again when it has returned.

Attributes of the function are used where the configuration is silent: `input_schema`, `output_schema` (dicts,
JSON Schema 2020-12), `features` (a sequence) and the docstring as description. An IntertieError that the
function raises is the invocation's problem; any other exception becomes EXECUTION_FAILED.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

import msgspec

from intertie.errors import IntertieError
from intertie_node.adapters.backends.output import JSON, deliver, read_input
from intertie_node.adapters.backends.schema import compile_schema
from intertie_node.config import PythonTable
from intertie_node.ports import OfferSpec, Run, WorkResult

T = TypeVar("T")
Function = Callable[..., Any]

ANY_OBJECT: Final = {"type": "object"}


class CallableBackend:
    """Runs one Python function; a backend as in `ports.Backend`."""

    def __init__(self, table: PythonTable) -> None:
        self._table = table
        self._function: Function | None = None
        self._places = asyncio.Semaphore(table.threads)

    async def start(self) -> Sequence[OfferSpec]:
        """Import the function. Raises: IntertieError BACKEND_UNAVAILABLE, also for a schema that does not compile."""
        function = _load(self._table)
        self._function = function
        table = self._table
        schema = _input_schema(table, function)
        output = getattr(function, "output_schema", None)
        return [
            OfferSpec(
                name=table.offer,
                kind=table.kind,
                description=table.description or inspect.getdoc(function) or "",
                tags=tuple(table.tags),
                input_schema=schema,
                output_schema=msgspec.json.encode(output) if output else b"",
                features=tuple(table.features or getattr(function, "features", ())),
                max_duration_ms=table.max_duration_ms,
            )
        ]

    async def run(self, offer: str, run: Run) -> WorkResult:
        """Call the function. Raises: RefuseWork if the input is no JSON object; what the function raises."""
        function = self._function
        if function is None:
            raise IntertieError("BACKEND_UNAVAILABLE", f"{offer} is not started", backend=offer)
        value = read_input(run.input, dict[str, Any])
        if _is_async(function):
            output = await function(*_arguments(function, value, run))
        else:
            output = await self._in_thread(function, value, run)
        return await _as_result(run, output)

    async def stop(self) -> None:
        """Take no more work. Threads still running end by themselves and do not keep the process."""
        self._function = None

    async def _in_thread(self, function: Function, value: dict[str, Any], run: Run) -> object:
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[object] = loop.create_future()
        blocking = BlockingRun(run, loop)

        def finish(output: object, error: BaseException | None) -> None:
            self._places.release()
            if done.cancelled():
                return
            if error is None:
                done.set_result(output)
            else:
                done.set_exception(_raisable(error))

        def work() -> None:
            output, failure = None, None
            try:
                output = function(*_arguments(function, value, blocking))
            except BaseException as error:  # whatever it is belongs to the invocation, not to the thread
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish, output, failure)

        threading.Thread(target=work, name=f"intertie-{self._table.offer}", daemon=True).start()
        try:
            return await done
        finally:
            blocking.over = True


class BlockingRun:
    """`ports.Run` for a thread: its methods block until the loop has done them."""

    def __init__(self, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._loop = loop
        self.over = False
        """The invocation has ended: every further use raises CANCELED."""
        self.invocation = run.invocation
        self.input = run.input
        self.media_type = run.media_type
        self.deadline = run.deadline

    def meter(self, unit: str, quantity: int) -> None:
        """Add atoms of a unit; waits while the grant is used up."""
        self._wait(self._run.meter(unit, quantity))

    def chunk(self, data: bytes, media_type: str = "text/plain", usage: Mapping[str, int] | None = None) -> None:
        """Send a durable piece of output."""
        self._wait(self._run.chunk(data, media_type, usage))

    def progress(self, done: int, total: int = 0, comment: str = "") -> None:
        """Send ephemeral progress."""
        self._check()
        self._loop.call_soon_threadsafe(self._run.progress, done, total, comment)

    def ask(self, prompt: str, schema: bytes = b"") -> bytes:
        """Ask the caller for input and wait for it."""
        return self._wait(self._run.ask(prompt, schema))

    def _wait(self, step: Coroutine[Any, Any, T]) -> T:
        try:
            self._check()
        except IntertieError:
            step.close()
            raise
        return asyncio.run_coroutine_threadsafe(step, self._loop).result()

    def _check(self) -> None:
        if self.over:
            raise IntertieError("CANCELED", "the invocation has ended")


def _raisable(error: BaseException) -> BaseException:
    """An error that a future can carry and that does not stop the event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return IntertieError("EXECUTION_FAILED", f"the function raised {type(error).__name__}")


def _is_async(function: Function) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


def _arguments(function: Function, value: dict[str, Any], run: object) -> tuple[object, ...]:
    """(input, run), or (input,) for a function of one argument."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    takes_both = sum(p.kind in kinds for p in parameters) >= 2 or any(
        p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters
    )
    return (value, run) if takes_both else (value,)


async def _as_result(run: Run, output: object) -> WorkResult:
    if isinstance(output, WorkResult):
        return output
    if isinstance(output, str):
        return await deliver(run, "text/plain", output.encode())
    if isinstance(output, bytes | bytearray):
        return await deliver(run, "application/octet-stream", bytes(output))
    try:
        data = msgspec.json.encode(output)
    except (TypeError, OverflowError) as error:
        raise IntertieError("EXECUTION_FAILED", f"the function's result is not JSON: {error}") from error
    return await deliver(run, JSON, data)


def _input_schema(table: PythonTable, function: Function) -> bytes:
    """Bytes of the schema that the configuration or the function states. Raises: IntertieError BACKEND_UNAVAILABLE."""
    try:
        data = msgspec.json.encode(table.input_schema or getattr(function, "input_schema", None) or ANY_OBJECT)
        compile_schema(data)
    except (TypeError, ValueError) as error:
        why = f"the input schema of {table.offer} is not JSON: {error}"
        raise IntertieError("BACKEND_UNAVAILABLE", why, backend=table.offer) from error
    except IntertieError as error:
        raise IntertieError("BACKEND_UNAVAILABLE", f"{table.offer}: {error.message}", backend=table.offer) from error
    return data


def _load(table: PythonTable) -> Function:
    """The function that `target` names. Raises: IntertieError BACKEND_UNAVAILABLE."""
    place, _, name = table.target.rpartition(":")
    try:
        found: Any = _from_file(table.folder / place) if place.endswith(".py") else import_module(place)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # importing runs foreign code
        raise IntertieError(
            "BACKEND_UNAVAILABLE",
            f"{table.target} cannot be loaded: {type(error).__name__}: {error}",
            backend=table.offer,
        ) from error
    if not callable(found):
        raise IntertieError("BACKEND_UNAVAILABLE", f"{table.target} is not callable", backend=table.offer)
    function: Function = found
    return function


def _from_file(path: Path) -> ModuleType:
    name = f"intertie_backend_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
