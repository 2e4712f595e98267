"""What people call a machine, in place of the hostname that it says, in everything that the store answers.

The store has a copy of the names in the identity file.  Rows that come are given the name, and those that are
there when a name changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMED_TABLES = ("machine", "run")
"""Their rows have a hostname."""


def read(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """By machine id."""
    return dict(connection.execute("SELECT machine_id::VARCHAR, name FROM store.machine_name").fetchall())


def write(connection: duckdb.DuckDBPyConnection, names: Mapping[str, str]) -> None:
    """These and no others, in one transaction."""
    connection.execute("BEGIN")
    try:
        connection.execute("DELETE FROM store.machine_name")
        connection.execute(
            "INSERT INTO store.machine_name SELECT unnest(?::UUID[]), unnest(?::VARCHAR[])",
            [list(names), list(names.values())],
        )
        for table in NAMED_TABLES:
            connection.execute(
                f"UPDATE store.{table} AS named SET hostname = name FROM store.machine_name AS given"  # noqa: S608 (our own names)
                " WHERE named.machine_id = given.machine_id AND hostname <> name"
            )
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def named(rows: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """The same rows, with what people call their machines for a hostname."""
    if not names:
        return rows
    given = pa.array([names.get(machine) for machine in rows["machine_id"].to_pylist()], pa.string())
    column = rows.schema.get_field_index("hostname")
    return rows.set_column(column, "hostname", pc.coalesce(given, rows["hostname"]))
