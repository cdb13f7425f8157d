"""Inputs: 1.0 is the integer 1, as JSON Schema has it; 1.5 is none."""

from __future__ import annotations

import pytest

from intertie_node.adapters.backends.conformance import Delay, Meter
from intertie_node.adapters.backends.output import read_input
from intertie_node.ports import RefuseWork


def test_whole_numbers_are_integers() -> None:
    assert read_input(b'{"ms": 1.0}', Delay) == Delay(ms=1)
    assert read_input(b'{"usage": {"mcp.call": 2e3}, "steps": 2.0}', Meter).usage.mcp_call == 2_000


@pytest.mark.parametrize("data", [b'{"ms": 1.5}', b'{"ms": -1.0}', b'{"ms": 1e400}', b'{"ms": true}', b"{"])
def test_other_numbers_are_not(data: bytes) -> None:
    with pytest.raises(RefuseWork):
        read_input(data, Delay)
