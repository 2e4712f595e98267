"""What a report looks at: runs of a period, of chosen machines and checks, as it was known at a time.

Laid out as temporary tables of the reading connection, which every section reads:

- `period_run`: one row a run;
- `period_result`: one row a result, with what of its run and machine is compared;
- `latest_result`: of these the newest of each check in each environment on each machine and device;
- `compared`: one row a measurement that may be compared, see SET_ASIDE;
- `set_aside`: results whose measurements may not, by reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

DAY_MICROSECONDS = 86_400_000_000
DEFAULT_DAYS = 30


@dataclass(frozen=True)
class Period:
    """Times are microseconds since 1970, of the collector's clock."""

    as_of: int
    since: int
    machines: frozenset[str] | None = None
    """Ids of the machines that were asked for; None for all."""
    checks: frozenset[str] = frozenset()
    """Names; empty for all."""
    revoked: frozenset[str] = frozenset()
    is_now: bool = True
    """Whether everything that was received counts; else only what was received by `as_of`."""

    @property
    def is_whole_history(self) -> bool:
        return self.since <= 0


RUN = """
CREATE OR REPLACE TEMP TABLE period_run AS
SELECT run_id, machine_id, hostname, chip, gpu_cores, memory_bytes, os_name, os_version, os_build,
       is_apple_silicon, environment_id, environment_name, suite, device, started_at
FROM store.run
WHERE started_at >= make_timestamptz($since) AND started_at <= make_timestamptz($as_of)
  AND NOT list_contains($revoked::VARCHAR[], machine_id::VARCHAR)
  AND ($machines IS NULL OR list_contains($machines::VARCHAR[], machine_id::VARCHAR))
  AND ($is_now OR record_id IN (
    SELECT record_id FROM store.record WHERE received_at <= make_timestamptz($as_of)))
"""
RESULT = """
CREATE OR REPLACE TEMP TABLE period_result AS
SELECT result.result_id, result.machine_id, result.run_id, result.sequence, result.check_name,
       result.definition_hash, result.parameters_json, result.status, result.cause, result.remedy_id,
       result.measurements_withheld,
       run.hostname, run.chip, run.gpu_cores, run.memory_bytes, run.os_version, run.os_build,
       run.environment_id, run.environment_name, run.device, run.started_at
FROM store.result AS result JOIN period_run AS run USING (machine_id, run_id)
WHERE (len($checks::VARCHAR[]) = 0 OR list_contains($checks::VARCHAR[], result.check_name))
  AND ($is_now OR result.record_id IN (
    SELECT record_id FROM store.record WHERE received_at <= make_timestamptz($as_of)))
"""
LATEST = """
CREATE OR REPLACE TEMP TABLE latest_result AS SELECT * FROM period_result
QUALIFY row_number() OVER (
  PARTITION BY machine_id, environment_name, device, check_name ORDER BY started_at DESC, sequence DESC
) = 1
"""
SET_ASIDE = """
CREATE OR REPLACE TEMP TABLE judged_result AS
SELECT result.*, CASE
         WHEN result.status NOT IN ('pass', 'warn') THEN 'not_passed'
         WHEN result.measurements_withheld <> '' THEN 'withheld'
         WHEN condition.low_power_mode THEN 'low_power'
         WHEN condition.thermal_pressure NOT IN ('', 'nominal') THEN 'thermal'
         WHEN condition.memory_pressure NOT IN ('', 'normal') THEN 'memory_pressure'
         WHEN condition.power_source = 'battery' THEN 'battery'
       END AS set_aside_for
FROM period_result AS result
LEFT JOIN (SELECT * FROM store.condition WHERE moment = 'before') AS condition USING (machine_id, result_id)
"""
COMPARED = """
CREATE OR REPLACE TEMP TABLE compared AS
SELECT result.machine_id, result.hostname, result.chip, result.gpu_cores, result.memory_bytes,
       result.os_version, result.os_build, result.environment_id, result.environment_name, result.device,
       result.run_id, result.result_id, result.started_at, result.check_name, result.definition_hash,
       result.parameters_json,
       coalesce(measured.case_name, '') AS case_name, measured.name AS measurement, measured.unit,
       measured.direction, measured.value
FROM judged_result AS result JOIN store.measurement AS measured USING (machine_id, result_id)
WHERE result.set_aside_for IS NULL AND isfinite(measured.value) AND measured.value > 0
  AND coalesce(measured.stability, 'stable') <> 'unstable'
"""
REASONS = """
SELECT reason, sum(results)::BIGINT FROM (
  SELECT set_aside_for AS reason, count(*) AS results
  FROM judged_result WHERE set_aside_for IS NOT NULL GROUP BY ALL
  UNION ALL
  SELECT 'unstable', count(DISTINCT (machine_id, result_id)) FROM judged_result AS result
  JOIN store.measurement AS measured USING (machine_id, result_id)
  WHERE result.set_aside_for IS NULL AND measured.stability = 'unstable' HAVING count(*) > 0
) GROUP BY ALL ORDER BY ALL
"""


def lay_out(connection: duckdb.DuckDBPyConnection, period: Period) -> None:
    """Makes the tables of runs and results."""
    known = {
        "since": period.since,
        "as_of": period.as_of,
        "revoked": sorted(period.revoked),
        "machines": None if period.machines is None else sorted(period.machines),
        "is_now": period.is_now,
    }
    connection.execute(RUN, known)
    chosen = {"checks": sorted(period.checks), "as_of": period.as_of, "is_now": period.is_now}
    connection.execute(RESULT, chosen)
    connection.execute(LATEST)


def lay_out_measurements(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes `judged_result` and `compared`, after lay_out."""
    connection.execute(SET_ASIDE)
    connection.execute(COMPARED)


def set_aside(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Results whose measurements are not compared, counts by reason; after lay_out_measurements."""
    return dict(connection.execute(REASONS).fetchall())
