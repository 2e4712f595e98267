"""Versions of the packages that training depends on: who has them, and how runs with them went."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from llmenv.catalog.packages import WATCHED
from llmenv.fleet.v1 import fleet_report_pb2 as messages

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.fleet_report.period import Period

NOW = """
SELECT package.name, package.version, count(DISTINCT environment.machine_id)
FROM v1.environments AS environment JOIN store.environment_package AS package USING (environment_id)
WHERE list_contains($watched::VARCHAR[], package.name)
  AND NOT list_contains($revoked::VARCHAR[], environment.machine_id::VARCHAR)
  AND ($machines IS NULL OR list_contains($machines::VARCHAR[], environment.machine_id::VARCHAR))
GROUP BY ALL
"""
VERDICTS = """
SELECT package.name, package.version, result.status, count(*)
FROM period_result AS result JOIN store.environment_package AS package USING (environment_id)
WHERE list_contains($watched::VARCHAR[], package.name) GROUP BY ALL
"""


def packages(connection: duckdb.DuckDBPyConnection, period: Period) -> list[messages.PackageRow]:
    """By name and version."""
    now = connection.execute(
        NOW,
        {
            "watched": list(WATCHED),
            "revoked": sorted(period.revoked),
            "machines": None if period.machines is None else sorted(period.machines),
        },
    ).fetchall()
    verdicts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name, version, status, count in connection.execute(VERDICTS, {"watched": list(WATCHED)}).fetchall():
        verdicts[name, version][status] = count
    machines = {(name, version): count for name, version, count in now}
    return [
        messages.PackageRow(
            package=name,
            version=version,
            machines=machines.get((name, version), 0),
            status_counts=verdicts[name, version],
        )
        for name, version in sorted(machines.keys() | verdicts.keys())
    ]
