"""Versions of the packages that training depends on: who has them, and how runs with them went."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from llmenv.catalog.packages import WATCHED
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report.inventory import read_inventory

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.fleet_report.period import Period

VERDICTS = """
SELECT package.name, package.version, counted.status, sum(counted.results)::BIGINT
FROM (
  SELECT run.environment_id, result.status, count(*) AS results
  FROM found_result AS result JOIN period_run AS run USING (run_no) GROUP BY ALL
) AS counted JOIN store.environment_package AS package USING (environment_id)
WHERE list_contains($watched::VARCHAR[], package.name) GROUP BY ALL
"""


def packages(connection: duckdb.DuckDBPyConnection, period: Period) -> list[messages.PackageRow]:
    """By name and version."""
    machines: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in read_inventory(connection, period, packages=WATCHED):
        for package in one.versions.items():
            machines[package].add(one.machine_id)
    verdicts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name, version, status, count in connection.execute(VERDICTS, {"watched": list(WATCHED)}).fetchall():
        verdicts[name, version][status] = count
    return [
        messages.PackageRow(
            package=name,
            version=version,
            machines=len(machines.get((name, version), ())),
            status_counts=verdicts[name, version],
        )
        for name, version in sorted(machines.keys() | verdicts.keys())
    ]
