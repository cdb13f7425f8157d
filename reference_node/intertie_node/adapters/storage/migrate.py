"""Bringing a database to this code's schema; imported only when it differs, as Alembic is slow to import."""

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from intertie_node.adapters.storage.connect import unusable
from intertie_node.adapters.storage.schema import APPLICATION_ID, SCHEMA_VERSION
from intertie_node.ports import StoreFailure

SCRIPTS = "intertie_node.adapters.storage:migrations"


def config() -> Config:
    """Alembic's configuration, without a file."""
    found = Config()
    found.set_main_option("script_location", SCRIPTS)
    found.set_main_option("path_separator", "os")
    return found


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Run all missing migrations on an open connection, in one transaction: all of them or none.

    Raises: StoreFailure; the file is then as it was.
    """
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    try:
        with engine.connect() as bound:
            # The connection is in autocommit mode, so that schema changes take part in this transaction.
            bound.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                _upgrade(bound)
            except BaseException:
                if connection.in_transaction:
                    bound.exec_driver_sql("ROLLBACK")
                raise
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise unusable(path, getattr(error, "orig", None) or error) from error
    except CommandError as error:
        raise StoreFailure(f"{path}: {error}: this program lacks its migrations; restore a copy") from error


def _upgrade(bound: Connection) -> None:
    settings = config()
    settings.attributes["connection"] = bound
    command.upgrade(settings, "head")
    bound.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    bound.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
    bound.exec_driver_sql("COMMIT")
