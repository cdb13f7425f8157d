"""Names and codes that several documents share: grids, addresses, places, assets, tokens (design §6)."""

from __future__ import annotations

import re
from typing import Final

from intertie.errors import IntertieError
from intertie.registry import UNITS

MAX_GRID_CHARACTERS: Final = 253
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_GRID: Final = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([1-9][0-9]{0,4})")
_PLACE: Final = re.compile(r"[A-Z]{2}(?:-[A-Z0-9]{1,3})?")
_TOKEN: Final = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_ASSET: Final = re.compile(r"[A-Z][A-Z0-9]{2,11}|x-[a-z0-9-]{1,30}")


def is_grid(name: str) -> bool:
    """Return whether `name` is a lower-case DNS name, not an address and without a final dot."""
    match = _GRID.fullmatch(name) if len(name) <= MAX_GRID_CHARACTERS else None
    return match is not None and not name.rpartition(".")[2].isdecimal()


def check_grid(name: str) -> str:
    """Return `name` if it may name a grid; raise DESCRIPTOR_INVALID if not."""
    if is_grid(name):
        return name
    raise IntertieError(
        "DESCRIPTOR_INVALID", f"A grid's name must be a lower-case DNS name, not {name[:80]!r}.", field="grid"
    )


def is_address(text: str) -> bool:
    """Return whether `text` is "host:port" with a port of 1 to 65535, IPv6 hosts in brackets."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and int(match[1]) <= 65535


def is_place(code: str) -> bool:
    """Return whether `code` has the form of an ISO 3166-1 alpha-2 or 3166-2 code."""
    return _PLACE.fullmatch(code) is not None


def is_token(text: str) -> bool:
    """Return whether `text` can name a feature or rail: lower case, at most 64 characters."""
    return len(text) <= 64 and _TOKEN.fullmatch(text) is not None


def is_asset(name: str) -> bool:
    """Return whether `name` can name an asset: three to twelve capitals and digits, or a private "x-…"."""
    return _ASSET.fullmatch(name) is not None


def is_unit(name: str) -> bool:
    """Return whether `name` is a registered unit, or a private "x-" and up to 62 ASCII characters without a space."""
    private = name.startswith("x-") and len(name) <= 64 and name.isascii() and " " not in name
    return private or name in UNITS
