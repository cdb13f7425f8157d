from __future__ import annotations

import subprocess
import sys

import pytest

from intertie.errors import IntertieError
from intertie_node import config
from intertie_node.adapters.backends import TYPES, create


def test_every_type_of_the_configuration_has_a_backend() -> None:
    assert set(TYPES) == set(config.Backend.__args__)


def test_heavy_libraries_are_loaded_only_when_needed() -> None:
    code = (
        "import sys, intertie_node.adapters.backends as b, intertie_node.config as c\n"
        "b.create(c.ConformanceTable()); b.create(c.TextTable(offer='a'))\n"
        "print([m for m in ('mcp', 'pydantic', 'jsonschema', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "mcp"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("mcp", "mcp_connection", "mcp_session"):
        monkeypatch.delitem(sys.modules, f"intertie_node.adapters.backends.{name}", raising=False)

    class Absent:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.split(".")[0] == "mcp":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(IntertieError, match=r"needs the package 'mcp.*pip install 'intertie\[mcp\]'"):
        create(config.McpTable(command=["a"], tools={"a": config.McpTool(offer="a")}))
