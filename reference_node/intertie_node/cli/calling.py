"""`intertie call`: one invocation, whole or event by event."""

import asyncio
import sys
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from intertie.client import Chunk, Ended, Gap, InputRequested, InvocationError, Progress, StateChanged
from intertie.errors import IntertieError
from intertie_node.cli import INTERRUPTED
from intertie_node.cli.consuming import Reach, ask, decoded
from intertie_node.cli.failing import report

if TYPE_CHECKING:
    from intertie.client import CallResult, Client, InvocationItem

JSON_TYPES = ("application/json", "text/json")
QUESTION_S = 2.0
"""How long it may take to learn what work that ran out of time had asked."""


class Asked(Struct, kw_only=True):
    """What was typed."""

    offer: str
    input: Any
    replies: list[Any]
    """Answers to input requests, in order."""
    stream: bool
    as_json: bool
    options: dict[str, Any]
    question: str = ""
    """Of work that ran out of time: that it had asked for input."""


def perform(reach: Reach, asked: Asked) -> int:
    """Invoke; returns the exit status. Raises: IntertieError if it was refused."""
    try:
        result = ask(reach, lambda client: _stream(client, asked) if asked.stream else _call(client, asked))
    except InvocationError as error:
        raise _with_id(error, error.id) from None
    except KeyboardInterrupt:
        id = asked.options["id"]
        print(f"intertie: interrupted; the node was asked to stop {id}: intertie invocations show it", file=sys.stderr)
        return INTERRUPTED
    if asked.as_json:
        print(msgspec.json.encode(described(result)).decode() if asked.stream else _pretty(described(result)))
    else:
        _show(result, printed=asked.stream)
    if problem := result.problem:
        problem.message += asked.question
        report(problem, as_json=asked.as_json)
    return 0 if result.state == "COMPLETED" and not result.is_error else 1


def _with_id(error: InvocationError, id: str) -> IntertieError:
    error.metadata = {**error.metadata, "id": id}
    return error


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


async def _call(client: "Client", asked: Asked) -> "CallResult":
    try:
        result = await client.call(asked.offer, asked.input, check=False, **asked.options)
    except InvocationError as error:
        if error.reason == "DEADLINE_EXCEEDED":
            error.message += await _question(client, error.id)
        raise
    if result.problem and result.problem.reason == "DEADLINE_EXCEEDED":
        asked.question = await _question(client, result.id)
    return result


async def _question(client: "Client", id: str) -> str:
    """What to say of work that ran out of time waiting for an answer: a unary call hears no questions."""
    with suppress(IntertieError, TimeoutError):
        async with asyncio.timeout(QUESTION_S), aclosing(client.subscribe(id)) as items:
            async for item in items:
                if isinstance(item, InputRequested):
                    hint = "answer it with --reply JSON, or with --stream on a terminal."
                    return f" The work asked for input ({item.prompt[:200]!r}): {hint}"
    return ""


async def _stream(client: "Client", asked: Asked) -> "CallResult":
    # Closed where an answer fails, so that the node is asked to stop what nobody waits for.
    async with aclosing(client.invoke(asked.offer, asked.input, **asked.options)) as items:
        async for item in items:
            if isinstance(item, Ended):
                return item.result
            _tell(item, asked.as_json)
            if isinstance(item, InputRequested):
                await client.send_input(asked.options["id"], item.request, await _answer(item, asked))
    raise AssertionError("an invocation ends with its end")


async def _answer(item: InputRequested, asked: Asked) -> Any:
    """What the work is answered. Raises: IntertieError INPUT_INVALID if nobody can say."""
    if asked.replies:
        return asked.replies.pop(0)
    if asked.as_json or not sys.stdin.isatty():
        raise _unanswered(asked, f"The work asks for input ({item.prompt[:200]!r}) and no --reply is left: give one.")
    while True:
        print("answer (JSON): ", end="", file=sys.stderr, flush=True)
        line = await _typed_line()
        if not line:
            raise _unanswered(asked, "The work asks for input and none was typed.")
        try:
            return decoded(line)
        except ValueError as error:
            print(f"not JSON: {error}; text goes in quotes", file=sys.stderr)


