from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from intertie_node.adapters.storage import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(path)
    yield made
    made.close()
