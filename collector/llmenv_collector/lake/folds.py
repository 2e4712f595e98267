"""What readers see of a lake: every table as it is in a file, and the views of schema v1 over them.

A lake is only added to while agents deliver, so that collectors do not wait for each other: tables that have
one row a key in a file get a row for each change there, and these statements fold them.  `rowid` rises with
each commit.  All of it lies in the memory of one process; the lake itself holds no views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.lake.place import LAKE
from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    import duckdb

LATEST = (
    "SELECT * FROM lake.store.{table}"
    " QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order} DESC) = 1"
)
FOLDED = {
    "watermark": LATEST.format(table="watermark", key="spool_id", order="sequence"),
    "machine": LATEST.format(table="machine", key="machine_id", order="rowid"),
    "spool_ledger": LATEST.format(table="spool_ledger", key="spool_id", order="said_at"),
    "delivery_day": """
        SELECT machine_id, day, sum(stored)::UBIGINT AS stored, sum(rejected)::UBIGINT AS rejected,
               sum(dropped)::UBIGINT AS dropped
        FROM lake.store.delivery_day GROUP BY ALL
    """,
    "machine_sighting": """
        SELECT machine_id, min(enrolled_at) AS enrolled_at, max(last_seen_at) AS last_seen_at,
               coalesce(arg_max(nullif(agent_version, ''), last_seen_at), '') AS agent_version,
               max(doubled_at) AS doubled_at
        FROM lake.store.machine_sighting GROUP BY ALL
    """,
    # Content-addressed: two collectors may meet the same one at once.
    "environment": "SELECT DISTINCT * FROM lake.store.environment",
    "environment_package": "SELECT DISTINCT * FROM lake.store.environment_package",
}
"""Tables that get more rows than they have keys, and what they mean."""
# A report names a measurement by its row, as it can in a file.
READ = FOLDED | {"measurement": "SELECT *, rowid FROM lake.store.measurement"}


def lay(connection: duckdb.DuckDBPyConnection) -> None:
    """Anew, after the lake's tables have changed; in one transaction, which asks the catalog once."""
    connection.execute("BEGIN")
    tables = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'store'", [LAKE]
    ).fetchall()
    connection.execute("CREATE SCHEMA IF NOT EXISTS store; CREATE SCHEMA IF NOT EXISTS v1;")
    for (table,) in tables:
        rows = READ.get(table, f"SELECT * FROM {LAKE}.store.{table}")  # noqa: S608 (our own names)
        connection.execute(f"CREATE OR REPLACE VIEW store.{table} AS {rows}")
    migrate.lay_views(connection)
    connection.execute("COMMIT")
