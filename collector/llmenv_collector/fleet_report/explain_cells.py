"""The statements behind effects of versions and outliers: the medians and verdicts that these compare.

They follow the tables `run` and `result` of `explain`, those of measurements `compared` as well.
"""

from __future__ import annotations

from llmenv_collector.statistics.outliers import FEWEST_OTHERS

CONTEXT = """, context AS (
  -- what has to be equal for machines and versions to be compared
  SELECT environment_id, any_value(python_version) AS python,
         list_sort(list(DISTINCT name || ' ' || version) FILTER (name IN ({watched}))) AS versions
  FROM (SELECT DISTINCT environment_id FROM run)
  LEFT JOIN (SELECT DISTINCT environment_id, python_version FROM v1.environment_sightings)
    USING (environment_id)
  LEFT JOIN v1.environment_packages USING (environment_id) GROUP BY environment_id
)"""
CELL = """, cell AS (
  SELECT check_name, case_name, measurement, unit, better, device, definition_hash, parameters_json, chip,
         gpu_cores, memory_bytes, versions, python, CASE WHEN os_name = 'macOS' THEN os_build END AS macos,
         machine_id, arg_max(hostname, started_at) AS hostname, exp(median(ln(value))) AS median,
         count(*) AS results
  FROM compared JOIN context USING (environment_id)
  GROUP BY ALL
)
"""
EFFECTS = """SELECT * FROM cell
ORDER BY check_name, case_name, measurement, device, definition_hash, parameters_json, chip, gpu_cores,
         memory_bytes, hostname, machine_id, versions, macos"""
OUTLIERS = f"""SELECT *, count(*) OVER cohort - 1 AS others,
       median / exp(median(ln(median)) OVER (cohort
         ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW)) AS ratio
FROM cell
WINDOW cohort AS (PARTITION BY check_name, case_name, measurement, unit, better, device, definition_hash,
                               parameters_json, chip, gpu_cores, memory_bytes, versions, python, macos)
QUALIFY others >= {FEWEST_OTHERS} ORDER BY abs(ln(ratio)) DESC"""  # noqa: S608 (text for people to run)
VERDICT_EFFECTS = """
SELECT check_name, device, definition_hash, parameters_json, chip, gpu_cores, memory_bytes, versions, python,
       CASE WHEN os_name = 'macOS' THEN os_build END AS macos, machine_id,
       arg_max(hostname, started_at) AS hostname, count(*) AS results,
       count(*) FILTER (status NOT IN ('pass', 'warn')) AS failing,
       arg_max(status NOT IN ('pass', 'warn'), started_at) AS fails_last
FROM result JOIN context USING (environment_id) WHERE status NOT IN ('skip', 'unknown') GROUP BY ALL
ORDER BY check_name, device, hostname, machine_id, versions, macos"""
