"""Machines that throttle, and machines whose figures do not settle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

if TYPE_CHECKING:
    import duckdb

UNSTABLE_SHARE = 0.2
"""Of a machine's results of a check: a figure now and then that does not settle is no sign of anything."""
UNSTEADY = """
WITH judged AS (
  SELECT result.result_no, bool_or(measured.stability = 'declining') AS declines,
         bool_or(measured.stability = 'unstable') AS is_unstable
  FROM store.measurement AS measured JOIN found_result AS result USING (machine_id, result_id)
  WHERE measured.stability IN ('declining', 'unstable') GROUP BY result.result_no
), hot AS (
  SELECT DISTINCT result.result_no
  FROM store.condition AS condition JOIN found_result AS result USING (machine_id, result_id)
  WHERE condition.thermal_pressure NOT IN ('', 'nominal')
), counted AS (
  SELECT run.machine_id, run.chip, run.gpu_cores, run.memory_bytes, result.check_name,
         arg_max(run.hostname, run.started_at) AS hostname,
         count(*) FILTER (judged.declines) AS declining,
         count(*) FILTER (judged.is_unstable) AS unstable,
         count(*) FILTER (hot.result_no IS NOT NULL) AS under_thermal_pressure,
         count(*) AS results
  FROM found_result AS result JOIN period_run AS run USING (run_no)
  LEFT JOIN judged USING (result_no) LEFT JOIN hot USING (result_no)
  WHERE result.status IN ('pass', 'warn')
  GROUP BY ALL
)
SELECT machine_id::VARCHAR, hostname, chip, gpu_cores, memory_bytes, check_name, declining, unstable,
       under_thermal_pressure, results
FROM counted
WHERE declining > 0 OR under_thermal_pressure > 0 OR unstable >= $share * results AND unstable > 0
ORDER BY (declining + under_thermal_pressure + unstable) / results DESC, hostname, check_name
"""


def unsteady(connection: duckdb.DuckDBPyConnection) -> list[messages.UnsteadyRow]:
    """The worst first; after period.lay_out."""
    return [
        messages.UnsteadyRow(
            machine_id=machine_id,
            hostname=hostname,
            variant=messages.Variant(chip=chip, gpu_cores=gpu_cores, memory_bytes=memory_bytes),
            check_name=check_name,
            declining=declining,
            unstable=unstable,
            under_thermal_pressure=hot,
            results=results,
        )
        for (
            machine_id,
            hostname,
            chip,
            gpu_cores,
            memory_bytes,
            check_name,
            declining,
            unstable,
            hot,
            results,
        ) in connection.execute(UNSTEADY, {"share": UNSTABLE_SHARE}).fetchall()
    ]
