"""Payloads are cut to what the link declares over which they go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from intertie.v1.envelope_pb2 import Payload
from intertie.v1.link_pb2 import Limits
from intertie_node.core.executing import inline_limit, pieces


@pytest.mark.parametrize(("size", "sizes"), [(0, [0]), (1, [1]), (10, [10]), (11, [10, 1]), (30, [10, 10, 10])])
def test_pieces_are_the_whole_in_parts(size: int, sizes: list[int]) -> None:
    data = bytes(range(size))
    parts = pieces(Payload(media_type="text/plain", data=data), 10)
    assert [len(part.data) for part in parts] == sizes
    assert b"".join(part.data for part in parts) == data
    assert {part.media_type for part in parts} == {"text/plain"}


@pytest.mark.parametrize(("declared", "limit"), [(4_096, 4_096), (65_536, 16_384)])
def test_the_smaller_limit_counts(declared: int, limit: int) -> None:
    world: Any = SimpleNamespace(settings=SimpleNamespace(inline_bytes=16_384))
    link = SimpleNamespace(their_limits=Limits(inline_bytes=declared))
    ordered: Any = SimpleNamespace(source=SimpleNamespace(link=link))
    called: Any = SimpleNamespace(source=SimpleNamespace())
    assert inline_limit(world, ordered) == limit
    assert inline_limit(world, called) == 16_384