def _unanswered(asked: Asked, message: str) -> InvocationError:
    error = IntertieError("INPUT_INVALID", f"{message} The node was asked to stop it.")
    return InvocationError.of(error, asked.options["id"])


async def _typed_line() -> bytes:
    """The next line of the terminal, b"" at its end; the connection is kept, and Ctrl-C heard, meanwhile."""
    loop, number, ready = asyncio.get_running_loop(), sys.stdin.fileno(), asyncio.Event()
    loop.add_reader(number, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(number)
    return sys.stdin.buffer.readline()


def _tell(item: "InvocationItem", as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(_event(item)).decode(), flush=True)
    elif isinstance(item, Chunk):
        sys.stdout.buffer.write(item.data)
        sys.stdout.buffer.flush()
    elif isinstance(item, Progress):
        print(f"… {item.done}{f' of {item.total}' if item.total else ''} {item.comment}", file=sys.stderr)
    elif isinstance(item, InputRequested):
        print(f"? {item.prompt}", file=sys.stderr)
    elif isinstance(item, Gap):
        upto = f"to {item.last}" if item.last else "and later"
        print(f"! events {item.first} {upto} are gone: {item.error}", file=sys.stderr)


def _event(item: "InvocationItem") -> dict[str, Any]:
    if isinstance(item, Chunk):
        return {"event": "chunk", "number": item.number, **_data(item.data, item.media_type)}
    if isinstance(item, Progress):
        return {"event": "progress", "done": item.done, "total": item.total, "comment": item.comment}
    if isinstance(item, StateChanged):
        return {"event": "state", "number": item.number, "state": item.state}
    if isinstance(item, InputRequested):
        return {"event": "input_requested", "number": item.number, "request": item.request, "prompt": item.prompt}
    if isinstance(item, Gap):
        return {"event": "gap", "first": item.first, "last": item.last, "reason": item.error.reason}
    return {"event": "other"}


def _data(data: bytes, media_type: str) -> dict[str, Any]:
    """Output as JSON value or text under "output", else base64 under "output_base64"."""
    if media_type.partition(";")[0].strip() in JSON_TYPES:
        try:
            return {"media_type": media_type, "output": msgspec.json.decode(data)}
        except msgspec.DecodeError:
            pass
    try:
        return {"media_type": media_type, "output": data.decode()}
    except UnicodeDecodeError:
        return {"media_type": media_type, "output_base64": data}


def described(result: "CallResult") -> dict[str, Any]:
    """How an invocation ended, as plain values; amounts and quantities as text."""
    energy, problem = result.energy, result.problem
    return {
        "event": "ended",
        "id": result.id,
        "state": result.state,
        "is_error": result.is_error,
        **_data(result.output, result.media_type),
        "charge": str(result.charge),
        "asset": result.asset,
        "scale": result.scale,
        "price": result.price,
        "usage": {unit: str(quantity) for unit, quantity in result.usage.items()},
        "energy": msgspec.to_builtins(energy) if energy else None,
        "executed_by": result.executed_by,
        "place": result.place,
        "path": result.path,
        "hold": result.hold,
        "problem": (
            {"reason": problem.reason, "message": problem.message, "metadata": problem.metadata} if problem else None
        ),
    }


def _show(result: "CallResult", *, printed: bool) -> None:
    """Output to stdout, the account of it to stderr."""
    if result.output and not (printed and not result.media_type):
        sys.stdout.buffer.write(result.output)
        sys.stdout.buffer.flush()
    if sys.stdout.isatty():
        print()
    cost = [result.state, result.price]
    if result.executed_by:
        cost.append(f"done by {result.executed_by}" + (f" ({result.place})" if result.place else ""))
    cost += [" → ".join(result.path)] if len(result.path) > 1 else []
    if result.energy:
        cost.append(f"{result.energy.millijoules} mJ {result.energy.method}")
    print("; ".join(cost), f"[{result.id}]", file=sys.stderr)
