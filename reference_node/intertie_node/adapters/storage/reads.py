"""SQL of the reads of `ports.Store`: compiled once from the schema, with named parameters."""

from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, func, literal_column, select
from sqlalchemy.dialects import sqlite

from intertie_node.adapters.storage.schema import SCHEMA
from intertie_node.ports import TABLES

_DIALECT: Final = sqlite.dialect(paramstyle="named")

_NONE: Final[ColumnElement[int]] = literal_column("0")
_ONE: Final[ColumnElement[int]] = literal_column("1")

_entries = SCHEMA["entries"].c
_signatures = SCHEMA["signatures"].c
_holds = SCHEMA["holds"].c
_invocations = SCHEMA["invocations"].c
_events = SCHEMA["events"].c
_transfers = SCHEMA["transfers"].c


def _sql(statement: Select[Any]) -> str:
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True}))


@cache
def all_rows(table: str) -> str:
    """Every row, in order of the primary key (of making, where there is none)."""
    columns = SCHEMA[table].c
    chosen = [columns[name] for name in TABLES[table][0]]
    return _sql(select(*chosen).order_by(*SCHEMA[table].primary_key.columns))


@cache
def row(table: str) -> str:
    """The row with a key; its columns are the parameters.

    Raises: ValueError for a table without a key.
    """
    names, key = TABLES[table]
    if not key:
        raise ValueError(f"{table} has no key")
    columns = SCHEMA[table].c
    wanted = [columns[name] == bindparam(name) for name in names[:key]]
    return _sql(select(*(columns[name] for name in names)).where(*wanted))


def _signatures_query(*chosen: str) -> Select[Any]:
    """Signatures of a side in order of making. Parameters: link, signer."""
    return (
        select(*(_signatures[name] for name in chosen))
        .where(_signatures.link == bindparam("link"), _signatures.signer == bindparam("signer"))
        .order_by(_signatures.seq, _signatures.acked)
    )


@cache
def invocations_page(of_account: bool, below: bool, in_states: bool) -> str:
    """Newest first. Parameters: limit, and those chosen of account, before, states (a JSON list)."""
    wanted: list[ColumnElement[bool]] = []
    if of_account:
        wanted.append(_invocations.account == bindparam("account"))
    if below:
        wanted.append(_invocations.id < bindparam("before"))
    if in_states:
        states = func.json_each(bindparam("states")).table_valued("value")
        wanted.append(_invocations.state.in_(select(states.c.value)))
    page = select(*_invocations).where(*wanted).order_by(_invocations.id.desc())
    return _sql(page.limit(bindparam("limit")).offset(_NONE))


OPEN_HOLDS: Final = _sql(select(*_holds).where(_holds.link == bindparam("link"), _holds.open > _NONE))
ACTIVE_INVOCATIONS: Final = _sql(select(*_invocations).where(_invocations.active == _ONE).order_by(_invocations.id))
NEWEST_INVOCATION_ID: Final = _sql(
    select(func.max(_invocations.id)).where(_invocations.account == bindparam("account"))
)
ENTRIES: Final = _sql(
    select(_entries.seq, _entries.bytes, _entries.head)
    .where(
        _entries.link == bindparam("link"),
        _entries.side == bindparam("side"),
        _entries.seq > bindparam("after"),
        _entries.seq <= bindparam("upto"),
    )
    .order_by(_entries.seq)
)
SIGNATURES: Final = _sql(
    _signatures_query("seq", "acked", "bytes").where(
        _signatures.seq > bindparam("after"), _signatures.seq <= bindparam("upto")
    )
)
LAST_SIGNATURE: Final = _sql(
    _signatures_query("bytes")
    .order_by(None)
    .order_by(_signatures.seq.desc(), _signatures.acked.desc())
    .limit(_ONE)
    .offset(_NONE)
)
EVENTS: Final = _sql(
    select(_events.number, _events.bytes)
    .where(_events.invocation == bindparam("invocation"), _events.number > bindparam("after"))
    .order_by(_events.number)
)
TRANSFERS_PAGE: Final = _sql(
    select(*_transfers)
    .where(_transfers.rowid < bindparam("before"))
    .order_by(_transfers.rowid.desc())
    .limit(bindparam("limit"))
    .offset(_NONE)
)
