"""What does not pass now, each cause once, with the machines that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2

from llmenv_collector import clock
from llmenv_collector.queries import status_of

if TYPE_CHECKING:
    import duckdb

FINDINGS = """
CREATE OR REPLACE TEMP TABLE finding AS
WITH cause AS (
  SELECT check_name, status, remedy_id, cause, arg_max(result_id, started_at) AS result_id,
         arg_max(machine_id, started_at) AS machine_id, list_sort(list(DISTINCT hostname)) AS hostnames,
         count(DISTINCT machine_id) AS machines
  FROM latest_result WHERE status <> 'pass' GROUP BY ALL
), first_seen AS (
  SELECT result.check_name, result.status, result.remedy_id, result.cause,
         min(run.started_at) AS first_seen_at
  FROM found_result AS result JOIN period_run AS run USING (run_no)
  WHERE result.status <> 'pass' GROUP BY ALL
)
SELECT cause.*, first_seen.first_seen_at
FROM cause JOIN first_seen ON first_seen.check_name = cause.check_name AND first_seen.status = cause.status
  AND first_seen.remedy_id = cause.remedy_id AND first_seen.cause = cause.cause
"""
# The message of one result a cause, and of no other.
ROWS = """
SELECT finding.check_name, finding.status, finding.remedy_id, result.message, finding.hostnames,
       finding.cause, epoch_us(finding.first_seen_at)
FROM finding JOIN store.result AS result USING (machine_id, result_id)
ORDER BY finding.machines DESC, finding.check_name, finding.status, finding.cause
"""


def findings(connection: duckdb.DuckDBPyConnection) -> list[messages.FindingRow]:
    """The most frequent first; the reason is that of the newest result."""
    connection.execute(FINDINGS)
    rows = connection.execute(ROWS).fetchall()
    return [
        messages.FindingRow(
            check_name=check_name,
            status=status_of(status),
            reason=result_pb2.Result.FromString(message).reason,
            remedy_id=remedy_id,
            hostnames=hostnames,
            cause=cause,
            first_seen_at=clock.to_timestamp(first_seen),
        )
        for check_name, status, remedy_id, message, hostnames, cause, first_seen in rows
    ]
