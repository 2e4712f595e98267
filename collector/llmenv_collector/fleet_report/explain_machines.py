"""The statements behind what happens on machines over time, after `run` and `result` of `explain`."""

from __future__ import annotations

from llmenv_collector.fleet_report.unsteady import UNSTABLE_SHARE
from llmenv_collector.statistics.change_points import MIN_POINTS

# ruff: noqa: S608 (text for people to read and run, on a read-only snapshot)

UNSTEADY = f""", settled AS (
  SELECT machine_id, result_id, bool_or(stability = 'declining') AS declines,
         bool_or(stability = 'unstable') AS is_unstable
  FROM v1.measurements WHERE stability IN ('declining', 'unstable') GROUP BY ALL
), hot AS (
  SELECT DISTINCT machine_id, result_id, true AS is_hot FROM v1.conditions
  WHERE thermal_pressure NOT IN ('', 'nominal')
)
SELECT machine_id, arg_max(hostname, started_at) AS hostname, chip, gpu_cores, memory_bytes, check_name,
       count(*) FILTER (declines) AS declining, count(*) FILTER (is_unstable) AS unstable,
       count(*) FILTER (is_hot) AS under_thermal_pressure, count(*) AS results
FROM result LEFT JOIN settled USING (machine_id, result_id) LEFT JOIN hot USING (machine_id, result_id)
WHERE status IN ('pass', 'warn') GROUP BY machine_id, chip, gpu_cores, memory_bytes, check_name
HAVING declining > 0 OR under_thermal_pressure > 0
    OR (unstable > 0 AND unstable >= {UNSTABLE_SHARE} * results)
ORDER BY (declining + under_thermal_pressure + unstable) / results DESC, hostname, check_name"""
VERDICT_CHANGES = """, judged AS (
  SELECT *, status IN ('pass', 'warn') AS ends_well FROM result WHERE status NOT IN ('skip', 'unknown')
), beside AS (
  SELECT *, lag(ends_well) OVER one AS ended_well, lag(status) OVER one AS former_status
  FROM judged WINDOW one AS (
    PARTITION BY machine_id, environment_name, device, check_name ORDER BY started_at, sequence)
)
SELECT machine_id, hostname, environment_name, device, check_name, former_status, status,
       started_at AS changed_at
FROM beside WHERE ends_well <> ended_well
QUALIFY row_number() OVER (
  PARTITION BY machine_id, environment_name, device, check_name ORDER BY started_at DESC, sequence DESC) = 1
ORDER BY changed_at DESC, hostname, check_name"""
CHANGES = """, since_then AS (
  -- of the first result after each change: how many there are from then on
  SELECT to_result_id, count(*) AS results FROM (
    SELECT DISTINCT machine_id, environment_name, device, check_name, changed_at, to_result_id
    FROM v1.change_points
  ) AS change JOIN result USING (machine_id, environment_name, device, check_name)
  WHERE result.started_at >= changed_at
  GROUP BY to_result_id HAVING bool_or(result.result_id = to_result_id)
)
SELECT change.machine_id, hostname, environment_name, device, check_name, case_name, measurement, unit,
       better, parameters_json, definition_hash, changed_at, {is_suspected} AS is_suspected,
       {points} AS points, median_before, median_after, median_after / median_before AS ratio, ratio_low,
       ratio_high
FROM v1.change_points AS change LEFT JOIN v1.machines USING (machine_id)
{known}WHERE changed_at BETWEEN {since} AND {until} AND {machines}{checks}
  AND abs(ln(median_after / median_before)) >= ln(1 + {minimum_effect})
ORDER BY changed_at DESC, hostname, check_name, case_name, measurement"""
KNOWN = "JOIN since_then USING (to_result_id)\n"
IS_SUSPECTED_THEN = f"(is_suspected OR results < {MIN_POINTS})"
POINTS_THEN = f"CASE WHEN results < {MIN_POINTS} THEN least(points, results) ELSE points END"
