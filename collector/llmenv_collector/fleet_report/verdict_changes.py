"""When a check of a machine began or ceased to end well: at once, without a test.

Only the last such change of each check in each environment, on each machine and device: a check
whose verdict goes back and forth is a row of the flaky ones.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.fleet.queries import status_of
from llmenv_collector.fleet_report.causes import Changed, causes

if TYPE_CHECKING:
    import duckdb

LAST_CHANGES = """
WITH mixed AS (
  SELECT machine_id, check_name FROM found_result WHERE status NOT IN ('skip', 'unknown')
  GROUP BY machine_id, check_name
  HAVING bool_or(status IN ('pass', 'warn')) AND NOT bool_and(status IN ('pass', 'warn'))
), judged AS (
  SELECT run.machine_id, run.environment_name, run.device, result.check_name, run.started_at, result.sequence,
         result.status, result.result_id, result.status IN ('pass', 'warn') AS ends_well
  FROM found_result AS result JOIN mixed USING (machine_id, check_name) JOIN period_run AS run USING (run_no)
  WHERE result.status NOT IN ('skip', 'unknown')
), suspect AS (
  -- few: what never changed need not be put in order
  SELECT machine_id, environment_name, device, check_name FROM judged
  GROUP BY ALL HAVING bool_or(ends_well) <> bool_and(ends_well)
), beside AS (
  SELECT *, lag(ends_well) OVER one AS ended_well, lag(status) OVER one AS former,
         lag(result_id) OVER one AS former_id
  FROM judged SEMI JOIN suspect USING (machine_id, environment_name, device, check_name)
  WINDOW one AS (
    PARTITION BY machine_id, environment_name, device, check_name ORDER BY started_at, sequence)
)
SELECT beside.machine_id::VARCHAR, coalesce(shared.name, machine.hostname, ''), environment_name, device,
       check_name, former, status, epoch_us(started_at), former_id::VARCHAR, result_id::VARCHAR
FROM beside LEFT JOIN store.machine AS machine USING (machine_id)
LEFT JOIN shared_name AS shared USING (machine_id, hostname)
WHERE ends_well <> ended_well
QUALIFY row_number() OVER (
  PARTITION BY machine_id, environment_name, device, check_name ORDER BY started_at DESC, sequence DESC) = 1
ORDER BY started_at DESC, hostname, check_name
"""
HAVING = """
SELECT DISTINCT result.check_name, run.device, run.machine_id::VARCHAR
FROM found_result AS result JOIN period_run AS run USING (run_no)
WHERE result.status NOT IN ('skip', 'unknown')
"""


def verdict_changes(connection: duckdb.DuckDBPyConnection) -> list[messages.VerdictChangeRow]:
    """The newest first; after period.lay_out."""
    rows = connection.execute(LAST_CHANGES).fetchall()
    if not rows:
        return []
    having: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for check_name, device, machine_id in connection.execute(HAVING).fetchall():
        having[check_name, device].add(machine_id)
    found = causes(connection, [changed_of(row) for row in rows], having)
    return [verdict_change(row, of_row) for row, of_row in zip(rows, found, strict=True)]


def changed_of(row: tuple[Any, ...]) -> Changed:
    machine_id, _, _, device, check_name, _, status, _, former_id, result_id = row
    return Changed(
        machine_id,
        check_name,
        former_id,
        result_id,
        alike=(check_name, device, status in {"pass", "warn"}),
        thing=(check_name, device),
    )


def verdict_change(row: tuple[Any, ...], found: list[messages.CauseRow]) -> messages.VerdictChangeRow:
    machine_id, hostname, environment_name, device, check_name, former, status, started_at, _, _ = row
    return messages.VerdictChangeRow(
        machine_id=machine_id,
        hostname=hostname,
        environment_name=environment_name,
        device=device,
        check_name=check_name,
        before=status_of(former),
        after=status_of(status),
        changed_at=clock.to_timestamp(started_at),
        causes=found,
    )
