"""The .proto files as a reference: services, messages, fields and enums with their comments."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from rfc_tools.documents import ROOT

_FOLDER = ROOT / "protocol/proto"
_TYPES = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
"""Numbers of a file's fields in the paths of source locations."""


@dataclass
class Row:
    """A field, a value of an enum, or a method."""

    name: str
    number: int
    type: str
    comment: str


@dataclass
class Entry:
    """A message, an enum or a service."""

    kind: str
    name: str
    comment: str
    rows: list[Row]


@dataclass
class File:
    """One .proto file."""

    name: str
    entries: list[Entry] = field(default_factory=list)


def load() -> list[File]:
    """Return all files with their comments. Raises: subprocess.CalledProcessError if they do not compile."""
    sources = sorted(_FOLDER.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set"
        arguments = [f"-I{_FOLDER}", f"--descriptor_set_out={target}", "--include_source_info", *map(str, sources)]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)
        found = FileDescriptorSet.FromString(target.read_bytes())
    return [_file(item) for item in sorted(found.file, key=lambda item: item.name)]


def _file(source: FileDescriptorProto) -> File:
    comments = {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in source.source_code_info.location
        if location.leading_comments
    }
    out = File(source.name.rpartition("/")[2])
    for place, service in enumerate(source.service):
        rows = [
            Row(method.name, 0, _signature(method), comments.get((_SERVICE, place, 2, number), ""))
            for number, method in enumerate(service.method)
        ]
        out.entries.append(Entry("service", service.name, comments.get((_SERVICE, place), ""), rows))
    for place, message in enumerate(source.message_type):
        _message(out, message, "", (_MESSAGE, place), comments)
    for place, enum in enumerate(source.enum_type):
        out.entries.append(_enum(enum, "", (_ENUM, place), comments))
    return out


def _message(out: File, message: DescriptorProto, prefix: str, path: tuple[int, ...], comments: Any) -> None:
    name = prefix + message.name
    maps = {f".{n.name}": n for n in message.nested_type if n.options.map_entry}
    rows = [
        Row(f.name, f.number, _type(f, maps), comments.get((*path, 2, place), ""))
        for place, f in enumerate(message.field)
    ]
    out.entries.append(Entry("message", name, comments.get(path, ""), rows))
    for place, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            _message(out, nested, f"{name}.", (*path, 3, place), comments)
    for place, enum in enumerate(message.enum_type):
        out.entries.append(_enum(enum, f"{name}.", (*path, 4, place), comments))


def _enum(enum: EnumDescriptorProto, prefix: str, path: tuple[int, ...], comments: Any) -> Entry:
    rows = [Row(v.name, v.number, "", comments.get((*path, 2, place), "")) for place, v in enumerate(enum.value)]
    return Entry("enum", prefix + enum.name, comments.get(path, ""), rows)


def _signature(method: MethodDescriptorProto) -> str:
    asked = _stream(method.client_streaming, method.input_type)
    return f"{asked} → {_stream(method.server_streaming, method.output_type)}"


def _stream(streaming: bool, name: str) -> str:
    return ("stream " if streaming else "") + _short(name)


def _short(name: str) -> str:
    return name.removeprefix(".intertie.v1.").removeprefix(".")


def _type(f: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    name = _short(f.type_name) if f.type_name else _TYPES[f.type]
    entry = next((m for suffix, m in maps.items() if f.type_name.endswith(suffix)), None)
    if entry is not None:
        return f"map<{_type(entry.field[0], {})}, {_type(entry.field[1], {})}>"
    return ("repeated " if f.label == FieldDescriptorProto.LABEL_REPEATED else "") + name
