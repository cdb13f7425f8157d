"""Two peered grids in processes of their own, and a consumer at one of them, for tests of what is typed."""

from __future__ import annotations

from msgspec import Struct
from tests.federation.grids import GridProcess

ECHO = "south.example/conformance/echo"
DELAY = "south.example/conformance/delay"


class Pair(Struct):
    """Two grids with a link; alice buys at north."""

    north: GridProcess
    south: GridProcess
    genesis: str
    token: str
