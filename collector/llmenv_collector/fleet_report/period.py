"""What a report looks at: runs of a period, of chosen machines and checks, as it was known at a time.

Laid out as temporary tables and views of the reading connection, which every section reads:

- `period_run`: one row a run;
- `shared_name`: machines whose hostname others have too, and what they are called instead;
- `period_result`: one row a result, with what of its run and machine is compared;
- `latest_result`: of these the newest of each check in each environment on each machine and device;
- `judged_result`: `period_result`, and for what its measurements are set aside;
- `series`: one row a series, what may be compared, by a number of this period;
- `compared`: one row a measurement that may be compared.

A year of a thousand machines has fifty million measurements, so the tables behind are narrow: text is kept
once, and rows refer to a run or a result by its row's number.  Ids of results begin with their time, which
DuckDB uses to leave out what lies before the period.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.fleet_report.machine_names import tell_apart

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
    pending: frozenset[str] = frozenset()
    """Ids of machines that wait for approval now, and have delivered nothing."""
    retired: frozenset[str] = frozenset()
    """Ids of machines that deliver no more: what they delivered counts, and nobody misses them."""
    is_now: bool = True
    """Whether everything that was received counts; else only what was received by `as_of`."""
    is_default: bool = False
    """Whether nobody said when it begins."""
    where: str = ""
    """The condition that chose `machines`, as it was asked."""

    @property
    def is_whole_history(self) -> bool:
        return self.since <= 0


RUN = """
CREATE OR REPLACE TEMP TABLE period_run AS
SELECT row_number() OVER () AS run_no, run_id, machine_id, hostname, chip, gpu_cores, memory_bytes, os_name,
       os_version, os_build, is_apple_silicon, environment_id, environment_name, suite, device, started_at
FROM store.run AS run
WHERE started_at >= make_timestamptz($since) AND started_at <= make_timestamptz($as_of)
  AND NOT list_contains($revoked::VARCHAR[], machine_id::VARCHAR)
  AND ($machines IS NULL OR list_contains($machines::VARCHAR[], machine_id::VARCHAR))
"""
RESULT = """
CREATE OR REPLACE TEMP TABLE found_result AS
SELECT row_number() OVER () AS result_no, result.result_id, result.machine_id, run.run_no, result.sequence,
       result.check_name,
       hash(result.check_name, result.definition_hash, result.parameters_json, run.device) AS definition,
       result.status, result.cause, result.remedy_id, result.measurements_withheld
FROM store.result AS result JOIN period_run AS run USING (machine_id, run_id)
WHERE (len($checks::VARCHAR[]) = 0 OR list_contains($checks::VARCHAR[], result.check_name))
"""
# Added only where it decides something, for it has every record looked up.
RECEIVED = """  AND {record}.record_id IN (
    SELECT record_id FROM store.record WHERE received_at <= make_timestamptz($as_of))
"""
# Their texts are long and few: they are read once, from the first result that has each.
DEFINITION = """
CREATE OR REPLACE TEMP TABLE definition AS
SELECT example.definition, result.check_name, run.device, result.definition_hash, result.parameters_json
FROM (SELECT definition, arg_min(machine_id, result_id) AS machine_id, min(result_id) AS result_id,
             arg_min(run_no, result_id) AS run_no
      FROM found_result GROUP BY definition) AS example
JOIN store.result AS result USING (machine_id, result_id) JOIN period_run AS run USING (run_no)
QUALIFY row_number() OVER (PARTITION BY example.definition) = 1
"""
PERIOD_RESULT = """
CREATE OR REPLACE TEMP VIEW period_result AS
SELECT result.result_no, result.result_id, result.machine_id, run.run_id, result.sequence,
       result.check_name, result.definition, definition.definition_hash, definition.parameters_json,
       result.status, result.cause, result.remedy_id, result.measurements_withheld,
       run.hostname, run.chip, run.gpu_cores, run.memory_bytes, run.os_name, run.os_version, run.os_build,
       run.environment_id, run.environment_name, run.device, run.started_at
