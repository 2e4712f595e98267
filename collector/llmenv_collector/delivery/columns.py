"""The tables of schema `store`, and the way of Arrow columns into them.

The types are those of the tables themselves, so the migrations are the one
place that states them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb


class Arriving:
    """What DuckDB reads as `arriving`: whichever table is there when a statement begins.

    Registered once: a view for every insert would be a third of what a small group costs.
    """

    def __init__(self) -> None:
        self.rows = pa.table({"nothing": pa.nulls(0)})

    @property
    def schema(self) -> pa.Schema:
        """DuckDB asks for it with each statement."""
        return self.rows.schema

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


class Tables:
    """Inserts rows into the tables of schema `store` of one connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._arriving = Arriving()
        connection.register("arriving", self._arriving)
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

    def of_rows(self, table: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
        """For the few rows that are made one by one: values by column, all columns of the table."""
        schema = self._schemas[table]
        columns = [pa.array([row[column.name] for row in rows], type=column.type) for column in schema]
        return pa.Table.from_arrays(columns, schema=schema)

    def insert(self, table: str, rows: pa.Table, *, distinct: bool = False) -> None:
        """Columns that `rows` lacks become NULL; `distinct` leaves out rows that are alike."""
        kind = "DISTINCT" if distinct else "ALL"
        self._run(f"INSERT INTO store.{table} BY NAME SELECT {kind} * FROM arriving", rows)  # noqa: S608 (our own names)

    def merge(
        self,
        table: str,
        rows: pa.Table,
        *,
        key: str | tuple[str, ...],
        updates: Mapping[str, str] | None = None,
    ) -> None:
        """Rows replace those of the same key, or are added; of several with one key the last holds.

        `updates` gives an expression over `old` and `new` for columns that are not simply replaced.
        """
        keys = (key,) if isinstance(key, str) else key
        latest = last_of_each(rows, keys)
        names = [name for name in rows.column_names if name not in keys]
        changes = ", ".join(f"{name} = {(updates or {}).get(name, f'new.{name}')}" for name in names)
        same = " AND ".join(f"old.{name} = new.{name}" for name in keys)
        self._run(
            f"MERGE INTO store.{table} AS old USING arriving AS new ON {same}"
            f" WHEN MATCHED THEN UPDATE SET {changes} WHEN NOT MATCHED THEN INSERT BY NAME",
            latest,
        )

    def _run(self, statement: str, rows: pa.Table) -> None:
        if rows.num_rows == 0:
            return
        self._arriving.rows = rows
        self._connection.execute(statement)


def last_of_each(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Of rows with the same key the last one."""
    columns = (rows[key].to_pylist() for key in keys)
    last = {key: row for row, key in enumerate(zip(*columns, strict=True))}
    return rows if len(last) == rows.num_rows else rows.take(list(last.values()))
