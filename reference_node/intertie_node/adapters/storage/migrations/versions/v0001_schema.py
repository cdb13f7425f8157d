"""The first schema. A migration is never edited after its release: it says what was, not what is."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _key(name: str, kind: type[TypeEngine[Any]]) -> sa.Column[Any]:
    return sa.Column(name, kind(), primary_key=True, autoincrement=False, nullable=False)


def _need(name: str, kind: type[TypeEngine[Any]]) -> sa.Column[Any]:
    return sa.Column(name, kind(), nullable=False)


def _may(name: str, kind: type[TypeEngine[Any]]) -> sa.Column[Any]:
    return sa.Column(name, kind(), nullable=True)


def upgrade() -> None:
    """Create all tables."""
    _logs()
    _links()
    _invocations()
    _books()
    _peerings()


def downgrade() -> None:
    """There is nothing older."""
    raise NotImplementedError("version 1 is the first")


def _table(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(name, *columns, sqlite_with_rowid=False)


def _logs() -> None:
    _table(
        "entries",
        _key("link", sa.Text),
        _key("side", sa.Integer),
        _key("seq", sa.Integer),
        _need("bytes", sa.LargeBinary),
        _need("head", sa.LargeBinary),
    )
    _table(
        "signatures",
        _key("link", sa.Text),
        _key("signer", sa.Integer),
        _key("seq", sa.Integer),
        _key("acked", sa.Integer),
        _need("bytes", sa.LargeBinary),
    )
    _table("events", _key("invocation", sa.Text), _key("number", sa.Integer), _need("bytes", sa.LargeBinary))


def _links() -> None:
    _table("links", _key("link", sa.Text), _need("state", sa.LargeBinary))
    _table(
        "holds",
        _key("link", sa.Text),
        _key("payer", sa.Integer),
        _key("seq", sa.Integer),
        _need("open", sa.Integer),
        _need("last_seq", sa.Integer),
        _need("state", sa.LargeBinary),
    )
    op.create_index("holds_open", "holds", ["link", "open"], sqlite_where=sa.text("open > 0"))
    op.create_index("holds_by_last_seq", "holds", ["link", "payer", "last_seq"])


def _invocations() -> None:
    _table(
        "invocations",
        _key("id", sa.Text),
        _may("account", sa.Text),
        _may("digest", sa.LargeBinary),
        _may("offer", sa.Text),
        _need("state", sa.Integer),
        _need("created_at", sa.Integer),
        _may("ended_at", sa.Integer),
        _need("active", sa.Integer),
        _may("record", sa.LargeBinary),
        _may("outcome", sa.LargeBinary),
    )
    op.create_index("invocations_by_account", "invocations", ["account", "id"])
    op.create_index("invocations_active", "invocations", ["active"], sqlite_where=sa.text("active = 1"))


def _books() -> None:
    op.create_table(
        "transfers",
        sa.Column("rowid", sa.Integer(), primary_key=True),
        _need("debit", sa.Text),
        _need("credit", sa.Text),
        _need("amount", sa.Integer),
        _need("asset", sa.Text),
        _need("at", sa.Integer),
        _may("link", sa.Text),
        _may("side", sa.Integer),
        _may("seq", sa.Integer),
        _may("invocation", sa.Text),
    )
    _table(
        "balances",
        _key("name", sa.Text),
        _key("asset", sa.Text),
        _need("debits", sa.Text),
        _need("credits", sa.Text),
    )
    _table(
        "accounts",
        _key("account", sa.Text),
        _may("token_hash", sa.LargeBinary),
        _may("budget", sa.Integer),
        _need("reserved", sa.Integer),
        _need("spent", sa.Integer),
        _need("created_at", sa.Integer),
        _need("revoked", sa.Integer),
    )


def _peerings() -> None:
    _table(
        "peerings",
        _key("genesis", sa.LargeBinary),
        _need("fingerprint", sa.LargeBinary),
        _may("grid", sa.Text),
        _need("state", sa.Integer),
        _may("agreement", sa.LargeBinary),
        _may("descriptors", sa.LargeBinary),
        _need("updated_at", sa.Integer),
    )
    _table(
        "proposals",
        _key("digest", sa.LargeBinary),
        _need("direction", sa.Integer),
        _may("fingerprint", sa.LargeBinary),
        _may("grid", sa.Text),
        _need("state", sa.Integer),
        _may("agreement", sa.LargeBinary),
        _may("descriptors", sa.LargeBinary),
        _need("at", sa.Integer),
    )
    _table("routes", _key("link", sa.Text), _key("origin", sa.LargeBinary), _need("route", sa.LargeBinary))
    _table(
        "offers",
        _key("digest", sa.LargeBinary),
        _need("origin", sa.LargeBinary),
        _need("name", sa.Text),
        _need("bytes", sa.LargeBinary),
    )
    _table("settings", _key("name", sa.Text), _may("value", sa.LargeBinary))
