"""Versions, facts and variables in which two sides differ."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

if TYPE_CHECKING:
    import duckdb

FACTS = ("chip", "gpu_cores", "memory_bytes", "os_name", "os_version", "os_build", "agent_version", "python")
AS_TEXT = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" for name in FACTS)
SIDE_VALUES = f"""
WITH side_of_run AS MATERIALIZED (
  SELECT side_run.side, run.*, environment.python_version AS python
  FROM side_run JOIN store.run AS run USING (machine_id, run_id)
  LEFT JOIN store.environment AS environment USING (environment_id)
)
SELECT 'package' AS kind, package.name, side, package.version AS value
FROM (SELECT DISTINCT side, environment_id FROM side_of_run)
JOIN store.environment_package AS package USING (environment_id)
UNION
SELECT 'variable', variable.name, side_run.side, variable.value
FROM side_run JOIN store.result USING (machine_id, run_id)
JOIN store.result_variable AS variable USING (machine_id, result_id)
UNION
SELECT 'fact', name, side, value FROM (
  UNPIVOT (SELECT side, {AS_TEXT} FROM side_of_run) ON {", ".join(FACTS)} INTO NAME name VALUE value
)
"""  # noqa: S608 (our own names)
ORDER = {"fact": 0, "package": 1, "variable": 2}


def differences(connection: duckdb.DuckDBPyConnection) -> list[messages.DifferenceRow]:
    """Of the table `side_run`: facts first, then packages, then variables, each by name."""
    values: dict[tuple[str, str], tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for kind, name, side, value in connection.execute(SIDE_VALUES).fetchall():
        values[kind, name][side].add(value)
    return [
        messages.DifferenceRow(kind=kind, name=name, baseline=sorted(baseline), candidate=sorted(candidate))
        for (kind, name), (baseline, candidate) in sorted(
            values.items(), key=lambda item: (ORDER[item[0][0]], item[0][1])
        )
        if baseline != candidate
    ]
