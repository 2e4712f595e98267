"""What the report is based on: who reported, who is silent, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError
from llmenv_collector.fleet_report.closest import closest

if TYPE_CHECKING:
    from collections.abc import Collection

    import duckdb

    from llmenv_collector.fleet_report.period import Period

MACHINES = """
SELECT sighting.machine_id::VARCHAR, coalesce(machine.hostname, sighting.machine_id::VARCHAR) AS hostname,
       sighting.machine_id IN (SELECT machine_id FROM period_run), epoch_us(last.started_at)
FROM store.machine_sighting AS sighting
LEFT JOIN store.machine AS machine USING (machine_id)
LEFT JOIN (
  SELECT machine_id, max(started_at) AS started_at FROM store.run
  WHERE started_at < make_timestamptz($since) GROUP BY machine_id
) AS last USING (machine_id)
WHERE (sighting.enrolled_at IS NULL OR sighting.enrolled_at <= make_timestamptz($as_of))
  AND NOT list_contains($revoked::VARCHAR[], sighting.machine_id::VARCHAR)
  AND ($machines IS NULL OR list_contains($machines::VARCHAR[], sighting.machine_id::VARCHAR))
ORDER BY hostname, sighting.machine_id
"""
RUNS = """
SELECT count(*), epoch_us(max(started_at)), epoch_us(min(started_at)), (SELECT count(*) FROM found_result)
FROM period_run
"""
KNOWN = """
SELECT check_name FROM store.result UNION SELECT benchmark FROM store.imported_measurement ORDER BY ALL
"""


def require_known(connection: duckdb.DuckDBPyConnection, checks: Collection[str]) -> None:
    """Raises NotFoundError for a check of which there never was a result, here or in an imported file."""
    if not checks:
        return
    known = [name for (name,) in connection.execute(KNOWN).fetchall()]
    for name in sorted(checks):
        if name not in known:
            near = closest(name, known, kind="there are results of")
            raise NotFoundError(f"No machine has ever run a check {name!r}; {near}.")


def coverage(connection: duckdb.DuckDBPyConnection, period: Period) -> messages.Coverage:
    machines = connection.execute(
        MACHINES,
        {
            "since": period.since,
            "as_of": period.as_of,
            "revoked": sorted(period.revoked),
            "machines": None if period.machines is None else sorted(period.machines),
        },
    ).fetchall()
    runs, freshest, oldest, results = connection.execute(RUNS).fetchall()[0]
    return messages.Coverage(
        machines=len(machines),
        reporting=sum(is_reporting for _, _, is_reporting, _ in machines),
        freshest_run_at=clock.to_timestamp(freshest),
        oldest_run_at=clock.to_timestamp(oldest),
        silent=[
            messages.SilentMachine(
                machine_id=machine_id, hostname=hostname, last_run_at=clock.to_timestamp(last)
            )
            for machine_id, hostname, is_reporting, last in machines
            if not is_reporting
        ],
        runs=runs,
        results=results,
        since=None if period.is_whole_history else clock.to_timestamp(period.since),
        as_of=clock.to_timestamp(period.as_of),
    )
