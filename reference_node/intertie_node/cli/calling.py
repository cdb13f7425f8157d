"""`intertie call`: one invocation, whole or event by event."""

import sys
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from intertie.client import Chunk, Ended, Gap, InputRequested, InvocationError, Progress, StateChanged
from intertie.errors import IntertieError
from intertie_node.cli.consuming import Reach, ask
from intertie_node.cli.failing import report

if TYPE_CHECKING:
    from intertie.client import CallResult, Client, InvocationItem

JSON_TYPES = ("application/json", "text/json")


class Asked(Struct, kw_only=True):
    """What was typed."""

    offer: str
    input: Any
    replies: list[Any]
    """Answers to input requests, in order."""
    stream: bool
    as_json: bool
    options: dict[str, Any]


def perform(reach: Reach, asked: Asked) -> int:
    """Invoke; returns the exit status. Raises: IntertieError if it was refused."""
    try:
        result = ask(reach, lambda client: _stream(client, asked) if asked.stream else _call(client, asked))
    except InvocationError as error:
        raise _with_id(error, error.id) from None
    if asked.as_json:
        print(msgspec.json.encode(described(result)).decode() if asked.stream else _pretty(described(result)))
    else:
        _show(result, printed=asked.stream)
    if result.problem:
        report(result.problem, as_json=asked.as_json)
    return 0 if result.state == "COMPLETED" and not result.is_error else 1


def _with_id(error: InvocationError, id: str) -> IntertieError:
    error.metadata = {**error.metadata, "id": id}
    return error


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


async def _call(client: "Client", asked: Asked) -> "CallResult":
    return await client.call(asked.offer, asked.input, check=False, **asked.options)


async def _stream(client: "Client", asked: Asked) -> "CallResult":
    async for item in client.invoke(asked.offer, asked.input, **asked.options):
        if isinstance(item, Ended):
            return item.result
        _tell(item, asked.as_json)
        if isinstance(item, InputRequested):
            await client.send_input(asked.options["id"], item.request, _answer(item, asked))
    raise AssertionError("an invocation ends with its end")


def _answer(item: InputRequested, asked: Asked) -> Any:
    if asked.replies:
        return asked.replies.pop(0)
    if asked.as_json or not sys.stdin.isatty():
        message = f"The work asks for input ({item.prompt[:200]!r}) and no --reply is left: give one."
        raise IntertieError("INPUT_INVALID", message)
    print("answer (JSON): ", end="", file=sys.stderr, flush=True)
    return msgspec.json.decode(sys.stdin.readline())


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
