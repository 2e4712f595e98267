"""Removes from the store what forgotten machines delivered.

It is done again whenever the store opens, so that a restored backup brings nothing of them back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.errors import StoreError
from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmenv_collector.storage.data_folder import DataFolder

TABLES = """
SELECT table_name FROM duckdb_columns()
WHERE schema_name = 'store' AND column_name = 'machine_id' AND NOT internal ORDER BY table_name
"""
TRACES = ("machine", "machine_sighting", "watermark", "rejection")
ORPHANS = (
    """
    DELETE FROM store.environment WHERE environment_id NOT IN (
      SELECT environment_id FROM store.environment_sighting UNION SELECT environment_id FROM store.run)
    """,
    """
    DELETE FROM store.environment_package WHERE environment_id NOT IN (
      SELECT environment_id FROM store.environment)
    """,
)


def forget_now(folder: DataFolder, machine_id: str) -> None:
    """Where no collector serves: one that does has noticed by itself, see `identity_watch`."""
    if folder.read_serving() is not None or not folder.database.exists():
        return
    with folder.lock():
        connection = migrate.connect(folder.database)
        try:
            migrate.migrate(connection)
            forget(connection, [machine_id])
            connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            raise StoreError(f"What the machine delivered cannot be removed: {error}") from error
        finally:
            connection.close()


def forget(connection: duckdb.DuckDBPyConnection, machine_ids: Collection[str]) -> int:
    """Rows removed; everything of these machines, in one transaction."""
    if not machine_ids:
        return 0
    connection.execute("BEGIN")
    try:
        removed = sum(remove(connection, table, machine_ids) for table in tables(connection))
        if removed:
            for statement in ORPHANS:
                connection.execute(statement)
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return removed


def lingering(connection: duckdb.DuckDBPyConnection, machine_ids: Collection[str]) -> frozenset[str]:
    """Of these machines those of which something is stored: all leaves a trace in TRACES."""
    traces = " UNION ".join(f"SELECT machine_id::VARCHAR FROM store.{table}" for table in TRACES)  # noqa: S608 (our own names)
    return frozenset(name for (name,) in connection.execute(traces).fetchall() if name in machine_ids)


def tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Those whose rows are of one machine each."""
    return [name for (name,) in connection.execute(TABLES).fetchall()]


def remove(connection: duckdb.DuckDBPyConnection, table: str, machine_ids: Collection[str]) -> int:
    ((rows,),) = connection.execute(
        f"DELETE FROM store.{table} WHERE list_contains($machines::VARCHAR[], machine_id::VARCHAR)",  # noqa: S608 (our own names)
        {"machines": sorted(machine_ids)},
    ).fetchall()
    return int(rows)
