"""Opening files: new, old, newer, foreign, broken; durability read back; one schema, said twice."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from tests.unit.node.storage.samples import add, row

from intertie_node.adapters.storage import SqliteStore, connect, migrate, schema
from intertie_node.core.effects import Changes
from intertie_node.ports import TABLES, StoreFailure


def statements(path: Path) -> set[str]:
    """The SQL that made a file's tables and indexes, without Alembic's own."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {" ".join(sql.split()) for (sql,) in rows if "alembic_version" not in sql}


def execute(path: Path, *lines: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for line in lines:
        connection.execute(line)
    connection.close()


def test_tables_are_those_of_the_ports() -> None:
    found = {}
    for name, table in schema.SCHEMA.items():
        columns = tuple(column.name for column in table.columns if column.name != "rowid")
        keys = [column.name for column in table.primary_key.columns if column.name != "rowid"]
        assert keys == list(columns[: len(keys)])
        found[name] = (columns, len(keys))
    assert found == dict(TABLES)


def test_the_migrations_make_the_schema(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.db"
    engine = create_engine(f"sqlite:///{made}")
    schema.METADATA.create_all(engine)
    engine.dispose()
    assert statements(path) == statements(made)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.METADATA) == []
    engine.dispose()


def elsewhere(path: Path) -> str:
    """What a program of its own finds in the settings; it opens the file and closes it again."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "print(*(name for (name,) in c.execute('SELECT name FROM settings ORDER BY name'))); c.close()"
    )
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def test_a_second_store_of_the_process_leaves_the_first_ones_locks(store: SqliteStore, path: Path) -> None:
    """Without them the next program that closes the file takes the log away, and later commits are lost with it."""
    log = path.with_name(path.name + "-wal")
    store.commit(add(Changes(), "settings", row("settings", 1)))
    SqliteStore(path).close()
    assert elsewhere(path) == "name-1"
    assert log.exists()
    store.commit(add(Changes(), "settings", row("settings", 2)))
    assert elsewhere(path) == "name-1 name-2"


def test_the_newest_migration_is_the_schemas_version() -> None:
    head = ScriptDirectory.from_config(migrate.config()).get_current_head()
    assert head is not None
    assert int(head) == schema.SCHEMA_VERSION


def test_the_log_is_ahead_and_fully_synced(store: SqliteStore, path: Path) -> None:
    writer = connect.open_writer(path)
    assert connect.pragma(writer, "journal_mode") == "wal"
    assert connect.pragma(writer, "temp_store") == 2, "journals of statements are kept in memory"
    assert connect.pragma(writer, "synchronous") == connect.FULL
    assert connect.pragma(writer, "page_size") == connect.PAGE_SIZE
    writer.close()


def test_a_file_without_a_log_ahead_is_refused() -> None:
    with pytest.raises(StoreFailure, match="journal_mode=memory"):
        connect._make_durable(sqlite3.connect(":memory:", isolation_level=None), Path("x"))


def test_less_than_full_is_refused(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(connect, "FULL", 3)
    with pytest.raises(StoreFailure, match="synchronous=2"):
        SqliteStore(path)


def test_the_file_is_the_users_alone(store: SqliteStore, path: Path) -> None:
    store.commit(add(Changes(), "settings", row("settings", 1)))
    files = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3


def test_reads_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(StoreFailure, match="readonly"):
        store._read("DELETE FROM settings")


def test_a_newer_schema_is_refused(store: SqliteStore, path: Path) -> None:
    store.close()
    execute(path, f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    wanted = f"schema version {schema.SCHEMA_VERSION + 1}.*up to {schema.SCHEMA_VERSION}: start the newer"
    with pytest.raises(StoreFailure, match=wanted):
        SqliteStore(path)


def test_another_programs_file_is_refused(path: Path) -> None:
    execute(path, "CREATE TABLE t (a)")
    with pytest.raises(StoreFailure, match="another program"):
        SqliteStore(path)
    assert statements(path) == {"CREATE TABLE t (a)"}


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"hello, " * 1000)
    with pytest.raises(StoreFailure, match="not a database"):
        SqliteStore(path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreFailure, match="missing"):
        SqliteStore(tmp_path / "missing" / "node.db")


def test_a_failed_migration_leaves_nothing(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "APPLICATION_ID", "not a number (")
        with pytest.raises(StoreFailure):
            SqliteStore(path)
    assert statements(path) == set()
    SqliteStore(path).close()
    assert statements(path)


def test_a_migration_this_program_lacks_is_refused(store: SqliteStore, path: Path) -> None:
    store.close()
    execute(path, "UPDATE alembic_version SET version_num = 'x'", "PRAGMA user_version = 0")
    with pytest.raises(StoreFailure, match="lacks its migrations"):
        SqliteStore(path)


def test_alembic_is_imported_only_to_migrate(store: SqliteStore, path: Path) -> None:
    store.close()
    code = (
        "import sys; from pathlib import Path; from intertie_node.adapters.storage import SqliteStore;"
        "SqliteStore(Path(sys.argv[1])).close(); print('alembic' in sys.modules)"
    )
    found = [
        subprocess.run([sys.executable, "-c", code, str(file)], check=True, capture_output=True).stdout
        for file in (path, path.with_name("new.db"))
    ]
    assert found == [b"False\n", b"True\n"]


def test_closing_twice_is_allowed(store: SqliteStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreFailure, match="closed"):
        store.commit(add(Changes(), "settings", row("settings", 1)))


def test_a_busy_file_fails_the_commit(monkeypatch: pytest.MonkeyPatch, store: SqliteStore, path: Path) -> None:
    store._writer.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFailure, match="end the other program"):
        store.commit(add(Changes(), "settings", row("settings", 1)))
    other.close()
