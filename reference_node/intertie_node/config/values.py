"""Values that TOML has no type for: exact rationals, addresses, paths; and the error of a bad one."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from intertie.errors import IntertieError

INT64_MAX: Final = 2**63 - 1


class ConfigError(IntertieError):
    """A key of the configuration that cannot be used.

    `path` is the key as in `backend[1].prices.order`, "" for the file as a whole.
    """

    def __init__(self, path: str, found: str, expected: str, source: str = "") -> None:
        place = ": ".join(part for part in (source, path) if part)
        message = f"{place}: found {found}; expected {expected}" if place else f"{found}; expected {expected}"
        super().__init__("INVALID_ARGUMENT", message, **({"field": path} if path else {}))
        self.path = path
        self.found = found
        self.expected = expected

    def within(self, source: str) -> ConfigError:
        """The same error, its message led by the name of the file."""
        return ConfigError(self.path, self.found, self.expected, source)


class Rational(Fraction):
    """An exact non-negative rational whose parts fit int64, e.g. a price or a markup."""

    EXPECTED: Final = 'a whole number ≥ 0, or an exact rational in quotes: "1/10" or "1.10", each part at most 2^63-1'

    @classmethod
    def parse(cls, value: object) -> Rational:
        """Read an int, or text like "11/10" or "1.10".

        Raises: ValueError, its text says what is expected.
        """
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(cls.EXPECTED)
        text = str(value).strip()
        if not re.fullmatch(r"\d{1,19}/\d{1,19}|\d{1,19}(\.\d{1,18})?", text, re.ASCII) or _has_zero_part(text):
            raise ValueError(cls.EXPECTED)
        parsed = cls(text)
        if max(parsed.numerator, parsed.denominator) > INT64_MAX:
            raise ValueError(cls.EXPECTED)
        return parsed


def _has_zero_part(text: str) -> bool:
    """Whether a denominator is written and is zero."""
    _, slash, denominator = text.partition("/")
    return bool(slash) and not int(denominator)


class Address:
    """Where a server listens or is reached: host name or IP address, and port (0: the system chooses)."""

    __slots__ = ("host", "port")

    EXPECTED: Final = 'an address in quotes, as in "127.0.0.1:7460" or "[::1]:7460", its port 0 to 65535'

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    @classmethod
    def parse(cls, value: object) -> Address:
        """Read "host:port". Raises: ValueError, its text says what is expected."""
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):(\d{1,5})", str(value), re.ASCII)
        if not isinstance(value, str) or match is None or int(match[3]) > 65_535:
            raise ValueError(cls.EXPECTED)
        if match[1] is not None:
            try:
                ip_address(match[1])
            except ValueError:
                raise ValueError(cls.EXPECTED) from None
        return cls(match[1] or match[2], int(match[3]))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it: plaintext is allowed there and nowhere else."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and (self.host, self.port) == (other.host, other.port)

    def __hash__(self) -> int:
        return hash((self.host, self.port))


def decoder(folder: Path) -> Callable[[type, Any], Any]:
    """The msgspec hook for these types; relative paths are taken from `folder`."""

    def decode_value(kind: type, value: Any) -> Any:
        if kind is Rational:
            return Rational.parse(value)
        if kind is Address:
            return Address.parse(value)
        if kind is Path:
            if not isinstance(value, str) or not value or "\0" in value:
                raise ValueError("a path in quotes")
            return folder / value
        raise NotImplementedError(kind)

    return decode_value
