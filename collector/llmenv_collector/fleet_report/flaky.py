"""Checks whose verdict changes although neither environment, system, definition nor parameters did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

if TYPE_CHECKING:
    import duckdb

# A check that was skipped or never ran has given no verdict.
FLAKY = """
WITH verdict AS (
  SELECT result_no, run_no, definition, check_name, status, sequence FROM found_result
  WHERE status NOT IN ('skip', 'unknown')
), kept AS (
  SELECT run_no, machine_id, environment_name, environment_id, os_build, device, started_at,
         dense_rank() OVER (ORDER BY machine_id, environment_name, environment_id, os_build, device) AS state
  FROM period_run
), suspect AS (
  SELECT state, definition FROM verdict JOIN kept USING (run_no)
  GROUP BY state, definition HAVING min(status) <> max(status)
), step AS (
  SELECT kept.*, check_name, status,
         status <> lag(status) OVER (PARTITION BY state, definition ORDER BY started_at, sequence)
           AS is_change
  FROM verdict JOIN kept USING (run_no) JOIN suspect USING (state, definition)
), counted AS (
  SELECT machine_id, environment_name, device, check_name, status, count(*) AS results,
         count(*) FILTER (is_change) AS changes
  FROM step GROUP BY ALL
)
SELECT machine_id::VARCHAR AS id, hostname, environment_name, device, check_name,
       sum(changes)::BIGINT AS changes, sum(results)::BIGINT AS results, map(list(status), list(results))
FROM counted JOIN (
  SELECT machine_id, arg_max(hostname, started_at) AS hostname FROM period_run GROUP BY machine_id
) USING (machine_id)
GROUP BY ALL ORDER BY changes DESC, hostname, id, environment_name, device, check_name
"""


def flaky(connection: duckdb.DuckDBPyConnection) -> list[messages.FlakyRow]:
    """What changes most often first."""
    return [
        messages.FlakyRow(
            machine_id=machine_id,
            hostname=hostname,
            environment_name=environment,
            device=device,
            check_name=check_name,
            changes=changes,
            results=results,
            status_counts=counts,
        )
        for machine_id, hostname, environment, device, check_name, changes, results, counts in (
            connection.execute(FLAKY).fetchall()
        )
    ]
