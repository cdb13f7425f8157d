"""Examples in RFCs: blocks that show test vectors, written by the generator and so equal to them.

    ```vector amounts/amounts.json#amounts-charge-ceil
    ```vector envelopes/envelopes.json#envelopes-unseal-one input.envelope Envelope

The first form shows the vector's operation with its input and output (or error) as JSON. The second shows the bytes
at a place of the vector and, decoded, the message that they encode.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from google.protobuf.message import Message

from rfc_tools.documents import ROOT, Document

VECTORS = ROOT / "protocol" / "vectors"
_BLOCK = re.compile(r"(^```vector ([\w./-]+)#([\w.-]+)(?: ([\w.]+) (\w+))? *\n).*?(^``` *$)", re.DOTALL | re.MULTILINE)
_JSON_BLOCK = re.compile(r"(^```json vectors/([\w./-]+) ([\w.-]+) *\n)(.*?)^``` *$", re.DOTALL | re.MULTILINE)
_SHOWN = ("operation", "input", "output", "error")
_WIDTH = 96
_PAYLOADS = {
    "application/vnd.intertie.descriptor.v1+protobuf": "Descriptor",
    "application/vnd.intertie.agreement.v1+protobuf": "Agreement",
    "application/vnd.intertie.record-root.v1+protobuf": "RecordRoot",
    "application/vnd.intertie.open.v1+protobuf": "Open",
}
"""Payload type → message. A catalog root is left out: the vectors seal bytes that are none."""
_MODULES = ("envelope", "descriptor", "agreement", "entry", "event", "link", "catalog", "record", "metering")


def fill(text: str) -> str:
    """Return a document's text with every vector shown as it stands in its file.

    Raises KeyError for a vector, place or message that does not exist, DecodeError for bytes that do not decode.
    """
    return _BLOCK.sub(lambda found: found[1] + _shown(*found.group(2, 3, 4, 5)) + found[6], text)


def _shown(file: str, name: str, place: str | None, message: str | None) -> str:
    vector = vectors(file)[name]
    if place is None or message is None:
        shown = {part: vector[part] for part in _SHOWN if part in vector}
        return json.dumps(shown, indent=2, ensure_ascii=False) + "\n"
    data: Any = vector
    for step in place.split("."):
        data = data[int(step)] if isinstance(data, list) else data[step]
    lines = [data[at : at + _WIDTH] for at in range(0, len(data), _WIDTH)]
    return "\n".join([*lines, "", *_decoded(_type(message).FromString(bytes.fromhex(data)))]) + "\n"


def _type(message: str) -> type[Message]:
    for module in _MODULES:
        kind: type[Message] | None = getattr(import_module(f"intertie.v1.{module}_pb2"), message, None)
        if kind is not None:
            return kind
    raise KeyError(f"no message is called {message}")


def _decoded(message: Message, name: str = "", indent: str = "") -> Iterator[str]:
    """A message as lines: bytes in hexadecimal, the payload of an envelope decoded in its place."""
    yield f"{indent}{name or message.DESCRIPTOR.name} {{"
    inner = indent + "  "
    for field, value in message.ListFields():
        for item in value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]:
            payload = _PAYLOADS.get(getattr(message, "payload_type", "")) if field.name == "payload" else None
            if payload:
                yield from _decoded(_type(payload).FromString(item), f"payload ({payload})", inner)
            elif isinstance(item, Message):
                yield from _decoded(item, field.name, inner)
            else:
                yield f"{inner}{field.name}: {item.hex() if isinstance(item, bytes) else json.dumps(item)}"
    yield indent + "}"


@cache
def vectors(file: str) -> dict[str, dict[str, Any]]:
    """Return the vectors of a file by id."""
    document = json.loads((VECTORS / file).read_text(encoding="utf-8"))
    return {vector["id"]: vector for vector in document["vectors"]}


def faults(documents: list[Document]) -> list[str]:
    """Stale `vector` blocks, and blocks `json vectors/<file> <id>` that are neither input nor output of the vector."""
    found = [f"{rfc.name}: a vector is not shown as its file says" for rfc in documents if fill(rfc.text) != rfc.text]
    for document in documents:
        for mark, file, name, body in _JSON_BLOCK.findall(document.text):
            vector = vectors(file).get(name)
            if vector is None or json.loads(body) not in (vector["input"], vector.get("output")):
                found.append(f"{document.name}: {mark.strip()}: not what the vector says")
    return found


def all_vectors() -> dict[str, dict[str, Any]]:
    """Return every vector by id."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(VECTORS.glob("*/*.json")):
        found |= vectors(str(path.relative_to(VECTORS)))
    return found