FROM found_result AS result JOIN period_run AS run USING (run_no)
JOIN definition USING (definition)
"""
LATEST = """
CREATE OR REPLACE TEMP TABLE latest_result AS SELECT * FROM period_result
WHERE result_no IN (
  SELECT arg_max(result.result_no, (epoch_us(run.started_at)::HUGEINT << 64) + result.sequence)
  FROM found_result AS result JOIN (
    SELECT run_no, started_at,
           dense_rank() OVER (ORDER BY machine_id, environment_name, device) AS place
    FROM period_run
  ) AS run USING (run_no)
  GROUP BY run.place, result.check_name
)
"""
SET_ASIDE = """
CREATE OR REPLACE TEMP TABLE aside AS
SELECT * FROM (
  SELECT result.result_no, CASE
           WHEN result.status NOT IN ('pass', 'warn') THEN 'not_passed'
           WHEN result.measurements_withheld <> '' THEN 'withheld'
           WHEN condition.low_power_mode THEN 'low_power'
           WHEN condition.thermal_pressure NOT IN ('', 'nominal') THEN 'thermal'
           WHEN condition.memory_pressure NOT IN ('', 'normal') THEN 'memory_pressure'
           WHEN condition.power_source = 'battery' THEN 'battery'
         END AS set_aside_for
  FROM found_result AS result
  LEFT JOIN (
    SELECT machine_id, result_id, low_power_mode, thermal_pressure, memory_pressure, power_source
    FROM store.condition WHERE moment = 'before'
  ) AS condition USING (machine_id, result_id)
) WHERE set_aside_for IS NOT NULL
"""
JUDGED = """
CREATE OR REPLACE TEMP VIEW judged_result AS
SELECT * FROM period_result LEFT JOIN aside USING (result_no)
"""
MEASURED = """
CREATE OR REPLACE TEMP TABLE measured AS
SELECT result.result_no::INTEGER AS result_no, result.run_no::INTEGER AS run_no,
       hash(result.definition, coalesce(measured.case_name, ''), measured.name, measured.unit,
            measured.direction) AS series,
       measured.value, coalesce(measured.stability, '') = 'unstable' AS is_unstable, measured.rowid AS example
FROM store.measurement AS measured JOIN (
  SELECT result_no, run_no, machine_id, result_id, definition FROM found_result
  WHERE result_no NOT IN (SELECT result_no FROM aside)
) AS result USING (machine_id, result_id)
WHERE isfinite(measured.value) AND measured.value > 0
"""
SERIES = """
CREATE OR REPLACE TEMP TABLE series AS
SELECT known.series, row_number() OVER (
         ORDER BY check_name, case_name, measurement, device, unit, direction, definition_hash,
                  parameters_json
       )::INTEGER - 1 AS series_no, * EXCLUDE (series)
FROM (
  SELECT example.series, example.definition, example.check_name,
         coalesce(measured.case_name, '') AS case_name, measured.name AS measurement, measured.unit,
         measured.direction, run.device, definition.definition_hash, definition.parameters_json
  FROM (
    SELECT series, min(example) AS example, any_value(result.definition) AS definition,
           any_value(result.check_name) AS check_name, any_value(result.run_no) AS run_no
    FROM (SELECT series, min(example) AS example, any_value(result_no) AS result_no
          FROM measured GROUP BY series) AS found
    JOIN found_result AS result USING (result_no)
    GROUP BY series
  ) AS example
  JOIN store.measurement AS measured ON measured.rowid = example.example
  JOIN period_run AS run USING (run_no)
  JOIN definition USING (definition)
) AS known
"""
COMPARED = """
CREATE OR REPLACE TEMP VIEW compared AS
SELECT run.machine_id, run.hostname, run.chip, run.gpu_cores, run.memory_bytes, run.os_version, run.os_build,
       run.environment_id, run.environment_name, series.device, run.run_id, measured.result_no,
       run.started_at, series.check_name, series.definition_hash, series.parameters_json, series.case_name,
       series.measurement, series.unit, series.direction, measured.value, measured.run_no, series.series_no
FROM measured JOIN series USING (series) JOIN period_run AS run USING (run_no)
WHERE NOT measured.is_unstable
"""
REASONS = """
SELECT reason, sum(results)::BIGINT FROM (
  SELECT set_aside_for AS reason, count(*) AS results FROM aside GROUP BY ALL
  UNION ALL
  SELECT 'unstable', count(DISTINCT result_no) FROM measured WHERE is_unstable HAVING count(*) > 0
) GROUP BY ALL ORDER BY ALL
"""


def lay_out(connection: duckdb.DuckDBPyConnection, period: Period, *, latest_later: bool = False) -> None:
    """Makes the tables of runs and results; `latest_result` unless lay_out_latest follows."""
    known = {
        "since": period.since,
        "as_of": period.as_of,
        "revoked": sorted(period.revoked),
        "machines": None if period.machines is None else sorted(period.machines),
    }
    chosen: dict[str, object] = {"checks": sorted(period.checks)}
    if period.is_now:
        connection.execute(RUN, known)
        connection.execute(RESULT, chosen)
    else:
        connection.execute(RUN + RECEIVED.format(record="run"), known)
        connection.execute(RESULT + RECEIVED.format(record="result"), chosen | {"as_of": period.as_of})
    tell_apart(connection, period)
    for statement in (DEFINITION, PERIOD_RESULT):
        connection.execute(statement)
    if not latest_later:
        lay_out_latest(connection)


def lay_out_latest(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes `latest_result`, after lay_out."""
    connection.execute(LATEST)


def lay_out_measurements(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes `judged_result`, `series` and `compared`, after lay_out."""
    for statement in (SET_ASIDE, JUDGED, MEASURED, SERIES, COMPARED):
        connection.execute(statement)


def set_aside(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Results whose measurements are not compared, counts by reason; after lay_out_measurements."""
    return dict(connection.execute(REASONS).fetchall())
