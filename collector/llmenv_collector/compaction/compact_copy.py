"""A copy of the database in a file of its own, as large as what is in it.

First everything that is stored is copied, which takes its time and holds nobody up; then what came meanwhile.
Tables of records are only added to, so of these the later rows follow; the others are small and copied again.
Rows keep their places only as long as no checkpoint is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

BATCH_ROWS = 100_000
# Rows of runs are changed when a machine is given a name, and those of rejections when they are confirmed.
TABLES = """
SELECT table_name,
       bool_or(column_name = 'record_id') AND table_name NOT IN ('run', 'rejection') AS is_added_to
FROM duckdb_columns() WHERE schema_name = 'store' AND database_name = current_database()
GROUP BY table_name ORDER BY table_name
"""


class CompactCopy:
    """Begins with a new file at `path`; close() it before it is used or removed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        remove(path)
        self._connection = migrate.connect(path)
        migrate.migrate(self._connection)
        self._copied: dict[str, int] = {}
        """Last place of each table that is only added to."""

    def fill(self, source: duckdb.DuckDBPyConnection) -> None:
        """With what one transaction of `source` sees."""
        for table, is_added_to in tables_of(source):
            if is_added_to:
                self._copy_later(source, table)

    def catch_up(self, source: duckdb.DuckDBPyConnection) -> bool:
        """Whether it has all rows of `source` now; if not, it is of no use: rows were removed meanwhile."""
        for table, is_added_to in tables_of(source):
            if is_added_to:
                self._copy_later(source, table)
            else:
                self._connection.execute(f"DELETE FROM store.{table}")  # noqa: S608 (our own names)
                self._copy(source, table, "true")
        self._connection.execute("CHECKPOINT")
        return all(count(source, table) == count(self._connection, table) for table, _ in tables_of(source))

    def close(self) -> None:
        self._connection.close()

    def _copy_later(self, source: duckdb.DuckDBPyConnection, table: str) -> None:
        copied = self._copied.get(table, -1)
        ((last,),) = source.execute(f"SELECT coalesce(max(rowid), -1) FROM store.{table}").fetchall()  # noqa: S608 (our own names)
        if last > copied:
            self._copy(source, table, f"rowid > {copied}")
        self._copied[table] = max(last, copied)

    def _copy(self, source: duckdb.DuckDBPyConnection, table: str, condition: str) -> None:
        """In the order of the rows, a batch at a time."""
        rows = source.sql(f"SELECT * FROM store.{table} WHERE {condition}").to_arrow_reader(BATCH_ROWS)  # noqa: S608 (our own names)
        self._connection.register("rows", rows)
        self._connection.execute(f"INSERT INTO store.{table} BY NAME SELECT * FROM rows")  # noqa: S608 (our own names)
        self._connection.unregister("rows")


def tables_of(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, bool]]:
    """Each with whether rows are only added to it."""
    tables: list[tuple[str, bool]] = connection.execute(TABLES).fetchall()
    return tables


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    ((rows,),) = connection.execute(f"SELECT count(*) FROM store.{table}").fetchall()  # noqa: S608 (our own names)
    return int(rows)


def remove(path: Path) -> None:
    for file in (path, migrate.log_of(path)):
        file.unlink(missing_ok=True)
