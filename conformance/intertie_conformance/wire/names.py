"""Forms of names and codes (RFC 0003, section 3.8)."""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_GRID: Final = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([1-9][0-9]{0,4})")
_PLACE: Final = re.compile(r"[A-Z]{2}(?:-[A-Z0-9]{1,3})?")
_TOKEN: Final = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_ASSET: Final = re.compile(r"[A-Z][A-Z0-9]{2,11}|x-[a-z0-9-]{1,30}")


def is_grid(text: str) -> bool:
    """A lower-case DNS name that is no address."""
    return len(text) <= 253 and _GRID.fullmatch(text) is not None and not text.rpartition(".")[2].isdecimal()


def is_address(text: str) -> bool:
    """host:port."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and int(match[1]) <= 65_535


def is_place(text: str) -> bool:
    """The form of an ISO 3166 code."""
    return _PLACE.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """What names a feature, rail or unit."""
    return len(text) <= 64 and _TOKEN.fullmatch(text) is not None


def is_asset(text: str) -> bool:
    """A registered or private asset."""
    return _ASSET.fullmatch(text) is not None
