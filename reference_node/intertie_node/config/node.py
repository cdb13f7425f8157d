"""The configuration file as a whole: its tables, how it is read, and what its parts must have in common."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

from intertie.names import is_unit
from intertie.registry import ASSETS, LIMITS, UNITS
from intertie_node.config.backends import (
    CONFORMANCE_PRICES,
    Amount,
    Backend,
    ConformanceTable,
    McpTable,
    Place,
    Terms,
    offer_terms,
)
from intertie_node.config.explain import convert
from intertie_node.config.values import Address, ConfigError, Rational, decoder

DAY_MS: Final = 86_400_000
ANY_HOST: Final = frozenset(("0.0.0.0", "::"))  # noqa: S104 (compared, not bound)
MAX_PRICE_LINES: Final = LIMITS["price_lines"].maximum

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def _limit(name: str) -> Meta:
    row = LIMITS[name]
    return Meta(ge=row.minimum, le=row.maximum, description=f"{row.unit}, {row.minimum} to {row.maximum}")


def _between(low: int, high: int, unit: str) -> Meta:
    return Meta(ge=low, le=high, description=f"{unit}, {low} to {high}")


class GridTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this grid is."""

    name: Annotated[
        str,
        Meta(
            pattern=rf"^(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*$",
            description='a DNS name in lower case, as in "north.example"',
        ),
    ]
    place: Place = ""
    """Where work is done unless a backend says otherwise."""


class ListenTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the node listens, and where others are told to reach it."""

    public: Address = Address("127.0.0.1", 7460)
    """Descriptor, proposals and the consumer face."""
    peer: Address = Address("127.0.0.1", 7461)
    """Links, by mutual TLS."""
    loopback: Address | None = None
    """The consumer face in plaintext, on a loopback address only; None: not served."""
    http: Address | None = None
    """Metrics and health; None: not served."""
    advertise_public: Address | None = None
    """None: what `public` is bound to."""
    advertise_peer: Address | None = None


class AssetTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What prices are stated in and debts are owed in."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^([A-Z]{3}|x-[a-z0-9-]{1,32})$",
            description='an asset like "XTS", or a private one like "x-credit"',
        ),
    ] = "XTS"
    scale: Annotated[int, _between(0, 9, "decimal digits of a minor unit")] = 6


class LimitsTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this node takes from others (registry/limits.toml)."""

    orders: Annotated[int, _limit("orders")] = LIMITS["orders"].default
    input_bytes: Annotated[int, _limit("input_bytes")] = LIMITS["input_bytes"].default
    hops: Annotated[int, _limit("hops")] = LIMITS["hops"].default
    retention_days: Annotated[
        int,
        _between(LIMITS["retention_ms"].minimum // DAY_MS, LIMITS["retention_ms"].maximum // DAY_MS, "days"),
    ] = 7

    @property
    def retention_ms(self) -> int:
        """How long ids, outcomes and durable events are kept, in milliseconds."""
        return self.retention_days * DAY_MS


class RelayTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selling on what neighbours offer."""

    allow: bool = False
    markup: Rational = Rational(1)
    """Factor on the price paid downstream."""
    fee: Amount = 0
    """Minor units an order."""
    share: Rational = Rational(1, 2)
    """Most of a limit with a provider that one of several upstreams may use, above 0 and at most 1."""
    tolerated_outage_ms: Annotated[int, _between(0, 604_800_000, "milliseconds")] = 5_000
    """How long the downstream link may be down before a charge over it may be lost."""


class PeeringTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Terms that this grid proposes to a new peer; an operator may change them for each."""

    credit_limit: Amount = 100_000_000
    max_unagreed: Amount = 10_000_000
    claim_window_ms: Annotated[int, _between(1_000, 604_800_000, "milliseconds")] = 3_600_000
    max_skew_ms: Annotated[int, _between(1_000, 300_000, "milliseconds")] = 2_000
    max_open_holds: Annotated[int, _between(1, 1_000_000, "holds")] = 4_096
    max_hold_ms: Annotated[int, _between(1_000, 604_800_000, "milliseconds")] = DAY_MS


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    grid: GridTable
    listen: ListenTable = ListenTable()
    asset: AssetTable = AssetTable()
    limits: LimitsTable = LimitsTable()
    relay: RelayTable = RelayTable()
    peering: PeeringTable = PeeringTable()
    backend: list[Backend] = []

    def offers(self) -> dict[str, Terms]:
        """Terms of every offer of this grid, by offer name."""
        return {name: terms for table in self.backend for name, terms in offer_terms(table).items()}


def load(path: Path) -> Config:
    """Read and check a configuration file. Relative paths in it are taken from its folder.

    Raises: ConfigError, its message led by the file's name.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", str(error), "a readable TOML file in UTF-8", str(path)) from None
    try:
        return decode(text, path.absolute().parent)
    except ConfigError as error:
        raise error.within(str(path)) from None


def decode(text: str, folder: Path = Path(".")) -> Config:
    """Check a configuration; relative paths are taken from `folder`. Raises: ConfigError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("", str(error), "TOML") from None
    for table in raw.get("backend", []) if isinstance(raw.get("backend"), list) else []:
        _default_folder(table)
    config = convert(raw, Config, decoder(folder))
    contradiction = next(_contradictions(config), None)
    if contradiction is not None:
        raise contradiction
    return config


def _default_folder(table: object) -> None:
    """Write defaults that are relative to the file where only the file's folder is known."""
    if isinstance(table, dict) and table.get("type") in ("python", "mcp"):
        table.setdefault("cwd" if table["type"] == "mcp" else "folder", ".")


def _contradictions(config: Config) -> Iterator[ConfigError]:
    """What the types alone cannot say."""
    known = ASSETS.get(config.asset.name)
    if known is not None and known.scale != config.asset.scale:
        yield ConfigError("asset.scale", str(config.asset.scale), f"{known.scale}, as {known.name} is registered")
    yield from _listen_contradictions(config.listen)
    for key in ("advertise_public", "advertise_peer"):
        address, bound = getattr(config.listen, key), getattr(config.listen, key.removeprefix("advertise_"))
        if address is not None and not address.port:
            yield ConfigError(f"listen.{key}", f'"{address}"', "a port above 0")
        if address is None and not bound.port:  # the descriptor names it, and is signed anew for each change
            expected = f"a port above 0, unless {key} says how it is reached"
            yield ConfigError(f"listen.{key.removeprefix('advertise_')}", f'"{bound}"', expected)
    if not 0 < config.relay.share <= 1:
        yield ConfigError("relay.share", f'"{config.relay.share}"', "a part above 0 and at most 1")
    gap = config.relay.tolerated_outage_ms + 2 * config.peering.max_skew_ms
    if config.relay.allow and gap >= config.peering.claim_window_ms:
        yield ConfigError(
            "relay.tolerated_outage_ms",
            str(config.relay.tolerated_outage_ms),
            "less than peering.claim_window_ms − 2 × peering.max_skew_ms",
        )
    yield from _offer_contradictions(config)


def _listen_contradictions(listen: ListenTable) -> Iterator[ConfigError]:
    """Faces that cannot listen where they are told to."""
    if listen.loopback is not None and not listen.loopback.is_loopback:
        expected = 'a loopback address like "127.0.0.1:7463": its tokens travel in plaintext'
        yield ConfigError("listen.loopback", f'"{listen.loopback}"', expected)
    taken: list[tuple[str, Address]] = []
    for name in ("public", "peer", "loopback", "http"):
        address: Address | None = getattr(listen, name)
        if address is None:
            continue
        for other, used in taken:
            if _clash(address, used):
                yield ConfigError(f"listen.{name}", f'"{address}"', f"another port than that of listen.{other}")
        taken.append((name, address))


def _clash(one: Address, other: Address) -> bool:
    """Whether two servers cannot have both; port 0 is a free one each time."""
    same_host = one.host == other.host or not ANY_HOST.isdisjoint((one.host, other.host))
    return same_host and one.port == other.port != 0


def _offer_contradictions(config: Config) -> Iterator[ConfigError]:
    seen: dict[str, str] = {}
    for index, table in enumerate(config.backend):
        path = f"backend[{index}]"
        if isinstance(table, ConformanceTable):
            for name in table.prices.keys() - CONFORMANCE_PRICES.keys():
                names = ", ".join(CONFORMANCE_PRICES)
                yield ConfigError(f'{path}.prices."{name}"', "an unknown key", f"one of: {names}")
        for key, name, terms in _offers_with_keys(table):
            where = f"{path}.{key}" if key else path
            if name in seen:
                yield ConfigError(f"{where}.offer", f'"{name}"', f"a name that is not in use; {seen[name]} has it")
            seen[name] = where
            yield from _term_contradictions(where, terms)


def _offers_with_keys(table: Backend) -> Iterator[tuple[str, str, Terms]]:
    """(key within the table, offer name, terms) of each offer."""
    if isinstance(table, McpTable):
        for tool, terms in table.tools.items():
            yield f"tools.{tool}", terms.offer, terms
        return
    for name, of_offer in offer_terms(table).items():
        yield "", name, of_offer


def _term_contradictions(where: str, terms: Terms) -> Iterator[ConfigError]:
    if len(terms.prices) > MAX_PRICE_LINES:
        yield ConfigError(f"{where}.prices", f"{len(terms.prices)} units", f"at most {MAX_PRICE_LINES} priced units")
    yield from _unit_contradictions(f"{where}.prices", terms.prices)
    yield from _unit_contradictions(f"{where}.energy", terms.energy)
    for unit, energy in terms.energy.items():
        if not energy.lower <= energy.millijoules <= energy.upper:
            found = f"{energy.lower}, {energy.millijoules}, {energy.upper}"
            yield ConfigError(f'{where}.energy."{unit}"', found, "lower ≤ millijoules ≤ upper")


def _unit_contradictions(where: str, units: Mapping[str, object]) -> Iterator[ConfigError]:
    for unit in units:
        if not is_unit(unit):
            names = ", ".join(UNITS)
            yield ConfigError(f'{where}."{unit}"', "an unknown unit", f"x-… or one of: {names}")
