"""What the report is based on: who reported, who is silent or overdue, and since when."""

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
SELECT sighting.machine_id::VARCHAR,
       coalesce(shared.name, machine.hostname, sighting.machine_id::VARCHAR) AS hostname,
       sighting.machine_id IN (SELECT machine_id FROM period_run), epoch_us(last.started_at)
FROM store.machine_sighting AS sighting
LEFT JOIN store.machine AS machine USING (machine_id)
LEFT JOIN shared_name AS shared USING (machine_id, hostname)
LEFT JOIN (
  SELECT machine_id, max(started_at) AS started_at FROM store.run
  WHERE started_at < make_timestamptz($since) GROUP BY machine_id
) AS last USING (machine_id)
WHERE (sighting.enrolled_at IS NULL OR sighting.enrolled_at <= make_timestamptz($as_of))
  AND NOT list_contains($set_aside::VARCHAR[], sighting.machine_id::VARCHAR)
  AND (NOT list_contains($retired::VARCHAR[], sighting.machine_id::VARCHAR)
       OR sighting.machine_id IN (SELECT machine_id FROM period_run))
  AND ($machines IS NULL OR list_contains($machines::VARCHAR[], sighting.machine_id::VARCHAR))
ORDER BY hostname, sighting.machine_id
"""
RUNS = """
SELECT count(*), epoch_us(max(started_at)), epoch_us(min(started_at)), (SELECT count(*) FROM found_result)
FROM period_run
"""
# A machine that runs a suite a day and stands still at the weekend is not overdue on a Monday: nine in ten of
# its gaps are a day long or three.  Fewer gaps than LEAST_GAPS are no habit.
LEAST_GAPS = 4
OVERDUE_TIMES = 2
OVERDUE_SECONDS = 86_400
OVERDUE = """
WITH gap AS (
  SELECT machine_id, hostname, started_at,
         epoch(started_at - lag(started_at) OVER (PARTITION BY machine_id ORDER BY started_at)) AS seconds
  FROM period_run WHERE NOT list_contains($retired::VARCHAR[], machine_id::VARCHAR)
)
SELECT machine_id::VARCHAR, arg_max(hostname, started_at) AS hostname, epoch_us(max(started_at)),
       quantile_cont(seconds, 0.9) AS usual
FROM gap GROUP BY machine_id
HAVING count(seconds) >= $least_gaps AND
       epoch(make_timestamptz($as_of) - max(started_at)) > greatest($times * usual, $seconds)
ORDER BY hostname, machine_id
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
            "set_aside": sorted(period.revoked | period.pending),
            "retired": sorted(period.retired),
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
        overdue=overdue(connection, period),
        pending=len(pending(period)),
        runs=runs,
        results=results,
        since=None if period.is_whole_history else clock.to_timestamp(period.since),
        as_of=clock.to_timestamp(period.as_of),
    )


def pending(period: Period) -> frozenset[str]:
    """Machines that wait for approval, of those that were asked for."""
    return period.pending if period.machines is None else period.pending & period.machines


def overdue(connection: duckdb.DuckDBPyConnection, period: Period) -> list[messages.OverdueMachine]:
    """Their latest verdicts stand in the report, and are older than they would be if all were well."""
    rows = connection.execute(
        OVERDUE,
        {
            "as_of": period.as_of,
            "retired": sorted(period.retired),
            "least_gaps": LEAST_GAPS,
            "times": OVERDUE_TIMES,
            "seconds": OVERDUE_SECONDS,
        },
    ).fetchall()
    return [
        messages.OverdueMachine(
            machine_id=machine_id,
            hostname=hostname,
            last_run_at=clock.to_timestamp(last),
            usual_seconds=usual,
        )
        for machine_id, hostname, last, usual in rows
    ]
