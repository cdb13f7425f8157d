"""Replaces one line of a shipped module as it is loaded, in this process (see `plants`)."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CORE, SERVICES = "intertie_node.core.", "intertie_node.services."


class Plant(NamedTuple):
    """One mutation."""

    module: str
    line: str
    """As it stands, without its indentation; the first one in the module."""
    instead: str


class Planted(importlib.abc.MetaPathFinder):
    """Loads one module with one line replaced."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> object:  # type: ignore[override]
        """Take over the planted module only."""
        if name != self._plant.module:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        assert found is not None and isinstance(found.loader, importlib.machinery.SourceFileLoader)
        found.loader = Mutated(found.loader.name, found.loader.path, self._plant)
        return found


class Mutated(importlib.machinery.SourceFileLoader):
    """A module with one line replaced."""

    def __init__(self, name: str, path: str, plant: Plant) -> None:
        super().__init__(name, path)
        self._plant = plant

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        """Compile the changed source; nothing is cached."""
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(mutated(source, self._plant), self.path, "exec")


def mutated(source: str, plant: Plant) -> str:
    """The source with the plant's line replaced. Raises: LookupError if it has no such line."""
    lines = source.splitlines()
    for number, line in enumerate(lines):
        if line.strip() == plant.line:
            lines[number] = line.replace(plant.line, plant.instead)
            return "\n".join(lines) + "\n"
    raise LookupError(f"{plant.module} has no line {plant.line!r}")


def plant(fault: Plant) -> None:
    """Have the module loaded with the fault; it must not have been loaded before."""
    assert fault.module not in sys.modules, f"{fault.module} is loaded already"
    sys.meta_path.insert(0, Planted(fault))
