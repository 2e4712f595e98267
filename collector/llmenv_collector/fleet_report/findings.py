"""What does not pass now, each cause once, with the machines that have it.

A cause that somebody took note of on some of its machines is two rows: what they know of, and the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2

from llmenv_collector import clock
from llmenv_collector.fleet.queries import status_of

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.fleet_report.period import Period

# As it was known at the report's time.
KNOWN = """
CREATE OR REPLACE TEMP TABLE known_failure AS
SELECT * FROM store.acknowledgement
WHERE acknowledged_at <= make_timestamptz($as_of) AND expires_at > make_timestamptz($as_of)
  AND (withdrawn_at IS NULL OR withdrawn_at > make_timestamptz($as_of))
"""
FINDINGS = """
CREATE OR REPLACE TEMP TABLE finding AS
WITH failing AS (
  SELECT check_name, status, remedy_id, cause, result_id, machine_id, hostname, started_at
  FROM latest_result WHERE status <> 'pass'
), noted AS (
  SELECT one.*, arg_max(known.acknowledgement_id, known.expires_at) AS acknowledgement_id
  FROM (SELECT DISTINCT check_name, status, remedy_id, cause, machine_id FROM failing) AS one
  JOIN known_failure AS known ON known.check_name = one.check_name
    AND list_contains(known.statuses, one.status)
    AND (known.remedy_id IS NULL OR known.remedy_id = one.remedy_id)
    AND (known.cause IS NULL OR known.cause = one.cause)
    AND (len(known.machine_ids) = 0 OR list_contains(known.machine_ids, one.machine_id))
  GROUP BY ALL
), cause AS (
  SELECT check_name, status, remedy_id, cause, acknowledgement_id,
         arg_max(result_id, started_at) AS result_id, arg_max(machine_id, started_at) AS machine_id,
         list_sort(list(DISTINCT hostname)) AS hostnames, count(DISTINCT machine_id) AS machines
  FROM failing LEFT JOIN noted USING (check_name, status, remedy_id, cause, machine_id) GROUP BY ALL
), first_seen AS (
  SELECT result.check_name, result.status, result.remedy_id, result.cause,
         min(run.started_at) AS first_seen_at
  FROM found_result AS result JOIN period_run AS run USING (run_no)
  WHERE result.status <> 'pass' GROUP BY ALL
)
SELECT * FROM cause JOIN first_seen USING (check_name, status, remedy_id, cause)
"""
# The message of one result a cause, and of no other.
ROWS = """
SELECT finding.check_name, finding.status, finding.remedy_id, result.message, finding.hostnames,
       finding.cause, epoch_us(finding.first_seen_at), known.reason, known.acknowledged_by,
       epoch_us(known.acknowledged_at), epoch_us(known.expires_at)
FROM finding JOIN store.result AS result USING (machine_id, result_id)
LEFT JOIN known_failure AS known USING (acknowledgement_id)
ORDER BY finding.machines DESC, finding.check_name, finding.status, finding.cause, finding.remedy_id,
         acknowledgement_id
"""


def findings(connection: duckdb.DuckDBPyConnection, period: Period) -> list[messages.FindingRow]:
    """The most frequent first; the reason is that of the newest result."""
    connection.execute(KNOWN, {"as_of": period.as_of})
    connection.execute(FINDINGS)
    return [finding(row) for row in connection.execute(ROWS).fetchall()]


def finding(row: tuple[Any, ...]) -> messages.FindingRow:
    check_name, status, remedy_id, message, hostnames, cause, first_seen, *noted = row
    return messages.FindingRow(
        check_name=check_name,
        status=status_of(status),
        reason=result_pb2.Result.FromString(message).reason,
        remedy_id=remedy_id,
        hostnames=hostnames,
        cause=cause,
        first_seen_at=clock.to_timestamp(first_seen),
        acknowledgement=None if noted[0] is None else acknowledgement(*noted),
    )


def acknowledgement(reason: str, by: str, at: int, expires_at: int) -> messages.Acknowledgement:
    return messages.Acknowledgement(
        reason=reason,
        acknowledged_by=by,
        acknowledged_at=clock.to_timestamp(at),
        expires_at=clock.to_timestamp(expires_at),
    )
