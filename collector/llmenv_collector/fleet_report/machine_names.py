"""Machines with one hostname are told apart wherever a report names them: by the beginning of the id.

Without it a list of hostnames would count two machines as one, and a failure that somebody took note of on
one of them would excuse the other's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.fleet_report.period import Period

# An id begins with the time to the millisecond, which is 13 characters of it.
SHARED_NAME = """
CREATE OR REPLACE TEMP TABLE shared_name AS
SELECT machine_id, hostname,
       hostname || ' (' || CASE WHEN count(*) OVER (PARTITION BY hostname, left(machine_id::VARCHAR, 13)) > 1
                                THEN machine_id::VARCHAR ELSE left(machine_id::VARCHAR, 13) END || ')' AS name
FROM (
  SELECT machine_id, hostname FROM store.machine
  WHERE NOT list_contains($gone::VARCHAR[], machine_id::VARCHAR)
  UNION SELECT machine_id, hostname FROM period_run
) QUALIFY count(*) OVER (PARTITION BY hostname) > 1
"""
TELL_APART = """
UPDATE period_run SET hostname = shared_name.name FROM shared_name
WHERE shared_name.machine_id = period_run.machine_id AND shared_name.hostname = period_run.hostname
"""


def tell_apart(connection: duckdb.DuckDBPyConnection, period: Period) -> None:
    """Makes `shared_name` of those that have runs in the period or are in service, and names runs by it."""
    connection.execute(SHARED_NAME, {"gone": sorted(period.revoked | period.retired)})
    if connection.execute("SELECT 1 FROM shared_name LIMIT 1").fetchone():
        connection.execute(TELL_APART)
