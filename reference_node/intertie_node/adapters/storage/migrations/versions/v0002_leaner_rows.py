"""Leaner rows: a hold's terms stand in its order alone, and only consumers' invocations name an account.

Up to version 1 the row of a hold held all of it, by field name, and an index found holds by their last seq.
"""

from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOVED = ("grants", "state", "claims", "credits", "ended_seq", "canceled")


def upgrade() -> None:
    """Convert every row of `holds` and `invocations`."""
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.create_function("moved", 1, _moved, deterministic=True)
    op.drop_index("holds_by_last_seq", "holds")
    op.drop_index("holds_open", "holds")
    op.rename_table("holds", "holds_1")
    op.create_table(
        "holds",
        sa.Column("link", sa.Text(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("payer", sa.Integer(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO holds SELECT link, payer, seq, open, moved(state) FROM holds_1")
    op.drop_table("holds_1")
    op.create_index("holds_open", "holds", ["link", "open"], sqlite_where=sa.text("open > 0"))
    op.drop_index("invocations_by_account", "invocations")
    op.execute("UPDATE invocations SET account = NULL WHERE account LIKE 'link:%'")
    op.create_index(
        "invocations_by_account", "invocations", ["account", "id"], sqlite_where=sa.text("account IS NOT NULL")
    )


def downgrade() -> None:
    """Terms are not written back."""
    raise NotImplementedError("restore the copy made before the upgrade")


def _moved(state: bytes) -> bytes:
    """What has moved of a hold, without the terms of its order."""
    hold = msgspec.msgpack.decode(state)
    return msgspec.msgpack.encode([hold[name] for name in _MOVED])
