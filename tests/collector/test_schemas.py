"""Databases of every earlier schema are brought forward with all their rows, and served.

A database at schema N is made by the first N migrations, with a row in each table.
Beside that, whatever lies in tests/collector/schemas (databases that released
versions wrote, NNNN.duckdb) is brought forward too: one is added at each release.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from llmenv_collector.storage import migrate
from llmenv_collector.storage.migrate import Migration
from llmenv_collector.storage.store import Store

from .conftest import run_command

if TYPE_CHECKING:
    import duckdb

SCHEMAS = Path(__file__).parent / "schemas"
RELEASED = sorted(SCHEMAS.glob("*.duckdb"))
MIGRATIONS = migrate.shipped()
NEXT = Migration(
    version=MIGRATIONS[-1].version + 1,
    name="later",
    statements="""
        ALTER TABLE store.record ADD COLUMN doubt VARCHAR;
        UPDATE store.record SET doubt = 'none';
        CREATE TABLE store.later (a INTEGER);
    """,
)


def value_of(data_type: str) -> str:
    """A value of SQL for a column of this type."""
    return {"UUID": "uuid()", "BLOB": "''::BLOB", "BOOLEAN": "true", "DATE": "current_date"}.get(
        data_type, "now()" if data_type.startswith("TIMESTAMP") else typed(data_type)
    )


def typed(data_type: str) -> str:
    if data_type.endswith("[]"):
        return f"[]::{data_type}"
    if data_type.startswith("STRUCT"):
        return "NULL"
    if data_type.startswith("MAP"):
        return f"MAP {{}}::{data_type}"
    return f"'7'::{data_type}"


def fill(connection: duckdb.DuckDBPyConnection) -> None:
    """One row in each table of the store."""
    columns = connection.execute("""
        SELECT table_name, list(data_type ORDER BY column_index) FROM duckdb_columns()
        WHERE schema_name = 'store' AND table_name <> 'schema_version' GROUP BY table_name
    """).fetchall()
    for table, types in columns:
        connection.execute(f"INSERT INTO store.{table} VALUES ({', '.join(map(value_of, types))})")


def counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    tables = connection.execute(
        "SELECT table_name FROM duckdb_tables()"
        " WHERE schema_name = 'store' AND table_name <> 'schema_version'"
    ).fetchall()
    return {
        table: connection.execute(f"SELECT count(*) FROM store.{table}").fetchall()[0][0]
        for (table,) in tables
    }


def at_schema(path: Path, version: int) -> dict[str, int]:
    """A filled database of that schema; rows by table."""
    connection = migrate.connect(path)
    connection.execute(migrate.VERSION_TABLE)
    for migration in MIGRATIONS[:version]:
        migrate.apply(connection, migration)
    fill(connection)
    held = counts(connection)
    connection.close()
    return held


def require_served(path: Path, held: dict[str, int]) -> None:
    """It opens as the newest, every row is there, and every view answers."""
    store = Store(path)
    with store.reader() as connection:
        assert migrate.current_version(connection) == MIGRATIONS[-1].version
        now = counts(connection)
        assert {table: now.get(table) for table in held} == held
        views = connection.execute("SELECT view_name FROM duckdb_views() WHERE schema_name = 'v1'").fetchall()
        for (view,) in views:
            connection.execute(f"SELECT * FROM v1.{view}").fetchall()
    store.close()


@pytest.mark.parametrize("version", [migration.version for migration in MIGRATIONS])
def test_every_earlier_schema_is_brought_forward(tmp_path: Path, version: int) -> None:
    """With a row in each table that it had."""
    path = tmp_path / "llmenv.duckdb"
    held = at_schema(path, version)
    assert held["record"] == 1
    require_served(path, held)


def test_a_step_after_the_newest_keeps_what_is_there(tmp_path: Path) -> None:
    """What the next release will do, done today: a column with values, and a table."""
    path = tmp_path / "llmenv.duckdb"
    held = at_schema(path, MIGRATIONS[-1].version)
    connection = migrate.connect(path)
    assert [one.name for one in migrate.migrate(connection, migrations=[*MIGRATIONS, NEXT])] == ["later"]
    assert counts(connection) == held | {"later": 0}
    assert connection.execute("SELECT doubt FROM store.record").fetchall() == [("none",)]
    connection.close()


@pytest.mark.parametrize("database", RELEASED, ids=lambda path: path.stem)
def test_databases_of_released_versions_are_brought_forward(tmp_path: Path, database: Path) -> None:
    """As their versions wrote them."""
    path = Path(shutil.copy(database, tmp_path / "llmenv.duckdb"))
    connection = migrate.connect(path)
    held: dict[str, Any] = counts(connection)
    connection.close()
    require_served(path, held)


def test_released_steps_are_not_changed() -> None:
    """A step that a lab may have applied stays as it is; schemas/released.txt has the SHA-256 of each."""
    released = dict(
        line.split()
        for line in (SCHEMAS / "released.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    now = {one.name: hashlib.sha256(one.statements.encode()).hexdigest() for one in MIGRATIONS}
    assert {name: now.get(name) for name in released} == released
    assert [path.stem for path in RELEASED] == sorted(name[:4] for name in released)


def test_the_command_brings_a_stopped_collector_forward(tmp_path: Path) -> None:
    """Beforehand, instead of when it serves; a second time there is nothing to do."""
    folder = tmp_path / "data"
    run_command("init", "--data", str(folder))
    (folder / "llmenv.duckdb").unlink()
    connection = migrate.connect(folder / "llmenv.duckdb")
    connection.close()
    first = run_command("migrate", "--data", str(folder))
    assert [f"Applied {one.name}." for one in MIGRATIONS] == first.stderr.splitlines()[:-1]
    again = run_command("migrate", "--data", str(folder))
    assert again.stderr == f"The schema is at {MIGRATIONS[-1].version}.\n"
