"""Tables of a node's database, in SQLAlchemy Core: the one place that knows their types.

Names and column order are those of `ports.TABLES`. Amounts are minor units, times milliseconds since the
Unix epoch, both 64-bit. A balance may exceed 64 bits, so its sides are decimal text. Natural keys have no
second B-tree (WITHOUT ROWID). A change here needs a migration and a higher `SCHEMA_VERSION`.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.types import TypeEngine

from intertie_node.ports import TABLES

SCHEMA_VERSION: Final = 2
"""Number of the newest migration; the file keeps its own in `PRAGMA user_version`."""

APPLICATION_ID: Final = 0x49545445
"""`PRAGMA application_id` of a node's database ("ITTE")."""

APPEND_ONLY: Final = frozenset({"entries", "signatures", "events", "transfers"})
"""Tables whose rows are never replaced."""

PRUNABLE: Final = frozenset({"events"})
"""Append-only tables whose rows may be deleted once their retention has passed."""

DECIMAL_COLUMNS: Final = {"balances": (2, 3)}
"""Positions of columns whose integers are stored as decimal text, by table."""

FIXED_COLUMNS: Final = {"invocations": frozenset({"account", "digest", "offer", "created_at"})}
"""Columns that a row keeps as it was first written, by table: their indexes are left alone when it is replaced."""

_Int = BigInteger().with_variant(Integer(), "sqlite")

_INTEGERS: Final = frozenset(
    {
        "side",
        "seq",
        "signer",
        "acked",
        "number",
        "amount",
        "at",
        "payer",
        "open",
        "created_at",
        "ended_at",
        "updated_at",
        "active",
        "budget",
        "reserved",
        "spent",
        "revoked",
        "direction",
    }
)
_BLOBS: Final = frozenset(
    {
        "bytes",
        "head",
        "record",
        "outcome",
        "agreement",
        "descriptors",
        "value",
        "route",
        "digest",
        "genesis",
        "fingerprint",
        "origin",
        "token_hash",
    }
)
_INTEGER_STATES: Final = frozenset({"invocations", "peerings", "proposals"})
"""Tables whose `state` is an enum's number; elsewhere it is a serialized struct."""

_NULLABLE: Final = {
    "transfers": ("link", "side", "seq", "invocation"),
    "invocations": ("account", "digest", "offer", "ended_at", "record", "outcome"),
    "accounts": ("token_hash", "budget"),
    "peerings": ("grid", "agreement", "descriptors"),
    "proposals": ("fingerprint", "grid", "agreement", "descriptors"),
    "settings": ("value",),
}
"""Columns that may say "none"."""


def _type_of(table: str, column: str) -> TypeEngine[Any]:
    if column == "state":
        return _Int if table in _INTEGER_STATES else LargeBinary()
    if column in _INTEGERS:
        return _Int
    return LargeBinary() if column in _BLOBS else Text()


def _build(metadata: MetaData, name: str) -> Table:
    names, key = TABLES[name]
    columns = [
        Column(
            column,
            _type_of(name, column),
            primary_key=position < key,
            autoincrement=False,
            nullable=column in _NULLABLE.get(name, ()),
        )
        for position, column in enumerate(names)
    ]
    if not key:
        columns.insert(0, Column("rowid", _Int, primary_key=True))
    return Table(name, metadata, *columns, sqlite_with_rowid=not key)


def _add_indexes(tables: dict[str, Table]) -> None:
    invocations, holds = tables["invocations"], tables["holds"]
    of_consumers = text("account IS NOT NULL")
    Index("invocations_by_account", invocations.c.account, invocations.c.id, sqlite_where=of_consumers)
    Index("invocations_active", invocations.c.active, sqlite_where=text("active = 1"))
    Index("holds_open", holds.c.link, holds.c.open, sqlite_where=text("open > 0"))


def _build_all() -> tuple[MetaData, dict[str, Table]]:
    metadata = MetaData()
    tables = {name: _build(metadata, name) for name in TABLES}
    _add_indexes(tables)
    return metadata, tables


METADATA, SCHEMA = _build_all()
"""All tables; `SCHEMA` has them by name."""
