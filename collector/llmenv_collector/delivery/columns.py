"""Rows as Arrow columns, and their way into DuckDB in bulk.

The types are those of the tables themselves, so the migrations are the one
place that states them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from llmenv_collector.delivery.rows import Row


class Tables:
    """Inserts rows into the tables of schema `store` of one connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        names = connection.sql(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'store'"
        ).fetchall()
        self._schemas = {name: self._schema(name) for (name,) in names}

    def _schema(self, table: str) -> pa.Schema:
        return self._connection.sql(f"SELECT * FROM store.{table} LIMIT 0").to_arrow_table().schema  # noqa: S608 (our own names)

    def of_records(self) -> list[str]:
        """Tables whose rows name the record that they came from."""
        return sorted(
            name
            for name, schema in self._schemas.items()
            if name != "rejection" and "record_id" in schema.names
        )

    def arrow(self, table: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
        schema = self._schemas[table]
        columns = [pa.array([row[column.name] for row in rows], type=column.type) for column in schema]
        return pa.Table.from_arrays(columns, schema=schema)

    def insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        self._run(f"INSERT INTO store.{table} BY NAME SELECT * FROM incoming", table, rows)  # noqa: S608 (our own names)

    def insert_new(self, table: str, rows: Sequence[dict[str, Any]], *, key: str) -> None:
        """Only rows whose key is not in the table yet."""
        self._run(
            f"INSERT INTO store.{table} BY NAME SELECT * FROM incoming"  # noqa: S608 (our own names)
            f" WHERE {key} NOT IN (SELECT {key} FROM store.{table})",
            table,
            rows,
        )

    def merge(
        self,
        table: str,
        rows: Iterable[dict[str, Any]],
        *,
        key: str | tuple[str, ...],
        updates: dict[str, str] | None = None,
    ) -> None:
        """Rows replace those of the same key, or are added; of several with one key the last holds.

        `updates` gives an expression over `old` and `new` for columns that are not simply replaced.
        """
        keys = (key,) if isinstance(key, str) else key
        latest = {tuple(row[name] for name in keys): row for row in rows}
        if not latest:
            return
        names = [name for name in self._schemas[table].names if name not in keys]
        changes = ", ".join(f"{name} = {(updates or {}).get(name, f'new.{name}')}" for name in names)
        same = " AND ".join(f"old.{name} = new.{name}" for name in keys)
        self._run(
            f"MERGE INTO store.{table} AS old USING incoming AS new ON {same}"
            f" WHEN MATCHED THEN UPDATE SET {changes} WHEN NOT MATCHED THEN INSERT BY NAME",
            table,
            list(latest.values()),
        )

    def _run(self, statement: str, table: str, rows: Sequence[dict[str, Any]]) -> None:
        self._connection.register("incoming", self.arrow(table, rows))
        self._connection.execute(statement)
        # Not after an error: in an aborted transaction this would fail too, and hide the cause.
        self._connection.unregister("incoming")


def by_table(rows: Iterable[Row]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for table, values in rows:
        grouped.setdefault(table, []).append(values)
    return grouped
