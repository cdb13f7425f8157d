"""The Markdown that south answers questions from: the project's own, and what its .proto files say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from intertie_node.demo.repository import checkout

PACKAGED: Final = Path(__file__).parent / "texts"
_OPENS: Final = re.compile(r"^(message|enum|service) (\w+) \{")
_MEMBER: Final = re.compile(r"^\s+(?:rpc (\w+)|(?:repeated |optional )?[\w.]+ (\w+) = \d+;|(\w+) = \d+;)")


def prepare(folder: Path) -> list[str]:
    """Fill `folder` with Markdown; returns the files' names (blocking)."""
    folder.mkdir(parents=True)
    for file in sorted(PACKAGED.glob("*.md")):
        shutil.copyfile(file, folder / file.name)
    root = checkout()
    if root is not None:
        _copy_project(root, folder)
    return sorted(file.name for file in folder.iterdir())


def _copy_project(root: Path, folder: Path) -> None:
    for file in [*root.glob("*.md"), *(root / "rfcs").glob("*.md")]:
        shutil.copyfile(file, folder / file.name)
    for proto in (root / "protocol" / "proto").rglob("*.proto"):
        text = proto.read_text(encoding="utf-8")
        (folder / f"{proto.name}.md").write_text("\n".join(as_markdown(proto.name, text)), encoding="utf-8")


def as_markdown(name: str, proto: str) -> Iterator[str]:
    """Lines of Markdown: a heading for each message, enum and service, its members with what is said of them."""
    yield f"# {name}"
    said: list[str] = []
    for line in proto.splitlines():
        if line.lstrip().startswith("//"):
            said.append(line.lstrip().removeprefix("//").strip())
            continue
        opens, member = _OPENS.match(line), _MEMBER.match(line)
        if opens:
            yield from ("", f"## {opens[2]}", "", " ".join(said), "")
        elif member:
            yield f"- `{next(filter(None, member.groups()))}`: {' '.join(said)}"
        said = []
